"""The tree of a volume's files: what each change makes of it, and that tidying loses nothing."""

import dataclasses
import random
from datetime import UTC, datetime

import pytest

from compute.storage.tree import (
    MAX_DEPTH,
    Drop,
    Kept,
    Merge,
    Node,
    TooDeep,
    Tree,
    TreeDamaged,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PLAIN = Tree(0, {0: Node(image_id="image-1")})


def kept(tree: Tree, *names: str) -> Tree:
    """The tree with snapshots of these names, one after another."""
    for name in names:
        tree = tree.with_snapshot(name, size_bytes=1, created_at=NOW)
    return tree


def test_a_snapshot_freezes_the_active_file() -> None:
    tree = kept(PLAIN, "a", "b")
    assert [(one.name, one.file) for one in tree.snapshots] == [("a", 0), ("b", 1)]
    assert tree.chain(tree.active) == (2, 1, 0)
    assert tree.image_of(tree.active) == "image-1"
    assert tree.tidying() == ()


def test_a_rollback_branches_and_leaves_the_old_end_to_be_dropped() -> None:
    tree = kept(PLAIN, "a", "b").rolled_back("a")
    assert tree.chain(tree.active) == (3, 0)
    assert tree.tidying() == (Drop(2),)
    assert tree.tidied(Drop(2)).tidying() == ()
    with pytest.raises(KeyError):
        tree.rolled_back("none")


def test_a_forgotten_file_takes_the_place_of_its_only_child() -> None:
    tree = kept(PLAIN, "a", "b", "c").without_snapshot("b")
    assert tree.tidying() == (Merge(2, 1),)
    tree = tree.tidied(Merge(2, 1))
    assert [(one.name, one.file) for one in tree.snapshots] == [("a", 0), ("c", 1)]
    assert tree.chain(tree.active) == (3, 1, 0)
    tree = tree.without_snapshot("a").tidied(Merge(1, 0)).without_snapshot("c")
    assert tree.tidied(Merge(3, 0)).active == 0


def test_a_file_on_which_two_rest_stays_hidden() -> None:
    tree = kept(PLAIN, "a", "b").rolled_back("a").without_snapshot("a")
    tree = tree.tidied(Drop(2))
    assert tree.children(0) == (1, 3)
    assert tree.tidying() == ()
    with pytest.raises(ValueError, match="lose data"):
        tree.tidied(Merge(1, 0))


def test_a_file_with_snapshots_inside_is_kept_for_them_and_may_take_a_child() -> None:
    old = Kept("old", 0, 1, NOW, inside=True)
    tree = kept(dataclasses.replace(PLAIN, snapshots=(old,)), "a")
    assert tree.without_snapshot("a").tidying() == (Merge(1, 0),)
    with pytest.raises(KeyError):
        tree.rolled_back("old")
    tree = tree.without_snapshot("a").with_root()
    assert tree.tidying() == (Drop(1),)
    tree = tree.tidied(Drop(1))
    assert tree.tidying() == ()
    assert tree.without_snapshot("old").tidying() == (Drop(0),)


def test_numbers_are_not_given_again() -> None:
    tree = kept(PLAIN, "a").rolled_back("a")
    tree = tree.tidied(Drop(1)).with_root("image-2", alone=True)
    assert (tree.active, tree.next_file) == (3, 4)
    assert tree.images() == {"image-1", "image-2"}


def test_a_chain_has_an_end() -> None:
    tree = kept(PLAIN, *(f"s{number}" for number in range(MAX_DEPTH - 1)))
    assert len(tree.chain(tree.active)) == MAX_DEPTH
    with pytest.raises(TooDeep):
        kept(tree, "more")
    assert len(tree.rolled_back("s1").chain(MAX_DEPTH)) == 3


def _read(tree: Tree, content: dict[int, int], file: int) -> int:
    return next(content[one] for one in tree.chain(file) if one in content)


def test_whatever_is_done_in_whatever_order_every_name_keeps_its_content() -> None:
    """Each file holds the number of the state that was written into it last, or nothing."""
    for seed in range(40):
        chance, tree, content = random.Random(seed), PLAIN, {0: 1}
        truth: dict[str, int] = {}
        states = 1

        for turn in range(60):
            before = _read(tree, content, tree.active)
            what = chance.choice(("write", "take", "back", "forget", "tidy", "tidy"))
            if what == "write":
                states += 1
                content[tree.active] = before = states
            elif what == "take" and len(tree.chain(tree.active)) < MAX_DEPTH:
                truth[f"s{turn}"] = before
                tree = kept(tree, f"s{turn}")
            elif what == "back" and truth:
                name = chance.choice(sorted(truth))
                saved = tree.snapshot(name)
                assert saved is not None
                if len(tree.chain(saved.file)) < MAX_DEPTH:
                    tree, before = tree.rolled_back(name), truth[name]
            elif what == "forget" and truth:
                name = chance.choice(sorted(truth))
                del truth[name]
                tree = tree.without_snapshot(name)
            elif steps := tree.tidying():
                step = chance.choice(steps)
                if isinstance(step, Merge) and step.child in content:
                    content[step.into] = content[step.child]
                tree = tree.tidied(step)
            tree.check()
            assert Tree.from_json(tree.to_json()) == tree
            assert _read(tree, content, tree.active) == before, (seed, turn, what)
            assert {one.name: _read(tree, content, one.file) for one in tree.snapshots} == truth, (
                seed,
                turn,
            )
        while steps := tree.tidying():
            tree = tree.tidied(steps[0])
        # Named files, and those on which several rest.
        assert len(tree.files) <= 2 * (len(truth) + 1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        PLAIN.to_json().replace('"version": 1', '"version": 2'),
        PLAIN.to_json().replace('"active": 0', '"active": 7'),
        Tree(1, {0: Node(), 1: Node(0)}, next_file=1).to_json(),
        Tree(2, {0: Node(1), 1: Node(0), 2: Node()}, next_file=3).to_json(),
        Tree(1, {0: Node(), 1: Node(5)}, next_file=2).to_json(),
        Tree(1, {0: Node(), 1: Node(0, "image-1")}, next_file=2).to_json(),
        Tree(0, {0: Node(), 1: Node(0)}, next_file=2).to_json(),
        Tree(0, {0: Node()}, (Kept("a", 0, 1, NOW),)).to_json(),
        Tree(0, {0: Node()}, (Kept("a", 0, 1, NOW, inside=True),) * 2).to_json(),
    ],
    ids=str,
)
def test_a_manifest_that_cannot_be_is_no_tree(text: str) -> None:
    with pytest.raises(TreeDamaged):
        Tree.from_json(text)

"""The files of one volume with snapshots: a tree of QCOW2 overlays, and what may be done to it.

Pure: no file is touched here. A `Tree` is what a manifest says. It is the truth; the backing names
in the files' headers follow it. Each change makes a new tree, which takes effect in the moment in
which it is published, and only then are files removed that it no longer has.

* File 0 is the volume's first file. Others are numbered in the order in which they were made, and
  no number that was published is given again: whoever knows an old name finds nothing or the same.
* A file with children is frozen. The active file is what a guest writes to.
* A snapshot is a name for a frozen file. A snapshot that QEMU made inside a file, as releases
  without overlays did, stays in it: `inside` tells.
* A file that nothing names is hidden. Without children it goes; with one child it takes that
  child's content and its place; with more it stays as it is.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any

VERSION = 1
MAX_DEPTH = 20
"""Files that a read may have to pass. Each costs memory (about 8 MB at 1 TB) and a file handle."""


class TreeDamaged(ValueError):
    """A manifest says what cannot be."""


class TooDeep(Exception):
    """One more overlay would make reads pass more than `MAX_DEPTH` files."""


@dataclass(frozen=True, slots=True)
class Node:
    """One file: what it rests on, another file of the tree or an image or neither."""

    parent: int | None = None
    image_id: str | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """A snapshot: the file that holds it, and the volume's size in bytes when it was taken."""

    name: str
    file: int
    size_bytes: int
    created_at: datetime
    inside: bool = False


@dataclass(frozen=True, slots=True)
class Drop:
    """A step of tidying: the file is needed by nothing."""

    file: int


@dataclass(frozen=True, slots=True)
class Merge:
    """A step of tidying: `into` takes the content and the place of `child`, its only child."""

    child: int
    into: int


Tidying = Drop | Merge


@dataclass(frozen=True, slots=True)
class Tree:
    """What a manifest says. `next_file` is the number of the file that is made next."""

    active: int
    files: dict[int, Node] = field(default_factory=dict)
    snapshots: tuple[Kept, ...] = ()
    next_file: int = 1

    # -- looking -------------------------------------------------------------------------------

    def snapshot(self, name: str) -> Kept | None:
        """Return the snapshot of that name."""
        return next((kept for kept in self.snapshots if kept.name == name), None)

    def chain(self, file: int) -> tuple[int, ...]:
        """Return the files that a read of this one may pass, itself first."""
        return tuple(self._up(file))

    def image_of(self, file: int) -> str | None:
        """Return the image on which the file rests in the end."""
        return self.files[self.chain(file)[-1]].image_id

    def images(self) -> frozenset[str]:
        """Return all images that any file rests on."""
        return frozenset(node.image_id for node in self.files.values() if node.image_id)

    def children(self, file: int) -> tuple[int, ...]:
        """Return the files that rest directly on this one."""
        return tuple(sorted(one for one, node in self.files.items() if node.parent == file))

    def _up(self, file: int) -> Iterator[int]:
        one: int | None = file
        while one is not None:
            yield one
            one = self.files[one].parent

    # -- changing ------------------------------------------------------------------------------

    def with_snapshot(self, name: str, *, size_bytes: int, created_at: datetime) -> "Tree":
        """Freeze the active file under a name; a new overlay on it is active. Raises `TooDeep`."""
        kept = Kept(name, self.active, size_bytes, created_at)
        return replace(self._grown(self.active), snapshots=(*self.snapshots, kept))

    def rolled_back(self, name: str) -> "Tree":
        """Make a new overlay on a snapshot's file active. Raises `KeyError`, `TooDeep`."""
        kept = self.snapshot(name)
        if kept is None or kept.inside:
            raise KeyError(name)
        return self._grown(kept.file)

    def with_root(self, image_id: str | None = None, *, alone: bool = False) -> "Tree":
        """Make a new file active that rests on no other; `alone` forgets all snapshots."""
        number = self.next_file
        return replace(
            self,
            active=number,
            files={**self.files, number: Node(image_id=image_id)},
            snapshots=() if alone else self.snapshots,
            next_file=number + 1,
        )

    def without_snapshot(self, name: str) -> "Tree":
        """Forget a name. The file stays until it is tidied away."""
        return replace(self, snapshots=tuple(one for one in self.snapshots if one.name != name))

    def _grown(self, parent: int) -> "Tree":
        if len(self.chain(parent)) >= MAX_DEPTH:
            raise TooDeep
        number = self.next_file
        files = {**self.files, number: Node(parent=parent)}
        return replace(self, active=number, files=files, next_file=number + 1)

    # -- tidying -------------------------------------------------------------------------------

    def tidying(self) -> tuple[Tidying, ...]:
        """Return what can be done now, in any order; files to drop come first.

        Merges go downwards: their cost follows what was written after the snapshot, not the size
        of the volume.
        """
        shown = {self.active} | {one.file for one in self.snapshots if not one.inside}
        holding = {one.file for one in self.snapshots if one.inside}
        children = {file: self.children(file) for file in sorted(self.files)}
        drops = [
            file for file, above in children.items() if not above and file not in shown | holding
        ]
        merges = [
            Merge(above[0], file)
            for file, above in children.items()
            if len(above) == 1
            and file not in shown
            and above[0] not in holding
            and above[0] not in drops
        ]
        return (*(Drop(file) for file in drops), *merges)

    def tidied(self, step: Tidying) -> "Tree":
        """Return the tree after a step. Raises `ValueError` for one that may not be done."""
        if step not in self.tidying():
            raise ValueError(f"{step} would lose data.")
        if isinstance(step, Drop):
            return replace(self, files={n: one for n, one in self.files.items() if n != step.file})
        files = {
            number: replace(node, parent=step.into) if node.parent == step.child else node
            for number, node in self.files.items()
            if number != step.child
        }
        snapshots = tuple(
            replace(one, file=step.into) if one.file == step.child else one
            for one in self.snapshots
        )
        active = step.into if self.active == step.child else self.active
        return replace(self, active=active, files=files, snapshots=snapshots)

    # -- the manifest ----------------------------------------------------------------------------

    def to_json(self) -> str:
        """Return the manifest's text."""
        said = asdict(self)
        for one, kept in zip(said["snapshots"], self.snapshots, strict=True):
            one["created_at"] = kept.created_at.isoformat()
        return json.dumps({"version": VERSION, **said}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> "Tree":
        """Read a manifest. Raises `TreeDamaged` for one that no tree of ours would write."""
        try:
            said = json.loads(text)
            if said["version"] != VERSION:
                raise TreeDamaged(f"version {said['version']} of the manifest is not known")
            tree = cls(
                active=int(said["active"]),
                files={int(number): Node(**node) for number, node in said["files"].items()},
                snapshots=tuple(_kept(one) for one in said["snapshots"]),
                next_file=int(said["next_file"]),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise TreeDamaged(f"the manifest cannot be read: {error}") from error
        tree.check()
        return tree

    def check(self) -> None:
        """Raise `TreeDamaged` unless every name leads to a file and every file to a root."""
        for number, node in self.files.items():
            if not 0 <= number < self.next_file:
                raise TreeDamaged(f"file {number} was never made")
            if node.parent is not None and (node.parent not in self.files or node.image_id):
                raise TreeDamaged(f"file {number} rests on something else than a file of the tree")
            seen, one = set(), number
            while (parent := self.files[one].parent) is not None:
                if one in seen or parent not in self.files:
                    raise TreeDamaged(f"file {number} rests on nothing")
                seen.add(one)
                one = parent
        if self.active not in self.files or self.children(self.active):
            raise TreeDamaged("the active file is missing or frozen")
        if len({kept.name for kept in self.snapshots}) != len(self.snapshots):
            raise TreeDamaged("two snapshots have one name")
        for kept in self.snapshots:
            if kept.file not in self.files or (kept.file == self.active and not kept.inside):
                raise TreeDamaged(f"snapshot {kept.name} has no file")


def _kept(said: dict[str, Any]) -> Kept:
    return Kept(**{**said, "created_at": datetime.fromisoformat(said["created_at"])})

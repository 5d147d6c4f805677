"""The catalogue itself: whole, found wrong where it is wrong, and the only place that names it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compute.verbs import inputs
from compute.verbs.disks import DISKS
from compute.verbs.vms import VMS
from scloud.rest.checks import check_verbs, mistakes, route_name
from scloud.verbs.actions import action_of
from scloud.verbs.catalogue import Batch, Catalogue, Verb, all_catalogues, of_kind

ROOT = Path(__file__).parents[2]
VERBS = [verb for catalogue in all_catalogues() for verb in catalogue.public.values()]


def test_every_verb_is_whole() -> None:
    assert mistakes() == []
    assert check_verbs() == []


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: f"{verb.kind}.{verb.name}")
def test_a_verb_has_one_action_under_one_name(verb: Verb) -> None:
    found: Any = action_of(verb)
    assert found.permission == verb.permission
    if not verb.right:
        assert found.__name__ == verb.name


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no action": ({"name": "shut_up_vm"}, "compute.shut_up_vm is the right of 0 actions"),
    "no handler": ({"joins": "vm.sleep"}, "no handler runs vm.sleep"),
    "an input that the action does not take": (
        {"input": inputs.PasswordInput},
        "the action takes no password",
    ),
    "another row": ({"argument": "disk"}, "the action takes no disk"),
    "no label": ({"label": ""}, "it has no label"),
    "no icon": ({"icon": ""}, "it has no icon"),
    "no route": ({"route": None}, "it has neither a route nor a word on where else it is"),
    "no dialog": ({"dialog": None}, "it has neither a dialog nor a reason for having none"),
    "a batch without words": ({"batch": Batch()}, "its batch has no text"),
    "a right of nobody": ({"right": "nobody.may"}, "the right of 0 actions"),
    "a URL that is not there": (
        {"name": "shut_down_vm", "kind": "vm", "dialog": "elsewhere"},
        "there is no URL vm-elsewhere",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_declaration_is_found_at_the_start(
    monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    changes, said = WRONG[what]
    known = VMS.public["shut_down_vm"]
    if changes.get("dialog") == "elsewhere":
        assert known.dialog is not None
        changes = {"dialog": replace(known.dialog, path="elsewhere")}
    monkeypatch.setitem(VMS.public, "shut_down_vm", replace(known, **changes))
    assert any(said in one for one in mistakes()), mistakes()


def test_an_input_that_lacks_what_the_action_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    known = replace(VMS.public["reset_password"], input=None)
    monkeypatch.setitem(VMS.public, "reset_password", known)
    assert mistakes() == ["vm.reset_password: the input has no password"]


def test_a_kind_has_one_catalogue() -> None:
    with pytest.raises(ValueError, match="two catalogues of vm"):
        Catalogue("vm", app="compute", public=())


def test_what_a_newer_release_has_written_has_a_word_too() -> None:
    assert VMS.label("stopped", "failing_over") == "Failover migrating"
    assert VMS.label("stopped", "teleporting") == "Teleporting"
    assert VMS.label("elsewhere") == "Elsewhere"
    assert VMS.standing("start_vm", "stopped", "teleporting") == "The VM is busy: teleporting."


def test_a_kind_that_declares_nothing_is_unknown() -> None:
    with pytest.raises(KeyError):
        of_kind("cloud")


# --- the only place


def sources() -> Iterator[Path]:
    """Yield what the product is made of, but for the declarations themselves."""
    for app in ("scloud", "compute", "network", "billing", "alarms"):
        for path in (ROOT / app).rglob("*.py"):
            if path.parent.name != "verbs" and "migrations" not in path.parts:
                yield path
    yield from (ROOT / "templates").rglob("*.html")
    yield from (ROOT / "static").glob("js/**/*.js")


def names_of(verb: Verb) -> list[str]:
    """Return the ways to spell the routes of a verb, as regular expressions."""
    collection = verb.kind.replace("_", "-") + "s"
    found = []
    paths = {verb.route_path} if verb.route and verb.route_path else set()
    if verb.dialog is not None and not verb.dialog.page:
        found.append(rf"[\"']{verb.url_name}[\"']")
        paths.add(verb.dialog_path)
    if verb.route is not None and verb.route.method == "post":
        found.append(rf"[\"']{route_name(verb)}[\"']")
    if verb.batch is not None:
        found.append(rf"[\"']{verb.batch_url_name}[\"']")
    # As in "vms/<str:vm_id>/start/", f"/vms/{vm.pk}/start" and "POST vms/start".
    found += [rf"\b{collection}/([<{{][^\"'\s]*[>}}]/)?{path}(?=[\"'/ ])" for path in paths]
    found += [rf"url_path=[\"']{path}[\"']" for path in paths]
    return found


def words_of(verb: Verb) -> set[str]:
    """Return words of which each match of :func:`names_of` has one."""
    words = set()
    if verb.route is not None and verb.route_path:
        words.add(verb.route_path)
    if verb.dialog is not None and not verb.dialog.page:
        words |= {verb.url_name, verb.dialog_path}
    if verb.route is not None and verb.route.method == "post":
        words.add(route_name(verb))
    if verb.batch is not None:
        words.add(verb.batch_url_name)
    return words


def test_the_words_of_a_verb_are_in_every_way_to_spell_it() -> None:
    for verb in VERBS:
        for spelt in names_of(verb):
            assert any(word in spelt for word in words_of(verb)), (verb.name, spelt)


def test_nothing_else_names_the_route_of_a_verb() -> None:
    patterns = {
        f"{verb.kind}.{verb.name}": (words_of(verb), re.compile("|".join(names_of(verb))))
        for verb in VERBS
        if names_of(verb)
    }
    assert len(patterns) > 30
    every_word = {word for words, _pattern in patterns.values() for word in words}
    wanted = re.compile("|".join(map(re.escape, sorted(every_word))))
    guilty = [
        f"{path.relative_to(ROOT)} names {name}"
        for path in sources()
        # Few lines have any of the words, which is told much faster than that none matches.
        for text in ["\n".join(filter(wanted.search, path.read_text().splitlines()))]
        for name, (words, pattern) in patterns.items()
        if any(word in text for word in words) and pattern.search(text)
    ]
    assert guilty == []


@pytest.mark.parametrize("catalogue", all_catalogues(), ids=lambda one: one.kind)
def test_a_state_of_a_newer_release_has_a_word(catalogue: Catalogue[Any]) -> None:
    known = {str(word) for word in catalogue.labels.values()}
    for state in map(str, catalogue.labels):
        assert catalogue.label(state) in known
    assert catalogue.label("half_way") == "Half way"
    verb = next(iter(catalogue.public.values()))
    refusal = catalogue.standing(verb.name, "half_way")
    assert refusal is None or "half way" in refusal


def test_a_task_of_a_newer_release_is_refused_in_words() -> None:
    refusal = DISKS.standing("expand_disk", "bound", "being_turned")
    assert refusal == "The disk is busy: being turned."

"""What each verb may do, in one table that a change of a rule has to change too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from compute.verbs.disks import DiskVerb
from scloud.jobs import sweep
from scloud.verbs.catalogue import Answer, Catalogue, Dialog, Verb, all_catalogues

TABLE = Path(__file__).with_name("table.txt")


def when(catalogue: Catalogue[Any], verb: Verb) -> Iterator[str]:
    """Yield where a row may stand for a verb, asked of the catalogue itself."""
    known = sorted(map(str, catalogue.labels))
    found = [status for status in known if catalogue.standing(verb.name, status) is None]
    yield f"from {', '.join(found) or 'nowhere'}"
    if found:
        under = {task for task in known if catalogue.standing(verb.name, found[0], task) is None}
        if under:
            yield "during " + ("anything" if under == set(known) else ", ".join(sorted(under)))
    if isinstance(verb, DiskVerb):
        yield f"its VM {', '.join(sorted(map(str, verb.vm_from))) or 'must not be there'}"
        if not verb.vm_idle:
            yield "whatever its VM is doing"
        if verb.system_too:
            yield "system disks too"
        if verb.needs_sound:
            yield "not while it is damaged"


def shown(dialog: Dialog) -> Iterator[str]:
    """Yield how the console offers a verb."""
    yield f"menu {dialog.group}" if dialog.listed and not dialog.binned else "no menu"
    if dialog.button:
        yield "a button"
    if dialog.how != "dialog":
        yield f"as {dialog.how}"
    if dialog.type_name:
        yield "the name is typed"
    if dialog.leaves:
        yield "the page is left"
    if dialog.fields:
        yield f"asks for {', '.join(dialog.fields)}"


def said(catalogue: Catalogue[Any], verb: Verb) -> Iterator[str]:
    """Yield what a verb is, apart from its texts and what docs/api.yaml says."""
    yield from when(catalogue, verb)
    if verb.job:
        yield f"{verb.task} by {verb.job} in {verb.deadline_s} s"
    elif verb.task:
        yield verb.task
    if verb.event:
        yield f"tells {verb.event}"
    yield f"right {verb.permission}"
    if verb.danger:
        yield "danger"
    if verb.dialog is not None:
        yield from shown(verb.dialog)
    if verb.batch is not None:
        yield "batch with a button" if verb.batch.button else "batch"
    if verb.admin is not None:
        yield "admin, several" if verb.admin.batch else "admin"
        if verb.admin.confirm:
            yield "asked first"
    if verb.route is not None and (verb.route.secret or verb.route.answer is Answer.JOB):
        yield "answer kept nowhere" if verb.route.secret else "answers with the job"


def every(catalogue: Catalogue[Any]) -> list[Verb]:
    """All verbs of a catalogue, in its order."""
    return [*catalogue.public.values(), *catalogue.internal.values()]


def rows() -> Iterator[str]:
    for catalogue in sorted(all_catalogues(), key=lambda one: one.kind):
        for verb in every(catalogue):
            yield f"{catalogue.kind}.{verb.name}: {'; '.join(said(catalogue, verb))}"


def test_every_verb_is_what_the_table_says() -> None:
    assert list(rows()) == TABLE.read_text().splitlines()


def test_every_job_outlives_workers_that_fall_silent() -> None:
    """A wake-up that was lost is repeated, silent workers are started anew: then there is time."""
    found_again_s = sweep.SILENT_S + sweep.WAKE_AGAIN_S
    begun = {
        one.name: one.deadline_s for known in all_catalogues() for one in every(known) if one.job
    }
    assert len(begun) > 30
    assert {name: limit for name, limit in begun.items() if limit < found_again_s + 30} == {}

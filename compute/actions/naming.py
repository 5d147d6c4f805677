"""Names, remarks and tags: changed alike for every kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from compute.rules.validation import check_name, check_remark
from scloud.audit import action as audit
from scloud.resources.tags import check_tags
from scloud.verbs.machine import Machine


def rename(
    machine: Machine[Any],
    row: Any,
    *,
    name: str | None = None,
    remark: str | None = None,
    tags: Sequence[str] | None = None,
    tagged: bool = False,
    check: Callable[[str], str] = check_name,
    saved: Sequence[str] = (),
) -> None:
    """Change what was given of a row; log and tell it where something is new.

    ``tagged`` kinds have tags for people. ``saved`` are columns that the caller has set along with
    the name. Raises InvalidInput.
    """
    columns = ["name", "remark", *(["tags"] if tagged else [])]
    before = _values(row, columns)
    if name is not None:
        row.name = check(name)
    if remark is not None:
        row.remark = check_remark(remark)
    if tags is not None:
        row.tags = check_tags(tags)
    after = _values(row, columns)
    if after != before:
        row.save(update_fields=[*columns, *saved])
        audit.note(row, before=before, after=after)
        machine.tell(row, f"{machine.table.kind}.renamed")


def _values(row: Any, columns: Sequence[str]) -> dict[str, Any]:
    return {one: list(row.tags) if one == "tags" else getattr(row, one) for one in columns}

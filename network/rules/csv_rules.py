"""Rules of a security group as a CSV file: one line a rule, the first line names the columns.

What is written is read back the same. A file of a spreadsheet is read too: with a byte order mark,
with semicolons or tabs, with the columns in any order.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from django.utils.translation import gettext as _

from network.models import RULES_PER_GROUP, SecurityGroupRule
from network.rules.rule_values import RuleInput
from scloud.lib.errors import InvalidInput

COLUMNS: Final = (
    "direction", "protocol", "ports", "cidr", "action", "priority", "description",
)  # fmt: skip
NEEDED: Final = ("direction", "protocol", "cidr")
#: 200 rules with the longest values, and as much again for blanks and quotes.
LONGEST: Final = 100_000
_SAME: Final = {
    "inbound": "in",
    "ingress": "in",
    "outbound": "out",
    "egress": "out",
    "allow": "accept",
    "deny": "drop",
    "any": "all",
}
#: A spreadsheet takes a text that begins so for a formula.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True)
class Line:
    """A rule and the line of the file that it is from, counted from 1."""

    number: int
    rule: RuleInput


def written(rules: Iterable[SecurityGroupRule]) -> str:
    """The rules as a file."""
    out = io.StringIO()
    lines = csv.writer(out)
    lines.writerow(COLUMNS)
    for rule in rules:
        lines.writerow([_safe(str(getattr(rule, column))) for column in COLUMNS])
    return out.getvalue()


def _safe(text: str) -> str:
    return f"'{text}" if text.startswith((*_FORMULA, "'")) else text


def _unsafe(text: str) -> str:
    return text[1:] if text.startswith("'") and text[1:].startswith((*_FORMULA, "'")) else text


def read(content: str) -> list[Line]:
    """The rules of a file, none of them checked.

    Raises InvalidInput: ``csv_too_long``, ``csv_invalid``, ``csv_columns``, ``csv_empty``,
    ``too_many_rules``.
    """
    if len(content) > LONGEST:
        raise InvalidInput(
            _("The file has %(given)s characters; at most %(longest)s are read.")
            % {"given": len(content), "longest": LONGEST},
            code="csv_too_long",
            field="content",
            numbers={"max": LONGEST, "given": len(content)},
        )
    text = content.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    if "\x00" in text:
        raise _broken(text[: text.index("\x00")].count("\n") + 1)
    head = text.lstrip().partition("\n")[0]
    delimiter = max(",;\t", key=head.count)
    lines = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
    names: list[str] = []
    found: list[Line] = []
    while True:
        number = lines.line_num + 1
        try:
            values = next(lines)
        except StopIteration:
            break
        except csv.Error as error:
            raise _broken(number) from error
        cells = [value.strip() for value in values]
        if not any(cells):
            continue
        if not names:
            names = _names(cells)
            continue
        if len(found) == RULES_PER_GROUP:
            raise _too_many()
        found.append(Line(number, _rule(names, cells, number)))
    if not found:
        raise InvalidInput(
            _("The file has no rules."),
            code="csv_empty",
            field="content",
            remedy=_("Write the columns in the first line and one rule in each that follows."),
        )
    return found


def _names(cells: list[str]) -> list[str]:
    names = [cell.lower() for cell in cells]
    unknown = sorted({name for name in names if name not in COLUMNS})
    missing = [name for name in NEEDED if name not in names]
    if unknown or missing or len(set(names)) < len(names):
        raise InvalidInput(
            _("The first line must name the columns %(columns)s; %(needed)s are needed.")
            % {"columns": ", ".join(COLUMNS), "needed": ", ".join(NEEDED)},
            code="csv_columns",
            field="content",
            remedy=_("Export the rules of a security group to have an example."),
            numbers={"unknown": [name[:30] for name in unknown[:10]], "missing": missing},
        )
    return names


def _rule(names: list[str], cells: list[str], number: int) -> RuleInput:
    if len(cells) > len(names) and any(cells[len(names) :]):
        raise InvalidInput(
            _("Line %(line)s has more values than there are columns.") % {"line": number},
            code="csv_invalid",
            field="content",
            remedy=_("Put a text with commas into quotation marks."),
            numbers={"line": number},
        )
    said = {name: cell for name, cell in zip(names, cells, strict=False) if cell}
    for name in ("direction", "protocol", "action", "priority"):
        if name in said:
            cleaned = said[name].lower()
            said[name] = _SAME.get(cleaned, cleaned)
    return RuleInput(
        direction=said.get("direction", ""),
        protocol=said.get("protocol", ""),
        cidr=said.get("cidr", ""),
        **{
            name: _unsafe(said[name])
            for name in ("ports", "action", "priority", "description")
            if name in said
        },
    )


def _broken(number: int) -> InvalidInput:
    return InvalidInput(
        _("Line %(line)s is not CSV.") % {"line": number},
        code="csv_invalid",
        field="content",
        remedy=_("Check the quotation marks, and save the file as CSV in UTF-8."),
        numbers={"line": number},
    )


def _too_many() -> InvalidInput:
    return InvalidInput(
        _("A security group has at most %(rules_per_group)s rules.")
        % {"rules_per_group": RULES_PER_GROUP},
        code="too_many_rules",
        field="content",
        remedy=_("Remove a rule, or join several into a range."),
        numbers={"limit": RULES_PER_GROUP},
    )

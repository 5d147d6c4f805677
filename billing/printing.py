"""What the page and the sheet of a statement show: its figures as texts.

Instants are in the billing time zone, as on every sheet of the books, not in the reader's.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.utils.translation import gettext as _

from billing import money, queries
from billing.models import StatementLine, StatementMove
from billing.statements import PROJECT_KEY, Paper, ResourceSum
from scloud.lib.decimals import plain
from scloud.web import ui

# More would make the page slow to open and the PDF slow to draw; the workbook has all charges.
LINES_SHOWN: Final = 200
RESOURCES_SHOWN: Final = 200


@dataclass(frozen=True)
class Amounts:
    """A row of the table of balances: cash, gift, and both together."""

    title: str
    cash: str
    gift: str
    both: str


@dataclass(frozen=True)
class ResourceText:
    """What a resource cost, as it is read."""

    name: str
    about: str
    amount: str


@dataclass(frozen=True)
class LineText:
    """A line as it is read; ``order_id`` is empty where it has several orders."""

    line: StatementLine
    kind: str
    what: str
    period: str
    price: str
    amount: str

    @property
    def order_id(self) -> str:
        return self.line.order_id or ""


def shown(paper: Paper) -> dict[str, Any]:
    """The variables of ``billing/statement_body.html``."""
    statement = paper.statement
    lines = paper.lines[:LINES_SHOWN]
    resources = paper.by_resource()
    others = resources[RESOURCES_SHOWN:]
    projects = paper.by_project()
    return {
        "statement": statement,
        "is_closed": paper.is_closed,
        "is_pruned": statement.is_pruned,
        "zone": str(money.zone()),
        "begin": _moment(statement.begin),
        "end": _moment(statement.end),
        "created": _moment(statement.created_at),
        "balances": [
            _balance(
                _("Opening balance"), statement.opening_cash_minor, statement.opening_gift_minor
            ),
            *(_balance(_title(move), move.cash_minor, move.gift_minor) for move in paper.moves),
        ],
        "closing": _balance(
            _("Closing balance") if paper.is_closed else _("Balance so far"),
            statement.closing_cash_minor,
            statement.closing_gift_minor,
        ),
        "charged": _amount(statement.charged_minor),
        "net": _amount(statement.net_minor),
        "tax": _amount(statement.tax_minor),
        "tax_name": statement.tax_name or _("Tax"),
        "tax_percent": "" if statement.tax_percent is None else plain(statement.tax_percent),
        "kinds": [(queries.kind_label(kind), _amount(cost)) for kind, cost in paper.by_kind()],
        "tags": [(tag, _amount(cost)) for tag, cost in paper.by_tag()],
        # One that only says that nothing has a project says nothing.
        "projects": [(name or _("No project"), _amount(cost)) for name, cost in projects]
        if any(name for name, _cost in projects)
        else [],
        "project_key": PROJECT_KEY,
        "resources": [_resource(row) for row in resources[:RESOURCES_SHOWN]],
        "resources_left": len(others),
        "resources_left_amount": _amount(sum(row.amount_minor for row in others)),
        "lines": [_line(line) for line in lines],
        "lines_total": len(paper.lines),
        "lines_left": len(paper.lines) - len(lines),
    }


def _title(move: StatementMove) -> str:
    titles = {
        "recharge": _("Top-ups"),
        "gift": _("Gifts"),
        "deduction": _("Charges"),
        "refund": _("Refunds"),
        "expiry": _("Gifts that expired"),
    }
    return titles.get(move.kind) or move.get_kind_display()


def _balance(title: str, cash: int, gift: int) -> Amounts:
    return Amounts(title, _amount(cash), _amount(gift), _amount(cash + gift))


def _resource(row: ResourceSum) -> ResourceText:
    kind = queries.kind_label(row.kind)
    return ResourceText(
        name=row.name or row.id,
        about=f"{kind} {row.id}" if row.name else kind,
        amount=_amount(row.amount_minor),
    )


def _line(line: StatementLine) -> LineText:
    count = line.count
    return LineText(
        line=line,
        kind=queries.kind_label(line.resource_kind),
        what=f"{line.get_order_kind_display()}, {line.get_method_display()}",
        period=f"{_moment(line.begin)} – {_moment(line.end)}",
        price=_amount(line.unit_minor) if count == 1 else f"{count} × {_amount(line.unit_minor)}",
        amount=_amount(line.amount_minor),
    )


def _moment(at: datetime) -> str:
    return f"{at.astimezone(money.zone()):%Y-%m-%d %H:%M}"


def _amount(minor: int) -> str:
    return ui.money(money.from_minor(minor))

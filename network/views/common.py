"""What the pages share."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from network.views import presentation
from scloud.lib.errors import InvalidInput, NotFound
from scloud.resources import kinds
from scloud.resources.models import Region
from scloud.web import ui
from scloud.web.details import DetailListView
from scloud.web.http import ConsoleRequest
from scloud.web.lists import Column
from scloud.web.verbs import Names
from scloud.web.views import Text

# Longer than what is allowed, so that the action refuses with its own words.
NAMES = Names(longest=300, longest_remark=300)


def found(rows: QuerySet[Any], pk: str) -> Any:
    """The row with this id inside the scope. Raises NotFound."""
    row = rows.filter(pk=pk).first()
    if row is None:
        raise NotFound(
            _("There is no %(kind)s %(id)s.")
            % {"kind": rows.model._meta.verbose_name, "id": pk[:60]}
        )
    return row


def name_column(url_name: str) -> Column:
    """Name with remark, leading to the row's page."""

    def show(row: Any) -> Any:
        return ui.link(row.name, reverse(url_name, args=[row.pk]), row.remark)

    return Column(
        "name", gettext_lazy("Name"), value=lambda row: row, render=show, export="name",
        sort="name", main=True,
    )  # fmt: skip


class NetworkDetail(DetailListView):
    """The page of a resource that is applied to the fabric."""

    status_hint = gettext_lazy("Not applied to the network yet. SCloud tries again.")


def status_column(label: Text) -> Column:
    """How far the fabric is."""
    return Column(
        "status",
        label,
        value=presentation.status_view,
        export=lambda row: str(row.status.label),
    )


def region_of(request: ConsoleRequest) -> Region:
    """The region that the user works in. Raises InvalidInput while there is none."""
    if not request.region:
        raise InvalidInput(
            _("There is no region yet."),
            code="region_missing",
            remedy=_("Ask your administrator to add one."),
        )
    return request.region


def owner_link(vm_id: str | None) -> Any:
    """A VM's id leading to its page, wherever the app that knows VMs has put it."""
    if not vm_id:
        return None
    kind = next((one for one in kinds.all_kinds() if one.kind == "vm"), None)
    if kind is None or kind.url_name is None:
        return ui.ident(vm_id)
    return ui.link(vm_id, reverse(kind.url_name, args=[vm_id]))

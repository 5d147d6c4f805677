"""The recycle bin: one list for each kind of resource that can lie in it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from django.db.models import QuerySet
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from billing import hooks
from billing.views.dialogs import RENEW_TOGETHER, RenewView, expiry, money_at_end
from compute.queries import common as common_queries
from scloud.lib.errors import NotFound
from scloud.resources import kinds
from scloud.resources.kinds import Kind
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import PlatformSettings
from scloud.web import ui
from scloud.web.lists import BatchAction, Column, EmptyState, ListView, RowAction
from scloud.web.views import ActionView, BatchView


def binnable_kind(name: str) -> Kind:
    """Return a kind of resource that the recycle bin takes. Raises NotFound."""
    for kind in kinds.binnable():
        if kind.kind == name:
            return kind
    raise NotFound(_("There is no such recycle bin."))


def binned(kind: Kind, actor: Actor) -> QuerySet[Any]:
    """Return what of a kind is in the tenant's recycle bin, with until when it is paid.

    The tenant is named here once more, because kinds with platform rows (images) have a manager
    that does not narrow by itself.
    """
    rows = kind.model_class()._default_manager.filter(
        tenant=actor.tenant, status="binned", destroyed_at__isnull=True
    )
    return common_queries.with_billing(rows)


def one(kind: Kind, actor: Actor, pk: str) -> Any:
    """Return one binned resource. Raises NotFound."""
    found = binned(kind, actor).filter(pk=pk).first()
    if found is None:
        raise NotFound(_("It is no longer in the recycle bin."))
    return found


def invoke(verb: Callable[..., Any], kind: Kind, actor: Actor, obj: Any, **more: Any) -> Any:
    """Call a bin verb; its argument is named ``resource`` or after the kind.

    What it does not take of ``more`` is left out.
    """
    takes = inspect.signature(verb).parameters
    name = "resource" if "resource" in takes else kind.kind
    known = {key: value for key, value in more.items() if key in takes}
    return verb(actor=actor, **{name: obj}, **known)


@dataclass(frozen=True)
class BinBatch(BatchAction):
    """A batch button of one kind's bin."""

    kind: str = ""

    @property
    def url(self) -> str:
        """Where the dialog comes from."""
        return reverse(self.url_name, args=[self.kind])


class BinList(ListView):
    permission = "resources.view_bin"
    title = gettext_lazy("Recycle bin")
    default_sort = "-deleted"
    has_row_menu = True
    page_template = "compute/bin/page.html"
    columns = (
        Column("name", gettext_lazy("Name"), sort="name", main=True),
        Column("id", gettext_lazy("ID"), render=ui.ident, nowrap=True),
        Column("type", gettext_lazy("Type"), value=lambda row: kinds.get(row.KIND).label),
        Column("deleted", gettext_lazy("Deleted"), value="binned_at", sort="binned_at"),
        Column(
            "expires",
            gettext_lazy("Expires"),
            value=expiry,
            sort="paid_until",
            export="paid_until",
        ),
        Column("destroyed", gettext_lazy("Destroyed at"), value="destroy_at", sort="destroy_at"),
        Column(
            "automatic",
            gettext_lazy("Automatic"),
            value="binned_automatically",
            sort="binned_automatically",
        ),
    )

    @property
    def bin_kind(self) -> Kind:
        """The kind of the address; the first one where none is named."""
        name = self.kwargs.get("kind") or kinds.binnable()[0].kind
        return binnable_kind(name)

    @property
    def kind(self) -> str:  # type: ignore[override]  # one class serves every kind
        return self.bin_kind.kind

    @property
    def batch_actions(self) -> tuple[BatchAction, ...]:  # type: ignore[override]  # as above
        """Restore, renew and destroy for the chosen rows; images are not paid for."""
        kind = self.kind
        renew = (RENEW_TOGETHER,) if kind in hooks.kinds() else ()
        return (
            BinBatch(_("Restore"), "arrow-back-up", "bin-batch-restore", kind=kind),
            *renew,
            BinBatch(_("Destroy"), "trash-x", "bin-batch-destroy", danger=True, kind=kind),
        )

    @property
    def empty(self) -> EmptyState:  # type: ignore[override]  # as above
        keep = ui.span(PlatformSettings.load().bin_retention)
        return EmptyState(
            _("The recycle bin is empty"),
            _("What you delete stays here for %(time)s and can be restored.") % {"time": keep},
            icon="recycle",
        )

    def get_queryset(self) -> QuerySet[Any]:
        """The tenant's binned resources of this kind in the region."""
        rows = binned(self.bin_kind, self.actor)
        region = self.request.region or None
        return rows if region is None else rows.filter(region=region)

    def page_context(self) -> dict[str, Any]:
        """The kinds to choose from, with how many of each there are."""
        region = self.request.region or None
        tabs = []
        for kind in kinds.binnable():
            rows = binned(kind, self.actor)
            count = (rows if region is None else rows.filter(region=region)).count()
            tabs.append(
                {
                    "label": kind.label_plural,
                    "url": reverse("bin-kind", args=[kind.kind]),
                    "current": kind.kind == self.kind,
                    "count": count,
                }
            )
        settings = PlatformSettings.load()
        return {
            "tabs": tabs,
            "retention": settings.bin_retention,
            "auto_destroy": settings.auto_destroy,
        }

    def row_actions(self, obj: Any) -> list[RowAction]:
        """Restore, renew, destroy."""
        busy = _("An operation is in progress.") if getattr(obj, "task", "") else ""
        args = [self.kind, obj.pk]
        out = [
            RowAction(
                _("Restore"), reverse("bin-restore", args=args), icon="arrow-back-up", reason=busy
            )
        ]
        if obj.paid_until is not None:
            allowed = self.actor.allows("billing.renew_resource")
            out.append(
                RowAction(
                    _("Renew"),
                    reverse("bin-renew", args=args),
                    icon="calendar-plus",
                    reason="" if allowed else _("Your role does not include this."),
                )
            )
        out.append(
            RowAction(
                _("Destroy"),
                reverse("bin-destroy", args=args),
                icon="trash-x",
                danger=True,
                separator=True,
                reason=busy,
            )
        )
        return out


class BinAction(ActionView):
    """A verb on one binned resource."""

    permission = "resources.view_bin"

    @property
    def kind(self) -> Kind:
        return binnable_kind(self.kwargs["kind"])

    @property
    def live_kind(self) -> str:  # type: ignore[override]  # one class serves every kind
        """Which rows to fetch again."""
        return self.kind.kind

    def get_object(self) -> Any:
        return one(self.kind, self.actor, self.kwargs["pk"])

    def get_dialog_context(self, obj: Any) -> dict[str, Any]:
        """What it is and until when it is paid."""
        lines = [(_("Type"), self.kind.label)]
        if obj.paid_until is not None:
            lines.append((_("Paid until"), expiry(obj)))
        return {"lines": lines}


class BinRestore(BinAction):
    title = gettext_lazy("Restore")
    verb = gettext_lazy("Restore")
    icon = "arrow-back-up"
    text = gettext_lazy(
        "It counts towards your quota again. VMs are restored stopped, "
        "disks and external IPs unbound."
    )
    success_text = gettext_lazy("It is being restored.")

    def perform(self, obj: Any, data: dict[str, Any]) -> Any:
        """Call the kind's action."""
        assert self.kind.bin is not None
        return invoke(self.kind.bin.restore, self.kind, self.actor, obj)


class BinDestroy(BinAction):
    """For good; the name must be typed."""

    title = gettext_lazy("Destroy")
    verb = gettext_lazy("Destroy")
    icon = "trash-x"
    danger = True
    type_name = True
    text = gettext_lazy("It is permanently deleted. This cannot be undone.")
    success_text = gettext_lazy("It is being destroyed.")

    def get_dialog_context(self, obj: Any) -> dict[str, Any]:
        found = super().get_dialog_context(obj)
        if obj.paid_until is not None:
            found["lines"].append((_("Money"), money_at_end(obj.tenant, obj.pk, obj.binned_at)))
        return found

    def perform(self, obj: Any, data: dict[str, Any]) -> Any:
        """Call the kind's action, with the name that was typed where it takes one."""
        assert self.kind.bin is not None
        typed = self.request.POST.get("typed_name", "").strip()
        return invoke(self.kind.bin.destroy, self.kind, self.actor, obj, confirm_name=typed)


class BinRenew(RenewView):
    """More time for something that is in the recycle bin."""

    permission = "resources.view_bin"

    @property
    def live_kind(self) -> str:  # type: ignore[override]  # one class serves every kind
        """Which rows to fetch again."""
        return str(self.kwargs["kind"])

    def get_object(self) -> Any:
        return one(binnable_kind(self.kwargs["kind"]), self.actor, self.kwargs["pk"])


class BinBatchView(BatchView):
    """A verb on chosen resources of one kind."""

    permission = "resources.view_bin"
    template_name: ClassVar[str] = "web/dialog/batch.html"

    @property
    def kind(self) -> Kind:
        return binnable_kind(self.kwargs["kind"])

    @property
    def live_kind(self) -> str:  # type: ignore[override]  # one class serves every kind
        """Which rows to fetch again."""
        return self.kind.kind

    def get_objects(self, ids: list[str]) -> list[Any]:
        """The chosen ones that are still in the bin."""
        return list(binned(self.kind, self.actor).filter(pk__in=ids))


class BinBatchRestore(BinBatchView):
    title = gettext_lazy("Restore")
    verb = gettext_lazy("Restore")
    text = gettext_lazy("They count towards your quota again. Renew expired ones first.")

    def perform(self, obj: Any, data: dict[str, Any]) -> Any:
        """Call the kind's action on one."""
        assert self.kind.bin is not None
        return invoke(self.kind.bin.restore, self.kind, self.actor, obj)


class BinBatchDestroy(BinBatchView):
    """Destroy the chosen ones; how many must be typed, because nothing brings them back."""

    title = gettext_lazy("Destroy")
    verb = gettext_lazy("Destroy")
    danger = True
    text = gettext_lazy("They are permanently deleted. This cannot be undone.")
    template_name = "compute/bin/batch_destroy.html"

    def post(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Refuse unless the names are confirmed."""
        _ids, objects = self.chosen(request.POST.getlist("ids"))
        if request.POST.get("typed_count", "").strip() != str(len(objects)):
            self.count_error = _("Type %(count)d to confirm.") % {"count": len(objects)}
            return self.show(objects, None, status=422)
        return super().post(request, *args, **kwargs)

    def get_dialog_context(self, objects: list[Any]) -> dict[str, Any]:
        """What was wrong with the confirmation."""
        return {"count_error": getattr(self, "count_error", "")}

    def perform(self, obj: Any, data: dict[str, Any]) -> Any:
        """Call the kind's action on one."""
        assert self.kind.bin is not None
        return invoke(self.kind.bin.destroy, self.kind, self.actor, obj)

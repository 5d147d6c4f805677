"""Dialogs of the verbs that change a VM: password, size, image, security groups."""

from __future__ import annotations

from typing import Any

from django import forms
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_post_parameters

from compute.actions.vms.changes import quote_size
from compute.models import Spec
from compute.queries import images as image_queries
from compute.states.images import ImageStatus
from compute.views.forms import (
    GroupsForm,
    MakeImageForm,
    ReinstallForm,
    ResetPasswordForm,
    SizeForm,
)
from compute.views.verb_base import VmAction
from network.models import SecurityGroup
from scloud.lib.errors import NotFound, ScloudError

_hidden = method_decorator(sensitive_post_parameters("password"), name="dispatch")


@_hidden
class ResetPassword(VmAction):
    """A new password, set by the guest agent."""

    form_class = ResetPasswordForm


class MakeImage(VmAction):
    """An own image from the system disk."""

    form_class = MakeImageForm

    def get_form_kwargs(self, obj: Any) -> dict[str, Any]:
        """Begin with the VM's name."""
        return {"initial": {"name": obj.name}}


@_hidden
class Reinstall(VmAction):
    """A fresh system disk."""

    form_class = ReinstallForm

    def get_form_kwargs(self, obj: Any) -> dict[str, Any]:
        """Images of the VM's family and architecture."""
        images = image_queries.images_of(obj.tenant, obj.region).filter(
            status=ImageStatus.AVAILABLE,
            os_family=obj.image.os_family,
            architecture=obj.cluster.architecture,
        )
        return {"images": images, "initial": {"image": obj.image_id}}


class ChangeGroups(VmAction):
    """Internal and external security group."""

    form_class = GroupsForm

    def get_form_kwargs(self, obj: Any) -> dict[str, Any]:
        """The tenant's groups of the region, with the present ones chosen."""
        groups: QuerySet[SecurityGroup] = SecurityGroup.objects.filter(region=obj.region)
        now = {"internal": obj.internal_security_group, "external": obj.external_security_group}
        return {"groups": groups, "initial": now}


class ChangeSize(VmAction):
    """Another size; the price follows the choice, and exactly that is charged."""

    form_class = SizeForm
    template_name = "compute/vms/change_size.html"

    def specs(self, obj: Any) -> QuerySet[Spec]:
        """Sizes to choose from; a hot upgrade can only grow within the headroom."""
        rows = Spec.objects.filter(cluster=obj.cluster, enabled=True).exclude(
            vcpus=obj.vcpus, memory_mib=obj.memory_mib
        )
        if self.rule == "hot_upgrade_vm":
            rows = rows.filter(
                vcpus__range=(obj.vcpus, max(obj.vcpus, obj.max_vcpus)),
                memory_mib__range=(obj.memory_mib, max(obj.memory_mib, obj.max_memory_mib)),
            )
        return rows

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show the dialog, or only the price when another size is chosen."""
        if "spec" not in request.GET:
            return super().get(request, *args, **kwargs)
        obj = self.get_object()
        return self.render("compute/vms/change_price.html", self._price(obj, request.GET["spec"]))

    def get_form(self, obj: Any, data: Any = None, files: Any = None) -> forms.Form:
        """The sizes."""
        return SizeForm(data, specs=self.specs(obj))

    def get_dialog_context(self, obj: Any) -> dict[str, Any]:
        """The price of the chosen size, or of the first."""
        wanted = self.request.POST.get("spec", "")
        return {**super().get_dialog_context(obj), **self._price(obj, wanted)}

    def _price(self, obj: Any, wanted: str) -> dict[str, Any]:
        rows = self.specs(obj)
        spec = rows.filter(pk=wanted).first() if wanted.isascii() and wanted.isdigit() else None
        spec = spec or (rows.first() if not wanted else None)
        if spec is None:
            error: ScloudError = NotFound(_("There is no other size to choose."))
            return {"quote": None, "quote_error": error}
        try:
            found = quote_size(actor=self.actor, vm=obj, spec=spec, verb=self.rule)
            return {"quote": found, "quote_error": None}
        except ScloudError as refused:
            return {"quote": None, "quote_error": refused}

"""The verbs of a VM that need input, in the API."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from compute.actions import disks as disk_verbs
from compute.actions.vms import changes
from compute.actions.vnc import get_vnc_information
from compute.api.common import QUOTED, job_answer
from compute.api.serializers import images as image_shapes
from compute.api.serializers import vm_verbs as verb_shapes
from compute.api.serializers.common import JobAccepted
from compute.models import VM, Disk, Spec
from compute.queries import catalogue
from compute.queries import disks as disk_queries
from compute.queries import images as image_queries
from network.models import SecurityGroup
from scloud.lib.errors import InvalidInput
from scloud.lib.sizes import size_mib
from scloud.rest.inputs import valid
from scloud.rest.views import ResourceViewSet

SIZE_EXAMPLE = {"vcpus": 4, "memory_mib": 8192}


def spec_of(vm: VM, data: dict[str, Any]) -> Spec:
    """Return the size of the VM's model. Raises InvalidInput (``spec_unknown``)."""
    found: Spec | None = Spec.objects.filter(
        cluster=vm.cluster, enabled=True, vcpus=data["vcpus"], memory_mib=data["memory_mib"]
    ).first()
    if found is None:
        raise InvalidInput(
            _("%(alias)s does not offer %(vcpus)s vCPU and %(memory)s.")
            % {
                "alias": vm.cluster.alias,
                "vcpus": data["vcpus"],
                "memory": size_mib(data["memory_mib"]),
            },
            code="spec_unknown",
            field="vcpus",
            remedy=_("Choose one of the sizes that GET /models lists."),
        )
    return found


# How both ways to another size are described: modify and hot upgrade.
SIZE_QUOTE: dict[str, Any] = {
    "request": verb_shapes.VmSizeInput,
    "responses": verb_shapes.ChangeQuoteShape,
    "examples": [OpenApiExample("4C8G", value=SIZE_EXAMPLE, request_only=True)],
}
SIZE_PURCHASE: dict[str, Any] = {
    "request": verb_shapes.VmSizePurchaseInput,
    "responses": {202: JobAccepted},
    "examples": [
        OpenApiExample("4C8G", value={**SIZE_EXAMPLE, "quote_token": QUOTED}, request_only=True)
    ],
}


class VmInputVerbs(ResourceViewSet):
    """Password, system disk, size, image, security groups, VNC, disks."""

    @extend_schema(
        request=verb_shapes.PasswordInput,
        responses={202: JobAccepted},
        examples=[OpenApiExample("New", value={"password": "Correct.Horse8"}, request_only=True)],
    )
    @action(detail=True, methods=["post"], url_path="reset-password")
    def reset_password(self, request: Request, pk: str) -> Response:
        """Set the administrator's password of a running VM through its guest agent."""
        vm = self.get_object()

        def answer() -> Response:
            data = valid(verb_shapes.PasswordInput, request)
            return job_answer(changes.reset_password(actor=self.actor, vm=vm, **data))

        return self.once(answer)

    @extend_schema(
        request=verb_shapes.ReinstallInput,
        responses={202: JobAccepted},
        examples=[OpenApiExample("Fresh", value={"image": "image-4k2p09xqa"}, request_only=True)],
    )
    @action(detail=True, methods=["post"])
    def reinstall(self, request: Request, pk: str) -> Response:
        """Replace a stopped VM's system disk by a fresh one; data disks are not touched."""
        vm = self.get_object()

        def answer() -> Response:
            data = valid(verb_shapes.ReinstallInput, request)
            image = catalogue.pick(
                catalogue.images(self.tenant, vm.region),
                data.pop("image"),
                field="image",
                what="image",
            )
            return job_answer(changes.reinstall_vm(actor=self.actor, vm=vm, image=image, **data))

        return self.once(answer)

    def _quoted(self, request: Request, verb: str) -> Response:
        vm = self.get_object()
        spec = spec_of(vm, valid(verb_shapes.VmSizeInput, request))
        return Response(changes.quote_size(actor=self.actor, vm=vm, spec=spec, verb=verb).as_dict())

    @extend_schema(**SIZE_QUOTE)
    @action(detail=True, methods=["post"], url_path="modify/quote")
    def quote_modification(self, request: Request, pk: str) -> Response:
        """Say what another size costs now and per period; changes nothing."""
        return self._quoted(request, "modify_vm")

    @extend_schema(**SIZE_PURCHASE)
    @action(detail=True, methods=["post"])
    def modify(self, request: Request, pk: str) -> Response:
        """Give a stopped VM another size, up or down; effective at its next start."""
        return self._resized(request, changes.modify_vm)

    @extend_schema(**SIZE_QUOTE)
    @action(detail=True, methods=["post"], url_path="hot-upgrade/quote")
    def quote_hot_upgrade(self, request: Request, pk: str) -> Response:
        """Say what growing a running VM costs now and per period; changes nothing."""
        return self._quoted(request, "hot_upgrade_vm")

    @extend_schema(**SIZE_PURCHASE)
    @action(detail=True, methods=["post"], url_path="hot-upgrade")
    def hot_upgrade(self, request: Request, pk: str) -> Response:
        """Give a running VM more vCPUs or memory without a restart."""
        return self._resized(request, changes.hot_upgrade_vm)

    def _resized(self, request: Request, verb: Any) -> Response:
        vm = self.get_object()

        def answer() -> Response:
            data = valid(verb_shapes.VmSizePurchaseInput, request)
            return job_answer(
                verb(
                    actor=self.actor,
                    vm=vm,
                    spec=spec_of(vm, data),
                    quote_token=data["quote_token"],
                )
            )

        return self.once(answer)

    @extend_schema(
        request=verb_shapes.MakeImageInput,
        responses={201: image_shapes.ImageSerializer},
        examples=[OpenApiExample("Golden", value={"name": "web golden"}, request_only=True)],
    )
    @action(detail=True, methods=["post"], url_path="make-image")
    def make_image(self, request: Request, pk: str) -> Response:
        """Make an own image from a stopped VM's system disk."""
        vm = self.get_object()

        def answer() -> Response:
            data = valid(verb_shapes.MakeImageInput, request)
            image = changes.make_image(actor=self.actor, vm=vm, **data)
            row = image_queries.image(self.tenant, image.pk)
            shown = image_shapes.ImageSerializer(row, context=self.get_serializer_context())
            return Response(shown.data, status=201)

        return self.once(answer)

    @extend_schema(
        request=verb_shapes.SecurityGroupsInput,
        responses={202: JobAccepted},
        examples=[
            OpenApiExample(
                "One", value={"internal": "sg-0q8zt5mva", "external": None}, request_only=True
            )
        ],
    )
    @action(detail=True, methods=["post"], url_path="change-security-groups")
    def change_security_groups(self, request: Request, pk: str) -> Response:
        """Give a VM an internal and an external security group, or none; acts at once."""
        vm = self.get_object()

        def answer() -> Response:
            data = valid(verb_shapes.SecurityGroupsInput, request)
            groups = SecurityGroup.objects.filter(region=vm.region)
            chosen = {
                side: catalogue.pick(groups, data[side], field=side, what="security group")
                if data[side]
                else None
                for side in ("internal", "external")
            }
            changes.change_security_groups(actor=self.actor, vm=vm, **chosen)
            return job_answer(None)

        return self.once(answer)

    # Not once per key: the answer holds a password, and a remembered answer would keep it.
    @extend_schema(request=None, responses=verb_shapes.VncInformationShape)
    @action(detail=True, methods=["post"], url_path="vnc-information")
    def vnc_information(self, request: Request, pk: str) -> Response:
        """Open a new port with a new password for one VNC client, for 300 seconds.

        The port opens right after the answer: a program that is refused tries again for a moment.
        """
        information = get_vnc_information(actor=self.actor, vm=self.get_object())
        shown = verb_shapes.VncInformationShape(information)
        return Response(shown.data, headers={"Cache-Control": "no-store"})

    @extend_schema(
        request=verb_shapes.VmAttachInput,
        responses={202: JobAccepted},
        examples=[OpenApiExample("Attach", value={"disk": "disk-4k2p09xqa"}, request_only=True)],
    )
    @action(detail=True, methods=["post"], url_path="attach-disk")
    def attach_disk(self, request: Request, pk: str) -> Response:
        """Attach an unbound disk of the VM's region, live where the VM runs."""
        vm = self.get_object()

        def answer() -> Response:
            data = valid(verb_shapes.VmAttachInput, request)
            disk = catalogue.pick(disk_queries.disks(), data["disk"], field="disk", what="disk")
            return job_answer(disk_verbs.attach_disk(actor=self.actor, vm=vm, disk=disk))

        return self.once(answer)

    @extend_schema(
        request=verb_shapes.VmDetachInput,
        responses={202: JobAccepted},
        examples=[OpenApiExample("Detach", value={"disk": "disk-4k2p09xqa"}, request_only=True)],
    )
    @action(detail=True, methods=["post"], url_path="detach-disk")
    def detach_disk(self, request: Request, pk: str) -> Response:
        """Unmount a data disk in the guest, where it runs, and take it off the VM."""
        vm = self.get_object()

        def answer() -> Response:
            data = valid(verb_shapes.VmDetachInput, request)
            mine = Disk.objects.filter(vm=vm)
            disk = catalogue.pick(mine, data["disk"], field="disk", what="disk")
            return job_answer(
                disk_verbs.detach_disk(actor=self.actor, disk=disk, force=data["force"])
            )

        return self.once(answer)

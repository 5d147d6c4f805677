"""VMs in the API: the same verbs as in the console."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.utils.translation import gettext as _
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from billing.serializers import ChangeQuoteShape, QuoteShape
from compute.actions.vms import create
from compute.api.common import REGION
from compute.api.serializers import vms as shapes
from compute.models import VM, PlacementGroup
from compute.queries import catalogue
from compute.queries import ssh_keys as key_queries
from compute.queries import vms as vm_queries
from compute.rules.orders import VmOrder, VmParts, vm_order
from compute.states.vms import PAUSED, VmStatus
from network.models import SecurityGroup, Subnet
from network.rules.external_orders import segments_for
from scloud.lib import search
from scloud.lib.errors import InvalidInput, NotFound
from scloud.lib.sizes import size_mib
from scloud.resources.models import Region
from scloud.rest.inputs import valid
from scloud.rest.openapi import status_of
from scloud.rest.verbs import VerbViewSet, show
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from scloud.verbs.batch import run_batch
from scloud.verbs.inputs import pick

ORDER_EXAMPLE = {
    "region": "box",
    "cluster": "x86",
    "image": "image-4k2p09xqa",
    "vcpus": 2,
    "memory_mib": 4096,
    "system_disk_type": "ssd",
    "system_disk_gib": 40,
    "subnet": "subnet-9hw31kz0c",
    "internal_security_group": "sg-0q8zt5mva",
    "name": "web",
    "password": "Correct.Horse7",
    "billing_method": "month",
    "periods": 1,
    "count": 2,
}


def order_from(tenant: Tenant, data: dict[str, Any]) -> VmOrder:
    """Turn ids into objects that the tenant may see. Raises InvalidInput naming the field."""
    region = pick(
        Region.objects.filter(enabled=True), data["region"], field="region", what="region"
    )
    cluster = pick(
        catalogue.clusters(tenant, region), data["cluster"], field="cluster", what="model"
    )
    spec = next(
        (
            one
            for one in cluster.specs.all()
            if one.enabled and (one.vcpus, one.memory_mib) == (data["vcpus"], data["memory_mib"])
        ),
        None,
    )
    if spec is None:
        raise InvalidInput(
            _("%(cluster)s does not offer %(vcpus)s vCPU and %(memory)s.")
            % {
                "cluster": cluster.alias,
                "vcpus": data["vcpus"],
                "memory": size_mib(data["memory_mib"]),
            },
            code="spec_unknown",
            field="vcpus",
            remedy=_("Choose one of the sizes that GET /models lists."),
            numbers={"vcpus": data["vcpus"], "memory_mib": data["memory_mib"]},
        )
    types = catalogue.disk_types(tenant, region)

    def group(field: str) -> SecurityGroup | None:
        groups = SecurityGroup.objects.filter(region=region)
        if field not in data:
            # Without a group a NIC is not filtered, so nobody gets that without asking for it.
            return groups.filter(is_default=True).first()
        if data[field] is None:
            return None
        return pick(
            groups,
            data[field],
            field=field,
            what="security group",
        )

    data_type = data.get("data_disk_type")
    if bool(data_type) != bool(data.get("data_disk_gib")):
        raise InvalidInput(
            _("A data disk needs both its type and its size."),
            code="data_disk_incomplete",
            field="data_disk_gib" if data_type else "data_disk_type",
        )
    segment_id = data.get("external_segment")
    if bool(segment_id) != bool(data.get("external_bandwidth_mbps")):
        raise InvalidInput(
            _("An external IP needs both its segment and its bandwidth."),
            code="external_ip_incomplete",
            field="external_bandwidth_mbps" if segment_id else "external_segment",
        )
    parts = VmParts(
        region=region,
        cluster=cluster,
        image=pick(catalogue.images(tenant, region), data["image"], field="image", what="image"),
        spec=spec,
        system_disk_type=pick(
            types, data["system_disk_type"], field="system_disk_type", what="disk type"
        ),
        data_disk_type=pick(types, data_type, field="data_disk_type", what="disk type")
        if data_type
        else None,
        subnet=pick(
            Subnet.objects.filter(region=region), data["subnet"], field="subnet", what="subnet"
        ),
        internal_group=group("internal_security_group"),
        external_group=group("external_security_group"),
        external_segment=pick(
            segments_for(tenant, region),
            segment_id,
            field="external_segment",
            what="external segment",
        )
        if segment_id
        else None,
        placement_group=pick(
            PlacementGroup.objects.filter(region=region, tenant=tenant),
            data["placement_group"],
            field="placement_group",
            what="placement group",
        )
        if data.get("placement_group")
        else None,
    )
    stored = key_queries.chosen(tenant, data.get("ssh_keys", ()))
    keys = key_queries.together(data["ssh_public_key"], stored)
    return vm_order(parts, {**data, "ssh_public_key": keys})


class VmViewSet(VerbViewSet):
    """VMs."""

    kind = "vm"
    tag = "VMs"
    quote_shape = ChangeQuoteShape
    serializer_class = shapes.VmSerializer
    view_permission = "compute.view_vm"

    def get_queryset(self) -> QuerySet[VM]:
        """Return the tenant's VMs; those in the bin too where one is asked for by its id."""
        rows = vm_queries.with_row(VM.objects.exclude(status=VmStatus.DESTROYED))
        params = self.request.query_params
        if params.get("region"):
            rows = rows.filter(region_id=params["region"])
        if self.action == "list":
            if params.get("status"):
                rows = vm_queries.standing(rows, params["status"])
            else:
                rows = rows.exclude(status=VmStatus.BINNED)
            rows = search.narrow(rows, params.get("search", ""), vm_queries.matching)
            if params.get("tag"):
                rows = rows.filter(tags__contains=[params["tag"]])
        return rows.order_by("-created_at", "id")

    @extend_schema(
        parameters=[
            REGION,
            status_of(VmStatus, PAUSED),
            OpenApiParameter("search", str, description="In name, remark, id, tags, addresses."),
            OpenApiParameter("tag", str, description="Only those with this tag."),
        ]
    )
    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """List VMs, the newest first; binned ones only with ``status=binned``."""
        return super().list(request, *args, **kwargs)

    @extend_schema(
        request=shapes.VmOrderInput,
        responses=QuoteShape,
        examples=[OpenApiExample("Two VMs", value=ORDER_EXAMPLE, request_only=True)],
    )
    @action(detail=False, methods=["post"])
    def quote(self, request: Request) -> Response:
        """Say what an order costs; its token buys exactly that within ten minutes."""
        order = order_from(self.tenant, valid(shapes.VmOrderInput, request))
        return Response(create.quote_vms(actor=self.actor, order=order).as_dict())

    @extend_schema(
        request=shapes.VmPurchaseInput,
        responses={201: shapes.VmSerializer(many=True)},
        examples=[
            OpenApiExample(
                "Two VMs",
                value={**ORDER_EXAMPLE, "quote_token": "eyJ0ZW5hbnQiOi..."},
                request_only=True,
            )
        ],
    )
    def create(self, request: Request) -> Response:
        """Buy 1 to 10 VMs: all of them or none. They are created in the background."""
        data = valid(shapes.VmPurchaseInput, request)
        vms = create.create_vms(
            actor=self.actor,
            order=order_from(self.tenant, data),
            quote_token=data["quote_token"],
        )
        return Response([self.shown("vm", vm.pk) for vm in vms], status=201)

    @extend_schema(
        request=shapes.BatchInput,
        responses=shapes.BatchResultShape(many=True),
        examples=[
            OpenApiExample(
                "Start two",
                value={"verb": "start_vm", "ids": ["vm-4k2p09xqa", "vm-8c1mn27xz"]},
                request_only=True,
            )
        ],
    )
    @action(detail=False, methods=["post"])
    def batch(self, request: Request) -> Response:
        """Invoke a verb on several VMs, with one result per VM."""
        data = valid(shapes.BatchInput, request)
        ids = data["ids"] = list(dict.fromkeys(data["ids"]))
        known = {vm.pk: vm for vm in VM.objects.filter(pk__in=ids).exclude(status="destroyed")}
        missing = [one for one in ids if one not in known]
        if missing:
            raise NotFound(
                _("There is no VM %(missing)s.") % {"missing": missing[0]},
                field="ids",
                numbers={"missing": missing},
            )
        results = run_batch(
            self.kind,
            actor=self.actor,
            verb=data.pop("verb"),
            rows=[known[one] for one in data.pop("ids")],
            **data,
        )
        return Response(
            [
                {
                    "id": result.row.pk,
                    "job_id": result.job.pk if result.job else None,
                    "error": result.error.as_dict() if result.error else None,
                }
                for result in results
            ]
        )


def _read(actor: Actor, pk: str) -> VM:
    return vm_queries.with_row(VM.objects.filter(pk=pk)).get()


show("vm", shapes.VmSerializer, _read)

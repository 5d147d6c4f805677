"""The order that the wizard says, its price and its quota."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from django.utils.translation import gettext as _

from billing import quotas
from billing.quotes import Quote
from compute.actions.vms.create import quote_vms, refusals, require_login
from compute.rules import sizes
from compute.rules.orders import VmOrder, VmParts, vm_order
from compute.views.vms.draft.choices import Hardware, Network, Terms
from compute.views.vms.draft.login import Login
from compute.views.vms.draft.typed import Typed
from network.rules.external_orders import quota_of
from scloud.lib.errors import InvalidInput, ScloudError
from scloud.web.verbs import split_tags

# The quotas that a purchase of VMs touches, in the order in which they are shown.
QUOTAS = (
    "vms", "vcpu", "memory_gib", "gpus", "disks", "disk_gib", "eips", "bandwidth_mbps",
)  # fmt: skip


@dataclass(frozen=True)
class QuotaLine:
    """One quota before and after the purchase."""

    label: str
    used: int
    added: int
    limit: int


class Purchase:
    def __init__(
        self,
        typed: Typed,
        terms: Terms,
        hardware: Hardware,
        network: Network,
        login: Login,
    ) -> None:
        self.typed = typed
        self.terms = terms
        self.hardware = hardware
        self.network = network
        self.login = login

    @property
    def missing(self) -> str:
        """Return why nothing at all can be bought in this region; empty when it can."""
        if not self.hardware.clusters:
            return _("No model is available to you in this region.")
        if not self.hardware.disk_types:
            return _("No disk type is available to you in this region.")
        if not self.hardware.all_images:
            return _("There is no image in this region yet.")
        return ""

    def order(self) -> VmOrder | None:
        """Return the order if nothing is wrong so far, else None with the errors in place."""
        found = self.drafted
        return None if self.typed.errors else found

    @cached_property
    def drafted(self) -> VmOrder | None:
        """The order as far as it can be told; None, with the errors in place, where a part of it
        is not chosen. Numbers that make no sense have left an error and count as the default.
        """
        cluster, image, spec = self.hardware.cluster, self.hardware.image, self.hardware.spec
        disk_type, subnet = self.hardware.system_disk_type, self.network.subnet
        data_type = self.hardware.data_disk_type if self.hardware.wants_data_disk else None
        data_gib = self.hardware.data_disk_gib if self.hardware.wants_data_disk else 0
        # Reading what makes no sense leaves an error, which must be there before anybody asks.
        internal_group, external_group = self.network.internal_group, self.network.external_group
        segment, bandwidth_mbps = self.network.segment, self.network.external_bandwidth_mbps
        group = self.hardware.placement_group
        count, periods, system_gib = (
            self.terms.count,
            self.terms.periods,
            self.hardware.system_disk_gib,
        )
        method, gpu_count = self.terms.method.value, self.hardware.gpu_count
        keys = self.login.text
        if subnet is None and not self.network.subnets:
            self.typed.refuse(
                InvalidInput(
                    _("There is no subnet in this region."),
                    field="subnet",
                    remedy=_("Create a VPC and a subnet first."),
                )
            )
        for name, what, part in (
            ("cluster", _("model"), cluster),
            ("image", _("image"), image),
            ("spec", _("size"), spec),
            ("system_disk_type", _("disk type"), disk_type),
            ("subnet", _("subnet"), subnet),
        ):
            if part is None and name not in self.typed.errors:
                self.typed.refuse(
                    InvalidInput(_("Choose a %(what)s.") % {"what": what}, field=name)
                )
        if cluster is None or image is None or spec is None or disk_type is None or subnet is None:
            return None
        if self.hardware.wants_data_disk and data_type is None:
            return None
        parts = VmParts(
            region=self.typed.region,
            cluster=cluster,
            image=image,
            spec=spec,
            system_disk_type=disk_type,
            data_disk_type=data_type,
            subnet=subnet,
            internal_group=internal_group,
            external_group=external_group,
            external_segment=segment,
            placement_group=group,
        )
        return vm_order(
            parts,
            {
                "gpu_count": gpu_count,
                "system_disk_gib": system_gib,
                "data_disk_gib": data_gib,
                "external_bandwidth_mbps": bandwidth_mbps if segment is not None else 0,
                "private_ips": self.terms.private_ips,
                "name": self.terms.name,
                "names": self.terms.names,
                "remark": self.typed.text("remark").strip(),
                "tags": split_tags(self.typed.text("tags")),
                "password": self.typed.text("password") or None,
                "ssh_public_key": keys,
                "user_data": self.typed.text("user_data").replace("\r\n", "\n"),
                "billing_method": method,
                "periods": periods,
                "count": count,
                "auto_renew": self.terms.auto_renew,
            },
        )

    def refuse_all(self) -> None:
        """Put all that the purchase would refuse beside its field, not only the first of it."""
        complete = self.typed.pressed and not self.typed.has_password
        order = self.drafted
        if order is not None:
            for error in refusals(self.typed.tenant, order, complete=complete):
                self.typed.refuse(error)
        elif complete:
            self.typed.try_(lambda: require_login(None, self.login.text))

    @cached_property
    def quote(self) -> Quote | None:
        """The price, or None with the reason in place."""
        order = self.order()
        if order is None:
            return None
        try:
            found = quote_vms(actor=self.typed.actor, order=order)
        except ScloudError as error:
            self.typed.refuse(error)
            return None
        self._check_quota(order)
        return found

    def _check_quota(self, order: VmOrder) -> None:
        asked = order.whole_quota
        self.typed.try_(lambda: quotas.check(self.typed.tenant, self.typed.region, asked))

    @cached_property
    def quota_lines(self) -> list[QuotaLine]:
        """Quotas before and after; the GPU one only where there are some."""
        if self.hardware.spec is None:
            return []
        disks = [self.hardware.system_disk_gib]
        disks += [self.hardware.data_disk_gib] if self.hardware.wants_data_disk else []
        spec, gpus = self.hardware.spec, self.hardware.gpu_count
        one = sizes.vm_quota(spec.vcpus, spec.memory_mib, gpus, disks)
        usage = quotas.usage(self.typed.tenant, self.typed.region)
        if self.network.segment is not None:
            one |= quota_of(self.network.external_bandwidth_mbps)
        one["gpus"] = gpus
        shown = [item for item in QUOTAS if item in one and (item != "gpus" or gpus)]
        return [
            QuotaLine(known.label, known.used, one[item] * self.terms.count, known.limit)
            for item, known in ((item, usage[item]) for item in shown)
        ]

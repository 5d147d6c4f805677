"""What somebody has filled into the create wizard so far: choices, values, price, refusals.

Everything is read tolerantly: a part that makes no sense gets an error beside it and the rest is
still shown and priced. Whether it can be bought is decided by ``create_vms`` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property, partial
from typing import Any, TypeVar

from django.db.models import Model, QuerySet
from django.http import QueryDict
from django.utils import timezone
from django.utils.translation import gettext as _

from billing import pricing, quotas, quotes
from billing.models.prices import MethodChoice
from billing.pricing import DURATIONS, Method
from billing.quotes import Quote
from compute.actions.vms.create import MAX_BATCH, VmOrder, quota_of, quote_vms
from compute.hosts import placement
from compute.models import Cluster, DiskType, Image, Spec
from compute.queries import catalogue
from compute.rules import catalogue as rules_catalogue
from compute.rules.validation import (
    batch_names,
    check_name,
    check_remark,
    check_ssh_keys,
    check_tags,
    check_user_data,
)
from compute.states.images import ImageStatus
from compute.views.common import os_icon
from compute.views.forms import split_tags
from compute.views.renew import durations
from network.actions import addresses
from network.models import SecurityGroup, Subnet
from network.queries import security as security_queries
from network.queries import vpcs as vpc_queries
from scloud.lib.errors import InvalidInput, ScloudError, StaleQuote
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant

M = TypeVar("M", bound=Model)

# Where an action's refusal appears when it names something that the form calls otherwise.
FIELD_OF = {
    "address": "private_ips",
    "names": "name",
    "billing_method": "method",
    "internal_security_group": "internal_group",
    "external_security_group": "external_group",
}
FIELDS = (
    "cluster",
    "image",
    "spec",
    "gpu_count",
    "system_disk_type",
    "system_disk_gib",
    "data_disk_type",
    "data_disk_gib",
    "subnet",
    "private_ips",
    "internal_group",
    "external_group",
    "name",
    "remark",
    "tags",
    "password",
    "ssh_public_key",
    "user_data",
    "count",
    "method",
    "periods",
)
# The quotas that a purchase of VMs touches, in the order in which they are shown.
QUOTAS = ("vms", "vcpu", "memory_gib", "gpus", "disks", "disk_gib")


@dataclass(frozen=True)
class SpecChoice:
    """A size to choose from."""

    spec: Spec
    price: Decimal | None
    reason: str


@dataclass(frozen=True)
class ImageChoice:
    """An image to choose from."""

    image: Image
    icon: str
    reason: str


@dataclass(frozen=True)
class QuotaLine:
    """One quota before and after the purchase."""

    label: str
    used: int
    added: int
    limit: int


class Draft:
    """The wizard's state for one request."""

    def __init__(self, *, actor: Actor, region: Region, data: QueryDict | None = None) -> None:
        assert actor.tenant is not None, "the console serves tenants' users only"
        self.actor = actor
        self.tenant: Tenant = actor.tenant
        self.region = region
        self.data = data if data is not None else QueryDict()
        self.fresh = data is None
        self.errors: dict[str, list[ScloudError]] = {}
        self.refusal: ScloudError | None = None
        self.stale: StaleQuote | None = None

    # --- reading

    def text(self, name: str, default: str = "") -> str:
        """Return what was typed into a field."""
        return str(self.data.get(name, default)).replace("\x00", "")

    def number(self, name: str, default: int) -> int:
        """Return a whole number; one that is none leaves an error beside its field."""
        typed = self.text(name).strip()
        if not typed:
            return default
        if not (typed.isascii() and typed.isdigit() and len(typed) <= 6):
            self.refuse(
                InvalidInput(_("A whole number is needed."), code="number_invalid", field=name)
            )
            return default
        return int(typed)

    def flag(self, name: str) -> bool:
        """Return whether a box is ticked."""
        return name in self.data

    def rows(self, name: str) -> list[str]:
        """Return the values of a field that exists once per VM."""
        typed = [str(value).strip() for value in self.data.getlist(name)][: self.count]
        return typed + [""] * (self.count - len(typed))

    def refuse(self, error: ScloudError) -> None:
        """Put a refusal beside its field, or above the price."""
        name = FIELD_OF.get(error.field or "", error.field or "")
        if isinstance(error, StaleQuote):
            self.stale = error
        elif name in FIELDS:
            known = self.errors.setdefault(name, [])
            if error.message not in {one.message for one in known}:
                known.append(error)
        elif self.refusal is None:
            self.refusal = error

    def try_(self, call: Callable[[], Any]) -> None:
        """Make a check; what it refuses is shown."""
        try:
            call()
        except ScloudError as error:
            self.refuse(error)

    def _pick(self, rows: list[M], name: str, what: str, default: M | None) -> M | None:
        wanted = self.text(name)
        if not wanted:
            return default
        found = next((row for row in rows if str(row.pk) == wanted), None)
        if found is None and name not in self._forgiven:
            self.refuse(
                InvalidInput(
                    _("There is no such %(what)s here.") % {"what": what},
                    code=f"{name}_unknown",
                    field=name,
                )
            )
            return None
        return found or default

    @property
    def _forgiven(self) -> tuple[str, ...]:
        """Fields whose choice belongs to another model than the one that is chosen now."""
        seen = self.text("seen_cluster")
        return ("spec", "image") if seen and seen != self.text("cluster") else ()

    # --- choices

    @cached_property
    def clusters(self) -> list[Cluster]:
        """Models of the region."""
        return list(catalogue.clusters(self.tenant, self.region))

    @cached_property
    def cluster(self) -> Cluster | None:
        """The chosen model."""
        first = self.clusters[0] if self.clusters else None
        return self._pick(self.clusters, "cluster", _("model"), first)

    @cached_property
    def gpu_counts(self) -> list[int]:
        """Numbers of GPU chips to choose from."""
        return [0, *rules_catalogue.GPU_COUNTS] if self.cluster and self.cluster.gpu_type else []

    @cached_property
    def gpu_count(self) -> int:
        """The chosen number of chips; none where the model has none."""
        return self.number("gpu_count", 0) if self.gpu_counts else 0

    @cached_property
    def specs(self) -> list[SpecChoice]:
        """Sizes with price and, where they fit nowhere, the reason."""
        if self.cluster is None:
            return []
        rooms = placement.rooms(self.cluster, self.tenant)
        offered = [spec for spec in self.cluster.specs.all() if spec.enabled]
        prices = self._prices_of(self.cluster, offered)
        return [
            SpecChoice(spec, prices.get(spec.pk), self._why_not(self.cluster, rooms, spec))
            for spec in offered
        ]

    def _why_not(self, cluster: Cluster, rooms: list[placement.Room], spec: Spec) -> str:
        try:
            rules_catalogue.check_gpu(cluster, spec, self.gpu_count)
        except InvalidInput as error:
            return error.message
        size = (spec.vcpus, spec.memory_mib, self.gpu_count)
        return placement.why_not(cluster, rooms, *size) or ""

    def _prices_of(self, cluster: Cluster, specs: list[Spec]) -> Mapping[Any, Decimal]:
        """Return what one period of each size costs, without disks; nothing without prices."""
        items = {
            spec.pk: rules_catalogue.size_items(
                cluster, spec.vcpus, spec.memory_mib, self.gpu_count
            )
            for spec in specs
        }
        skus = sorted({item.sku for found in items.values() for item in found})
        try:
            basis = quotes.basis(self.tenant, self.region, skus, timezone.now())
            return {
                pk: pricing.total(quotes.price_items(basis, found, self.method, 1))
                for pk, found in items.items()
            }
        except ScloudError:
            return {}

    @cached_property
    def spec(self) -> Spec | None:
        """The chosen size; the smallest that fits while nothing is chosen."""
        fitting = [choice.spec for choice in self.specs if not choice.reason]
        default = fitting[0] if fitting else None
        return self._pick([choice.spec for choice in self.specs], "spec", _("size"), default)

    @cached_property
    def all_images(self) -> list[Image]:
        """Base images and own ones of the region."""
        shown = (ImageStatus.AVAILABLE, ImageStatus.MAKING, ImageStatus.IMPORTING)
        return list(catalogue.images(self.tenant, self.region).filter(status__in=shown))

    @cached_property
    def images(self) -> list[ImageChoice]:
        """Images of the model's architecture, with why one cannot be used yet."""
        if self.cluster is None:
            return []
        return [
            ImageChoice(
                image,
                os_icon(image.distribution),
                "" if image.status == ImageStatus.AVAILABLE else str(image.get_status_display()),
            )
            for image in self.all_images
            if image.architecture == self.cluster.architecture
        ]

    @property
    def base_images(self) -> list[ImageChoice]:
        """The platform's images."""
        return [choice for choice in self.images if choice.image.is_base]

    @property
    def own_images(self) -> list[ImageChoice]:
        """The tenant's images."""
        return [choice for choice in self.images if not choice.image.is_base]

    @cached_property
    def image(self) -> Image | None:
        """The chosen image."""
        usable = [choice.image for choice in self.images if not choice.reason]
        default = usable[0] if usable else None
        return self._pick([choice.image for choice in self.images], "image", _("image"), default)

    @cached_property
    def disk_types(self) -> list[DiskType]:
        """Disk types of the region."""
        return list(catalogue.disk_types(self.tenant, self.region))

    @cached_property
    def system_disk_type(self) -> DiskType | None:
        """The chosen type; the first in the image's pool while nothing is chosen."""
        near = [one for one in self.disk_types if self.image and one.pool_id == self.image.pool_id]
        default = next(iter(near or self.disk_types), None)
        return self._pick(self.disk_types, "system_disk_type", _("disk type"), default)

    @property
    def system_min_gib(self) -> int:
        """The smallest system disk that type and image allow."""
        least = [self.image.min_disk_gib] if self.image else []
        if self.system_disk_type:
            least.append(self.system_disk_type.system_min_gib)
        return max(least, default=40)

    @cached_property
    def system_disk_gib(self) -> int:
        """The size of the system disk."""
        return self.number("system_disk_gib", self.system_min_gib)

    @cached_property
    def wants_data_disk(self) -> bool:
        """Whether a data disk is bought along."""
        return self.flag("data_disk")

    @cached_property
    def data_disk_type(self) -> DiskType | None:
        """The type of the data disk."""
        default = self.disk_types[0] if self.disk_types else None
        return self._pick(self.disk_types, "data_disk_type", _("disk type"), default)

    @cached_property
    def data_disk_gib(self) -> int:
        """The size of the data disk."""
        return self.number("data_disk_gib", 100)

    @cached_property
    def subnets(self) -> list[Subnet]:
        """Subnets of the region with their VPC; the default VPC's first."""
        rows: QuerySet[Subnet] = vpc_queries.subnets(region=self.region)
        return list(rows.order_by("-vpc__is_default", "vpc__name", "vpc_id", "created_at"))

    @cached_property
    def subnet(self) -> Subnet | None:
        """The chosen subnet."""
        default = self.subnets[0] if self.subnets else None
        return self._pick(self.subnets, "subnet", _("subnet"), default)

    @cached_property
    def free_addresses(self) -> int:
        """How many addresses of the chosen subnet are free."""
        return addresses.free_count(self.subnet) if self.subnet else 0

    @cached_property
    def groups(self) -> list[SecurityGroup]:
        """Security groups of the region."""
        rows: QuerySet[SecurityGroup] = security_queries.security_groups(self.region)
        return list(rows.order_by("-is_default", "name"))

    @cached_property
    def internal_group(self) -> SecurityGroup | None:
        """The group of the internal NIC; the default one at first, none if so chosen."""
        return self._group("internal_group")

    @cached_property
    def external_group(self) -> SecurityGroup | None:
        """The group for external IPs; the default one at first, none if so chosen."""
        return self._group("external_group")

    def _group(self, name: str) -> SecurityGroup | None:
        # Without a group a NIC is not filtered, so nobody gets that without choosing it.
        first = self.groups[0] if self.fresh and self.groups else None
        return self._pick(self.groups, name, _("security group"), first)

    @cached_property
    def count(self) -> int:
        """How many VMs; what is out of range is refused and counts as one."""
        asked = self.number("count", 1)
        if not 1 <= asked <= MAX_BATCH:
            self.refuse(
                InvalidInput(
                    _("1 to %(max)d VMs can be created at once.") % {"max": MAX_BATCH},
                    code="count_out_of_range",
                    field="count",
                )
            )
            return 1
        return asked

    @property
    def max_count(self) -> int:
        """The most at once."""
        return MAX_BATCH

    @cached_property
    def method(self) -> Method:
        """The billing method."""
        typed = self.text("method", Method.HOUR.value)
        if typed not in set(Method):
            self.refuse(InvalidInput(_("Choose hour, month or year."), field="method"))
            return Method.HOUR
        return Method(typed)

    @property
    def methods(self) -> list[tuple[str, Any]]:
        """The billing methods."""
        return MethodChoice.choices

    @property
    def periods_choices(self) -> list[tuple[int, str]]:
        """The durations of the billing method."""
        return durations(self.method)

    @cached_property
    def periods(self) -> int:
        """For how long; a duration that the method does not know becomes one period."""
        asked = self.number("periods", 1)
        changed = self.text("seen_method") not in ("", self.method.value)
        return 1 if changed and asked not in DURATIONS[self.method] else asked

    @property
    def auto_renew(self) -> bool:
        """Whether it renews itself; on at first."""
        return self.fresh or self.flag("auto_renew")

    @property
    def name(self) -> str:
        """The name, or the stem of the names of a batch."""
        return self.text("name", "host").strip()

    @property
    def names(self) -> list[str]:
        """The names of a batch where some were typed, else nothing."""
        typed = self.rows("names")
        if self.count == 1 or not any(typed):
            return []
        automatic = [f"{self.name}-{number}" for number in range(1, self.count + 1)]
        return [name or other for name, other in zip(typed, automatic, strict=True)]

    @property
    def private_ips(self) -> list[str]:
        """The addresses, empty strings for automatic ones; nothing if all are automatic."""
        typed = self.rows("private_ips")
        return typed if any(typed) else []

    @property
    def vm_rows(self) -> list[dict[str, Any]]:
        """One row per VM of a batch: number, typed name and address, automatic name."""
        typed = zip(self.rows("names"), self.rows("private_ips"), strict=True)
        return [
            {"number": n, "name": name, "ip": ip, "automatic": f"{self.name or 'host'}-{n}"}
            for n, (name, ip) in enumerate(typed, 1)
        ]

    # --- what is missing on the platform's side

    @property
    def missing(self) -> str:
        """Return why nothing at all can be bought in this region; empty when it can."""
        if not self.clusters:
            return _("No model is offered to you in this region.")
        if not self.disk_types:
            return _("No disk type is offered to you in this region.")
        if not self.all_images:
            return _("There is no image in this region yet.")
        return ""

    # --- the order and its price

    def order(self) -> VmOrder | None:
        """Return the order as far as it is complete, else None with the errors in place."""
        cluster, image, spec = self.cluster, self.image, self.spec
        disk_type, subnet = self.system_disk_type, self.subnet
        data_type = self.data_disk_type if self.wants_data_disk else None
        data_gib = self.data_disk_gib if self.wants_data_disk else 0
        # Reading what makes no sense leaves an error, which must be there before the check below.
        internal_group, external_group = self.internal_group, self.external_group
        count, periods, system_gib = self.count, self.periods, self.system_disk_gib
        if subnet is None and not self.subnets:
            self.refuse(
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
            if part is None and name not in self.errors:
                self.refuse(InvalidInput(_("Choose a %(what)s.") % {"what": what}, field=name))
        if self.errors or cluster is None or image is None or spec is None:
            return None
        if disk_type is None or subnet is None or (self.wants_data_disk and data_type is None):
            return None
        return VmOrder(
            region=self.region,
            cluster=cluster,
            image=image,
            spec=spec,
            gpu_count=self.gpu_count,
            system_disk_type=disk_type,
            system_disk_gib=system_gib,
            data_disk_type=data_type,
            data_disk_gib=data_gib,
            subnet=subnet,
            private_ips=self.private_ips,
            internal_group=internal_group,
            external_group=external_group,
            name=self.name,
            names=self.names,
            remark=self.text("remark").strip(),
            tags=split_tags(self.text("tags")),
            password=self.text("password") or None,
            ssh_public_key=self.text("ssh_public_key"),
            user_data=self.text("user_data").replace("\r\n", "\n"),
            method=self.method.value,
            periods=periods,
            count=count,
            auto_renew=self.auto_renew,
        )

    @cached_property
    def quote(self) -> Quote | None:
        """The price, or None with the reason in place."""
        order = self.order()
        if order is None:
            return None
        try:
            found = quote_vms(actor=self.actor, order=order)
        except ScloudError as error:
            self.refuse(error)
            return None
        self._check_quota(order)
        return found

    def _check_quota(self, order: VmOrder) -> None:
        asked = {item: amount * order.count for item, amount in quota_of(order).items()}
        self.try_(lambda: quotas.check(self.tenant, self.region, asked))

    @cached_property
    def quota_lines(self) -> list[QuotaLine]:
        """Quotas before and after; the GPU one only where there are some."""
        if self.spec is None:
            return []
        sizes = [self.system_disk_gib] + ([self.data_disk_gib] if self.wants_data_disk else [])
        one = {
            "vms": 1,
            "vcpu": self.spec.vcpus,
            "memory_gib": -(-self.spec.memory_mib // 1024),
            "gpus": self.gpu_count,
            "disks": len(sizes),
            "disk_gib": sum(sizes),
        }
        usage = quotas.usage(self.tenant, self.region)
        shown = [item for item in QUOTAS if item != "gpus" or self.gpu_count]
        return [
            QuotaLine(known.label, known.used, one[item] * self.count, known.limit)
            for item, known in ((item, usage[item]) for item in shown)
        ]

    def check_typed(self) -> None:
        """Refuse early what was typed wrongly; fields that are still empty are left alone."""
        if self.subnet is not None and self.free_addresses < self.count:
            self.refuse(
                InvalidInput(
                    _("Only %(free)d addresses are free, %(count)d are needed.")
                    % {"free": self.free_addresses, "count": self.count},
                    code="subnet_exhausted",
                    field="subnet",
                    remedy=_("Choose another subnet, or create fewer VMs."),
                )
            )
        if self.name:
            names = self.names
            if names:
                for one in names:
                    self.try_(partial(check_name, one, field="name"))
            else:
                self.try_(lambda: batch_names(self.name, self.count))
        typed = [ip for ip in self.private_ips if ip]
        for ip in typed:
            if self.subnet is not None:
                self.try_(partial(addresses.check, self.subnet, ip))
        for ip in {ip for ip in typed if typed.count(ip) > 1}:
            self.refuse(
                InvalidInput(
                    _("%(ip)s is asked for more than once.") % {"ip": ip}, field="private_ips"
                )
            )
        self.try_(lambda: check_remark(self.text("remark").strip()))
        self.try_(lambda: check_tags(split_tags(self.text("tags"))))
        self.try_(lambda: check_ssh_keys(self.text("ssh_public_key")))
        self.try_(lambda: check_user_data(self.text("user_data")))

    # --- for the template

    @property
    def form_values(self) -> dict[str, str]:
        """What was typed into the fields that nothing else reads; never the password."""
        return {name: self.text(name) for name in ("remark", "tags", "ssh_public_key", "user_data")}

    @property
    def field_errors(self) -> dict[str, list[ScloudError]]:
        """The errors of every field, empty lists included, so that old ones disappear."""
        return {name: self.errors.get(name, []) for name in FIELDS}

    @property
    def changed_parts(self) -> set[str]:
        """Parts of the page that depend on something that was just changed."""
        out = set()
        cluster = str(self.cluster.pk) if self.cluster else ""
        if self.text("seen_cluster") != cluster:
            out |= {"images", "specs", "gpu"}
        if self.text("seen_size") != self.size_key:
            out.add("specs")
        if self.text("seen_method") != self.method.value:
            out.add("periods")
        if self.text("seen_count") != str(self.count):
            out.add("rows")
        return out

    @property
    def size_key(self) -> str:
        """What the cards of the sizes depend on."""
        cluster = self.cluster.pk if self.cluster else ""
        return f"{cluster}.{self.method.value}.{self.gpu_count}"

"""What can be chosen in the wizard, and what is chosen."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from billing import pricing, quotes
from billing.models.prices import MethodChoice
from billing.pricing import DURATIONS, Method
from billing.views.dialogs import FIRST_METHOD, durations, renews_at_first
from compute.actions.vms.create import MAX_BATCH
from compute.hosts import placement
from compute.models import Cluster, DiskType, Image, PlacementGroup, Spec
from compute.queries import catalogue
from compute.rules import catalogue as rules_catalogue
from compute.states.images import ImageStatus
from compute.views import systems
from compute.views.vms.draft.typed import Typed
from network.actions import external_addresses
from network.models import ExternalSegment, SecurityGroup, Subnet
from network.queries import security as security_queries
from network.queries import vpcs as vpc_queries
from network.rules.external_orders import segments_for
from scloud.lib.errors import InvalidInput, ScloudError


@dataclass(frozen=True)
class SpecChoice:
    spec: Spec
    price: Decimal | None
    reason: str


@dataclass(frozen=True)
class SizeTable:
    """The sizes of a model: a line per number of vCPU, a column per amount of memory.

    ``columns`` are amounts in MiB; a cell is None where the model has no such size. ``reasons``
    are why some cannot be chosen, each once, with the sizes that it is about.
    """

    columns: list[int]
    rows: list[tuple[int, list[SpecChoice | None]]]
    reasons: list[tuple[str, str]]


@dataclass(frozen=True)
class ImageChoice:
    image: Image
    reason: str

    @property
    def mark(self) -> SafeString:
        """The sign of its distribution, as the list of VMs shows it."""
        return systems.mark(self.image.distribution)

    @property
    def words(self) -> str:
        """What a search looks at."""
        image = self.image
        said = (image.name, systems.title(image.distribution), image.version, image.remark)
        return " ".join(said).lower()


@dataclass(frozen=True)
class ImageGroup:
    """The images of one distribution, as administrators placed them, then the newest first."""

    key: str
    name: str
    mark: SafeString
    choices: list[ImageChoice]


# Above so many images a search is shown.
MANY_IMAGES = 6
_DIGITS = re.compile(r"\d+")


def _version(image: Image) -> tuple[list[int], str]:
    """Return what orders the versions of a distribution: 9 before 10, however they are written."""
    said = image.version or image.name
    return [int(digits[:9]) for digits in _DIGITS.findall(said)], said


def _newest_first(choices: list[ImageChoice]) -> list[ImageChoice]:
    by_version = sorted(choices, key=lambda one: _version(one.image), reverse=True)
    return sorted(by_version, key=lambda one: one.image.position)


class Terms:
    """How many, what they are called, and for how long they are paid."""

    def __init__(self, typed: Typed) -> None:
        self.typed = typed

    @cached_property
    def count(self) -> int:
        """How many VMs; what is out of range is refused and counts as one."""
        asked = self.typed.number("count", 1)
        if not 1 <= asked <= MAX_BATCH:
            self.typed.refuse(
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
        return MAX_BATCH

    @cached_property
    def method(self) -> Method:
        typed = self.typed.text("method", FIRST_METHOD.value)
        if typed not in set(Method):
            self.typed.refuse(InvalidInput(_("Choose hour, month or year."), field="method"))
            return FIRST_METHOD
        return Method(typed)

    @property
    def methods(self) -> list[tuple[str, Any]]:
        return MethodChoice.choices

    @property
    def periods_choices(self) -> list[tuple[int, str]]:
        """The durations of the billing method."""
        return durations(self.method)

    @cached_property
    def periods(self) -> int:
        """For how long; a duration that the method does not know becomes one period."""
        asked = self.typed.number("periods", 1)
        changed = self.typed.text("seen_method") not in ("", self.method.value)
        return 1 if changed and asked not in DURATIONS[self.method] else asked

    @cached_property
    def auto_renew(self) -> bool:
        """Whether it renews itself; at first as the tenant has it."""
        if self.typed.fresh:
            return renews_at_first(self.typed.tenant)
        return self.typed.flag("auto_renew")

    @property
    def name(self) -> str:
        return self.typed.text("name", "host").strip()

    @property
    def names(self) -> list[str]:
        """The names of a batch where some were typed, else nothing."""
        typed = self.typed.rows("names", self.count)
        if self.count == 1 or not any(typed):
            return []
        automatic = [f"{self.name}-{number}" for number in range(1, self.count + 1)]
        return [name or other for name, other in zip(typed, automatic, strict=True)]

    @property
    def private_ips(self) -> list[str]:
        """The addresses, empty strings for automatic ones; nothing if all are automatic."""
        typed = self.typed.rows("private_ips", self.count)
        return typed if any(typed) else []

    @property
    def vm_rows(self) -> list[dict[str, Any]]:
        """One row per VM of a batch: number, typed name and address, automatic name."""
        typed = zip(
            self.typed.rows("names", self.count),
            self.typed.rows("private_ips", self.count),
            strict=True,
        )
        return [
            {"number": n, "name": name, "ip": ip, "automatic": f"{self.name or 'host'}-{n}"}
            for n, (name, ip) in enumerate(typed, 1)
        ]


class Hardware:
    """Model, size, image and disks."""

    def __init__(self, typed: Typed, terms: Terms) -> None:
        self.typed = typed
        self.terms = terms

    @cached_property
    def clusters(self) -> list[Cluster]:
        return list(catalogue.clusters(self.typed.tenant, self.typed.region))

    @cached_property
    def cluster(self) -> Cluster | None:
        first = self.clusters[0] if self.clusters else None
        return self.typed.pick(self.clusters, "cluster", _("model"), first)

    @cached_property
    def gpu_counts(self) -> list[int]:
        """Numbers of GPU chips to choose from."""
        return [0, *rules_catalogue.GPU_COUNTS] if self.cluster and self.cluster.gpu_type else []

    @cached_property
    def gpu_count(self) -> int:
        """The chosen number of chips; none where the model has none."""
        return self.typed.number("gpu_count", 0) if self.gpu_counts else 0

    @cached_property
    def specs(self) -> list[SpecChoice]:
        """Sizes with price and, where they fit nowhere, the reason."""
        if self.cluster is None:
            return []
        candidates = placement.candidates(self.cluster, self.typed.tenant)
        offered = [spec for spec in self.cluster.specs.all() if spec.enabled]
        prices = self._prices_of(self.cluster, offered)
        return [
            SpecChoice(spec, prices.get(spec.pk), self._why_not(self.cluster, candidates, spec))
            for spec in offered
        ]

    @property
    def size_table(self) -> SizeTable:
        """The sizes by vCPU and memory, and why those that are greyed out are."""
        columns = sorted({one.spec.memory_mib for one in self.specs})
        cells = {(one.spec.vcpus, one.spec.memory_mib): one for one in self.specs}
        rows = [
            (vcpus, [cells.get((vcpus, memory)) for memory in columns])
            for vcpus in sorted({one.spec.vcpus for one in self.specs})
        ]
        why: dict[str, list[str]] = {}
        for one in self.specs:
            if one.reason:
                why.setdefault(one.reason, []).append(str(one.spec))
        return SizeTable(columns, rows, [(", ".join(names), said) for said, names in why.items()])

    def _why_not(self, cluster: Cluster, candidates: list[placement.Candidate], spec: Spec) -> str:
        try:
            rules_catalogue.check_gpu(cluster, spec, self.gpu_count)
        except InvalidInput as error:
            return error.message
        demand = placement.demand_for(spec, self.gpu_count)
        return placement.why_not(cluster, candidates, demand) or ""

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
            basis = quotes.basis(self.typed.tenant, self.typed.region, skus, timezone.now())
            return {
                pk: pricing.total(quotes.price_items(basis, found, self.terms.method, 1))
                for pk, found in items.items()
            }
        except ScloudError:
            return {}

    @cached_property
    def spec(self) -> Spec | None:
        """The chosen size; the smallest that fits while nothing is chosen."""
        fitting = [choice.spec for choice in self.specs if not choice.reason]
        default = fitting[0] if fitting else None
        return self.typed.pick([choice.spec for choice in self.specs], "spec", _("size"), default)

    @cached_property
    def all_images(self) -> list[Image]:
        """Base images and own ones of the region."""
        shown = (ImageStatus.AVAILABLE, ImageStatus.MAKING, ImageStatus.IMPORTING)
        return list(catalogue.images(self.typed.tenant, self.typed.region).filter(status__in=shown))

    @cached_property
    def images(self) -> list[ImageChoice]:
        """Images of the model's architecture, with why one cannot be used yet."""
        if self.cluster is None:
            return []
        return [
            ImageChoice(
                image,
                "" if image.status == ImageStatus.AVAILABLE else str(image.get_status_display()),
            )
            for image in self.all_images
            if image.architecture == self.cluster.architecture
        ]

    @property
    def base_images(self) -> list[ImageChoice]:
        return [choice for choice in self.images if choice.image.is_base]

    @property
    def base_groups(self) -> list[ImageGroup]:
        """The base images by distribution, as administrators placed them, then by name."""
        found: dict[str, list[ImageChoice]] = {}
        for choice in self.base_images:
            found.setdefault(choice.image.distribution.strip().lower(), []).append(choice)
        groups = [
            ImageGroup(
                key,
                systems.title(choices[0].image.distribution),
                choices[0].mark,
                _newest_first(choices),
            )
            for key, choices in found.items()
        ]
        return sorted(
            groups,
            key=lambda group: (group.choices[0].image.position, group.name.casefold()),
        )

    @property
    def image_source(self) -> str:
        """``base`` or ``own``: which images are in sight; at first those of the chosen one."""
        asked = self.typed.text("image_source")
        if asked in ("base", "own"):
            return asked
        return "base" if self.image is None or self.image.is_base else "own"

    @property
    def many_images(self) -> bool:
        """Whether there are so many that a search helps."""
        return len(self.images) > MANY_IMAGES

    @property
    def own_images(self) -> list[ImageChoice]:
        return [choice for choice in self.images if not choice.image.is_base]

    @cached_property
    def image(self) -> Image | None:
        usable = [choice.image for choice in self.images if not choice.reason]
        default = usable[0] if usable else None
        return self.typed.pick(
            [choice.image for choice in self.images], "image", _("image"), default
        )

    @cached_property
    def disk_types(self) -> list[DiskType]:
        return list(catalogue.disk_types(self.typed.tenant, self.typed.region))

    @cached_property
    def system_disk_type(self) -> DiskType | None:
        """The chosen type; the first in the image's pool while nothing is chosen."""
        near = [one for one in self.disk_types if self.image and one.pool_id == self.image.pool_id]
        default = next(iter(near or self.disk_types), None)
        return self.typed.pick(self.disk_types, "system_disk_type", _("disk type"), default)

    @property
    def system_min_gib(self) -> int:
        """The smallest system disk that type and image allow."""
        least = [self.image.min_disk_gib] if self.image else []
        if self.system_disk_type:
            least.append(self.system_disk_type.system_min_gib)
        return max(least, default=40)

    @property
    def system_max_gib(self) -> int | None:
        return self.system_disk_type.system_max_gib if self.system_disk_type else None

    @cached_property
    def system_disk_gib(self) -> int:
        return self.typed.number("system_disk_gib", self.system_min_gib)

    @cached_property
    def wants_data_disk(self) -> bool:
        return self.typed.flag("data_disk")

    @cached_property
    def data_disk_type(self) -> DiskType | None:
        default = self.disk_types[0] if self.disk_types else None
        return self.typed.pick(self.disk_types, "data_disk_type", _("disk type"), default)

    @cached_property
    def data_disk_gib(self) -> int:
        return self.typed.number("data_disk_gib", 100)

    @cached_property
    def placement_groups(self) -> list[PlacementGroup]:
        """The tenant's placement groups of the region."""
        rows: QuerySet[PlacementGroup] = PlacementGroup.objects.filter(region=self.typed.region)
        return list(rows.order_by("name", "pk"))

    @cached_property
    def placement_group(self) -> PlacementGroup | None:
        """The group whose policy decides where the VMs go; none at first."""
        what = _("placement group")
        return self.typed.pick(self.placement_groups, "placement_group", what, None)

    @property
    def size_key(self) -> str:
        cluster = self.cluster.pk if self.cluster else ""
        return f"{cluster}.{self.terms.method.value}.{self.gpu_count}"


class Network:
    """Subnet and security groups."""

    def __init__(self, typed: Typed) -> None:
        self.typed = typed

    @cached_property
    def subnets(self) -> list[Subnet]:
        """Subnets of the region with their VPC; the default VPC's first."""
        rows: QuerySet[Subnet] = vpc_queries.subnets(region=self.typed.region)
        return list(rows.order_by("-vpc__is_default", "vpc__name", "vpc_id", "created_at"))

    @cached_property
    def subnet(self) -> Subnet | None:
        default = self.subnets[0] if self.subnets else None
        return self.typed.pick(self.subnets, "subnet", _("subnet"), default)

    @property
    def subnet_choices(self) -> list[tuple[Subnet, str]]:
        """The subnets, each with its words, which say how many addresses are free."""
        return [(one, vpc_queries.with_free(one)) for one in self.subnets]

    @property
    def segment_choices(self) -> list[tuple[ExternalSegment, int]]:
        """The external segments, each with how many addresses are free."""
        free = external_addresses.free_counts(self.segments)
        return [(one, free[one.pk]) for one in self.segments]

    @cached_property
    def free_addresses(self) -> int:
        """How many addresses of the chosen subnet are free."""
        return vpc_queries.free_addresses(self.subnet) if self.subnet else 0

    @cached_property
    def groups(self) -> list[SecurityGroup]:
        rows: QuerySet[SecurityGroup] = security_queries.security_groups(self.typed.region)
        return list(rows.order_by("-is_default", "name"))

    @cached_property
    def internal_group(self) -> SecurityGroup | None:
        """The group of the internal NIC; the default one at first, none if so chosen."""
        return self._group("internal_group")

    @cached_property
    def external_group(self) -> SecurityGroup | None:
        """The group for external IPs; the default one at first, none if so chosen."""
        return self._group("external_group")

    @cached_property
    def segments(self) -> list[ExternalSegment]:
        """The external segments that are offered in the region."""
        return list(segments_for(self.typed.tenant, self.typed.region))

    @cached_property
    def segment(self) -> ExternalSegment | None:
        """The segment of the external IPs that are bought along; none at first."""
        return self.typed.pick(self.segments, "external_segment", _("external segment"), None)

    @cached_property
    def external_bandwidth_mbps(self) -> int:
        """The bandwidth of each external IP."""
        return self.typed.number("external_bandwidth_mbps", 5)

    def _group(self, name: str) -> SecurityGroup | None:
        # Without a group a NIC is not filtered, so nobody gets that without choosing it.
        first = self.groups[0] if self.typed.fresh and self.groups else None
        return self.typed.pick(self.groups, name, _("security group"), first)

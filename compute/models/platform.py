"""What administrators define: clusters (models), hosts, specs, storage pools, disk types."""

from decimal import Decimal

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from compute.states.balance import BalanceMode
from compute.states.hosts import CONFIRMED_OFF, HostState
from compute.states.pools import PoolState
from scloud.lib import libvirt_uris as uris
from scloud.lib.ids import new_id
from scloud.lib.text import time_zones
from scloud.resources.models import Region, slug_validator
from scloud.tenancy.models import Tenant


class Architecture(models.TextChoices):
    X86_64 = "x86_64", "x86_64"
    AARCH64 = "aarch64", "aarch64 (ARM)"


class GpuType(models.TextChoices):
    """Accelerators that the platform knows how to pass through."""

    NONE = "", _("none")
    K80 = "K80", "NVIDIA K80"
    P40 = "P40", "NVIDIA P40"
    V100 = "V100", "NVIDIA V100"
    RTX2080 = "2080", "NVIDIA 2080"
    RTX2080TI = "2080Ti", "NVIDIA 2080Ti"
    T4 = "T4", "NVIDIA T4"
    ATLAS300 = "Atlas300", "Huawei Atlas300"


class Medium(models.TextChoices):
    HDD = "HDD", "HDD"
    SSD = "SSD", "SSD"
    NVME = "NVME", "NVME"


tags_validator = RegexValidator(
    r"\A[a-z0-9][a-z0-9-]{0,29}(?: +[a-z0-9][a-z0-9-]{0,29})*\Z",
    _("Words of lower-case letters, digits and -, separated by spaces."),
)


def host_id() -> str:
    return new_id("host")


class Cluster(models.Model):
    """A group of like hosts; tenants see it as the *model* of a VM."""

    id = models.CharField(_("ID"), primary_key=True, max_length=30, validators=[slug_validator])
    region = models.ForeignKey(
        Region, models.PROTECT, verbose_name=_("region"), related_name="clusters"
    )
    alias = models.CharField(_("alias"), max_length=60)
    description = models.CharField(_("description"), max_length=200, blank=True)
    architecture = models.CharField(
        _("architecture"), max_length=10, choices=Architecture.choices, default=Architecture.X86_64
    )
    cpu_overcommit = models.DecimalField(
        _("CPU overcommit"),
        max_digits=3,
        decimal_places=1,
        default=Decimal("1.0"),
        validators=[MinValueValidator(Decimal("1.0")), MaxValueValidator(Decimal("6.0"))],
    )
    gpu_type = models.CharField(
        _("GPU model"), max_length=10, choices=GpuType.choices, blank=True, default=""
    )
    # Shares of a busy host per vCPU, and the most that one vCPU may take of a host CPU.
    cpu_shares_per_vcpu = models.PositiveIntegerField(
        _("CPU shares per vCPU"),
        default=1024,
        validators=[MinValueValidator(2), MaxValueValidator(262_144)],
    )
    cpu_quota_percent = models.PositiveSmallIntegerField(
        _("CPU limit per vCPU (%)"),
        null=True,
        blank=True,
        validators=[MinValueValidator(5), MaxValueValidator(100)],
    )
    # What was last set on all running VMs; a difference is made good by a chore.
    applied_cpu_shares_per_vcpu = models.PositiveIntegerField(
        _("applied CPU shares per vCPU"), null=True, editable=False
    )
    applied_cpu_quota_percent = models.PositiveSmallIntegerField(
        _("applied CPU limit per vCPU (%)"), null=True, editable=False
    )
    suspect_after_s = models.PositiveIntegerField(
        _("seconds without a sign of life"),
        default=60,
        db_default=60,
        validators=[MinValueValidator(15), MaxValueValidator(3600)],
        help_text=_(
            "A host that no witness has seen alive for so long is suspect: it takes no VMs, and "
            "operators are told."
        ),
    )
    failover = models.BooleanField(
        _("failover"),
        default=False,
        db_default=False,
        help_text=_(
            "A suspect host is switched off by its fence device, and its running VMs start on "
            "other hosts of the cluster once it is known to be off. Turn it on only when no worker "
            "or sweeper of an earlier release runs any more."
        ),
    )
    failover_per_host = models.PositiveSmallIntegerField(
        _("failovers at once per host"),
        default=4,
        db_default=4,
        validators=[MinValueValidator(1), MaxValueValidator(100)],
        help_text=_("How many VMs of failed hosts start on one host at the same time."),
    )
    reserve_hosts = models.PositiveSmallIntegerField(
        _("hosts kept in reserve"),
        default=0,
        db_default=0,
        validators=[MaxValueValidator(100)],
        help_text=_(
            "What the VMs of so many hosts need stays free on the others: purchases and growth "
            "that would take of it are refused, and only failovers use it."
        ),
    )
    vm_overhead_mib = models.PositiveSmallIntegerField(
        _("overhead per VM (MB)"),
        default=0,
        db_default=0,
        validators=[MaxValueValidator(4096)],
        help_text=_("Memory of the host that each VM takes beside its own."),
    )
    vcpu_overhead_mib = models.PositiveSmallIntegerField(
        _("overhead per vCPU (MB)"),
        default=0,
        db_default=0,
        validators=[MaxValueValidator(1024)],
        help_text=_("Memory of the host that each vCPU takes."),
    )
    moves_per_host = models.PositiveSmallIntegerField(
        _("moves at once per host"),
        default=2,
        db_default=2,
        validators=[MinValueValidator(1), MaxValueValidator(20)],
        help_text=_(
            "How many running VMs leave a host that enters maintenance, or arrive on another one, "
            "at the same time."
        ),
    )
    balance_mode = models.CharField(
        _("load balancing"),
        max_length=10,
        choices=BalanceMode.choices,
        default=BalanceMode.OFF,
        db_default=BalanceMode.OFF,
        help_text=_(
            "Moves a running VM off a host that is over a threshold, one at a time. A dry run only "
            "writes down what it would move, and why. The page Load shows what it sees."
        ),
    )
    balance_cpu_percent = models.PositiveSmallIntegerField(
        _("CPU threshold (%)"),
        default=80,
        db_default=80,
        validators=[MinValueValidator(20), MaxValueValidator(100)],
        help_text=_(
            "Of the host's CPUs, measured over 10 minutes; what VMs wait for counts on top. A host "
            "at or above it is under load, and none goes above it by a move."
        ),
    )
    balance_memory_percent = models.PositiveSmallIntegerField(
        _("memory threshold (%)"),
        default=90,
        db_default=90,
        validators=[MinValueValidator(20), MaxValueValidator(100)],
        help_text=_("Of the host's memory, as it is in use, not as it was sold."),
    )
    balance_steal_percent = models.PositiveSmallIntegerField(
        _("steal threshold (%)"),
        default=10,
        db_default=10,
        validators=[MinValueValidator(1), MaxValueValidator(100)],
        help_text=_(
            "CPU time that VMs wanted and did not get, as a share of the host's CPUs. Not "
            "considered where vCPUs have a CPU limit: reaching it counts as waiting too."
        ),
    )
    balance_gain_percent = models.PositiveSmallIntegerField(
        _("minimum gain (percentage points)"),
        default=15,
        db_default=15,
        validators=[MinValueValidator(5), MaxValueValidator(80)],
        help_text=_(
            "After the move the destination has to be this far below what the source has now."
        ),
    )
    balance_host_rest_min = models.PositiveSmallIntegerField(
        _("rest of a host after a move (minutes)"),
        default=15,
        db_default=15,
        validators=[MinValueValidator(10), MaxValueValidator(1440)],
        help_text=_("After any move from or to it, whoever ordered it, a host takes no part."),
    )
    balance_vm_rest_min = models.PositiveSmallIntegerField(
        _("rest of a VM after a move (minutes)"),
        default=240,
        db_default=240,
        validators=[MinValueValidator(10), MaxValueValidator(20_160)],
        help_text=_("After any move, whoever ordered it, a VM is left where it is."),
    )
    balance_from = models.TimeField(
        _("moves from"),
        null=True,
        blank=True,
        help_text=_("Leave both times empty to allow moves all day; they may go over midnight."),
    )
    balance_until = models.TimeField(_("moves until"), null=True, blank=True)
    balance_time_zone = models.CharField(
        _("time zone of these times"),
        max_length=40,
        default="UTC",
        db_default="UTC",
        help_text=_("Such as Europe/Berlin. Each cluster has its own."),
    )
    tenants = models.ManyToManyField(
        Tenant,
        verbose_name=_("tenants"),
        blank=True,
        related_name="+",
        help_text=_("Leave empty to make it visible to all tenants."),
    )
    enabled = models.BooleanField(_("enabled"), default=True)
    position = models.PositiveSmallIntegerField(_("position in the list"), default=0)

    class Meta:
        ordering = ["position", "alias"]
        verbose_name = _("cluster (model)")
        verbose_name_plural = _("clusters (models)")

    def __str__(self) -> str:
        return self.alias

    def clean(self) -> None:
        """Refuse times of load balancing that say nothing, and zones that do not exist."""
        wrong: dict[str, ValidationError] = {}
        if self.balance_time_zone not in time_zones():
            wrong["balance_time_zone"] = ValidationError(
                _("Unknown time zone."), code="time_zone_unknown"
            )
        if (self.balance_from is None) != (self.balance_until is None):
            field = "balance_from" if self.balance_from is None else "balance_until"
            wrong[field] = ValidationError(
                _("Enter both times, or neither."), code="balance_times_incomplete"
            )
        elif self.balance_from is not None and self.balance_from == self.balance_until:
            wrong["balance_until"] = ValidationError(
                _("The times are equal: no move would be allowed."), code="balance_times_equal"
            )
        lowest = min(self.balance_cpu_percent or 100, self.balance_memory_percent or 100)
        if (self.balance_gain_percent or 0) >= lowest:
            wrong["balance_gain_percent"] = ValidationError(
                _("It has to be below the thresholds of CPU and memory: %(lowest)d %%."),
                code="balance_gain_invalid",
                params={"lowest": lowest},
            )
        if wrong:
            raise ValidationError(wrong)

    @property
    def max_data_disks(self) -> int:
        """How many data disks a VM of this architecture can have."""
        return 3 if self.architecture == Architecture.AARCH64 else 6

    @property
    def max_enis(self) -> int:
        """How many ENIs a VM of this architecture can have beside its own two NICs."""
        return 3 if self.architecture == Architecture.AARCH64 else 6


class Host(models.Model):
    id = models.CharField(_("ID"), primary_key=True, max_length=20, default=host_id, editable=False)
    name = models.CharField(_("name"), max_length=60, unique=True)
    cluster = models.ForeignKey(
        Cluster, models.PROTECT, verbose_name=_("cluster"), related_name="hosts"
    )
    uri = models.CharField(_("libvirt URI"), max_length=200, unique=True)
    address = models.GenericIPAddressField(_("management address"))
    offloads = models.BooleanField(
        _("virtio offloads"),
        default=True,
        help_text=_("Off where the virtual switch runs in user space."),
    )
    state = models.CharField(
        _("state"), max_length=20, choices=HostState.choices, default=HostState.AVAILABLE
    )
    # Of the last change of the state; compute.transitions.hosts alone writes the three.
    state_reason = models.CharField(
        _("reason of the state"), max_length=300, blank=True, db_default="", editable=False
    )
    state_since = models.DateTimeField(_("in this state since"), null=True, editable=False)
    # Of a host that was confirmed to be off: when all witnesses were first found silent afterwards.
    off_seen_at = models.DateTimeField(_("seen to be off"), null=True, editable=False)
    # Why it is not fenced, or why its VMs do not start elsewhere.
    failover_note = models.CharField(
        _("failover"), max_length=300, blank=True, db_default="", editable=False
    )
    # Read from libvirt by the reconciler.
    hostname = models.CharField(
        _("host name"), max_length=253, blank=True, db_default="", editable=False
    )
    vcpus = models.PositiveIntegerField(_("virtual CPUs"), default=0, editable=False)
    memory_mib = models.PositiveIntegerField(_("memory (MB)"), default=0, editable=False)
    reserved_memory_mib = models.PositiveIntegerField(
        _("reserved memory (MB)"), default=1024, help_text=_("Kept for the host itself.")
    )
    # Words that operators give it, separated by spaces; sizes may ask for them.
    tags = models.CharField(
        _("tags"),
        max_length=200,
        blank=True,
        default="",
        db_default="",
        validators=[tags_validator],
        help_text=_("Separated by spaces, such as: nvme fast-cpu. Sizes may ask for them."),
    )
    accelerated = models.BooleanField(_("hardware acceleration"), default=False, editable=False)
    version = models.CharField(_("version"), max_length=60, blank=True, editable=False)
    # Full names, separated by spaces, for the architecture of its cluster. Empty until it has said.
    machine_types = models.TextField(
        _("machine types"), blank=True, default="", db_default="", editable=False
    )
    observed_at = models.DateTimeField(_("last observed"), null=True, editable=False)
    unreachable_since = models.DateTimeField(_("unreachable since"), null=True, editable=False)
    last_error = models.CharField(_("last error"), max_length=300, blank=True, editable=False)

    class Meta:
        verbose_name = _("host")
        verbose_name_plural = _("hosts")
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name

    @property
    def is_off(self) -> bool:
        """Whether it was confirmed to be off and no witness has contradicted since.

        What it ran has stopped then; nothing less says so.
        """
        return self.state in CONFIRMED_OFF and self.off_seen_at is not None

    def clean(self) -> None:
        """Refuse addresses with which libvirt would run programs."""
        problem = uris.problem_of(self.uri)
        if problem:
            raise ValidationError({"uri": ValidationError(problem, code="uri_invalid")})


class Spec(models.Model):
    """A size that can be bought on a cluster."""

    cluster = models.ForeignKey(
        Cluster, models.CASCADE, verbose_name=_("cluster"), related_name="specs"
    )
    vcpus = models.PositiveSmallIntegerField(
        _("virtual CPUs"), validators=[MinValueValidator(1), MaxValueValidator(255)]
    )
    memory_mib = models.PositiveIntegerField(
        _("memory (MB)"), validators=[MinValueValidator(64), MaxValueValidator(4_194_304)]
    )
    enabled = models.BooleanField(_("enabled"), default=True)
    required_tags = models.CharField(
        _("required tags"),
        max_length=200,
        blank=True,
        default="",
        db_default="",
        validators=[tags_validator],
        help_text=_("Only hosts that have all of these tags take VMs of this size."),
    )

    class Meta:
        verbose_name = _("size")
        verbose_name_plural = _("sizes")
        ordering = ["vcpus", "memory_mib"]
        constraints = [
            models.UniqueConstraint(fields=["cluster", "vcpus", "memory_mib"], name="spec_once")
        ]

    def __str__(self) -> str:
        return f"{self.vcpus}C{self.memory_gib:g}G"

    @property
    def memory_gib(self) -> float:
        """Memory in GiB."""
        return self.memory_mib / 1024


CEPH = "rbd:"
"""With what the location of a Ceph pool begins: an earlier release takes locations for paths."""


class StoragePool(models.Model):
    """Where volumes and images lie, as the storage driver knows it."""

    id = models.CharField(_("ID"), primary_key=True, max_length=30, validators=[slug_validator])
    region = models.ForeignKey(
        Region, models.PROTECT, verbose_name=_("region"), related_name="pools"
    )
    kind = models.CharField(
        _("type"),
        max_length=10,
        choices=[
            ("dir", _("shared directory")),
            ("rbd", _("Ceph RBD")),
            ("fake", _("simulated")),
        ],
    )
    location = models.CharField(
        _("location"),
        max_length=200,
        help_text=_(
            "Shared directory: its path, the same on all hosts and workers. Ceph RBD: rbd: and the "
            "name of the pool in the cluster, such as rbd:vms."
        ),
    )
    # Of a Ceph pool: whom to ask, as whom, and the key of that user; empty otherwise.
    monitors = models.CharField(
        _("monitors"),
        max_length=300,
        blank=True,
        default="",
        db_default="",
        help_text=_("Ceph RBD: addresses of the monitors as host:port, with commas between them."),
    )
    user = models.CharField(
        _("user"),
        max_length=60,
        blank=True,
        default="",
        db_default="",
        help_text=_("Ceph RBD: the client without “client.”; it needs profile rbd on the pool."),
    )
    sealed_key = models.TextField(_("sealed key"), default="", db_default="", editable=False)
    # What hosts call the secret with the key.
    secret_uuid = models.UUIDField(_("UUID of the secret"), null=True, editable=False)
    snapshots = models.CharField(
        _("new snapshots"),
        max_length=10,
        choices=[("inside", _("inside the disk's file")), ("overlays", _("as overlays"))],
        default="inside",
        db_default="inside",
        help_text=_("Choose overlays only when no worker of an earlier release runs any more."),
    )
    overprovisioning = models.DecimalField(
        _("overprovisioning"),
        max_digits=4,
        decimal_places=1,
        null=True,
        blank=True,
        validators=[MinValueValidator(Decimal("0.1"))],
        help_text=_(
            "How many times its size the pool may promise to disks and images together. "
            "Leave empty for no limit."
        ),
    )
    reserve_percent = models.PositiveSmallIntegerField(
        _("reserve (%)"),
        default=5,
        db_default=5,
        validators=[MaxValueValidator(90)],
        help_text=_("Kept free for the disks that are there: below it nothing new is made."),
    )
    # Of the token in the file that says which pool a directory is; empty until it is first used.
    marker = models.CharField(
        _("digest of its marker"),
        max_length=64,
        blank=True,
        default="",
        db_default="",
        editable=False,
    )
    # An administrator has said that what lies there is this pool: it is marked anew.
    adopting = models.BooleanField(
        _("to be marked anew"), default=False, db_default=False, editable=False
    )
    state = models.CharField(
        _("state"),
        max_length=12,
        choices=PoolState.choices,
        default=PoolState.UNKNOWN,
        db_default=PoolState.UNKNOWN,
        editable=False,
    )
    state_since = models.DateTimeField(_("in this state since"), null=True, editable=False)
    total_bytes = models.BigIntegerField(_("size (bytes)"), default=0, editable=False)
    available_bytes = models.BigIntegerField(_("available (bytes)"), default=0, editable=False)
    observed_at = models.DateTimeField(_("last observed"), null=True, editable=False)
    last_error = models.CharField(_("last error"), max_length=300, blank=True, editable=False)

    class Meta:
        verbose_name = _("storage pool")
        verbose_name_plural = _("storage pools")
        ordering = ["id"]

    def __str__(self) -> str:
        return self.id


class DiskType(models.Model):
    """A kind of disk that tenants can buy: pool, medium, limits."""

    id = models.CharField(_("ID"), primary_key=True, max_length=30, validators=[slug_validator])
    region = models.ForeignKey(
        Region, models.PROTECT, verbose_name=_("region"), related_name="disk_types"
    )
    pool = models.ForeignKey(
        StoragePool, models.PROTECT, verbose_name=_("storage pool"), related_name="disk_types"
    )
    alias = models.CharField(_("alias"), max_length=60)
    medium = models.CharField(_("medium"), max_length=4, choices=Medium.choices, default=Medium.SSD)
    system_min_gib = models.PositiveIntegerField(
        _("minimum as system disk (GB)"), default=40, validators=[MinValueValidator(1)]
    )
    system_max_gib = models.PositiveIntegerField(_("maximum as system disk (GB)"), default=500)
    data_min_gib = models.PositiveIntegerField(
        _("minimum as data disk (GB)"), default=10, validators=[MinValueValidator(1)]
    )
    data_max_gib = models.PositiveIntegerField(_("maximum as data disk (GB)"), default=8000)
    iops_limit = models.PositiveIntegerField(_("IOPS"), null=True, blank=True)
    throughput_limit_mbps = models.PositiveIntegerField(_("MB/s"), null=True, blank=True)
    # What was last set on all disks of this type; a difference is made good by a chore.
    applied_iops_limit = models.PositiveIntegerField(
        _("applied IOPS limit"), null=True, editable=False
    )
    applied_throughput_limit_mbps = models.PositiveIntegerField(
        _("applied throughput limit (MB/s)"), null=True, editable=False
    )
    tenants = models.ManyToManyField(
        Tenant,
        verbose_name=_("tenants"),
        blank=True,
        related_name="+",
        help_text=_("Leave empty to make it visible to all tenants."),
    )
    enabled = models.BooleanField(_("enabled"), default=True)
    position = models.PositiveSmallIntegerField(_("position in the list"), default=0)

    class Meta:
        verbose_name = _("disk type")
        verbose_name_plural = _("disk types")
        ordering = ["position", "alias"]
        constraints = [
            models.CheckConstraint(
                condition=Q(system_max_gib__gte=F("system_min_gib"))
                & Q(data_max_gib__gte=F("data_min_gib")),
                name="disk_type_ranges",
            )
        ]

    def __str__(self) -> str:
        return self.alias

    @property
    def sku(self) -> str:
        """The name under which the price list knows a GiB of this type."""
        return f"disk_gib:{self.id}"

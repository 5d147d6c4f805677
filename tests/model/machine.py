"""The state machine: each rule is a family of verbs, and between any two of them things go wrong.

The numbers that a rule draws choose among what there is then, so a run with other rows goes on
being a run. What was done stands in ``World.journal`` in the words of the verbs.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import timedelta
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, TypeVar

from django.db.models.functions import Now
from hypothesis import reject
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from alarms.actions.binding import change_vm_template
from alarms.models import AlarmTemplate
from billing import actions as money_verbs
from billing import services
from compute.actions import base_images, disks, hosts, images, maintenance, snapshots
from compute.actions.images import ImageFacts
from compute.actions.placement import change_placement_group
from compute.actions.vms import changes, lifecycle
from compute.actions.vms.create import create_vms, quote_vms
from compute.actions.vms.migrate import migrate_vm
from compute.hypervisor.base import OperationTimeout
from compute.models import (
    VM,
    Cluster,
    Disk,
    DiskType,
    Drift,
    Image,
    PlacementGroup,
    Snapshot,
    SnapshotSchedule,
)
from compute.queries import catalogue
from compute.rules.orders import DiskOrder, VmOrder
from compute.rules.refusals import disk_refusal, image_refusal, snapshot_refusal, vm_refusal
from compute.states.maintenance import Way
from compute.storage.base import StorageUnavailable
from compute.sweeps.reconcile import MISSING_DISK
from compute.transfer import staging
from compute.verbs.vms import VM_RULES
from network.actions import operators, security, vpcs
from network.models import SecurityGroup, SecurityGroupRule, Subnet, Vpc
from network.rules.rule_values import RuleInput
from scloud.jobs import sweep
from scloud.jobs.actions import cancel_job, retry_job
from scloud.jobs.models import ACTIVE, Job
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import PlatformSettings, Tenant
from scloud.tenancy.scoping import scope, scopes_disabled
from scloud.verbs.batch import run_batch
from tests.billing.helpers import fund
from tests.compute.factories import PASSWORD, make_prices
from tests.model import outside
from tests.model.truth import broken, differences
from tests.model.world import PURSES, Trap, World, new_world

T = TypeVar("T")
NUMBERS = st.integers(0, 65_535)
# How many jobs workers take after a step: mostly none, so that there is something to go wrong.
FEW = st.sampled_from([0, 0, 0, 1, 1, 4])
# The one with money does most; one that has little sees what is refused and what expires.
TENANTS = st.sampled_from(["Acme", "Acme", *PURSES])

VM_VERBS = [
    "start_vm",
    "shut_down_vm",
    "power_off_vm",
    "restart_vm",
    "resume_vm",
    "delete_vm",
    "restore_vm",
    "destroy_vm",
    "modify_vm",
    "hot_upgrade_vm",
    "reinstall_vm",
    "make_image",
    "reset_password",
    "change_security_groups",
    "change_private_ip",
    "change_placement_group",
    "update_machine_type",
    "change_alarm_template",
    "rename_vm",
    "protect_vm",
    "migrate_vm",
    "renew_vm",
]
DISK_VERBS = [
    "create_disk",
    "create_disk",
    "clone_disk",
    "attach_disk",
    "attach_disk",
    "attach_disk",
    "detach_disk",
    "detach_disk",
    "expand_disk",
    "expand_disk",
    "delete_disk",
    "restore_disk",
    "destroy_disk",
    "check_disk",
    "repair_disk",
    "rename_disk",
    "renew_disk",
    "create_snapshot",
    "create_snapshot",
    "create_snapshot",
    "set_snapshot_schedule",
    "delete_schedule",
]
SNAPSHOT_VERBS = [
    "roll_back_snapshot",
    "delete_snapshot",
    "create_disk_from_snapshot",
    "rename_snapshot",
]
IMAGE_VERBS = [
    "import_image",
    "rename_image",
    "download_image",
    "delete_image",
    "restore_image",
    "destroy_image",
]
NETWORK_VERBS = [
    "create_security_group",
    "delete_security_group",
    "add_rule",
    "remove_rule",
    "rename_security_group",
    "create_vpc",
    "create_subnet",
    "turn_on_ipv6",
    "turn_off_ipv6",
    "delete_subnet",
    "delete_vpc",
]
OPERATOR_VERBS = [
    "lock_host",
    "unlock_host",
    "enter_maintenance",
    "abort_maintenance",
    "leave_maintenance",
    "withdraw_base_image",
    "offer_base_image",
    "cancel_job",
    "retry_job",
    "publish_price_list",
    "change_limits",
    "auto_destroy",
    "apply_network",
    "recharge",
    "auto_renew",
]
FAULTS = [
    "host_silent",
    "host_answers",
    "agent_away",
    "agent_back",
    "guest_deaf",
    "guest_hears",
    "migration_fails",
    "guest_keeps_devices",
    "pool_away",
    "pool_full",
    "pool_back",
    "pool_call_fails",
    "pool_call_is_cut_off",
    "host_call_fails",
    "network_away",
    "network_back",
    "guest_switches_itself_off",
    "guest_is_paused",
    "all_mended",
    "all_mended",
    "all_mended",
]
POOL_CALLS = [
    "create_volume",
    "clone_volume",
    "volume_from_snapshot",
    "resize_volume",
    "delete_volume",
    "create_snapshot",
    "delete_snapshot",
    "rollback_snapshot",
    "write_seed",
    "rebuild_volume",
    "image_from_volume",
    "delete_image",
    "list_snapshots",
    "volume_info",
    "disk_source",
    "delete_seed",
    "prepare_volume",
    "in_doubt",
    "check_volume",
    "repair_volume",
]
# What stops in the middle and leaves a volume of which nobody knows what it holds.
IN_PLACE = [
    "resize_volume",
    "create_snapshot",
    "delete_snapshot",
    "rollback_snapshot",
    "repair_volume",
]
HOST_CALLS = [
    "define",
    "undefine",
    "start",
    "shutdown",
    "power_off",
    "observe",
    "attach_disk",
    "detach_disk",
    "resize_disk",
    "hot_upgrade",
    "growth_headroom",
    "snapshot_disk",
    "delete_disk_snapshot",
    "migrate",
    "thaw",
    "set_password",
]
WAITS = (timedelta(minutes=20), timedelta(hours=2), timedelta(hours=30))
# What a step does, as often as it stands here.
WALK = (
    *["buy_vms"] * 2,
    *["change_vm"] * 10,
    *["change_disk"] * 7,
    *["change_snapshot"] * 3,
    *["change_image"] * 2,
    *["change_network"] * 3,
    *["change_external_ip"] * 5,
    *["change_eni"] * 4,
    *["operate"] * 3,
    *["work"] * 4,
    *["worker_fails"] * 5,
    *["break"] * 6,
    *["overdue"] * 2,
    *["hosts_are_asked"] * 3,
    "batch",
    "sweeps",
    "time_passes",
    "time_passes",
)


def possible_disk_verb(disk: Disk, verb: str) -> str | None:
    """Why a verb is not for a disk; new disks and the end of schedules have no rule."""
    if verb in ("create_disk", "delete_schedule"):
        return None
    return disk_refusal(disk, verb)


def possible_snapshot_verb(snapshot: Snapshot, verb: str) -> str | None:
    """Why a verb is not for a snapshot; a rename always is."""
    return None if verb == "rename_snapshot" else snapshot_refusal(snapshot, verb)


def possible_image_verb(image: Image, verb: str) -> str | None:
    """Why a verb is not for an image."""
    return None if verb == "import_image" else image_refusal(image, verb)


@cache
def qcow2() -> bytes:
    """Return a sound image of 1 GiB."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "sound.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(path), "1G"], check=True)
        return path.read_bytes()


def agree(found: list[str]) -> None:
    """Raise AssertionError with the differences, if there are any."""
    if found:
        raise AssertionError("\n".join(found))


def pick(rows: Sequence[T], number: int) -> T | None:
    """Return the row of that number, round and round; None where there are none."""
    return rows[number % len(rows)] if rows else None


class CloudMachine(RuleBasedStateMachine):
    """Tenants, operators, workers, sweeps and time, all at once."""

    #: The world of the present run; the last one's journal is kept for the report.
    last: ClassVar[World | None] = None
    steps_done: ClassVar[int] = 0
    begun: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.world = self.stack.enter_context(new_world())
        type(self).last = self.world
        self.failed = False

    @initialize(number=NUMBERS)
    def begin(self, number: int) -> None:
        """Pass over the simplest walk, with which Hypothesis begins: one verb again and again."""
        type(self).begun += 1
        if self.begun == 1:
            self.failed = True
            reject()

    def teardown(self) -> None:
        """Come to rest and compare, unless a step has failed already."""
        type(self).last = self.world
        try:
            if not self.failed:
                self.come_to_rest()
        finally:
            self.stack.close()

    # -- helpers -------------------------------------------------------------------------------

    @rule(family=st.sampled_from(WALK), tenant=TENANTS, number=NUMBERS, work=FEW)
    def step(self, family: str, tenant: str, number: int, work: int) -> None:
        """Do something, let workers take some jobs, look at what must always hold."""
        self.failed = True
        type(self).steps_done += 1
        told = len(self.world.journal)
        getattr(self, f"_{family}")(tenant, number)
        self.world.work_on(work)
        if len(self.world.journal) > told:
            agree(broken(self.world))
        self.failed = False

    def come_to_rest(self) -> None:
        """Settle and compare everything."""
        world = self.world
        world.say("all faults end; workers and sweeps do what is left")
        world.settle()
        with scopes_disabled():
            reported = Drift.objects.filter(kind=MISSING_DISK, repaired_at=None)
            disks_missing = Disk.objects.filter(pk__in=reported.values("resource_id"))
            vms = list(VM.objects.filter(disks__in=disks_missing).distinct())
        # Attached while the host was silent: the report promises that the next start attaches it.
        for vm in vms:
            operator = Actor.system(vm.tenant)
            for verb in (lifecycle.power_off_vm, lifecycle.start_vm):
                with scopes_disabled():
                    vm.refresh_from_db()
                world.attempt(
                    f"operator: {verb.__name__} {vm.name}",
                    partial(verb, actor=operator, vm=vm),
                )
                world.settle()
        agree(differences(world))

    def actor(self, tenant: str) -> Actor:
        """The owner of a tenant."""
        return self.world.actors[tenant]

    def owner(self, tenant: str) -> Tenant:
        """The tenant of that name."""
        found = self.actor(tenant).tenant
        assert found is not None
        return found

    def rows(self, model: Any, tenant: str, **conditions: object) -> list[Any]:
        """Rows of a tenant that are not gone, the oldest first."""
        with scopes_disabled():
            rows = model._default_manager.filter(tenant=self.owner(tenant), **conditions)
            if any(field.name == "status" for field in model._meta.get_fields()):
                rows = rows.exclude(status="destroyed")
            related = {Disk: ["vm", "disk_type"], Snapshot: ["disk", "disk__vm"]}.get(model, [])
            return list(rows.select_related(*related).order_by("created_at", "pk"))

    def choose(
        self,
        rows: list[Any],
        verbs: Sequence[str],
        refusal: Callable[[Any, str], str | None],
        number: int,
    ) -> tuple[str, Any, int]:
        """Choose a verb and a row that allows it; now and then one that does not.

        Where no row allows the verb of that number the next one has its turn. Returns the rest of
        the number too, for what else is to be chosen.
        """
        at, number = number % len(verbs), number // len(verbs)
        for verb in (*verbs[at:], *verbs[:at]):
            with scopes_disabled():
                fit = [row for row in rows if refusal(row, verb) is None]
            row = pick(rows if number % 9 == 8 else fit, number // 9)
            if row is not None:
                return verb, row, number
        return verbs[at], None, number

    def invoke(self, tenant: str, words: str, verb: Callable[[], object]) -> None:
        """Invoke a verb in the tenant's scope."""
        with scope(tenant=self.owner(tenant)):
            self.world.attempt(f"{tenant}: {words}", verb)

    # -- buying --------------------------------------------------------------------------------

    def _buy_vms(self, tenant: str, number: int) -> None:
        world, platform = self.world, self.world.platform
        subnet = pick(self.rows(Subnet, tenant), number)
        if subnet is None:
            return
        count = 2 if number % 5 == 4 else 1
        pool = platform.pool
        with scopes_disabled():
            offered = catalogue.images(self.owner(tenant), world.region)
            image = pick(
                list(offered.filter(pool=pool, status="available").order_by("created_at", "pk")),
                number,
            )
        if image is None:
            return
        method = "hour" if number % 3 else "month"
        data = number % 4 == 3
        order = VmOrder(
            region=world.region,
            cluster=platform.cluster,
            image=image,
            spec=platform.specs[number % 3],
            system_disk_type=platform.disk_type,
            system_disk_gib=40,
            subnet=subnet,
            internal_group=pick([*self.rows(SecurityGroup, tenant), None], number),
            data_disk_type=world.disk_types[number % 2] if data else None,
            data_disk_gib=10 if data else 0,
            password=PASSWORD,
            method=method,
            count=count,
            name=world.name("vm"),
            external_segment=outside.segment(self, number) if number % 7 == 3 else None,
            external_bandwidth_mbps=5 if number % 7 == 3 else 0,
            auto_renew=method == "month" or number % 6 == 1,
        )
        self.invoke(
            tenant,
            f"create_vm {order.name} {order.spec} x{count} by the {method}"
            f"{' with a data disk' if data else ''}",
            lambda: create_vms(
                actor=self.actor(tenant),
                order=order,
                quote_token=quote_vms(actor=self.actor(tenant), order=order).token,
            ),
        )

    # -- VMs -----------------------------------------------------------------------------------

    def _change_vm(self, tenant: str, number: int) -> None:
        verb, vm, number = self.choose(self.rows(VM, tenant), VM_VERBS, vm_refusal, number)
        if vm is None:
            self._buy_vms(tenant, number)
            return
        words, act = self._vm_verb(tenant, verb, vm, number)
        self.invoke(tenant, f"{verb} {vm.name}{words}", act)

    def _vm_verb(
        self, tenant: str, verb: str, vm: VM, number: int
    ) -> tuple[str, Callable[[], object]]:
        actor, world = self.actor(tenant), self.world
        if verb == "renew_vm":
            return "", lambda: self.renew(tenant, vm.pk)
        if verb in ("modify_vm", "hot_upgrade_vm"):
            spec = world.platform.specs[number % 4]
            size = changes.modify_vm if verb == "modify_vm" else changes.hot_upgrade_vm
            return f" to {spec}", lambda: size(
                actor=actor,
                vm=vm,
                spec=spec,
                quote_token=changes.quote_size(actor=actor, vm=vm, spec=spec, verb=verb).token,
            )
        if verb == "reinstall_vm":
            with scopes_disabled():
                offered = catalogue.images(self.owner(tenant), world.region)
                image = pick(list(offered.order_by("created_at", "pk")), number)
            if image is None:
                return " from nothing", lambda: None
            return f" from {image.name}", lambda: changes.reinstall_vm(
                actor=actor, vm=vm, image=image, password=PASSWORD if number % 2 else None
            )
        if verb == "change_security_groups":
            group = pick([*self.rows(SecurityGroup, tenant), None], number)
            return f" to {group and group.name}", lambda: changes.change_security_groups(
                actor=actor, vm=vm, internal=group, external=None
            )
        if verb == "change_private_ip":
            where = pick([*self.rows(Subnet, tenant), None], number)
            return f" in {where and where.name}", lambda: changes.change_private_ip(
                actor=actor, vm=vm, subnet=where
            )
        if verb == "change_placement_group":
            placed = pick([*self.rows(PlacementGroup, tenant), None], number)
            return f" to {placed and placed.name}", lambda: change_placement_group(
                actor=actor, vm=vm, group=placed
            )
        if verb == "update_machine_type":
            return "", lambda: changes.update_machine_type(actor=actor, vm=vm)
        if verb == "change_alarm_template":
            template = pick([*self.rows(AlarmTemplate, tenant), None], number)
            return f" to {template and template.name}", lambda: change_vm_template(
                actor=actor, vm=vm, template=template
            )
        if verb == "migrate_vm":
            operator = Actor.administrator(world.administrator, self.owner(tenant))
            return " by the operator", lambda: migrate_vm(actor=operator, vm=vm)
        if verb == "delete_vm":
            along = number % 3 == 0
            return " with its disks" if along else "", lambda: lifecycle.delete_vm(
                actor=actor, vm=vm, delete_disks=along
            )
        if verb == "protect_vm":
            on = number % 4 == 0
            return " on" if on else " off", lambda: lifecycle.protect_vm(
                actor=actor, vm=vm, protected=on
            )
        if verb == "make_image":
            name = world.name("image")
            return f" {name}", lambda: changes.make_image(actor=actor, vm=vm, name=name)
        if verb == "rename_vm":
            name = world.name("vm")
            return f" {name}", lambda: lifecycle.rename_vm(actor=actor, vm=vm, name=name)
        if verb == "reset_password":
            return "", lambda: changes.reset_password(actor=actor, vm=vm, password=PASSWORD)
        plain: dict[str, Callable[..., object]] = {
            "start_vm": lifecycle.start_vm,
            "shut_down_vm": lifecycle.shut_down_vm,
            "power_off_vm": lifecycle.power_off_vm,
            "restart_vm": lifecycle.restart_vm,
            "resume_vm": lifecycle.resume_vm,
            "restore_vm": lifecycle.restore_vm,
            "destroy_vm": lifecycle.destroy_vm,
        }
        return "", lambda: plain[verb](actor=actor, vm=vm)

    def renew(self, tenant: str, pk: str) -> None:
        """Renew what has that id, for one period."""
        quote = services.quote_renewal(tenant=self.owner(tenant), resource_id=pk, periods=1)
        money_verbs.renew_resource(
            actor=self.actor(tenant), resource_id=pk, periods=1, quote_token=quote.token
        )

    def _batch(self, tenant: str, number: int) -> None:
        """A verb on several VMs at once."""
        verbs = sorted(rule.name for rule in VM_RULES.values() if rule.batch is not None)
        verb, number = verbs[number % len(verbs)], number // len(verbs)
        vms = self.rows(VM, tenant)
        chosen = [vm for index, vm in enumerate(vms) if (number >> (index % 10)) & 1]
        if not chosen:
            return
        # What a batch of it needs; none has no template of its own.
        options = {"template": None} if verb == "change_alarm_template" else {}
        with scope(tenant=self.owner(tenant)):
            done = run_batch("vm", actor=self.actor(tenant), verb=verb, rows=chosen, **options)
        told = [f"{one.row.name}{f' ({one.error.code})' if one.error else ''}" for one in done]
        self.world.say(f"{tenant}: batch {verb}: {', '.join(told)}")

    # -- disks and snapshots -------------------------------------------------------------------

    def _change_disk(self, tenant: str, number: int) -> None:
        actor = self.actor(tenant)
        verb, disk, number = self.choose(
            self.rows(Disk, tenant), DISK_VERBS, possible_disk_verb, number
        )
        if disk is None or verb == "create_disk":
            order = self._disk_order(self.world.disk_types[number % 2], 10, number)
            self.invoke(
                tenant,
                f"create_disk {order.name} of {order.disk_type.pk} by the {order.method}",
                lambda: disks.create_disk(
                    actor=actor,
                    order=order,
                    quote_token=disks.quote_disk(actor=actor, order=order).token,
                ),
            )
            return
        words, act = self._disk_verb(tenant, verb, disk, number)
        self.invoke(tenant, f"{verb} {disk.name}{words}", act)

    def _disk_order(self, disk_type: DiskType, size_gib: int, number: int) -> DiskOrder:
        method = "hour" if number % 3 else "month"
        return DiskOrder(
            region=self.world.region,
            disk_type=disk_type,
            size_gib=size_gib,
            name=self.world.name("disk"),
            method=method,
            auto_renew=method == "month" or number % 6 == 1,
        )

    def _disk_verb(
        self, tenant: str, verb: str, disk: Disk, number: int
    ) -> tuple[str, Callable[[], object]]:
        actor = self.actor(tenant)
        if verb == "renew_disk":
            return "", lambda: self.renew(tenant, disk.pk)
        if verb == "clone_disk":
            order = self._disk_order(disk.disk_type, disk.size_gib, number)
            return f" as {order.name}", lambda: disks.clone_disk(
                actor=actor,
                disk=disk,
                order=order,
                quote_token=disks.quote_disk(actor=actor, order=order, source=disk).token,
            )
        if verb == "attach_disk":
            _verb, vm, _rest = self.choose(self.rows(VM, tenant), [verb], vm_refusal, number // 3)
            if vm is None:
                return " to nothing", lambda: None
            return f" to {vm.name}", lambda: disks.attach_disk(actor=actor, vm=vm, disk=disk)
        if verb == "expand_disk":
            size = disk.size_gib + 10
            return f" to {size} GB", lambda: disks.expand_disk(
                actor=actor,
                disk=disk,
                size_gib=size,
                quote_token=disks.quote_expansion(actor=actor, disk=disk, size_gib=size).token,
            )
        if verb == "create_snapshot":
            name = self.world.name("snapshot")
            return f" {name}", lambda: snapshots.create_snapshot(actor=actor, disk=disk, name=name)
        if verb == "rename_disk":
            name = self.world.name("disk")
            return f" {name}", lambda: disks.rename_disk(actor=actor, disk=disk, name=name)
        if verb == "set_snapshot_schedule":
            return "", lambda: snapshots.set_snapshot_schedule(
                actor=actor,
                disk=disk,
                hours=range(0, 24, 1 + number % 5),
                weekdays=range(7),
                keep_count=1 + number % 3,
                keep_days=1 if number % 2 else None,
            )
        if verb == "delete_schedule":
            found = pick(self.rows(SnapshotSchedule, tenant), number)
            if found is None:
                return " (there is none)", lambda: None
            return f" of {found.name}", lambda: snapshots.delete_snapshot_schedule(
                actor=actor, schedule=found
            )
        if verb == "detach_disk":
            force = number % 2 == 0
            return " by force" if force else "", lambda: disks.detach_disk(
                actor=actor, disk=disk, force=force
            )
        plain: dict[str, Callable[..., object]] = {
            "check_disk": disks.check_disk,
            "repair_disk": partial(disks.repair_disk, accept_loss=number % 2 == 0),
            "delete_disk": disks.delete_disk,
            "restore_disk": disks.restore_disk,
            "destroy_disk": disks.destroy_disk,
        }
        return "", lambda: plain[verb](actor=actor, disk=disk)

    def _change_snapshot(self, tenant: str, number: int) -> None:
        actor = self.actor(tenant)
        verb, snapshot, number = self.choose(
            self.rows(Snapshot, tenant), SNAPSHOT_VERBS, possible_snapshot_verb, number
        )
        if snapshot is None:
            self._change_disk(tenant, DISK_VERBS.index("create_snapshot"))
            return
        with scopes_disabled():
            disk = Disk.objects.select_related("disk_type").get(pk=snapshot.disk_id)
        if verb == "create_disk_from_snapshot":
            order = self._disk_order(disk.disk_type, disk.size_gib, number)
            self.invoke(
                tenant,
                f"{verb} {snapshot.name} as {order.name}",
                lambda: disks.create_disk_from_snapshot(
                    actor=actor,
                    snapshot=snapshot,
                    order=order,
                    quote_token=disks.quote_disk(actor=actor, order=order, source=snapshot).token,
                ),
            )
            return
        act: Callable[[], object]
        if verb == "rename_snapshot":
            name = self.world.name("snapshot")
            act = partial(snapshots.rename_snapshot, actor=actor, snapshot=snapshot, name=name)
        elif verb == "roll_back_snapshot":
            act = partial(snapshots.roll_back_snapshot, actor=actor, snapshot=snapshot)
        else:
            act = partial(snapshots.delete_snapshot, actor=actor, snapshot=snapshot)
        self.invoke(tenant, f"{verb} {snapshot.name} of {disk.name}", act)

    # -- images --------------------------------------------------------------------------------

    def _change_image(self, tenant: str, number: int) -> None:
        actor, world = self.actor(tenant), self.world
        verb, image, number = self.choose(
            self.rows(Image, tenant), IMAGE_VERBS, possible_image_verb, number
        )
        if image is None or verb == "import_image":
            facts = ImageFacts(
                region=world.region, pool=world.pools[number % 2], name=world.name("image")
            )
            content = b"not an image" * 100 if number % 5 == 4 else qcow2()
            self.invoke(
                tenant,
                f"import_image {facts.name}{' of a damaged file' if number % 5 == 4 else ''}",
                lambda: images.import_image_file(
                    actor=actor, facts=facts, path=staging.stage([content]).path
                ),
            )
            return
        if verb == "rename_image":
            name = world.name("image")
            self.invoke(
                tenant,
                f"rename_image {image.name} {name}",
                lambda: images.rename_image(actor=actor, image=image, name=name),
            )
            return
        plain: dict[str, Callable[..., object]] = {
            "download_image": images.download_image,
            "delete_image": images.delete_image,
            "restore_image": images.restore_image,
            "destroy_image": images.destroy_image,
        }
        self.invoke(tenant, f"{verb} {image.name}", lambda: plain[verb](actor=actor, image=image))

    # -- the network ---------------------------------------------------------------------------

    def _change_network(self, tenant: str, number: int) -> None:
        verb, number = NETWORK_VERBS[number % len(NETWORK_VERBS)], number // len(NETWORK_VERBS)
        actor, region = self.actor(tenant), self.world.region
        group = pick(self.rows(SecurityGroup, tenant), number)
        vpc = pick(self.rows(Vpc, tenant), number)
        subnet = pick(self.rows(Subnet, tenant), number)
        name = self.world.name("net")
        if verb == "create_security_group":
            self.invoke(
                tenant,
                f"{verb} {name}",
                lambda: security.create_security_group(actor=actor, region=region, name=name),
            )
        elif verb == "create_vpc":
            self.invoke(
                tenant,
                f"{verb} {name}",
                lambda: vpcs.create_vpc(
                    actor=actor, region=region, name=name, cidr=f"10.{number % 200 + 1}.0.0/16"
                ),
            )
        elif verb == "create_subnet" and vpc is not None:
            # Small, so that its addresses are soon used again.
            base = vpc.cidr.rsplit(".", 2)[0]
            self.invoke(
                tenant,
                f"{verb} {name} in {vpc.name}",
                lambda: vpcs.create_subnet(
                    actor=actor,
                    vpc=vpc,
                    name=name,
                    cidr=f"{base}.{number % 200 + 1}.0/29",
                    ipv6=number % 2 == 0,
                ),
            )
        elif verb in ("delete_subnet", "turn_on_ipv6", "turn_off_ipv6") and subnet is not None:
            change = getattr(vpcs, verb)
            self.invoke(tenant, f"{verb} {subnet.name}", lambda: change(actor=actor, subnet=subnet))
        elif verb == "delete_vpc" and vpc is not None:
            self.invoke(tenant, f"{verb} {vpc.name}", lambda: vpcs.delete_vpc(actor=actor, vpc=vpc))
        elif group is not None:
            self._change_group(tenant, verb, group, number, name)

    def _change_group(
        self, tenant: str, verb: str, group: SecurityGroup, number: int, name: str
    ) -> None:
        actor = self.actor(tenant)
        if verb == "delete_security_group":
            act: Callable[[], object] = partial(
                security.delete_security_group, actor=actor, group=group
            )
        elif verb == "rename_security_group":
            act = partial(security.rename_security_group, actor=actor, group=group, name=name)
        elif verb == "add_rule":
            wanted = RuleInput(
                direction="in", protocol="tcp", cidr="10.0.0.0/8", ports=str(8000 + number)
            )
            act = partial(security.add_rule, actor=actor, group=group, rule=wanted)
        elif verb == "remove_rule":
            with scopes_disabled():
                found = pick(list(SecurityGroupRule.objects.filter(group=group)), number)
            if found is None:
                return
            act = partial(security.remove_rule, actor=actor, rule=found)
        else:
            return
        self.invoke(tenant, f"{verb} {group.name}", act)

    def _change_external_ip(self, tenant: str, number: int) -> None:
        outside.change_external_ip(self, tenant, number)

    def _change_eni(self, tenant: str, number: int) -> None:
        outside.change_eni(self, tenant, number)

    # -- operators -----------------------------------------------------------------------------

    def _operate(self, tenant: str, number: int) -> None:
        verb, number = OPERATOR_VERBS[number % len(OPERATOR_VERBS)], number // len(OPERATOR_VERBS)
        world = self.world
        operator = Actor.administrator(world.administrator, None)
        host = world.hosts[number % 2]
        host.refresh_from_db()
        image = world.platform.image
        image.refresh_from_db()
        if verb in ("cancel_job", "retry_job"):
            with scopes_disabled():
                wanted = ACTIVE if verb == "cancel_job" else ("failed", "cancelled")
                found = Job.objects.select_related("tenant").filter(status__in=wanted)
                job = pick(list(found.order_by("created_at", "id")), number)
            if job is None:
                return
            act = cancel_job if verb == "cancel_job" else retry_job
            as_whom = Actor.administrator(world.administrator, job.tenant)
            world.attempt(f"operator: {verb} {job.title}", lambda: act(actor=as_whom, job=job))
        elif verb in ("lock_host", "unlock_host"):
            swap = hosts.lock_host if verb == "lock_host" else hosts.unlock_host
            world.attempt(f"operator: {verb} {host.name}", lambda: swap(actor=operator, host=host))
        elif verb == "enter_maintenance":
            way = Way.values[number % len(Way.values)]
            world.attempt(
                f"operator: {verb} {host.name} {way}",
                lambda: maintenance.enter_maintenance(actor=operator, host=host, way=way),
            )
        elif verb in ("abort_maintenance", "leave_maintenance"):
            abort = verb == "abort_maintenance"
            end = maintenance.abort_maintenance if abort else maintenance.leave_maintenance
            world.attempt(f"operator: {verb} {host.name}", lambda: end(actor=operator, host=host))
        elif verb in ("withdraw_base_image", "offer_base_image"):
            offer = base_images.withdraw if verb == "withdraw_base_image" else base_images.offer
            world.attempt(f"operator: {verb}", lambda: offer(actor=operator, image=image))
        elif verb == "publish_price_list":
            world.say(f"operator: {verb}")
            make_prices(world.region, factor=str(1 + number % 3))
        elif verb == "change_limits":
            world.say(f"operator: {verb}")
            DiskType.objects.filter(pk="ssd").update(iops_limit=100 + number)
            Cluster.objects.update(cpu_shares_per_vcpu=512 + number)
        elif verb == "auto_destroy":
            world.say(f"operator: {verb} {'off' if number % 4 == 3 else 'on'}")
            PlatformSettings.objects.update(auto_destroy=number % 4 != 3)
        elif verb == "apply_network":
            world.attempt(
                f"operator: {verb}",
                lambda: operators.reconcile_region(actor=operator, region=world.region),
            )
        elif verb == "recharge":
            world.say(f"{tenant}: recharge")
            fund(self.owner(tenant), cash="20")
        else:
            paid = [*self.rows(VM, tenant), *self.rows(Disk, tenant, is_system=False)]
            row = pick(paid, number)
            if row is not None:
                on = number % 2 == 0
                self.invoke(
                    tenant,
                    f"set_auto_renew {row.name} {on}",
                    lambda: money_verbs.set_auto_renew(
                        actor=self.actor(tenant), resource_id=row.pk, auto_renew=on
                    ),
                )

    # -- what goes wrong, and what passes ------------------------------------------------------

    def _work(self, tenant: str, number: int) -> None:
        self.world.work_on(1 + number % 8)

    def _worker_fails(self, tenant: str, number: int) -> None:
        """A worker dies at some point of a job, or loses it to another."""
        job = pick(self.world.active(), number // 32)
        if job is None:
            verb = (self._change_vm, self._change_disk, self._change_snapshot)[number % 3]
            verb(tenant, number // 3)
            job = pick(self.world.active(), 0)
        if job is None:
            return
        dies = number % 3 != 0
        trap = Trap(1 + number % 11, dies)
        became = self.world.work(job, trap)
        if not dies and trap.sprung:
            became = f"its lease was lost ({trap.sprung}): {became}"
        self.world.say(f"  worker: {job.kind} on {self.world.label(job)}: {became}")

    def _break(self, tenant: str, number: int) -> None:
        """A fault begins or ends."""
        world = self.world
        fault = FAULTS[number % len(FAULTS)]
        number //= len(FAULTS)
        host, pool = world.host(number), world.pool(number)
        where = host.ref.name
        if fault == "all_mended":
            world.mend()
            where = "the region"
        elif fault == "host_silent":
            host.faults.unreachable = True
        elif fault == "host_answers":
            host.faults.unreachable = False
        elif fault in ("agent_away", "agent_back"):
            host.faults.agent_missing = fault == "agent_away"
        elif fault in ("guest_deaf", "guest_hears"):
            host.faults.ignores_acpi = fault == "guest_deaf"
        elif fault == "migration_fails":
            host.faults.migration_fails = number % 3 != 0
        elif fault == "guest_keeps_devices":
            host.faults.keeps_devices = number % 3 != 0
        elif fault == "host_call_fails":
            call = HOST_CALLS[number % len(HOST_CALLS)]
            host.faults.fail_next[call] = OperationTimeout("It took too long.")
            where += f" ({call})"
        elif fault in ("pool_away", "pool_full", "pool_back"):
            pool.faults.unavailable = fault == "pool_away"
            pool.faults.full = fault == "pool_full"
            where = pool.location
        elif fault == "pool_call_fails":
            call = POOL_CALLS[number % len(POOL_CALLS)]
            pool.faults.fail_next[call] = StorageUnavailable("The storage is not there.")
            where = f"{pool.location} ({call})"
        elif fault == "pool_call_is_cut_off":
            call = IN_PLACE[number % len(IN_PLACE)]
            pool.faults.cut_off.add(call)
            where = f"{pool.location} ({call})"
        elif fault == "network_away":
            world.lose_network()
            where = "the region"
        elif fault == "network_back":
            world.fabric.failure = None
            where = "the region"
        else:
            with scopes_disabled():
                vm = pick(list(VM.objects.order_by("created_at", "pk")), number)
            stop = world.pause if fault == "guest_is_paused" else world.switch_off
            if vm is None or not stop(vm):
                return
            where = vm.name
        world.say(f"fault: {fault} at {where}")

    def _overdue(self, tenant: str, number: int) -> None:
        """The sweep gives up a job that is past its deadline."""
        job = pick(self.world.active(), number)
        if job is None:
            self._change_disk(tenant, number)
            job = pick(self.world.active(), 0)
        if job is None:
            return
        self.world.say(f"sweep: {job.title} is past its deadline")
        with scopes_disabled():
            past = Now() - timedelta(seconds=1)
            Job.objects.filter(pk=job.pk).update(deadline=past)
        sweep.end_overdue()

    def _time_passes(self, tenant: str, number: int) -> None:
        wait = WAITS[number % len(WAITS)]
        self.world.say(f"{wait} pass")
        self.world.clock.move(wait)
        self.world.sweep_all()

    def _sweeps(self, tenant: str, number: int) -> None:
        self.world.say("the sweeps have their turn")
        self.world.sweep_all()

    def _hosts_are_asked(self, tenant: str, number: int) -> None:
        """Hosts are asked; what they said is heard later, when much has changed."""
        if number % 2 and self.world.late:
            self.world.say("an old observation lands")
            self.world.hear(self.world.late.pop(number // 2 % len(self.world.late)))
        else:
            self.world.say("hosts are asked")
            self.world.late = [*self.world.late[-3:], self.world.ask()]

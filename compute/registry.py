"""What compute makes known to the layers below: kinds, job handlers, chores, billing hooks."""

from typing import Any

from django.db.models import Q, QuerySet
from django.utils.translation import gettext_lazy as _
from django_scopes import get_scope

from billing import hooks
from compute.actions import disks as disk_verbs
from compute.actions import images as image_verbs
from compute.actions.vms import lifecycle as verbs
from compute.models import FenceDevice, GuestLogin, GuestLook, Host, StoragePool, VncLease
from compute.queries import catalogue
from compute.queries import verbs as verb_queries
from compute.queries import vms as vm_queries
from compute.rules import storage
from compute.rules.refusals import (
    disk_refusal,
    image_refusal,
    own_image_refusal,
    placement_group_refusal,
    snapshot_refusal,
    vm_refusal,
)
from compute.sweeps import balance as balance_sweeps
from compute.sweeps import bin as bin_sweeps
from compute.sweeps import disks as disk_sweeps
from compute.sweeps import (
    drift,
    failover,
    guest_networks,
    guests,
    maintenance,
    pools,
    reconcile,
    schedules,
    subscriptions,
    witnesses,
)
from compute.sweeps import hosts as host_sweeps
from compute.sweeps import images as image_sweeps
from compute.sweeps import limits as limit_sweeps
from compute.sweeps import looks as look_sweeps
from compute.sweeps import overlays as overlay_sweeps
from compute.sweeps import snapshots as snapshot_sweeps
from compute.sweeps import vms as vm_sweeps
from compute.tasks import (
    checks,
    disks,
    external_target,
    fencing,
    host_tests,
    images,
    limits,
    looks,
    overlays,
    snapshots,
)
from compute.tasks import pools as pool_tasks
from compute.tasks.vms import changes, lifecycle, migrate, vacate
from compute.verbs import placement as placement_verbs
from compute.verbs.ssh_keys import SSH_KEYS
from compute.views import shell as console
from compute.vnc import leases, tickets
from network.rules import usage
from scloud.jobs import periodic
from scloud.jobs.periodic import Lane
from scloud.lib import destinations
from scloud.recovery import freezing
from scloud.resources import kinds
from scloud.tenancy import sealed
from scloud.verbs import actions, refusals


def _living(rows: QuerySet[Any]) -> QuerySet[Any]:
    return rows.filter(~Q(status="destroyed"))


def _own_images(rows: QuerySet[Any]) -> QuerySet[Any]:
    """Images are not scoped by their manager, because base images serve all tenants."""
    opened = get_scope()
    if opened.get("_enabled", True):
        tenant = opened.get("tenant")
        if tenant is None:
            return rows.none()
        rows = rows.filter(tenant=tenant)
    return _living(rows)


def register_all() -> None:
    """Called once when Django is ready."""
    for tasks in (
        lifecycle,
        changes,
        migrate,
        vacate,
        disks,
        checks,
        snapshots,
        overlays,
        images,
        limits,
        looks,
        fencing,
        host_tests,
        pool_tasks,
    ):
        tasks.register_all()
    actions.load("compute.actions")
    assert verb_queries
    assert placement_verbs
    refusals.register("vm", vm_refusal)
    refusals.register("disk", disk_refusal)
    refusals.register("snapshot", snapshot_refusal)
    refusals.register("image", own_image_refusal, platform=image_refusal)
    refusals.register("placement_group", placement_group_refusal)
    refusals.register(SSH_KEYS.kind, lambda row, verb: "")
    console.register()
    sealed.register(GuestLogin, "sealed_hash", "sealed_pending")
    sealed.register(VncLease, "password_box")
    sealed.register(GuestLook, "sealed_content")
    sealed.register(FenceDevice, "sealed_password")
    sealed.register(StoragePool, "sealed_key")
    kinds.register(
        kinds.Kind(
            kind="vm",
            model="compute.VM",
            label=_("VM"),
            label_plural=_("VMs"),
            icon="server",
            url_name="vm-detail",
            live=_living,
            bin=kinds.BinVerbs(restore=verbs.restore_vm, destroy=verbs.destroy_vm, order=10),
            view_permission="compute.view_vm",
        )
    )
    kinds.register(
        kinds.Kind(
            kind="disk",
            model="compute.Disk",
            label=_("Disk"),
            label_plural=_("Disks"),
            icon="database",
            url_name="disk-detail",
            live=_living,
            bin=kinds.BinVerbs(
                restore=disk_verbs.restore_disk, destroy=disk_verbs.destroy_disk, order=20
            ),
            view_permission="compute.view_disk",
        )
    )
    kinds.register(
        kinds.Kind(
            kind="snapshot",
            model="compute.Snapshot",
            label=_("Snapshot"),
            label_plural=_("Snapshots"),
            icon="camera",
            url_name="snapshot-detail",
            live=_living,
            view_permission="compute.view_snapshot",
        )
    )
    kinds.register(
        kinds.Kind(
            kind="image",
            model="compute.Image",
            label=_("Image"),
            label_plural=_("Images"),
            icon="photo",
            url_name="image-detail",
            live=_own_images,
            bin=kinds.BinVerbs(
                restore=image_verbs.restore_image, destroy=image_verbs.destroy_image, order=40
            ),
            view_permission="compute.view_image",
        )
    )
    kinds.register(
        kinds.Kind(
            kind="placement_group",
            model="compute.PlacementGroup",
            label=_("Placement group"),
            label_plural=_("Placement groups"),
            icon="layout-grid",
            url_name="placement-group-detail",
            view_permission="compute.view_placement_group",
        )
    )
    destinations.register_platform_addresses(lambda: Host.objects.values_list("address", flat=True))
    storage.register()
    external_target.register()
    usage.register("VMs", vm_queries.vms_naming)
    hooks.register(
        "disk",
        hooks.SubscriptionHooks(
            expired=disk_sweeps.disk_expired,
            renewed=disk_sweeps.disk_renewed,
            overdue=disk_sweeps.disk_overdue,
            unbinds=True,
        ),
    )
    hooks.register(
        "vm",
        hooks.SubscriptionHooks(
            expired=vm_sweeps.vm_expired, renewed=vm_sweeps.vm_renewed, overdue=vm_sweeps.vm_overdue
        ),
    )
    hooks.register_item(hooks.Item("vcpu", _("vCPU"), 10))
    hooks.register_item(hooks.Item("memory_gib", _("Memory, GB"), 20))
    hooks.register_item(
        hooks.Item("gpu", _("GPU %(variant)s"), 30, catalogue.gpu_names, catalogue.every_gpu_name)
    )
    hooks.register_item(
        hooks.Item(
            "disk_gib",
            _("Disk %(variant)s, GB"),
            40,
            catalogue.disk_names,
            catalogue.every_disk_name,
        )
    )
    freezing.expect_report("hosts")
    freezing.expect_report("pools")
    freezing.on_release(bin_sweeps.give_the_bin_time)
    periodic.register("compute.hosts", 5, reconcile.reconcile_hosts, Lane.HOSTS)
    periodic.register("compute.chassis", 5, witnesses.ask_chassis, Lane.WITNESSES)
    periodic.register("compute.heartbeats", 10, witnesses.look_at_heartbeats, Lane.WITNESSES)
    periodic.register("compute.failover", 5, failover.look_after_failures, Lane.FAILOVER)
    periodic.register("compute.maintenance", 5, maintenance.look_after_maintenance, Lane.FAILOVER)
    periodic.register("compute.forget_maintenance", 3600, maintenance.forget_old)
    periodic.register("compute.forget_balance", 3600, balance_sweeps.forget_old)
    periodic.register("compute.pools", 60, pools.reconcile_pools, Lane.POOLS)
    periodic.register("compute.forget", 3600, drift.forget_repaired)
    periodic.register("compute.forget_hosts", 3600, witnesses.forget_old)
    periodic.register("compute.stuck", 5, vm_sweeps.land_stuck, Lane.DEADLINES)
    periodic.register("compute.paused", 10, vm_sweeps.resume_paused, Lane.POOLS)
    periodic.register("compute.bin", 30, vm_sweeps.empty_bin)
    periodic.register("compute.disk_bin", 30, disk_sweeps.empty_disk_bin)
    periodic.register("compute.image_bin", 30, image_sweeps.empty_image_bin)
    periodic.register("compute.gpus", 30, host_sweeps.reconcile_gpus, Lane.DEVICES)
    periodic.register("compute.guests", 20, guests.ask_guests, Lane.GUESTS)
    periodic.register("compute.guest_networks", 5, guest_networks.configure_guests, Lane.GUESTS)
    periodic.register("compute.limits", 10, limit_sweeps.apply_changed_limits)
    periodic.register(
        "compute.snapshot_leftovers", 120, snapshot_sweeps.sweep_leftovers, Lane.DEVICES
    )
    periodic.register("compute.overlays", 60, overlay_sweeps.tidy_volumes, Lane.POOLS)
    periodic.register("compute.staging", 600, image_sweeps.sweep_staging, Lane.POOLS)
    periodic.register("compute.stuck_disks", 10, disk_sweeps.land_stuck_disks, Lane.DEADLINES)
    periodic.register("compute.stuck_images", 60, image_sweeps.land_stuck_images, Lane.DEADLINES)
    periodic.register("compute.check_damaged", 15, disk_sweeps.check_damaged)
    periodic.register("compute.unbind_expired", 20, disk_sweeps.unbind_expired)
    periodic.register("compute.overdue", 30, subscriptions.catch_up_overdue)
    periodic.register("compute.expired", 30, subscriptions.catch_up_expired)
    periodic.register("compute.looks", 60, look_sweeps.forget_looks)
    periodic.register("compute.vnc_leases", 60, leases.sweep)
    periodic.register("compute.vnc_tickets", 600, tickets.sweep)
    periodic.register("compute.books", 60, subscriptions.agree_with_the_books)
    periodic.register("compute.schedules", 20, schedules.run_schedules)
    periodic.register("compute.keep_snapshots", 20, schedules.keep_to_schedules)

"""What compute makes known to the floors below: kinds, job handlers, chores, billing hooks."""

from django.db.models import Q, QuerySet
from django.utils.translation import gettext_lazy as _

from billing import hooks
from compute import console, reconcile, sweeps
from compute.actions import lifecycle as verbs
from compute.models import VM
from compute.tasks import changes, lifecycle, migrate
from scloud.jobs import periodic
from scloud.resources import kinds


def _living(rows: QuerySet[VM]) -> QuerySet[VM]:
    return rows.filter(~Q(status="destroyed"))


def register_all() -> None:
    """Called once when Django is ready."""
    for tasks in (lifecycle, changes, migrate):
        tasks.register_all()
    console.register()
    kinds.register(
        kinds.Kind(
            kind="vm",
            model="compute.VM",
            label=_("VM"),
            label_plural=_("VMs"),
            icon="server",
            url_name="vm-detail",
            live=_living,
            bin=kinds.BinVerbs(restore=verbs.restore_vm, destroy=verbs.destroy_vm),
            view_permission="compute.view_vm",
        )
    )
    hooks.register(
        "vm",
        hooks.SubscriptionHooks(
            expired=sweeps.vm_expired, renewed=sweeps.vm_renewed, overdue=sweeps.vm_overdue
        ),
    )
    periodic.register("compute.hosts", 5, reconcile.reconcile_hosts)
    periodic.register("compute.pools", 60, reconcile.reconcile_pools)
    periodic.register("compute.stuck", 5, reconcile.land_stuck)
    periodic.register("compute.bin", 30, sweeps.empty_bin)

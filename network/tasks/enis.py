"""The jobs of ENIs: port, machine and guest, in the order in which nothing is lost or left open.

Each step reads the rows anew, so any step may be repeated.
"""

from __future__ import annotations

from collections.abc import Sequence

from django.utils import timezone
from django.utils.translation import gettext as _

from billing import quotas, services
from billing.models import SubscriptionStatus
from network.models import Eni, Nic
from network.rules import targets
from network.rules.external_orders import take_back
from network.states.enis import EniStatus
from network.tasks import plumbing, sync
from network.tasks.external_ips import apply_inside, refuse_if_paid
from network.transitions import egress
from network.transitions.enis import ENIS, LOOSE, forget, unplug
from scloud.jobs.handlers import Context, Handler, Step, register
from scloud.jobs.models import Job
from scloud.lib.errors import ScloudError

#: What a target says while something else is being done to its machine.
BUSY = frozenset({"vm_busy"})


def row_of(context: Context) -> Eni:
    """Return the ENI of a job as it is now. Raises ScloudError if it is gone."""
    row: Eni | None = (
        Eni.objects.select_related("nic", "nic__region", "tenant", "region")
        .filter(pk=context.payload["eni"])
        .first()
    )
    if row is None:
        raise ScloudError(_("The ENI is gone."), code="eni_gone")
    return row


def ensure_port(context: Context) -> None:
    """Make the port be as the row says."""
    row = row_of(context)
    if row.nic is not None:
        plumbing.ensure_nic_ports([row.nic])


def ensure_plugged(context: Context) -> None:
    """Put the interface into the VM's machine."""
    row, kind = row_of(context), targets.kind_named("vm")
    if kind is not None and row.nic is not None and row.vm_id:
        kind.plug(row.vm_id, row.nic)


def ensure_unplugged(context: Context) -> None:
    """Take the interface out of the VM's machine."""
    row, kind = row_of(context), targets.kind_named("vm")
    if kind is not None and row.nic is not None and row.vm_id:
        kind.unplug(row.vm_id, row.nic)


def ensure_inside(context: Context) -> None:
    """Have the guest configure what its NICs have now, or note that it does at its next boot."""
    context.result["applied"] = apply_inside("vm", row_of(context).vm_id)


class EniHandler(Handler):
    """A job on an ENI, which stands where it stood until it lands."""

    verb = ""
    repeatable = False
    waits_for = BUSY

    def vm_locked(self, row: Eni) -> None:
        """Hold the VM's own NIC, for those who decide about the default egress."""
        nic = Nic.objects.filter(vm_id=row.vm_id, index__in=[0, 1]).order_by("-index").first()
        if row.vm_id and nic is not None:
            egress.locked_nic(nic.pk)


class Bind(EniHandler):
    """``eni.bind``."""

    verb = "bind_eni"

    def steps(self, job: Job) -> Sequence[Step]:
        """Port, machine, guest."""
        return (
            Step("network", _("Connecting the network"), ensure_port),
            Step("plug", _("Plugging in the interface"), ensure_plugged),
            Step("guest", _("Configuring the guest"), ensure_inside),
        )

    def on_success(self, context: Context) -> None:
        """It is bound, whatever the guest does with it."""
        row = row_of(context)
        ENIS.complete(
            row,
            context.job,
            self.verb,
            EniStatus.BOUND,
            at_next_boot=not context.result.get("applied", False),
        )

    def before_failure(self, context: Context, error: ScloudError) -> None:
        """Take out again what may have been plugged in."""
        ensure_unplugged(context)

    def on_failure(self, context: Context, error: ScloudError) -> None:
        """It is free again."""
        row = row_of(context)
        self.vm_locked(row)
        vm_id = row.vm_id
        if ENIS.fail(row, context.job, self.verb, error, EniStatus.FREE, **LOOSE):
            unplug(row.nic)
            follow_up(row.nic)
            egress.settle("vm", vm_id)


def follow_up(nic: Nic | None) -> None:
    """Have a worker apply a NIC once more: a job of it ended halfway."""
    if nic is not None and nic.port_wanted:
        sync.enqueue(nic)


class Unbind(EniHandler):
    """``eni.unbind``."""

    verb = "unbind_eni"

    def steps(self, job: Job) -> Sequence[Step]:
        """Nothing passes first; then guest and machine."""
        return (
            Step("network", _("Disconnecting the network"), ensure_port),
            Step("guest", _("Configuring the guest"), ensure_inside),
            Step("unplug", _("Pulling out the interface"), ensure_unplugged),
        )

    def on_success(self, context: Context) -> None:
        """It is free, or still expired."""
        row = row_of(context)
        expired = (
            row.status == EniStatus.EXPIRED
            and services.status_for_landing(row.tenant, row.pk) != SubscriptionStatus.ACTIVE
        )
        status = EniStatus.EXPIRED if expired else EniStatus.FREE
        if ENIS.complete(row, context.job, self.verb, status, **LOOSE):
            unplug(row.nic)

    def on_failure(self, context: Context, error: ScloudError) -> None:
        """It is bound as before."""
        row = row_of(context)
        self.vm_locked(row)
        if ENIS.fail(row, context.job, self.verb, error):
            follow_up(row.nic)
            egress.settle("vm", row.vm_id)


class UnbindExpired(Unbind):
    """``eni.unbind_expired``: its paid time is over. It ends expired and unbound."""

    verb = "unbind_expired_eni"

    def steps(self, job: Job) -> Sequence[Step]:
        """As it is unbound by people, unless it is paid by now."""
        paid = Step("paid", _("Checking the subscription"), self.ensure_unpaid)
        return (paid, *super().steps(job))

    def ensure_unpaid(self, context: Context) -> None:
        """Raise ScloudError (``renewed_meanwhile``) if it is paid by now."""
        refuse_if_paid(row_of(context))


class LetGo(EniHandler):
    """``eni.let_go``: its VM is deleted. It ends free, or is no more where that was asked for."""

    verb = "let_go_eni"
    max_attempts = 50

    def steps(self, job: Job) -> Sequence[Step]:
        """The port alone: there is no machine any more."""
        return (Step("network", _("Disconnecting the network"), self.ensure_cut),)

    def ensure_cut(self, context: Context) -> None:
        """Nothing passes; one that goes too has no port any more."""
        row = row_of(context)
        if row.nic is None:
            return
        if context.payload.get("along"):
            plumbing.remove_nic_ports([row.nic])
        else:
            plumbing.ensure_nic_ports([row.nic])

    def on_success(self, context: Context) -> None:
        """Free, still expired, or gone."""
        row = row_of(context)
        if context.payload.get("along"):
            end(row, context.job, self.verb)
            return
        status = EniStatus.EXPIRED if row.status == EniStatus.EXPIRED else EniStatus.FREE
        if ENIS.complete(row, context.job, self.verb, status, **LOOSE):
            unplug(row.nic)

    def on_failure(self, context: Context, error: ScloudError) -> None:
        """It stays with its VM, whose port may still let it through; the sweep begins again."""
        row = row_of(context)
        held = row.status == EniStatus.FREE and row.vm_id
        status = EniStatus.BOUND if held else None
        ENIS.fail(row, context.job, self.verb, error, status)


def end(row: Eni, job: Job, verb: str) -> None:
    """Land an ENI that is no more, and give back what it held."""
    landed = ENIS.complete(
        row,
        job,
        verb,
        EniStatus.DESTROYED,
        destroyed_at=timezone.now(),
        **{**LOOSE, "nic": None},
    )
    if landed:
        forget(row)


class Delete(EniHandler):
    """``eni.delete``: an unbound one, for good."""

    verb = "delete_eni"
    max_attempts = 20

    def steps(self, job: Job) -> Sequence[Step]:
        """Its port."""
        return (Step("network", _("Removing the network port"), self.ensure_gone),)

    def ensure_gone(self, context: Context) -> None:
        """Remove the port for good."""
        row = row_of(context)
        if row.nic is not None:
            plumbing.remove_nic_ports([row.nic])

    def on_success(self, context: Context) -> None:
        """It is no more."""
        end(row_of(context), context.job, self.verb)

    def on_failure(self, context: Context, error: ScloudError) -> None:
        """It is there as before."""
        row = row_of(context)
        if ENIS.fail(row, context.job, self.verb, error) and row.nic is not None:
            Nic.objects.filter(pk=row.nic.pk).update(port_wanted=True)


class Retire(Unbind):
    """``eni.retire``: the end of a grace period. Off its VM, and no more."""

    verb = "retire_eni"

    def on_success(self, context: Context) -> None:
        """It is no more, unless it was paid at the last moment."""
        row = row_of(context)
        if services.status_for_landing(row.tenant, row.pk) == SubscriptionStatus.ACTIVE:
            error = ScloudError(
                _("%(name)s was renewed before it was deleted.") % {"name": row.name},
                code="renewed_meanwhile",
            )
            if ENIS.fail(row, context.job, self.verb, error, EniStatus.FREE, **LOOSE):
                unplug(row.nic)
            return
        end(row, context.job, self.verb)


class Resize(EniHandler):
    """``eni.resize``: the NIC has the new bandwidth since the order."""

    verb = "resize_eni"

    def steps(self, job: Job) -> Sequence[Step]:
        """The port alone: guests know nothing of bandwidth."""
        return (Step("network", _("Changing the bandwidth"), ensure_port),)

    def on_success(self, context: Context) -> None:
        """It stands where it stood."""
        ENIS.complete(row_of(context), context.job, self.verb)

    def on_failure(self, context: Context, error: ScloudError) -> None:
        """Money, quota and bandwidth are as before."""
        row = row_of(context)
        before = int(context.payload["bandwidth_before_mbps"])
        take_back(row, context.job, error.message)
        quotas.resize(row.tenant, row.region, {"bandwidth_mbps": before}, row.pk)
        if ENIS.fail(row, context.job, self.verb, error) and row.nic is not None:
            Nic.objects.filter(pk=row.nic.pk).update(bandwidth_mbps=before)
            follow_up(row.nic)


def register_handlers() -> None:
    """Make the handlers known to the workers."""
    register("eni.bind", Bind())
    register("eni.unbind", Unbind())
    register("eni.unbind_expired", UnbindExpired())
    register("eni.let_go", LetGo())
    register("eni.delete", Delete())
    register("eni.retire", Retire())
    register("eni.resize", Resize())

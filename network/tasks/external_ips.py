"""The jobs of external IPs: first the port, then the inside of what has the address.

Each step reads the rows anew, so of two jobs of one NIC the later one applies what both have
brought about, and any step may be repeated.
"""

from __future__ import annotations

from collections.abc import Sequence

from django.utils.translation import gettext as _

from billing import quotas, services
from billing.models import SubscriptionStatus
from network.models import Eni, ExternalIp, Nic
from network.rules import targets
from network.rules.external_orders import take_back
from network.states.external_ips import ExternalIpStatus
from network.tasks import plumbing, sync
from network.transitions import egress
from network.transitions.external_ips import (
    EXTERNAL_IPS,
    HELD,
    LOOSE,
    bin_columns,
    give_address_back,
)
from scloud.audit import events
from scloud.jobs.handlers import Context, Handler, Step, register
from scloud.jobs.models import Job
from scloud.lib.errors import ScloudError


def row_of(context: Context) -> ExternalIp:
    """Return the external IP of a job as it is now. Raises ScloudError if it is gone."""
    row: ExternalIp | None = (
        ExternalIp.objects.select_related("nic", "nic__region", "segment", "tenant", "region")
        .filter(pk=context.payload["external_ip"])
        .first()
    )
    if row is None:
        raise ScloudError(_("The external IP is gone."), code="external_ip_gone")
    return row


def ensure_port(context: Context) -> None:
    """Make the port let through what its NIC has now; nothing for one that is bound to nothing."""
    row = row_of(context)
    if row.nic is not None:
        plumbing.ensure_nic_ports([row.nic])


def ensure_inside(context: Context) -> None:
    """Have the target configure what its NICs have now, or note that it does at its next boot."""
    row = row_of(context)
    context.result["applied"] = apply_inside(row.target_kind, row.target_id)


def apply_inside(target_kind: str, target_id: str) -> bool:
    """Tell whether the inside of a target has what its rows say; True where there is no target."""
    kind = targets.kind_named(target_kind)
    return True if kind is None else kind.apply(target_id)


class ExternalIpHandler(Handler):
    """A job on an external IP, which stands where it stood until it lands."""

    verb = ""
    repeatable = False

    def steps(self, job: Job) -> Sequence[Step]:
        """Port, then guest."""
        return (
            Step("network", _("Connecting the address"), ensure_port),
            Step("guest", _("Configuring the guest"), ensure_inside),
        )

    def locked(self, context: Context) -> ExternalIp:
        """Return the row, with its NIC locked; called within the transaction that lands it.

        For those who decide about the default egress, and not after the account was locked.
        """
        row = row_of(context)
        if row.nic_id is not None and Nic.objects.filter(pk=row.nic_id).exists():
            egress.locked_nic(row.nic_id)
        return row

    def at_next_boot(self, context: Context) -> bool:
        """Whether the guest could not be told."""
        return not context.result.get("applied", False)


class Bind(ExternalIpHandler):
    """``external_ip.bind``."""

    verb = "bind_external_ip"

    def on_success(self, context: Context) -> None:
        """It is bound, whatever the guest does with it."""
        row = self.locked(context)
        EXTERNAL_IPS.complete(
            row,
            context.job,
            self.verb,
            ExternalIpStatus.BOUND,
            at_next_boot=self.at_next_boot(context),
        )
        egress.settle(row.target_kind, row.target_id)

    def on_failure(self, context: Context, error: ScloudError) -> None:
        """It is free again; the next round of the reconciler takes off what the port may have."""
        row = self.locked(context)
        nic, kind, target = row.nic, row.target_kind, row.target_id
        if EXTERNAL_IPS.fail(row, context.job, self.verb, error, ExternalIpStatus.FREE, **LOOSE):
            follow_up(nic)
            egress.settle(kind, target)


def follow_up(nic: Nic | None) -> None:
    """Have a worker apply a NIC and its guest once more: a job of it ended halfway."""
    if nic is not None and nic.port_wanted:
        sync.enqueue(nic)


class Unbind(ExternalIpHandler):
    """``external_ip.unbind``."""

    verb = "unbind_external_ip"

    def steps(self, job: Job) -> Sequence[Step]:
        """Port, then guest, in the words of taking away."""
        return (
            Step("network", _("Disconnecting the address"), ensure_port),
            Step("guest", _("Configuring the guest"), ensure_inside),
        )

    def on_success(self, context: Context) -> None:
        """It is free, or still expired."""
        row = row_of(context)
        status = (
            ExternalIpStatus.EXPIRED
            if row.status == ExternalIpStatus.EXPIRED
            and services.status_for_landing(row.tenant, row.pk) != SubscriptionStatus.ACTIVE
            else ExternalIpStatus.FREE
        )
        EXTERNAL_IPS.complete(row, context.job, self.verb, status, **LOOSE)

    def on_failure(self, context: Context, error: ScloudError) -> None:
        """It is bound as before."""
        row = self.locked(context)
        if EXTERNAL_IPS.fail(row, context.job, self.verb, error):
            follow_up(row.nic)
            egress.settle(row.target_kind, row.target_id)


class UnbindExpired(Unbind):
    """``external_ip.unbind_expired``: its paid time is over. It ends expired and unbound."""

    verb = "unbind_expired_external_ip"

    def steps(self, job: Job) -> Sequence[Step]:
        """As it is unbound by people, unless it is paid by now."""
        paid = Step("paid", _("Checking the subscription"), self.ensure_unpaid)
        return (paid, *super().steps(job))

    def ensure_unpaid(self, context: Context) -> None:
        """Raise ScloudError (``renewed_meanwhile``) if it is paid by now."""
        refuse_if_paid(row_of(context))


def refuse_if_paid(row: ExternalIp | Eni) -> None:
    """Raise ScloudError (``renewed_meanwhile``) for one that was to be unbound unpaid, and is."""
    if services.subscription_of(row.tenant, row.pk).status == SubscriptionStatus.ACTIVE:
        raise ScloudError(
            _("%(name)s was renewed before it was unbound.") % {"name": row.name},
            code="renewed_meanwhile",
        )


class LetGo(Unbind):
    """``external_ip.let_go``: its target is deleted. It ends free, or in the bin."""

    verb = "let_go_external_ip"
    max_attempts = 50

    def steps(self, job: Job) -> Sequence[Step]:
        """The port alone: there is no guest any more."""
        return (Step("network", _("Disconnecting the address"), ensure_port),)

    def on_success(self, context: Context) -> None:
        """Free, still expired, or in the bin where that was asked for."""
        row = row_of(context)
        if not context.payload.get("to_bin"):
            super().on_success(context)
            return
        columns = bin_columns(row, automatically=False)
        EXTERNAL_IPS.complete(row, context.job, self.verb, ExternalIpStatus.BINNED, **columns)

    def on_failure(self, context: Context, error: ScloudError) -> None:
        """It stays with its NIC, whose port may still let it through; the sweep begins again."""
        row = row_of(context)
        held = row.status == ExternalIpStatus.FREE and row.nic_id is not None
        status = ExternalIpStatus.BOUND if held else None
        EXTERNAL_IPS.fail(row, context.job, self.verb, error, status)


class Retire(Unbind):
    """``external_ip.retire``: the end of a grace period. Off what it is bound to, into the bin."""

    verb = "retire_external_ip"

    def on_success(self, context: Context) -> None:
        """Into the bin, unless it was paid at the last moment."""
        row = row_of(context)
        if services.status_for_landing(row.tenant, row.pk) == SubscriptionStatus.ACTIVE:
            error = ScloudError(
                _("%(name)s was renewed before it went to the recycle bin.") % {"name": row.name},
                code="renewed_meanwhile",
            )
            EXTERNAL_IPS.fail(row, context.job, self.verb, error, ExternalIpStatus.FREE, **LOOSE)
            return
        columns = bin_columns(row, automatically=True)
        EXTERNAL_IPS.complete(row, context.job, self.verb, ExternalIpStatus.BINNED, **columns)


class Resize(ExternalIpHandler):
    """``external_ip.resize``: the row has the new bandwidth since the order."""

    verb = "resize_external_ip"

    def steps(self, job: Job) -> Sequence[Step]:
        """The port alone: guests know nothing of bandwidth."""
        return (Step("network", _("Changing the bandwidth"), ensure_port),)

    def on_success(self, context: Context) -> None:
        """It stands where it stood."""
        EXTERNAL_IPS.complete(row_of(context), context.job, self.verb)

    def on_failure(self, context: Context, error: ScloudError) -> None:
        """Money, quota and bandwidth are as before."""
        row = row_of(context)
        before = int(context.payload["bandwidth_before_mbps"])
        take_back(row, context.job, error.message)
        quotas.resize(row.tenant, row.region, {"bandwidth_mbps": before}, row.pk)
        if EXTERNAL_IPS.fail(row, context.job, self.verb, error, bandwidth_mbps=before):
            follow_up(row.nic)


# --- those that are bought with a VM; called by the VM's own job


def land_bought(job: Job) -> None:
    """Land as bound what was bought with a VM whose ``job`` has made it."""
    for row in _bought(job):
        EXTERNAL_IPS.complete(row, job, "create_external_ip", ExternalIpStatus.BOUND)


def give_back_bought(job: Job, error: ScloudError, *, gone: bool) -> None:
    """Return money and quota of what was bought with a VM that never came to be.

    The address is free for others once the VM is ``gone`` from its host; while that is not known,
    it stays held, and the sweep gives it back (``network.sweeps.external_ips``).
    """
    for row in _bought(job):
        services.refund_failed(row.pk, error.message)
        quotas.free(row.pk)
        nic = row.nic
        columns = LOOSE if gone else HELD
        if EXTERNAL_IPS.fail(
            row, job, "create_external_ip", error, ExternalIpStatus.FAILED, **columns
        ):
            follow_up(nic)
            if gone:
                give_address_back(row)


def _bought(job: Job) -> list[ExternalIp]:
    rows = ExternalIp.objects.select_related("nic", "tenant").filter(task_job=job.pk)
    return list(rows.filter(status=ExternalIpStatus.NEW))


def configured_inside(target_kind: str, target_id: str) -> None:
    """Note that the inside of a target has what its rows say, whoever found that out."""
    addresses = ExternalIp.objects.filter(target_kind=target_kind, target_id=target_id)
    for address in addresses.filter(at_next_boot=True):
        ExternalIp.objects.filter(pk=address.pk).update(at_next_boot=False)
        _tell_configured(address)
    if target_kind == "vm":
        for eni in Eni.objects.filter(vm_id=target_id, at_next_boot=True):
            Eni.objects.filter(pk=eni.pk).update(at_next_boot=False)
            _tell_configured(eni)


def _tell_configured(row: ExternalIp | Eni) -> None:
    events.notify(
        tenant_id=row.tenant_id,
        kind=f"{row.KIND}.configured",
        resource_kind=row.KIND,
        resource_id=row.pk,
    )


def register_handlers() -> None:
    """Make the handlers known to the workers."""
    register("external_ip.bind", Bind())
    register("external_ip.unbind", Unbind())
    register("external_ip.unbind_expired", UnbindExpired())
    register("external_ip.let_go", LetGo())
    register("external_ip.retire", Retire())
    register("external_ip.resize", Resize())

"""Leases: a port and a password for one VNC client, for 300 seconds.

    requested ─▶ listening ◀──▶ connected ─▶ closed

Within the 300 seconds the client may come again after a drop, from where it came first. Then, or
when the VM stops or moves or somebody asks for new information, the password is erased and the
port given back; a client that is connected may stay.
"""

import json
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any, Final

from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import Case, F, QuerySet, Value, When
from django.utils import timezone

from compute.models import VM
from compute.models.vnc import VncLease, VncLeaseState
from compute.vnc import standing
from compute.vnc.rfb import new_password
from network.queries.segments import vnc_address
from scloud.audit.events import emit
from scloud.lib import keys
from scloud.lib.errors import NoCapacity
from scloud.tenancy.actor import Actor
from scloud.tenancy.scoping import in_scope_of, scopes_disabled

# The gateway process listens here; the payload is the id of a lease.
CHANNEL: Final = "scloud_vnc_leases"
LIFETIME_S: Final = 300
KEEP: Final = timedelta(days=183)
DEFAULT_PORTS: Final = "15900-16899"
PERMISSION: Final = "compute.get_vnc_information"
_PORT_ATTEMPTS: Final = 20
_WAITING: Final = (VncLeaseState.REQUESTED, VncLeaseState.LISTENING)


@dataclass(frozen=True, kw_only=True)
class VncInformation:
    """What a person types into a VNC client. The password is shown this once."""

    lease_id: str
    vm_id: str
    address: str
    port: int
    password: str = field(repr=False)
    expires_at: datetime


def port_range() -> range:
    """Return the ports that the gateway may use (setting SCLOUD_VNC_GATEWAY_PORTS)."""
    text: str = getattr(settings, "SCLOUD_VNC_GATEWAY_PORTS", DEFAULT_PORTS)
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def source_of(peer: str) -> str:
    """Return who counts as one source: an IPv4 address, or an IPv6 network of one site (/64)."""
    try:
        address = ip_address(peer.partition("%")[0])
    except ValueError:
        return peer
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ip_network((address, 64), strict=False))
    return str(address)


def gateway_address(region_id: str) -> str:
    """Return where VNC clients reach a region: of the segment for it, else as the settings say."""
    return vnc_address(region_id) or str(settings.SCLOUD_VNC_GATEWAY_ADDRESS)


def issue(*, actor: Actor, vm: VM) -> VncInformation:
    """Write a lease and wake the gateway.

    The action around it checks right and state, and holds the lock of the VM's row. Raises
    NoCapacity when every port is leased.
    """
    revoke(vm_id=vm.pk, reason="A newer one was asked for.")
    expire()
    password = new_password()
    now = timezone.now()
    lease = VncLease(
        tenant_id=vm.tenant_id,
        vm=vm,
        user=actor.user,
        api_key=actor.api_key,
        address=gateway_address(vm.region_id),
        password_box=keys.box().encrypt(password.encode()).decode(),
        created_at=now,
        expires_at=now + timedelta(seconds=LIFETIME_S),
    )
    _take_port(lease)
    wake_gateway(lease.pk)
    return VncInformation(
        lease_id=lease.pk,
        vm_id=vm.pk,
        address=lease.address,
        port=lease.port,
        password=password,
        expires_at=lease.expires_at,
    )


def _take_port(lease: VncLease) -> None:
    """Save the lease with a random port that no other one may still be reached at."""
    with scopes_disabled():
        taken = set(_good().values_list("port", flat=True))
        free = [port for port in port_range() if port not in taken]
        for _ in range(min(_PORT_ATTEMPTS, len(free))):
            lease.port = free.pop(secrets.randbelow(len(free)))
            try:
                with transaction.atomic():
                    lease.save(force_insert=True)
            except IntegrityError:
                continue  # another request was faster with this port
            return
    raise NoCapacity(
        "All ports for VNC clients are in use.",
        code="vnc_ports_exhausted",
        remedy="Try again in a few minutes, or open the screen in the browser.",
        numbers={"ports": len(port_range())},
    )


def wake_gateway(lease_id: str) -> None:
    """Tell the gateway, when the transaction commits, to look at a lease."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, json.dumps({"lease": lease_id})])


def password_of(lease: VncLease) -> str:
    """Return the password of a lease that is still good."""
    return str(keys.box().decrypt(lease.password_box.encode()).decode())


def _closing(reason: str) -> dict[str, Any]:
    return {
        "state": VncLeaseState.CLOSED,
        "password_box": "",
        "closed_at": timezone.now(),
        "close_reason": reason,
    }


def _good() -> QuerySet[VncLease]:
    """Leases whose password may still be used, unless their time is over."""
    return VncLease.objects.exclude(password_box="")


def _end(rows: QuerySet[VncLease], reason: str) -> int:
    """Take password and port from leases: a connected client stays, for the others it is over."""
    # In one statement: the gateway moves them between the two states meanwhile.
    return int(
        rows.update(
            **{
                name: Case(When(state=VncLeaseState.CONNECTED, then=F(name)), default=Value(value))
                for name, value in _closing(reason).items()
                if name != "password_box"
            },
            password_box="",
        )
    )


def revoke(*, vm_id: str, reason: str) -> None:
    """Let nobody connect any more with information that was given out for a VM."""
    with scopes_disabled():
        good = _good().filter(vm_id=vm_id)
        for lease_id in list(good.values_list("pk", flat=True)):
            if _end(good.filter(pk=lease_id), reason):
                wake_gateway(lease_id)


def expire() -> int:
    """Forget the passwords whose time is over, whether or not a gateway runs."""
    with scopes_disabled():
        return _end(_good().filter(expires_at__lte=timezone.now()), "Its time is over.")


def sweep() -> int:
    """Expire leases, and delete old ones."""
    expired = expire()
    with scopes_disabled():
        VncLease.objects.filter(
            closed_at__lt=timezone.now() - KEEP, state=VncLeaseState.CLOSED
        ).delete()
    return expired


# -- the gateway's side --------------------------------------------------------------------------


def waiting() -> list[VncLease]:
    """Return the leases for which a port has to be open now, those with a client included."""
    with scopes_disabled():
        return list(
            _good()
            .filter(expires_at__gt=timezone.now())
            .select_related("tenant", "user__custom_role")
            .order_by("created_at")
        )


def mark_listening(lease_id: str) -> bool:
    """The port is open; False if the lease is not wanted any more."""
    with scopes_disabled():
        wanted = _good().filter(pk=lease_id, expires_at__gt=timezone.now())
        # A client may have been faster.
        return bool(
            wanted.filter(state__in=_WAITING).update(state=VncLeaseState.LISTENING)
            or wanted.exists()
        )


def mark_connected(lease_id: str, *, client_ip: str | None) -> bool:
    """A client gave the right password. True for one at a time, and always from one source."""
    with scopes_disabled(), transaction.atomic():
        now = timezone.now()
        lease = (
            _good()
            .select_for_update(of=("self",))
            .select_related("tenant", "user__custom_role")
            .filter(pk=lease_id, state__in=_WAITING, expires_at__gt=now)
            .first()
        )
        if lease is None:
            return False
        if lease.client_ip and source_of(lease.client_ip) != source_of(client_ip or ""):
            return False
        lease.state = VncLeaseState.CONNECTED
        lease.connected_at = now
        lease.client_ip = client_ip
        lease.save(update_fields=["state", "connected_at", "client_ip"])
        _tell(lease, "vm.vnc_opened", {})
        return True


def _holder(lease: VncLease) -> Actor | None:
    """Return who asked for the lease, as whom they are today; None if that is nobody."""
    user, key = lease.user, lease.api_key
    if user is None or not user.is_active or not lease.tenant.is_active:
        return None
    if user.tenant_id is None:
        return Actor.administrator(user, lease.tenant) if user.is_staff else None
    if user.tenant_id != lease.tenant_id:
        return None
    if key is not None and not (
        key.is_usable and key.user_id == user.pk and key.tenant_id == lease.tenant_id
    ):
        return None
    via = "api" if key is not None else "console"
    return Actor(tenant=lease.tenant, user=user, api_key=key, role=user.role, via=via)


def ending(lease_id: str) -> str:
    """Tell why the client of a lease may not see the screen (any more); empty when it may."""
    with scopes_disabled():
        lease = (
            VncLease.objects.select_related("tenant", "user__custom_role", "api_key")
            .filter(pk=lease_id)
            .first()
        )
    if lease is None or lease.state == VncLeaseState.CLOSED:
        return "The lease was closed."
    holder = _holder(lease)
    if holder is None or not holder.allows(PERMISSION):
        return "The right to this screen has ended."
    state = standing.look(lease.vm_id)
    if state is None or not state.running:
        return "The VM is not running any more."
    if state.tenant_id != lease.tenant_id:
        return "The VM changed hands."
    return ""


def mark_left(lease_id: str, *, reason: str) -> bool:
    """The client is gone. True if it may come again; else the lease is over."""
    with scopes_disabled(), transaction.atomic():
        lease = (
            _good()
            .select_for_update(of=("self",))
            .select_related("tenant", "user__custom_role")
            .filter(pk=lease_id, expires_at__gt=timezone.now())
            .first()
        )
        if lease is None:
            mark_closed(lease_id, reason=reason)
            return False
        if lease.state == VncLeaseState.CONNECTED:
            lease.state = VncLeaseState.LISTENING
            lease.save(update_fields=["state"])
            _tell(lease, "vm.vnc_closed", {"reason": reason})
        return True


def mark_closed(lease_id: str, *, reason: str) -> None:
    """The lease is over, and why."""
    with scopes_disabled(), transaction.atomic():
        lease = VncLease.objects.select_for_update().filter(pk=lease_id).first()
        if lease is None or lease.state == VncLeaseState.CLOSED:
            return
        was_connected = lease.state == VncLeaseState.CONNECTED
        VncLease.objects.filter(pk=lease_id).update(**_closing(reason[:120]))
        if was_connected:
            _tell(lease, "vm.vnc_closed", {"reason": reason})


def forget_connected() -> int:
    """End the sessions of a gateway that died: their connections died too.

    The clients may come again to the new one, within the time of their leases.
    """
    with scopes_disabled():
        connected = VncLease.objects.filter(state=VncLeaseState.CONNECTED)
        good = connected.exclude(password_box="").filter(expires_at__gt=timezone.now())
        back = good.update(state=VncLeaseState.REQUESTED)
        return int(back + connected.update(**_closing("The gateway was started again.")))


def _tell(lease: VncLease, kind: str, data: dict[str, Any]) -> None:
    with in_scope_of(lease.tenant):
        emit(
            tenant_id=lease.tenant_id,
            kind=kind,
            resource_kind="vm",
            resource_id=lease.vm_id,
            data={
                "user": lease.user.email if lease.user is not None else "",
                "ip": lease.client_ip,
                "lease": lease.pk,
                **data,
            },
        )

"""Private addresses: who gets which, safe under any concurrency.

Allocation locks the subnet's row until the caller's transaction ends, so two allocations of one
subnet never look at the same free addresses. Lock it late: after the tenant's account and quota,
before the resource. An address becomes free when its NIC's row is deleted, without any lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import AddressValueError, IPv4Address

from django.db import connection
from django.utils.translation import gettext as _

from network.models import Nic, PrivateAddress, Subnet, cidr
from scloud.lib.errors import Conflict, InvalidInput, NotFound


def allocate(subnet: Subnet, asked: Sequence[str | None]) -> list[IPv4Address]:
    """Choose one free address per entry of ``asked``: the one it names, or the lowest free.

    Must run in a transaction; the subnet stays locked until it ends, and the caller stores the
    addresses with :func:`hold` before that. All of the batch or none. Raises NotFound if the
    subnet is gone, InvalidInput (``address_invalid``, ``address_outside_subnet``,
    ``address_reserved``, ``address_repeated``) and Conflict (``address_taken``,
    ``subnet_exhausted`` with the numbers ``free`` and ``asked``).
    """
    locked = Subnet.objects.select_for_update(no_key=True).filter(pk=subnet.pk).first()
    if locked is None:
        raise NotFound(_("There is no subnet %(subnet)s.") % {"subnet": subnet.pk}, field="subnet")
    chosen = [None if text is None else _chosen(locked, text) for text in asked]
    named = [address for address in chosen if address is not None]
    _refuse_repeated(named)
    _refuse_taken(locked, named)
    free = free_count(locked)
    if len(asked) > free:
        raise Conflict(
            _("Subnet %(name)s has %(free)s free addresses, %(count)s are needed.")
            % {"name": locked.name, "free": free, "count": len(asked)},
            code="subnet_exhausted",
            field="subnet",
            remedy=_("Choose another subnet, or request fewer."),
            numbers={"free": free, "asked": len(asked)},
        )
    automatic = iter(_lowest_free(locked, len(asked) - len(named), avoid=named))
    return [next(automatic) if address is None else address for address in chosen]


def hold(nic: Nic, address: IPv4Address) -> PrivateAddress:
    """Store that a NIC of a subnet holds an address that :func:`allocate` chose."""
    assert nic.subnet is not None
    held: PrivateAddress = PrivateAddress.objects.create(
        tenant=nic.tenant, subnet=nic.subnet, nic=nic, address=str(address)
    )
    return held


def free_count(subnet: Subnet) -> int:
    """How many addresses of the subnet are free now."""
    held = PrivateAddress.objects.filter(subnet=subnet).count()
    return cidr.usable_addresses(subnet.network) - int(held)


def check(subnet: Subnet, text: str) -> None:
    """Raise as :func:`allocate` would for this one address; takes no lock, guarantees nothing."""
    _refuse_taken(subnet, [_chosen(subnet, text)])


def check_all(subnet: Subnet, asked: Sequence[str], *, field: str = "address") -> None:
    """Raise as :func:`allocate` would for these addresses, naming ``field``; takes no lock."""
    try:
        named = [_chosen(subnet, text) for text in asked]
        _refuse_repeated(named)
        _refuse_taken(subnet, named)
    except (InvalidInput, Conflict) as error:
        error.field = field
        raise


def _chosen(subnet: Subnet, text: str) -> IPv4Address:
    try:
        address = IPv4Address(text.strip())
    except AddressValueError as error:
        raise InvalidInput(
            _("“%(text)s” is not an IPv4 address.") % {"text": text.strip()[:60]},
            code="address_invalid",
            field="address",
            remedy=_("Choose an address within %(cidr)s, or leave it empty.")
            % {"cidr": subnet.cidr},
        ) from error
    network = subnet.network
    if address not in network:
        raise InvalidInput(
            _("%(address)s is not within the subnet %(network)s.")
            % {"address": address, "network": network},
            code="address_outside_subnet",
            field="address",
            remedy=_("Choose an address within %(network)s.") % {"network": network},
        )
    reserved = {
        network.network_address: "network address",
        subnet.gateway: "gateway",
        network.broadcast_address: "broadcast address",
    }
    if address in reserved:
        raise InvalidInput(
            _("%(address)s is the %(role)s of %(network)s.")
            % {"address": address, "role": reserved[address], "network": network},
            code="address_reserved",
            field="address",
            remedy=_("Choose another address."),
        )
    return address


def _refuse_repeated(named: Sequence[IPv4Address]) -> None:
    for address in named:
        if named.count(address) > 1:
            raise InvalidInput(
                _("%(address)s is requested more than once.") % {"address": address},
                code="address_repeated",
                field="address",
                remedy=_("Give each VM an address of its own."),
            )


def _refuse_taken(subnet: Subnet, named: Sequence[IPv4Address]) -> None:
    taken = (
        PrivateAddress.objects.filter(subnet=subnet, address__in=[str(one) for one in named])
        .values_list("address", flat=True)
        .first()
    )
    if taken is not None:
        raise Conflict(
            _("%(taken)s is already in use.") % {"taken": taken},
            code="address_taken",
            field="address",
            remedy=_("Choose another address, or leave it empty."),
        )


def _lowest_free(subnet: Subnet, count: int, *, avoid: Sequence[IPv4Address]) -> list[IPv4Address]:
    if count == 0:
        return []
    network = subnet.network
    with connection.cursor() as cursor:
        # The database walks the range along the unique index and stops at the n-th gap, so a
        # nearly empty /16 costs no more than a /29.
        cursor.execute(
            """
            SELECT host(%(first)s::inet + step)
            FROM generate_series(0, %(last)s) AS step
            WHERE NOT EXISTS (
                SELECT 1 FROM network_privateaddress
                WHERE subnet_id = %(subnet)s AND address = %(first)s::inet + step
            ) AND NOT (%(first)s::inet + step = ANY (%(avoid)s::inet[]))
            ORDER BY step LIMIT %(count)s
            """,
            {
                "first": str(subnet.gateway + 1),
                "last": cidr.usable_addresses(network) - 1,
                "subnet": subnet.pk,
                "avoid": [str(one) for one in avoid],
                "count": count,
            },
        )
        return [IPv4Address(row[0]) for row in cursor.fetchall()]

"""Private addresses: who gets which, safe under any concurrency.

Allocation locks the subnet's row until the caller's transaction ends, so two allocations of one
subnet never look at the same free addresses. Lock it late: after the tenant's account and quota,
before the resource. An address becomes free when its NIC's row is deleted, or when the network has
the port of the NIC that gave it up without it; neither takes that lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import AddressValueError, IPv4Address

from django.db import connection
from django.utils.translation import gettext as _

from network.models import Nic, PrivateAddress, Subnet, cidr
from scloud.lib.errors import Conflict, InvalidInput, NotFound


def allocate(
    subnet: Subnet, asked: Sequence[str | None], *, field: str = "address"
) -> list[IPv4Address]:
    """Choose one free address per entry of ``asked``: the one it names, or the lowest free.

    Must run in a transaction; the subnet stays locked until it ends, and the caller stores the
    addresses with :func:`hold` before that. All of the batch or none. Raises NotFound if the
    subnet is gone, InvalidInput (``address_invalid``, ``address_outside_subnet``,
    ``address_reserved``, ``address_repeated``) and Conflict (``address_taken``), which name
    ``field`` and, where several are asked for, the ``line`` counted from 1; and Conflict
    (``subnet_exhausted`` with the numbers ``free`` and ``asked``).
    """
    locked = Subnet.objects.select_for_update(no_key=True).filter(pk=subnet.pk).first()
    if locked is None:
        raise NotFound(_("There is no subnet %(subnet)s.") % {"subnet": subnet.pk}, field="subnet")
    chosen = _checked(locked, asked, field)
    named = [address for address in chosen if address is not None]
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


def give_up(nic: Nic) -> list[str]:
    """Let a NIC's addresses go and return them.

    They are free once :mod:`network.tasks.plumbing` has applied the NIC without them.
    """
    held = nic.addresses.all()
    texts = [str(one) for one in held]
    held.update(nic=None, leaving=nic)
    return texts


def free_count(subnet: Subnet) -> int:
    """How many addresses of the subnet are free now."""
    held = PrivateAddress.objects.filter(subnet=subnet).count()
    return cidr.usable_addresses(subnet.network) - int(held)


def check_all(subnet: Subnet, asked: Sequence[str | None], *, field: str = "address") -> None:
    """Raise as :func:`allocate` would for these addresses; takes no lock, guarantees nothing.

    None and empty texts stand for automatic ones.
    """
    _checked(subnet, asked, field)


def refusals(
    subnet: Subnet, asked: Sequence[str | None], *, field: str = "address"
) -> list[InvalidInput | Conflict]:
    """Return what :func:`check_all` would raise, for each of the addresses that is refused."""
    return _judged(subnet, asked, field)[1]


def _checked(subnet: Subnet, asked: Sequence[str | None], field: str) -> list[IPv4Address | None]:
    """Read what is asked for, None for automatic; raise for the first that is refused."""
    chosen, refused = _judged(subnet, asked, field)
    if refused:
        raise refused[0]
    return chosen


def _judged(
    subnet: Subnet, asked: Sequence[str | None], field: str
) -> tuple[list[IPv4Address | None], list[InvalidInput | Conflict]]:
    chosen: list[IPv4Address | None] = []
    refused: dict[int, InvalidInput | Conflict] = {}
    for line, text in enumerate(asked, 1):
        address = None
        try:
            address = _chosen(subnet, text) if text and text.strip() else None
        except InvalidInput as error:
            refused[line] = error
        if address is not None and address in chosen:
            refused[line] = _repeated(address)
        chosen.append(address)
    taken = _taken(subnet, [address for address in chosen if address is not None])
    for line, address in enumerate(chosen, 1):
        if address is not None and address in taken:
            refused.setdefault(line, _is_taken(address))
    return chosen, [
        _of_line(error, line, len(asked), field) for line, error in sorted(refused.items())
    ]


def _of_line(
    error: InvalidInput | Conflict, line: int, lines: int, field: str
) -> InvalidInput | Conflict:
    """The refusal of one address, which says which where there are several."""
    error.field = field
    if lines > 1:
        error.message = _("Line %(line)s: %(message)s") % {"line": line, "message": error.message}
        error.args = (error.message,)
        error.numbers = {**(error.numbers or {}), "line": line}
    return error


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


def _repeated(address: IPv4Address) -> InvalidInput:
    return InvalidInput(
        _("%(address)s is requested more than once.") % {"address": address},
        code="address_repeated",
        remedy=_("Give each VM an address of its own."),
    )


def _is_taken(address: IPv4Address) -> Conflict:
    return Conflict(
        _("%(taken)s is already in use.") % {"taken": address},
        code="address_taken",
        remedy=_("Choose another address, or leave it empty."),
    )


def _taken(subnet: Subnet, named: Sequence[IPv4Address]) -> set[IPv4Address]:
    """Those of the addresses that somebody has."""
    if not named:
        return set()
    held = PrivateAddress.objects.filter(subnet=subnet, address__in=[str(one) for one in named])
    return {IPv4Address(text) for text in held.values_list("address", flat=True)}


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

"""External addresses: who gets which, safe under any concurrency.

Allocation locks the segment's row until the caller's transaction ends, so two allocations of one
segment never look at the same free addresses. Lock it late: after the tenant's account and quota,
before the resource. An address becomes free when its row is deleted, without any lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from django.db import connection
from django.db.models import Count
from django.utils.translation import gettext as _

from network.models import ExternalAddress, ExternalSegment, outside
from network.models.outside import IpAddress
from scloud.lib.errors import Conflict, InvalidInput, NotFound
from scloud.tenancy.scoping import scopes_disabled


def allocate(segment: ExternalSegment, asked: Sequence[str | None]) -> list[IpAddress]:
    """Choose one free address per entry of ``asked``: the one it names, or the lowest free.

    Must run in a transaction; the segment stays locked until it ends, and the caller stores the
    addresses before that. All of them or none. Raises NotFound if the segment is gone, InvalidInput
    (``address_invalid``, ``address_outside_segment``, ``address_reserved``, ``address_repeated``)
    and Conflict (``address_taken``, ``segment_exhausted`` with the numbers ``free`` and ``asked``).
    """
    locked = ExternalSegment.objects.select_for_update(no_key=True).filter(pk=segment.pk).first()
    if locked is None:
        raise NotFound(
            _("There is no external segment %(segment)s.") % {"segment": segment.pk},
            field="segment",
        )
    named = [None if not text else _chosen(locked, text) for text in asked]
    _refuse_repeated([one for one in named if one is not None])
    _refuse_taken(locked, [one for one in named if one is not None])
    count = named.count(None)
    free = _lowest_free(locked, count, avoid=[str(one) for one in named if one is not None])
    if len(free) < count:
        raise _exhausted(locked, len(asked))
    automatic = iter(free)
    return [next(automatic) if one is None else one for one in named]


def check_all(
    segment: ExternalSegment, asked: Sequence[str], count: int, *, field: str = "addresses"
) -> None:
    """Raise as :func:`allocate` would now for these chosen addresses; takes no lock."""
    try:
        named = [_chosen(segment, text) for text in asked if text]
        _refuse_repeated(named)
        _refuse_taken(segment, named)
    except (InvalidInput, Conflict) as error:
        error.field = field
        raise
    if free_count(segment) < count:
        raise _exhausted(segment, count)


def free_count(segment: ExternalSegment) -> int:
    """How many addresses of a segment are free now."""
    return free_counts([segment])[segment.pk]


def free_counts(segments: Sequence[ExternalSegment]) -> dict[str, int]:
    """How many addresses of each segment are free now, in two queries however many there are."""
    spans = {one.pk: outside.free_spans(one.network, one.kept_ranges) for one in segments}
    found = {pk: sum(last - first + 1 for first, last in parts) for pk, parts in spans.items()}
    gaps = [one.pk for one in segments if one.held_back]
    with scopes_disabled():
        rows = ExternalAddress.objects.filter(segment__in=list(spans))
        whole = rows.exclude(segment__in=gaps).order_by().values_list("segment_id")
        for pk, count in whole.annotate(count=Count("pk")):
            found[pk] -= count
        for pk, text in rows.filter(segment__in=gaps).values_list("segment_id", "address"):
            # What was held back after it was given away is not among the free ones.
            taken = int(ip_address(text))
            if any(first <= taken <= last for first, last in spans[pk]):
                found[pk] -= 1
    return found


def _exhausted(segment: ExternalSegment, asked: int) -> Conflict:
    free = free_count(segment)
    return Conflict(
        _("Segment %(name)s has %(free)s free addresses, %(count)s are needed.")
        % {"name": segment.name, "free": free, "count": asked},
        code="segment_exhausted",
        field="segment",
        remedy=_("Choose another segment, or ask for fewer."),
        numbers={"free": free, "asked": asked},
    )


def _chosen(segment: ExternalSegment, text: str) -> IpAddress:
    network = segment.network
    try:
        address = ip_address(text.strip())
        if "%" in text:
            raise ValueError(text)
    except ValueError as error:
        raise InvalidInput(
            _("“%(text)s” is not an IP address.") % {"text": text.strip()[:60]},
            code="address_invalid",
            field="addresses",
            remedy=_("Choose an address within %(cidr)s, or leave it empty.") % {"cidr": network},
        ) from error
    if address not in network:
        raise InvalidInput(
            _("%(address)s is not within the segment %(network)s.")
            % {"address": address, "network": network},
            code="address_outside_segment",
            field="addresses",
            remedy=_("Choose an address within %(cidr)s, or leave it empty.") % {"cidr": network},
        )
    role = segment.reserved_role(address)
    if role:
        raise InvalidInput(
            _("%(address)s cannot be had: it is %(role)s.") % {"address": address, "role": role},
            code="address_reserved",
            field="addresses",
            remedy=_("Choose another address, or leave it empty."),
        )
    return address


def _refuse_repeated(named: Sequence[IpAddress]) -> None:
    for address in named:
        if named.count(address) > 1:
            raise InvalidInput(
                _("%(address)s is asked for more than once.") % {"address": address},
                code="address_repeated",
                field="addresses",
                remedy=_("Enter different addresses."),
            )


def _refuse_taken(segment: ExternalSegment, named: Sequence[IpAddress]) -> None:
    # Of any tenant: who has it is not told.
    with scopes_disabled():
        taken = (
            ExternalAddress.objects.filter(segment=segment, address__in=[str(one) for one in named])
            .values_list("address", flat=True)
            .first()
        )
    if taken is not None:
        raise Conflict(
            _("%(taken)s is already in use.") % {"taken": taken},
            code="address_taken",
            field="addresses",
            remedy=_("Choose another address, or leave it empty."),
        )


def _lowest_free(segment: ExternalSegment, count: int, *, avoid: Sequence[str]) -> list[IpAddress]:
    """Return up to ``count`` free addresses, the lowest first."""
    if count == 0:
        return []
    with scopes_disabled():
        held = ExternalAddress.objects.filter(segment=segment).count() + len(avoid)
    found: list[IpAddress] = []
    kind = IPv4Address if segment.network.version == 4 else IPv6Address
    with connection.cursor() as cursor:
        for first, last in outside.free_spans(segment.network, segment.kept_ranges):
            # Among so many addresses there are enough that nobody holds, in a /64 too.
            steps = min(last - first, held + count)
            cursor.execute(
                """
                SELECT host(%(first)s::inet + step)
                FROM generate_series(0, %(steps)s) AS step
                WHERE NOT EXISTS (
                    SELECT 1 FROM network_externaladdress
                    WHERE segment_id = %(segment)s AND address = %(first)s::inet + step
                ) AND NOT (%(first)s::inet + step = ANY (%(avoid)s::inet[]))
                ORDER BY step LIMIT %(count)s
                """,
                {
                    "first": str(kind(first)),
                    "steps": steps,
                    "segment": segment.pk,
                    "avoid": list(avoid),
                    "count": count - len(found),
                },
            )
            found += [ip_address(row[0]) for row in cursor.fetchall()]
            if len(found) >= count:
                break
    return found

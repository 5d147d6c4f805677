"""What others ask about external segments."""

from __future__ import annotations

from collections.abc import Iterable

from network.models import ExternalSegment


def vnc_address(region_id: str) -> str | None:
    """Return the address at which VNC clients reach a region; None where no segment gives one.

    A segment that is disabled gives it all the same: that only ends what tenants are offered.
    """
    return (
        ExternalSegment.objects.filter(
            region_id=region_id, serves_vnc=True, vnc_address__isnull=False
        )
        .values_list("vnc_address", flat=True)
        .first()
    )


def vnc_addresses() -> Iterable[str]:
    """Return those of all regions."""
    found = ExternalSegment.objects.filter(serves_vnc=True).exclude(vnc_address=None)
    return [str(one) for one in found.values_list("vnc_address", flat=True)]

"""How network rows look in the console."""

from __future__ import annotations

from network.models import FabricResource
from network.states.resources import Status
from scloud.web.status import StatusView, Tone

_TONES: dict[str, Tone] = {
    Status.APPLYING: "busy",
    Status.AVAILABLE: "ok",
    Status.FAILED: "error",
}


def status_view(row: FabricResource) -> StatusView:
    """Word, colour and shape of a row's status; the reason of a failure as its detail."""
    status = row.status
    return StatusView(status.label, _TONES[status], row.sync_error)

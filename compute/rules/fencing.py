"""What a fence device is sent, and the jobs that it is used by."""

from collections.abc import Mapping
from typing import Final

from django.utils.translation import gettext as _

from compute.models import FenceDevice, Host
from scloud.lib.errors import Conflict, InvalidInput

# The jobs; compute/tasks/fencing.py carries them out.
TEST: Final = "fence_device.test"
POWER_OFF: Final = "fence_device.power_off"
POWER_ON: Final = "fence_device.power_on"
#: Of a host that is given up: its device switches it off, and then it counts as fenced.
FENCE: Final = "host.fence"

#: What decides to whom the password is sent.
RECIPIENT: Final = ("agent", "address", "port", "user", "verify_certificate", "certificate")
LONGEST_PASSWORD: Final = 200


def needs_password(before: FenceDevice | None, values: Mapping[str, object]) -> bool:
    """Tell whether a device is saved only together with its password.

    A new one is, and one whose password would go to somebody else than before: or whoever may
    change an address could have it sent to their own.
    """
    return before is None or any(getattr(before, name) != values.get(name) for name in RECIPIENT)


def fits(password: str) -> bool:
    """Tell whether a password can be given to an agent, which reads it as one line."""
    return len(password) <= LONGEST_PASSWORD and password.isprintable()


def check_typed(host: Host, typed: str) -> None:
    """Refuse a typed name that is not the host's. Raises InvalidInput (``name_differs``)."""
    if typed != host.name:
        raise InvalidInput(
            _("This is not the name of the host."), code="name_differs", field="typed"
        )


def device_of(host: Host) -> FenceDevice:
    """Return the device of a host. Raises Conflict (``no_fence_device``)."""
    found: FenceDevice | None = FenceDevice.objects.filter(host=host).first()
    if found is None:
        raise Conflict(
            _("%(name)s has no fence device.") % {"name": host.name},
            code="no_fence_device",
            remedy=_("Add one in the administration."),
        )
    return found

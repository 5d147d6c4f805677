"""Which payment providers an installation has."""

from collections.abc import Callable
from typing import Final

from django.conf import settings

from billing.payments.base import Provider
from billing.payments.sandbox import Sandbox


def _sandbox() -> Provider | None:
    return Sandbox() if settings.SCLOUD_PAYMENT_SANDBOX else None


# Asked anew each time: None while the settings do not switch it on. The first one that is on is
# used for new payments.
_PROVIDERS: Final[dict[str, Callable[[], Provider | None]]] = {Sandbox.key: _sandbox}


def provider(key: str) -> Provider | None:
    """The provider of this name, if it is switched on."""
    found = _PROVIDERS.get(key)
    return found() if found is not None else None


def chosen() -> Provider | None:
    """The provider of new payments; None where tenants cannot pay by themselves."""
    for find in _PROVIDERS.values():
        if (found := find()) is not None:
            return found
    return None

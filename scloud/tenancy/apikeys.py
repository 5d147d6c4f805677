"""Making and looking up API keys."""

import ipaddress
import secrets
from datetime import datetime, timedelta
from typing import Final

from django.utils import timezone
from django.utils.translation import gettext as _

from scloud.lib import keys
from scloud.lib.errors import Forbidden, InvalidInput, Unauthenticated
from scloud.lib.keys import Purpose
from scloud.tenancy.models import ApiKey, PlatformSettings, User
from scloud.tenancy.scoping import scopes_disabled

PREFIX: Final = "sck_"
MAX_NETWORKS: Final = 50


class _Usual:
    """The life time that the platform gives to keys."""


USUAL: Final = _Usual()


def check_networks(networks: list[str], field: str = "networks") -> list[str]:
    """Return addresses and networks in their usual form, each once.

    Raises InvalidInput (``network_invalid``, ``too_many_networks``).
    """
    found: list[str] = []
    for text in networks:
        try:
            # "192.0.2.7" is a network of one address.
            network = str(ipaddress.ip_network(text.strip()))
        except ValueError:
            raise InvalidInput(
                _("%(text)s is neither an address nor a network.") % {"text": text[:60]},
                code="network_invalid",
                field=field,
                remedy=_("Enter it as 192.0.2.0/24 or 2001:db8::/64, without host bits."),
            ) from None
        if network not in found:
            found.append(network)
    if len(found) > MAX_NETWORKS:
        raise InvalidInput(
            _("A key may have at most %(limit)s networks.") % {"limit": MAX_NETWORKS},
            code="too_many_networks",
            field=field,
            numbers={"limit": MAX_NETWORKS, "given": len(found)},
        )
    return found


def issue(
    *,
    user: User,
    name: str,
    scopes: list[str] | None = None,
    expires_at: datetime | _Usual | None = USUAL,
    networks: list[str] | None = None,
) -> tuple[ApiKey, str]:
    """Return a new key and its secret, which is shown this once only.

    Without ``expires_at`` it is valid as long as the platform's settings say; None is for ever.
    """
    if user.tenant is None:
        raise ValueError("an API key belongs to a tenant's user")
    if isinstance(expires_at, _Usual):
        expires_at = timezone.now() + timedelta(days=PlatformSettings.load().api_key_days)
    secret = PREFIX + secrets.token_urlsafe(32)
    key = ApiKey.objects.create(
        tenant=user.tenant,
        user=user,
        name=name,
        digest=keys.digest(secret),
        digest_key=_present(),
        scopes=scopes or [],
        expires_at=expires_at,
        networks=check_networks(networks or []),
    )
    return key, secret


def lookup(secret: str, ip: str | None = None) -> ApiKey:
    """Return the usable key with this secret.

    Raises Unauthenticated (``invalid_api_key``), and Forbidden (``address_not_allowed``) for a
    caller at ``ip`` when the key is not meant for there.
    """
    with scopes_disabled():
        digests = keys.digests(secret)
        key = (
            ApiKey.objects.select_related("user__custom_role", "tenant")
            .filter(digest__in=digests)
            .first()
        )
        if key is None or not _may_be_used(key):
            raise Unauthenticated(
                _("This API key is unknown, expired or revoked."),
                code="invalid_api_key",
                remedy=_("Create a new key in the console."),
            )
        _require_network(key, ip)
        changes: dict[str, object] = {}
        now = timezone.now()
        if key.last_used_at is None or now - key.last_used_at > timedelta(minutes=1):
            # Once a minute is enough to tell whether a key is still used.
            changes |= {"last_used_at": now, "last_used_ip": _address(ip)}
        if key.digest != digests[0] or key.digest_key != _present():
            # Only now is the secret here, so only now can a new key of the site reach it.
            changes |= {"digest": digests[0], "digest_key": _present()}
        if changes:
            ApiKey.objects.filter(pk=key.pk).update(**changes)
        found: ApiKey = key
    return found


def _may_be_used(key: ApiKey) -> bool:
    """A user who has moved to another tenant takes no key along, and leaves none behind."""
    return (
        key.is_usable
        and key.user.is_active
        and key.tenant.is_active
        and key.user.tenant_id == key.tenant_id
    )


def _address(ip: str | None) -> str | None:
    """Return a caller's address as it is kept; None for what is none, such as a socket's."""
    try:
        address = ipaddress.ip_address(ip or "")
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address).partition("%")[0]


def _require_network(key: ApiKey, ip: str | None) -> None:
    if not key.networks:
        return
    known = _address(ip)
    address = ipaddress.ip_address(known) if known is not None else None
    if address is None or not any(
        address in ipaddress.ip_network(network) for network in key.networks
    ):
        raise Forbidden(
            _("This API key may not be used from %(ip)s.") % {"ip": ip or _("an unknown address")},
            code="address_not_allowed",
            remedy=_("Add the address to the networks of the key."),
            numbers={"address": ip},
        )


def revoke_all(user: User) -> int:
    """Make all keys of a user useless, whatever tenant they are for; return how many."""
    with scopes_disabled():
        return int(
            ApiKey.objects.filter(user=user, revoked_at=None).update(revoked_at=timezone.now())
        )


def count_under_old_keys() -> int:
    """Return how many usable keys are known only by a digest of an old key of the site."""
    with scopes_disabled():
        rows = ApiKey.objects.filter(revoked_at=None).exclude(expires_at__lte=timezone.now())
        return int(rows.exclude(digest_key=_present()).count())


def _present() -> str:
    return keys.fingerprint(keys.ring(Purpose.DIGESTS)[0])

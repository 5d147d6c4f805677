"""What people change about their own account: profile, password, sessions, API keys.

Every role may, because the account is one's own; only API keys need a right.
"""

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth import password_validation
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from scloud.accounts.addresses import checked_email
from scloud.accounts.codes import address_of
from scloud.accounts.confirming import confirm_password
from scloud.accounts.mailing import ADDRESS, What
from scloud.accounts.telling import tell
from scloud.audit import action as audit
from scloud.audit.action import action
from scloud.audit.models import Operation
from scloud.jobs import service as jobs
from scloud.lib.errors import Conflict, InvalidInput, NotFound, ScloudError, Unauthenticated
from scloud.lib.text import time_zones
from scloud.tenancy import apikeys, ratelimit, sessions
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import (
    ApiKey,
    Identity,
    PlatformSettings,
    Tenant,
    User,
    UserSession,
)
from scloud.tenancy.permissions import CUSTOM, SPEND, Role, covers

MAX_KEYS = 20
MAX_KEY_DAYS = 3650
# Saved views are read with the user at every request.
MAX_VIEWS = 10
MAX_VIEWS_BYTES = 16 * 1024
MAX_VIEW_NAME = 40
MAX_VIEW_QUERY = 500
# Codes in an hour that a user sends to new addresses, and that are sent to one.
ADDRESS_CODES = 3


def _log(
    actor: Actor,
    verb: str,
    before: dict[str, Any],
    after: dict[str, Any],
    error: ScloudError | None = None,
) -> None:
    Operation.objects.create(
        tenant=actor.tenant,
        actor=actor.label,
        user_id=actor.user.pk if actor.user else None,
        via=actor.via,
        ip=actor.ip,
        verb=verb,
        before=before,
        after=after,
        succeeded=error is None,
        error_code=error.code if error else "",
        error_message=error.message if error else "",
        request_id=actor.request_id,
    )


def _me(actor: Actor) -> User:
    if actor.user is None or actor.api_key is not None:
        raise NotFound(_("Only a person who is signed in has a profile."))
    return actor.user


def update_profile(*, actor: Actor, values: dict[str, str]) -> User:
    """Change name, time zone, language and theme of the caller."""
    user = _me(actor)
    if values.get("time_zone", user.time_zone) not in {*time_zones(), user.time_zone}:
        raise InvalidInput(
            _("There is no time zone of this name."), code="time_zone_unknown", field="time_zone"
        )
    allowed = ("full_name", "time_zone", "language", "theme")
    before = {name: getattr(user, name) for name in allowed if name in values}
    after = {name: values[name] for name in allowed if name in values}
    changed = [name for name in after if after[name] != before[name]]
    if changed:
        for name in changed:
            setattr(user, name, after[name])
        user.save(update_fields=changed)
        _log(
            actor,
            "tenancy.update_profile",
            {name: before[name] for name in changed},
            {name: after[name] for name in changed},
        )
    return user


def save_list_view(*, actor: Actor, kind: str, name: str, query: str) -> User:
    """Keep what a list of the console shows, as the query of its URL, under a name.

    ``kind`` is that of the list. A view of the same name is replaced. Raises InvalidInput
    (``view_invalid``) and Conflict (``too_many_views``).
    """
    me, name = _me(actor), " ".join(name.split())
    if not 1 <= len(name) <= MAX_VIEW_NAME or "\x00" in name + query:
        raise InvalidInput(
            _("A view has a name of 1 to %(max)d characters.") % {"max": MAX_VIEW_NAME},
            code="view_invalid",
            field="name",
            numbers={"min": 1, "max": MAX_VIEW_NAME, "asked": len(name)},
        )
    if len(query) > MAX_VIEW_QUERY:
        raise InvalidInput(
            _("What this list shows is too much to be saved."),
            code="view_invalid",
            field="name",
            remedy=_("Use fewer filters."),
            numbers={"max": MAX_VIEW_QUERY, "asked": len(query)},
        )
    with transaction.atomic():
        user = User.objects.select_for_update().get(pk=me.pk)
        views = [one for one in user.list_views.get(kind, []) if one["name"] != name]
        if len(views) >= MAX_VIEWS:
            raise Conflict(
                _("A list has at most %(max)d saved views.") % {"max": MAX_VIEWS},
                code="too_many_views",
                field="name",
                remedy=_("Delete one first."),
                numbers={"max": MAX_VIEWS},
            )
        views.append({"name": name, "query": query})
        before = _bytes_of(user.list_views)
        user.list_views[kind] = sorted(views, key=lambda one: str(one["name"]).casefold())
        asked = _bytes_of(user.list_views)
        # Who has more from before the bound may still make it less.
        if asked > max(before, MAX_VIEWS_BYTES):
            raise Conflict(
                _("There is no room for more saved views."),
                code="too_many_views",
                field="name",
                remedy=_("Delete some of this or other lists first."),
                numbers={"max_bytes": MAX_VIEWS_BYTES, "asked_bytes": asked},
            )
        user.save(update_fields=["list_views"])
    return user


def _bytes_of(views: dict[str, Any]) -> int:
    return len(json.dumps(views, ensure_ascii=False).encode())


def delete_list_view(*, actor: Actor, kind: str, name: str) -> User:
    """Forget a saved view; one that is not there is no error."""
    with transaction.atomic():
        user = User.objects.select_for_update().get(pk=_me(actor).pk)
        kept = [one for one in user.list_views.get(kind, []) if one["name"] != name]
        if kept:
            user.list_views[kind] = kept
        else:
            user.list_views.pop(kind, None)
        user.save(update_fields=["list_views"])
    return user


def change_password(*, actor: Actor, current: str, new: str, keep_session: str | None) -> User:
    """Set a new password, end the caller's other sessions, and return the caller.

    API keys and linked identities stay: they do not depend on the password. Their user is told of
    each new one, and takes it away in the profile. Wrong guesses of the present password are
    counted and logged. Raises InvalidInput (``wrong_password``, ``weak_password``) and
    TooManyRequests (``account_locked``).
    """
    user = _me(actor)
    try:
        confirm_password(user, current, ip=actor.ip, field="current")
        try:
            password_validation.validate_password(new, user)
        except ValidationError as error:
            raise InvalidInput(
                " ".join(error.messages), code="weak_password", field="new"
            ) from error
    except ScloudError as refusal:
        _log(actor, "tenancy.change_password", {}, {}, refusal)
        raise
    user.set_password(new)
    user.save(update_fields=["password"])
    sessions.end_all(user, keep=keep_session)
    _log(actor, "tenancy.change_password", {}, {})
    tell(user, What.CREDENTIALS, ip=actor.ip)
    return user


def ask_for_address(*, actor: Actor, email: str, password: str) -> None:
    """Send a code to the address that the caller wants to have; nothing changes before it is used.

    An address that somebody else has is answered in the same way: the mail says it. Raises
    InvalidInput (``email_invalid``, ``email_same``, ``wrong_password``), Conflict
    (``email_not_set_up``) and TooManyRequests.
    """
    user = _me(actor)
    try:
        confirm_password(user, password, ip=actor.ip, field="password")
        _require_mail()
        address = checked_email(email)
        if address == user.email:
            raise InvalidInput(_("This is your address already."), code="email_same", field="email")
        mark = hashlib.sha256(address.encode()).hexdigest()
        ratelimit.hit(f"address-of:{user.pk}", limit=ADDRESS_CODES, window_s=3600)
        ratelimit.hit(f"address-to:{mark}", limit=ADDRESS_CODES, window_s=3600)
    except ScloudError as refusal:
        _log(actor, "tenancy.ask_for_address", {}, {}, refusal)
        raise
    jobs.enqueue(
        kind=ADDRESS,
        tenant=None,
        title=_("Send a code to a new address"),
        target_kind="user",
        target_id=str(user.pk),
        payload={"email": address},
        deadline_s=1800.0,
        exclusive=False,
    )
    _log(actor, "tenancy.ask_for_address", {"email": user.email}, {"email": address})


def change_address(*, actor: Actor, code: str) -> User:
    """Give the caller the address that a code was sent to. The address before is told.

    Raises InvalidInput (``code_wrong``), Conflict (``address_taken``) and TooManyRequests.
    """
    user = _me(actor)
    ratelimit.hit(f"address-code:{user.pk}", limit=20)
    address = address_of(code.strip(), user)
    try:
        if address is None:
            raise InvalidInput(
                _("This code is no longer valid."),
                code="code_wrong",
                field="code",
                remedy=_("Ask for a new one."),
            )
        before = user.email
        with transaction.atomic():
            _take_address(user, address)
            _log(actor, "tenancy.change_address", {"email": before}, {"email": address})
            tell(user, What.ADDRESS, ip=actor.ip, to=before, email=address)
    except ScloudError as refusal:
        _log(actor, "tenancy.change_address", {}, {}, refusal)
        raise
    return user


def _take_address(user: User, address: str) -> None:
    taken = Conflict(_("There is an account with this address."), code="address_taken")
    if User.objects.by_email(address) is not None:
        raise taken
    try:
        with transaction.atomic():
            User.objects.filter(pk=user.pk).update(email=address)
    except IntegrityError as error:
        # Somebody else took it at the same moment.
        raise taken from error
    user.email = address


def _require_mail() -> None:
    if not settings.SCLOUD_EMAIL_READY:
        raise Conflict(
            _("E-mail is not set up on this platform."),
            code="email_not_set_up",
            remedy=_("The administrator of the platform can change your address."),
        )


def revoke_session(*, actor: Actor, session_key: str) -> None:
    """End one of the caller's sessions; raises NotFound for one that is not theirs."""
    user = _me(actor)
    session = UserSession.objects.filter(user=user, session_key=session_key).first()
    if session is None:
        raise NotFound(_("This session no longer exists."))
    sessions.end(session.session_key)
    _log(actor, "tenancy.revoke_session", {"ip": session.ip, "browser": session.user_agent}, {})


def known_scopes(grants: Sequence[str]) -> list[str]:
    """Return the scopes that a user whose role includes these patterns may give to a key."""
    areas = ["compute", "network", "billing", "alarms", "resources", "jobs", "audit"]
    out = []
    for area in areas:
        patterns = [p for p in grants if p == "*" or p.startswith(area)]
        if any(p in ("*", f"{area}.*") for p in patterns):
            out.append(f"{area}.*")
        if patterns:
            out.append(f"{area}.view*")
    if covers(grants, SPEND):
        out.append(SPEND)
    return out


def _person(actor: Actor) -> User:
    """Return the person; a key may not make a key that can do more, or be used from elsewhere."""
    if actor.user is None or actor.api_key is not None:
        raise Unauthenticated(
            _("API keys can only be created and changed by signed-in users, not with an API key."),
            code="person_needed",
            remedy=_("Sign in to the console."),
        )
    return actor.user


@action("tenancy.manage_api_keys", confirmed=True)
def create_api_key(
    *,
    actor: Actor,
    name: str,
    scopes: list[str],
    expires_in_days: int | None = None,
    never_expires: bool = False,
    networks: list[str] | None = None,
) -> tuple[ApiKey, str]:
    """Return a new key of the caller and its secret, which is shown this once only.

    Without ``expires_in_days`` it is valid as long as the platform's settings say.
    """
    user = _person(actor)
    cleaned = name.strip()
    if not 1 <= len(cleaned) <= 60:
        raise InvalidInput(_("A name has 1 to 60 characters."), field="name")
    unknown = set(scopes) - set(known_scopes(actor.grants))
    if unknown:
        raise InvalidInput(
            _("Your role cannot grant %(scopes)s.") % {"scopes": ", ".join(sorted(unknown))},
            field="scopes",
        )
    usable = ApiKey.objects.filter(user=user, revoked_at=None).count()
    if usable >= MAX_KEYS:
        raise Conflict(
            _("You already have %(count)s keys.") % {"count": usable},
            code="too_many_api_keys",
            remedy=_("Revoke one that is no longer used."),
            numbers={"limit": MAX_KEYS, "used": usable},
        )
    key, secret = apikeys.issue(
        user=user,
        name=cleaned,
        scopes=scopes,
        expires_at=_expiry(expires_in_days, never_expires),
        networks=networks,
    )
    audit.note(
        key,
        after={
            "scopes": scopes,
            "expires_at": str(key.expires_at or ""),
            "networks": key.networks,
        },
    )
    tell(user, What.API_KEY, ip=actor.ip, name=key.name)
    return key, secret


def _expiry(days: int | None, never: bool) -> datetime | None:
    if never:
        return None
    if days is None:
        days = PlatformSettings.load().api_key_days
    if not 1 <= days <= MAX_KEY_DAYS:
        raise InvalidInput(
            _("A key is valid for 1 to %(limit)s days.") % {"limit": MAX_KEY_DAYS},
            field="expires_in_days",
            numbers={"limit": MAX_KEY_DAYS, "given": days},
        )
    return timezone.now() + timedelta(days=days)


@action("tenancy.manage_api_keys")
def set_key_networks(*, actor: Actor, key: ApiKey, networks: list[str]) -> ApiKey:
    """Say from where a key may be used; an empty list means from everywhere.

    People change their own keys, administrators of the platform everybody's.
    """
    if not actor.is_platform and key.user_id != _person(actor).pk:
        raise NotFound(_("There is no key %(id)s.") % {"id": key.pk})
    found = apikeys.check_networks(networks)
    audit.note(key, before={"networks": key.networks}, after={"networks": found})
    key.networks = found
    key.save(update_fields=["networks"])
    return key


@action("tenancy.manage_api_keys")
def revoke_api_key(*, actor: Actor, key: ApiKey) -> None:
    """Make a key useless at once. Revoking it again changes nothing."""
    if not actor.is_platform and key.user_id != _person(actor).pk:
        raise NotFound(_("There is no key %(id)s.") % {"id": key.pk})
    ApiKey.objects.filter(pk=key.pk, revoked_at=None).update(revoked_at=timezone.now())
    audit.note(key)


# --- what administrators do with somebody's account


@action("platform.reset_password")
def reset_password(*, actor: Actor, user: User, password: str) -> None:
    """Set somebody's password: their sessions end, keys are revoked and identities unlinked.

    It is done when somebody has left, or when the account may be in wrong hands: who had it may
    have linked an identity of their own. The user links theirs again.
    """
    user.set_password(password)
    user.save(update_fields=["password"])
    _shut_out(user)


@action("platform.move_user")
def move_user(*, actor: Actor, user: User, to: Tenant | None) -> None:
    """Move somebody to another tenant (None: to the platform).

    No session, key or linked identity goes along: the provider may be that of the tenant that the
    user leaves. Who has no password needs one now. ``actor`` acts on the tenant that the user
    leaves.
    """
    audit.note(before={"tenant": user.tenant_id}, after={"tenant": to.pk if to else None})
    user.tenant = to
    if user.role == CUSTOM:
        # The role belongs to the tenant that the user leaves.
        user.role = Role.READONLY
    user.custom_role = None
    user.save(update_fields=["tenant", "role", "custom_role"])
    _shut_out(user)


def _shut_out(user: User) -> None:
    """Take every way in but the password away, within the transaction that has saved the user.

    So the row is locked: a sign-in by an identity, or a link, is done by now or sees this.
    """
    linked = list(Identity.objects.filter(user=user).select_related("provider"))
    Identity.objects.filter(pk__in=[one.pk for one in linked]).delete()
    ended, revoked = sessions.end_all(user), apikeys.revoke_all(user)
    audit.note(
        after={
            "user": user.email,
            "ended_sessions": ended,
            "revoked_keys": revoked,
            "unlinked": [one.provider.label for one in linked],
        }
    )
    for one in linked:
        tell(user, What.IDENTITY_UNLINKED, ip=None, provider=one.provider.label)

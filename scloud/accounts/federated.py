"""Signing in with an identity provider (OpenID Connect), and linking an account with one.

Somebody is known by issuer and subject, never by the address. A question to a provider lives in a
sealed cookie of the browser that asks, for ten minutes; its answer is accepted once, in the same
browser, from the same provider. The provider is asked outside of any transaction.
"""

import hashlib
import hmac
import json
import logging
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

from cryptography.fernet import InvalidToken
from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from scloud.accounts import devices, providers, second_factor, signin
from scloud.accounts.addresses import checked_email
from scloud.accounts.mailing import What
from scloud.accounts.providers import Mapped
from scloud.accounts.telling import tell
from scloud.accounts.users import lock_users_of
from scloud.audit import action as audit
from scloud.audit.action import action
from scloud.audit.models import Operation
from scloud.lib import keys, oidc
from scloud.lib.errors import Conflict, Forbidden, InvalidInput, NotFound, ScloudError
from scloud.tenancy import factors, lockout, ratelimit, sessions
from scloud.tenancy.actor import Actor
from scloud.tenancy.backends import EmailBackend
from scloud.tenancy.clientip import client_ip
from scloud.tenancy.models import Identity, IdentityProvider, UsedAnswer, User
from scloud.tenancy.permissions import CUSTOM, Role
from scloud.tenancy.scoping import scopes_disabled

log = logging.getLogger(__name__)

COOKIE: Final = "scloud_identity"
LIVES: Final = timedelta(minutes=10)
#: Who proves again who they are has to have done so at the provider within this time.
_PROVEN: Final = timedelta(minutes=2)
_LONGEST: Final = 4000


class Purpose(StrEnum):
    """What a provider is asked for."""

    SIGN_IN = "sign_in"
    LINK = "link"
    CONFIRM = "confirm"


@dataclass(frozen=True)
class Answered:
    """What became of an answer.

    ``is_in`` is false where a code of the second factor comes next, after the identity with
    ``identity_id``.
    """

    user: User
    purpose: Purpose
    is_in: bool
    next: str
    identity_id: int | None = None


def offered() -> list[IdentityProvider]:
    """Return the providers that people can sign in with."""
    return [one for one in IdentityProvider.objects.filter(is_on=True) if one.endpoints]


def usable(provider_id: str) -> IdentityProvider:
    """Return a provider that is on and was read. Raises NotFound."""
    found = IdentityProvider.objects.filter(pk=provider_id, is_on=True).first()
    if found is None or not found.endpoints:
        raise NotFound(_("There is no such way to sign in."))
    return found


# --- asking


def begin(
    request: HttpRequest, provider: IdentityProvider, purpose: Purpose, *, to: str
) -> tuple[str, str]:
    """Return where the browser asks the provider, and the cookie that it brings back.

    ``to`` is an address of this site, where it goes on. To link needs a fresh proof of who it is:
    ConfirmationNeeded. Raises TooManyRequests, NotFound (nobody is signed in).
    """
    _count(request, "identity-begin")
    user = request.user if isinstance(request.user, User) else None
    if purpose != Purpose.SIGN_IN and user is None:
        raise NotFound(_("Nobody is signed in."))
    if purpose == Purpose.LINK:
        assert user is not None, "seen above"
        actor_in(request, user).require_confirmed()
    question = oidc.Question.new()
    url = oidc.authorization_url(
        providers.client_of(provider),
        oidc.Endpoints.of(provider.endpoints),
        question,
        redirect_uri=redirect_uri(provider),
        again=purpose == Purpose.CONFIRM,
    )
    held = {
        "provider": provider.pk,
        "issuer": provider.issuer,
        "client": provider.client_id,
        "state": question.state,
        "nonce": question.nonce,
        "verifier": question.verifier,
        "purpose": purpose.value,
        "to": to[:1000],
        "session": _session_mark(request) if purpose != Purpose.SIGN_IN else "",
    }
    return url, keys.box().encrypt(json.dumps(held).encode()).decode()


def actor_in(request: HttpRequest, user: User) -> Actor:
    """Return who is signed in, as an actor; staff acts on the platform."""
    confirmed = sessions.is_confirmed(request.session)
    if user.tenant is None:
        return Actor.administrator(user, None, client_ip(request), confirmed=confirmed)
    return Actor(
        tenant=user.tenant,
        user=user,
        role=user.role,
        ip=client_ip(request),
        via="console",
        confirmed=confirmed,
    )


def redirect_uri(provider: IdentityProvider) -> str:
    """Return where the provider sends people back; it has to be registered there."""
    return f"{settings.SCLOUD_CONSOLE_URL}{reverse('identity-answer', args=[provider.pk])}"


def keep(response: HttpResponse, cookie: str) -> None:
    """Let the browser bring the question back, to this site's own form only."""
    response.set_cookie(
        COOKIE,
        cookie,
        max_age=LIVES,
        httponly=True,
        secure=settings.SESSION_COOKIE_SECURE,
        samesite="Strict",
    )


def forget(response: HttpResponse) -> None:
    """Take the cookie back."""
    response.delete_cookie(COOKIE, samesite="Strict")


def _session_mark(request: HttpRequest) -> str:
    """Return what fits the present session only, and does not tell its key."""
    user = request.user
    return keys.digest(f"identity {user.pk} {request.session.session_key}")


def _count(request: HttpRequest, what: str) -> None:
    """Count what a source does, beside its passwords: a provider that is away locks nobody out."""
    source = lockout.source_of(client_ip(request))
    ratelimit.hit(f"{what}:{source}", limit=settings.SCLOUD_LOGIN_ATTEMPTS_PER_MINUTE)


# --- the answer


def answer(request: HttpRequest, provider: IdentityProvider, given: dict[str, str]) -> Answered:
    """Take what a provider has answered: sign in, link, or note that somebody proved who they are.

    ``given`` has ``code``, ``state``, ``iss`` and ``error``, empty where they did not come. Raises
    InvalidInput (``sign_in_again``, ``provider_refused``, ``code_refused``, ``token_invalid``,
    ``address_missing``), Forbidden (``no_group``, ``user_off``, ``identity_unknown``,
    ``address_elsewhere``), Conflict (``address_taken``,
    ``identity_taken``, ``other_identity``), HostError and TooManyRequests.
    """
    try:
        held = _used_up(request, provider, given)
        # Only what asks the provider: who has no question of ours costs nothing.
        _count(request, "identity")
        claims = _claims(provider, held, given)
        purpose = Purpose(held["purpose"])
        if purpose == Purpose.SIGN_IN:
            user, is_in, identity_id = _sign_in(request, provider, claims)
            return Answered(user, purpose, is_in, held["to"], identity_id)
        person = request.user
        assert isinstance(person, User), "the cookie is of this session"
        if purpose == Purpose.LINK:
            _link(request, person, provider, claims)
        else:
            _confirm(request, person, provider, claims)
    except ScloudError as refusal:
        # Whoever it was: most are nobody's that the operation log could be of.
        log.warning(
            "An answer of identity provider %s was refused: %s %s",
            provider.pk,
            refusal.code,
            refusal.detail,
        )
        raise
    return Answered(person, purpose, True, held["to"])


def _used_up(
    request: HttpRequest, provider: IdentityProvider, given: dict[str, str]
) -> dict[str, str]:
    """Return the question that this is the answer to; nobody else is answered the same."""
    try:
        text = keys.box().decrypt(
            request.COOKIES.get(COOKIE, "")[:_LONGEST].encode(), ttl=int(LIVES.total_seconds())
        )
    except InvalidToken as error:
        raise _again("no question") from error
    held: dict[str, str] = json.loads(text)
    if not hmac.compare_digest(held["state"].encode(), given["state"].encode()):
        raise _again("state")
    asked = (held["provider"], held["issuer"], held["client"])
    if asked != (provider.pk, provider.issuer, provider.client_id):
        raise _again("provider")
    if held["session"] and (
        not isinstance(request.user, User)
        or not hmac.compare_digest(held["session"], _session_mark(request))
    ):
        raise _again("session")
    digest = hashlib.sha256(held["state"].encode()).hexdigest()
    try:
        with transaction.atomic():
            UsedAnswer.objects.create(digest=digest)
    except IntegrityError as error:
        raise _again("used") from error
    # Another provider may have been asked than the browser was told to (RFC 9207).
    endpoints = oidc.Endpoints.of(provider.endpoints)
    if given["iss"] != provider.issuer and (given["iss"] or endpoints.names_issuer):
        raise _again("issuer")
    if given["error"] or not given["code"]:
        raise InvalidInput(
            _("The provider has refused the sign-in."),
            code="provider_refused",
            remedy=_("Try again."),
            # One of a few words of the standard.
            detail=given["error"][:60] if given["error"].isprintable() else "",
        )
    return held


def _claims(
    provider: IdentityProvider, held: dict[str, str], given: dict[str, str]
) -> dict[str, Any]:
    tokens = oidc.exchange(
        providers.client_of(provider),
        oidc.Endpoints.of(provider.endpoints),
        code=given["code"],
        verifier=held["verifier"],
        redirect_uri=redirect_uri(provider),
    )
    return providers.claims_of(provider, tokens, nonce=held["nonce"])


def _again(detail: str) -> InvalidInput:
    return InvalidInput(
        _("This sign-in took too long, or was begun in another window."),
        code="sign_in_again",
        remedy=_("Sign in again."),
        detail=detail,
    )


# --- signing in


def _sign_in(
    request: HttpRequest, provider: IdentityProvider, claims: dict[str, Any]
) -> tuple[User, bool, int]:
    ip = client_ip(request)
    known = _identity_of(provider, claims)
    if known is None:
        user, browser = _create(provider, claims, ip), None
        is_first = True
    else:
        user, browser = known.user, devices.name_of(request, known.user)
        is_first = user.last_login is None
    counts = _counts_as_factor(provider, claims)
    try:
        with transaction.atomic(), scopes_disabled():
            user, identity_id = _fresh(provider, claims, ip)
            if factors.has_one(user) and not counts:
                return user, False, identity_id
            if request.user.is_authenticated:
                signin.sign_out(request)
            signin.enter(
                request,
                user,
                ip,
                factor_counts=counts,
                # Whoever sits at a browser that the provider knows comes in without a question.
                silent=True,
                proven_at=_proven_at(claims),
            )
    except ScloudError as refusal:
        signin.note(user, ip, "tenancy.sign_in", refusal)
        raise
    if browser is None and not is_first:
        signin.tell_of_browser(request, user, ip)
    return user, True, identity_id


def _identity_of(provider: IdentityProvider, claims: dict[str, Any]) -> Identity | None:
    rows = Identity.objects.select_related("user__tenant")
    # Of the issuer that has answered: the row of the provider may have named another one before.
    return rows.filter(provider=provider, issuer=provider.issuer, subject=claims["sub"]).first()


def _proven_at(claims: dict[str, Any]) -> float | None:
    """Return when somebody has proven at the provider who they are (Unix time, s), if it says so.

    No time to come, as of a clock that is ahead, makes the proof last longer.
    """
    at = claims.get("auth_time")
    now = timezone.now().timestamp()
    if isinstance(at, bool) or not isinstance(at, int | float):
        return None
    # Compared before anything is made of it: JSON has numbers that are no time.
    return min(float(at), now) if 0 < at <= now + oidc.SKEW_S else None


def _counts_as_factor(provider: IdentityProvider, claims: dict[str, Any]) -> bool:
    """Tell whether the provider has asked for what the administrator takes for a second factor."""
    wanted = set(provider.factor_values.split())
    methods = claims.get("amr")
    said = {one for one in methods if isinstance(one, str)} if isinstance(methods, list) else set()
    if isinstance(claims.get("acr"), str):
        said.add(claims["acr"])
    return bool(wanted & said)


def _fresh(provider: IdentityProvider, claims: dict[str, Any], ip: str | None) -> tuple[User, int]:
    """Return the user of an identity with the role that their groups give now, and its ID.

    Under the locks of everything that changes users, so that nobody who is being deactivated or
    unlinked comes in.
    """
    identity = _identity_of(provider, claims)
    if identity is None:
        raise _again("unlinked")
    tenant = identity.user.tenant
    if tenant is not None:
        lock_users_of(tenant)
    second_factor.lock(identity.user)
    user = User.objects.select_related("tenant", "custom_role").get(pk=identity.user_id)
    still = Identity.objects.filter(pk=identity.pk, user=user).exists()
    if not still or user.tenant_id != identity.user.tenant_id:
        raise _again("changed meanwhile")
    if not EmailBackend().user_can_authenticate(user):
        raise Forbidden(
            _("This account is not active."),
            code="user_off",
            remedy=_("Ask an owner of the account."),
        )
    _require_standing(provider)
    groups = providers.groups_of(provider, claims)
    mapped = providers.mapping_of(
        provider, groups, within=user.tenant_id, staff=user.tenant_id is None
    )
    if mapped is None or (mapped.tenant is None and not user.is_staff):
        raise _no_group(provider)
    _take_role(user, mapped, provider, ip)
    Identity.objects.filter(pk=identity.pk).update(last_used_at=timezone.now())
    return user, identity.pk


def _require_standing(provider: IdentityProvider, **more: bool) -> None:
    """Raise InvalidInput where a provider was changed or turned off while it was asked."""
    rows = IdentityProvider.objects.filter(pk=provider.pk, is_on=True, **more)
    if not rows.filter(issuer=provider.issuer, client_id=provider.client_id).exists():
        raise _again("turned off")


def _no_group(provider: IdentityProvider) -> Forbidden:
    return Forbidden(
        _("Your groups at %(provider)s give you no access here.") % {"provider": provider.label},
        code="no_group",
        remedy=_("Ask the administrator of your platform."),
    )


def _take_role(user: User, mapped: Mapped, provider: IdentityProvider, ip: str | None) -> None:
    """Give a user the role of their groups. An administrator of the platform stays one.

    The last owner of a tenant stays one, too: somebody has to be.
    """
    before: str | None
    if user.tenant is None:
        before, after = user.staff_role, mapped.staff_role
        if user.is_superuser or before == after:
            return
        user.staff_role = after
        user.save(update_fields=["staff_role"])
    else:
        before = user.custom_role_id if user.role == CUSTOM else user.role
        after = mapped.custom_role.pk if mapped.custom_role else mapped.role
        if before == after:
            return
        owners = User.objects.filter(tenant=user.tenant, role=Role.OWNER, is_active=True)
        if user.role == Role.OWNER and not owners.exclude(pk=user.pk).exists():
            return
        user.role = CUSTOM if mapped.custom_role else mapped.role
        user.custom_role = mapped.custom_role
        user.save(update_fields=["role", "custom_role"])
    _write(
        user,
        ip,
        "tenancy.follow_groups",
        before={"user": user.email, "role": before},
        after={"user": user.email, "role": after, "group": mapped.group, "by": provider.label},
    )


def _create(provider: IdentityProvider, claims: dict[str, Any], ip: str | None) -> User:
    """Make the user of somebody who comes for the first time."""
    if not provider.creates_users:
        raise Forbidden(
            _("No account is linked to this identity."),
            code="identity_unknown",
            remedy=_("Sign in with your password and link it in your profile."),
        )
    mapped = providers.mapping_of(
        provider, providers.groups_of(provider, claims), within=None, staff=False
    )
    if mapped is None:
        raise _no_group(provider)
    email = _address(claims)
    if not providers.may_create(provider, email):
        # Before anything is looked up: it tells nobody whether somebody has the address.
        raise Forbidden(
            _("%(provider)s can make no account of your address.") % {"provider": provider.label},
            code="address_elsewhere",
            remedy=_("Ask the administrator of your platform."),
            detail=email.rpartition("@")[2][:100],
        )
    name = claims.get("name")
    name = " ".join(name.split())[:80] if isinstance(name, str) else ""
    user = User(
        email=email,
        full_name=name if name.isprintable() else "",
        tenant=mapped.tenant,
        role=CUSTOM if mapped.custom_role else (mapped.role or Role.READONLY),
        custom_role=mapped.custom_role,
        is_staff=mapped.tenant is None,
        staff_role=mapped.staff_role,
    )
    user.set_unusable_password()
    taken = Conflict(
        _("There is an account with your address."),
        code="address_taken",
        remedy=_("Sign in with its password and link it in your profile."),
    )
    with scopes_disabled():
        try:
            with transaction.atomic():
                if mapped.tenant is not None:
                    lock_users_of(mapped.tenant)
                if User.objects.by_email(email) is not None:
                    raise taken
                user.save(force_insert=True)
                Identity.objects.create(
                    provider=provider, issuer=provider.issuer, subject=claims["sub"], user=user
                )
                # Afterwards: who changes the provider waits for the row that names it.
                _require_standing(provider, creates_users=True)
                _write(
                    user,
                    ip,
                    "tenancy.follow_groups",
                    after={
                        "user": user.email,
                        "role": user.staff_role or user.custom_role_id or user.role,
                        "group": mapped.group,
                        "by": provider.label,
                    },
                )
        except IntegrityError as error:
            # The same person came twice at the same moment, or somebody has taken the address.
            if _identity_of(provider, claims) is None:
                raise taken from error
            raise _again("twice") from error
    return user


def _address(claims: dict[str, Any]) -> str:
    """Return the address of a token. Raises InvalidInput (``address_missing``)."""
    said = claims.get("email")
    try:
        if isinstance(said, str) and claims.get("email_verified") is True:
            return checked_email(said)
    except InvalidInput:
        pass
    raise InvalidInput(
        _("The provider names no address of yours that it has verified."),
        code="address_missing",
        remedy=_("Have it verified at the provider, and sign in again."),
    )


# --- linking, unlinking, proving


def _link(
    request: HttpRequest, user: User, provider: IdentityProvider, claims: dict[str, Any]
) -> None:
    ip = client_ip(request)
    refusal = Conflict(
        _("This identity, or your account, is linked already."),
        code="identity_taken",
        remedy=_("Unlink it first, in the profile of the account that has it."),
    )
    try:
        with transaction.atomic():
            second_factor.lock(user)
            _require_session(request, user)
            Identity.objects.create(
                provider=provider, issuer=provider.issuer, subject=claims["sub"], user=user
            )
            # Afterwards: who changes the provider waits for the row that names it.
            _require_standing(provider)
            _write(user, ip, "tenancy.link_identity", after={"provider": provider.label})
            tell(user, What.IDENTITY_LINKED, ip=ip, provider=provider.label)
    except IntegrityError as error:
        signin.note(user, ip, "tenancy.link_identity", refusal)
        raise refusal from error


def _require_session(request: HttpRequest, user: User) -> None:
    """Raise InvalidInput where the session has ended while the provider was asked.

    Under the lock of the user: what ends it afterwards finds what is written now.
    """
    fresh = User.objects.select_related("tenant").get(pk=user.pk)
    session = request.session
    if (
        not session.exists(str(session.session_key))
        or fresh.password != user.password
        or not EmailBackend().user_can_authenticate(fresh)
        or sessions.lacks_factor(session, fresh)
    ):
        raise _again("session ended")


def unlink(*, actor: Actor, identity_id: int, keep_session: str | None) -> None:
    """Take the link of the signed-in person to a provider away; their other sessions end.

    One of them may be that of whoever has the identity. Raises ConfirmationNeeded, NotFound and
    Conflict (``last_way_in``).
    """
    user = actor.user
    if user is None or actor.api_key is not None:
        raise NotFound(_("Nobody is signed in."))
    actor.require_confirmed()
    with transaction.atomic():
        second_factor.lock(user)
        mine = Identity.objects.filter(user=user)
        found = mine.select_related("provider").filter(pk=identity_id).first()
        if found is None:
            raise NotFound(_("This identity is not linked."))
        others = mine.exclude(pk=found.pk).filter(
            provider__is_on=True, issuer=F("provider__issuer")
        )
        if not user.has_usable_password() and not others.exists():
            raise Conflict(
                _("You have no other way to sign in."),
                code="last_way_in",
                remedy=_("Link another identity first."),
            )
        found.delete()
        ended = sessions.end_all(user, keep=keep_session)
        _write(
            user,
            actor.ip,
            "tenancy.unlink_identity",
            before={"provider": found.provider.label},
            after={"ended_sessions": ended},
        )
        tell(user, What.IDENTITY_UNLINKED, ip=actor.ip, provider=found.provider.label)


@action("platform.unlink_identity")
def remove_link(*, actor: Actor, identity: Identity) -> None:
    """Take somebody's link away, end their sessions and tell them. Raises NotFound."""
    user = identity.user
    second_factor.lock(user)
    deleted, _rows = Identity.objects.filter(pk=identity.pk).delete()
    if not deleted:
        raise NotFound(_("This identity is not linked."))
    ended = sessions.end_all(user)
    label = identity.provider.label
    audit.note(before={"user": user.email, "provider": label}, after={"ended_sessions": ended})
    tell(user, What.IDENTITY_UNLINKED, ip=None, provider=label)


def _confirm(
    request: HttpRequest, user: User, provider: IdentityProvider, claims: dict[str, Any]
) -> None:
    """Note that somebody has proven again, at the provider and just now, who they are."""
    ip = client_ip(request)
    known = _identity_of(provider, claims)
    at = _proven_at(claims)
    is_fresh = at is not None and timezone.now().timestamp() - at < _PROVEN.total_seconds()
    if known is None or known.user_id != user.pk or not is_fresh:
        refusal = Conflict(
            _("The provider did not confirm that it is you."),
            code="other_identity",
            remedy=_("Sign in there again, as the identity that is linked to your account."),
        )
        signin.note(user, ip, "tenancy.confirm_identity", refusal)
        raise refusal
    _require_standing(provider)
    sessions.confirm(request.session)


def ways_to_confirm(user: User) -> list[IdentityProvider]:
    """Return the providers by which a user can prove again who they are."""
    rows = IdentityProvider.objects.filter(
        is_on=True, identities__user=user, identities__issuer=F("issuer")
    ).distinct()
    return [one for one in rows if one.endpoints]


def _write(
    user: User,
    ip: str | None,
    verb: str,
    *,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
) -> None:
    with scopes_disabled():
        Operation.objects.create(
            tenant=user.tenant,
            actor=user.email,
            user_id=user.pk,
            via="console" if user.tenant_id else "admin",
            ip=ip,
            verb=verb,
            before=before,
            after=after,
            succeeded=True,
        )

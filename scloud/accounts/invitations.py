"""Inviting people to an account: an owner names an address, its owner sets name and password.

The code that lets somebody in is made when the mail is written (see mailing.py) and stands in the
mail alone. An address can belong to one user of the platform only; whoever invites one that
belongs to somebody of another tenant is not told so: the mail says it to the address.
"""

import hashlib
from datetime import timedelta
from typing import Final

from django.conf import settings
from django.contrib.auth import password_validation
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _

from scloud.accounts import signin
from scloud.accounts.addresses import checked_email
from scloud.accounts.mailing import INVITE, INVITE_AS
from scloud.accounts.users import (
    MANAGE,
    columns_of,
    lock_users,
    lock_users_of,
    require_known,
)
from scloud.audit import action as audit
from scloud.audit.action import action
from scloud.audit.models import Operation
from scloud.jobs import service as jobs
from scloud.lib import keys
from scloud.lib.errors import Conflict, InvalidInput, NotFound, ScloudError
from scloud.tenancy import lockout, ratelimit
from scloud.tenancy.actor import Actor
from scloud.tenancy.clientip import client_ip
from scloud.tenancy.models import CustomRole, Invitation, User
from scloud.tenancy.permissions import CUSTOM
from scloud.tenancy.scoping import scopes_disabled

#: How long a code is valid, from when it is sent.
LIVES: Final = timedelta(days=3)
#: Open invitations of a tenant.
MAX_OPEN: Final = 50
#: Mails in an hour, for a tenant and to an address, whoever invites it.
PER_TENANT: Final = 20
PER_ADDRESS: Final = 3
_HOUR_S: Final = 3600
_DEADLINE_S: Final = 3600.0


def refusal(invitation: Invitation) -> ScloudError | None:
    """Return why an invitation cannot be sent again or withdrawn; None if it can."""
    if invitation.accepted_at is not None:
        return Conflict(_("The invitation was accepted."), code="invitation_accepted")
    if invitation.withdrawn_at is not None:
        return Conflict(_("The invitation was withdrawn."), code="invitation_withdrawn")
    return None


@action(MANAGE)
def invite_user(*, actor: Actor, email: str, role: str | CustomRole) -> Invitation:
    """Invite an address to become a user with a role, and send it a code.

    ``role`` is one of the platform's, or one that the tenant has made.

    Raises InvalidInput (``email_invalid``, ``role_unknown``), Conflict (``email_not_set_up``,
    ``user_exists``, ``invitation_exists``, ``too_many_invitations``) and TooManyRequests.
    """
    _require_mail()
    require_known(role)
    address = checked_email(email)
    me = lock_users(actor)
    tenant = me.tenant
    assert tenant is not None, "the lock says so"
    user = User.objects.by_email(address)
    if user is not None and user.tenant_id == tenant.pk:
        raise Conflict(
            _("%(email)s is a user of this account.") % {"email": address},
            code="user_exists",
            field="email",
        )
    still_open = Invitation.objects.filter(accepted_at=None, withdrawn_at=None)
    if still_open.filter(email=address).exists():
        raise Conflict(
            _("%(email)s has been invited.") % {"email": address},
            code="invitation_exists",
            field="email",
            remedy=_("Send the invitation again, or withdraw it."),
        )
    used = still_open.count()
    if used >= MAX_OPEN:
        raise Conflict(
            _("%(count)s invitations are open.") % {"count": used},
            code="too_many_invitations",
            remedy=_("Withdraw one that is no longer needed."),
            numbers={"limit": MAX_OPEN, "used": used},
        )
    name, custom = columns_of(role)
    _count_mail(tenant.pk, address)
    invitation = Invitation(
        tenant=tenant,
        email=address,
        role=name,
        custom_role=custom,
        invited_by=me,
        expires_at=timezone.now() + LIVES,
    )
    invitation.save(force_insert=True)
    audit.note(invitation, after={"email": address, "role": custom.name if custom else name})
    _enqueue(actor, invitation)
    return invitation


@action(MANAGE)
def send_invitation_again(*, actor: Actor, invitation: Invitation) -> Invitation:
    """Send a new code; the one before is void as soon as the new one is on its way.

    Raises Conflict (``email_not_set_up``, ``invitation_accepted``, ``invitation_withdrawn``),
    NotFound and TooManyRequests.
    """
    _require_mail()
    lock_users(actor)
    fresh = _locked(invitation)
    _count_mail(fresh.tenant_id, fresh.email)
    fresh.expires_at = timezone.now() + LIVES
    fresh.sent_at = None
    fresh.save(update_fields=["expires_at", "sent_at"])
    audit.note(after={"email": fresh.email, "sent_again": True})
    _enqueue(actor, fresh)
    return fresh


@action(MANAGE)
def withdraw_invitation(*, actor: Actor, invitation: Invitation) -> Invitation:
    """Make the code of an invitation void.

    Raises Conflict (``invitation_accepted``, ``invitation_withdrawn``) and NotFound.
    """
    lock_users(actor)
    fresh = _locked(invitation)
    fresh.withdrawn_at, fresh.digest = timezone.now(), ""
    fresh.save(update_fields=["withdrawn_at", "digest"])
    audit.note(after={"email": fresh.email, "withdrawn": True})
    return fresh


def accept(request: HttpRequest, *, code: str, full_name: str, password: str) -> User:
    """Make the user of an invitation and sign them in.

    A code that is wrong, void, too old or used is answered in the same words. Raises InvalidInput
    (``invitation_invalid``, ``invalid_name``, ``weak_password``), Conflict (``address_taken``) and
    TooManyRequests.
    """
    ip = client_ip(request)
    ratelimit.hit(f"join:{lockout.source_of(ip)}", limit=settings.SCLOUD_LOGIN_ATTEMPTS_PER_MINUTE)
    name = " ".join(full_name.split())
    if not 1 <= len(name) <= 80 or not name.isprintable():
        raise InvalidInput(
            _("A name has 1 to 80 characters."), code="invalid_name", field="full_name"
        )
    # Nobody is signed in, so the tenant is known by the code only.
    with scopes_disabled(), transaction.atomic():
        # The order of owners, who lock the users first; a role is not deleted meanwhile.
        lock_users_of(_invitation_of(code).tenant)
        invitation = _invitation_of(code, lock=True)
        user = User(
            email=invitation.email,
            full_name=name,
            tenant=invitation.tenant,
            role=invitation.role,
            custom_role=invitation.custom_role,
        )
        _set_password(user, password)
        _save_new(user)
        invitation.accepted_at, invitation.digest = timezone.now(), ""
        invitation.save(update_fields=["accepted_at", "digest"])
        Operation.objects.create(
            tenant=invitation.tenant,
            actor=user.email,
            user_id=user.pk,
            via="console",
            ip=ip,
            verb="tenancy.accept_invitation",
            resources=[audit.describe(invitation)],
            after={
                "user": user.email,
                "role": user.role_name if user.role == CUSTOM else user.role,
            },
            succeeded=True,
        )
    if request.user.is_authenticated:
        signin.sign_out(request)
    signin.enter(request, user, ip)
    return user


def _invitation_of(code: str, *, lock: bool = False) -> Invitation:
    rows = Invitation.objects.select_related("tenant", "custom_role")
    if lock:
        rows = rows.select_for_update(of=("self",))
    invitation = rows.filter(
        digest__in=keys.digests(code.strip()),
        accepted_at=None,
        withdrawn_at=None,
        expires_at__gt=timezone.now(),
        tenant__is_active=True,
    ).first()
    if not isinstance(invitation, Invitation):
        raise InvalidInput(
            _("There is no valid invitation with this code."),
            code="invitation_invalid",
            field="code",
            remedy=_("Ask an owner of the account to send it again."),
        )
    return invitation


def _set_password(user: User, password: str) -> None:
    try:
        password_validation.validate_password(password, user)
    except ValidationError as error:
        raise InvalidInput(
            " ".join(error.messages), code="weak_password", field="password"
        ) from error
    user.set_password(password)


def _save_new(user: User) -> None:
    taken = Conflict(
        _("There is an account with this address."),
        code="address_taken",
        remedy=_("Ask an owner of the account to invite another address."),
    )
    if User.objects.by_email(user.email) is not None:
        raise taken
    try:
        with transaction.atomic():
            user.save(force_insert=True)
    except IntegrityError as error:
        # Somebody else made a user with it at the same moment.
        raise taken from error


def _require_mail() -> None:
    if not settings.SCLOUD_EMAIL_READY:
        raise Conflict(
            _("E-mail is not set up on this platform."),
            code="email_not_set_up",
            remedy=_("Ask the administrator of the platform to create the user."),
        )


def _count_mail(tenant_id: str, address: str) -> None:
    ratelimit.hit(f"invite:{tenant_id}", limit=PER_TENANT, window_s=_HOUR_S)
    # An address can be longer than the key of a counter.
    mark = hashlib.sha256(address.encode()).hexdigest()
    ratelimit.hit(f"invite-to:{mark}", limit=PER_ADDRESS, window_s=_HOUR_S)


def _locked(invitation: Invitation) -> Invitation:
    fresh = Invitation.objects.select_for_update().filter(pk=invitation.pk).first()
    if not isinstance(fresh, Invitation):
        raise NotFound(_("There is no invitation %(id)s.") % {"id": invitation.pk})
    error = refusal(fresh)
    if error is not None:
        raise error
    return fresh


def _enqueue(actor: Actor, invitation: Invitation) -> None:
    jobs.enqueue(
        kind=INVITE_AS if invitation.role == CUSTOM else INVITE,
        tenant=invitation.tenant,
        title=_("Send an invitation"),
        target_kind=Invitation.KIND,
        target_id=invitation.pk,
        deadline_s=_DEADLINE_S,
        actor=actor,
        exclusive=False,
    )

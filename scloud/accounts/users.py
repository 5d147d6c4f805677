"""What the owners of a tenant do about its users.

Everything here takes the lock of the tenant's users first and then looks again: two owners who act
on each other at the same moment act one after the other, and a tenant always has an active owner.
Nobody changes their own rights, but for an owner who hands ownership over.
"""

from typing import Final

from django.db import connection
from django.utils.translation import gettext as _

from scloud.accounts import second_factor
from scloud.accounts.confirming import confirm_password
from scloud.audit import action as audit
from scloud.audit.action import action
from scloud.audit.models import Operation
from scloud.lib.errors import Conflict, InvalidInput, NotFound, ScloudError, Unauthenticated
from scloud.lib.locks import advisory_key
from scloud.tenancy import apikeys, sessions
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant, User
from scloud.tenancy.permissions import Role

MANAGE: Final = "tenancy.manage_users"
# What an owner can make somebody; ownership is handed over, with the password.
GIVEN: Final = tuple(role for role in Role if role != Role.OWNER)


def refusal(verb: str, *, me: User, user: User) -> ScloudError | None:
    """Return why an owner cannot use a verb on a user of the tenant now; None if they can.

    Verbs: ``change_role``, ``deactivate``, ``activate``, ``hand_over``, ``reset_second_factor``.
    """
    if me.pk == user.pk and verb == "reset_second_factor":
        return Conflict(
            _("You cannot reset your own second factor."),
            code="own_account",
            remedy=_("Turn it off, or move it to another device, in your profile."),
        )
    if me.pk == user.pk:
        return Conflict(
            _("You cannot change your own role or access."),
            code="own_account",
            remedy=_("Hand ownership over, or ask another owner."),
        )
    if verb == "activate":
        if user.is_active:
            return Conflict(_("%(email)s is active.") % {"email": user.email}, code="user_active")
        return None
    if not user.is_active:
        return Conflict(
            _("%(email)s is not active.") % {"email": user.email},
            code="user_not_active",
            remedy=_("Activate the user first."),
        )
    if verb == "hand_over" and user.role == Role.OWNER:
        return Conflict(
            _("%(email)s is an owner already.") % {"email": user.email}, code="user_is_owner"
        )
    if verb == "reset_second_factor" and not hasattr(user, "second_factor"):
        return Conflict(
            _("%(email)s has no second factor.") % {"email": user.email}, code="second_factor_off"
        )
    return None


@action(MANAGE)
def change_role(*, actor: Actor, user: User, role: str) -> User:
    """Give another user a role other than the owner's; it holds from their next request on.

    Raises InvalidInput (``role_unknown``) and Conflict (``own_account``, ``user_not_active``).
    """
    if role not in GIVEN:
        raise InvalidInput(_("Choose one of the roles."), code="role_unknown", field="role")
    _me, fresh = _lock(actor, user, "change_role")
    audit.note(
        before={"user": fresh.email, "role": fresh.role}, after={"user": fresh.email, "role": role}
    )
    fresh.role = role
    fresh.save(update_fields=["role"])
    return fresh


@action(MANAGE)
def deactivate_user(*, actor: Actor, user: User) -> User:
    """Keep another user out: sessions end and API keys are revoked at once.

    Raises Conflict (``own_account``, ``user_not_active``).
    """
    _me, fresh = _lock(actor, user, "deactivate")
    fresh.is_active = False
    fresh.save(update_fields=["is_active"])
    ended, revoked = sessions.end_all(fresh), apikeys.revoke_all(fresh)
    audit.note(after={"user": fresh.email, "ended_sessions": ended, "revoked_keys": revoked})
    return fresh


@action(MANAGE)
def activate_user(*, actor: Actor, user: User) -> User:
    """Let a user in again, with the password of before; revoked API keys stay revoked.

    Raises Conflict (``own_account``, ``user_active``).
    """
    _me, fresh = _lock(actor, user, "activate")
    fresh.is_active = True
    fresh.save(update_fields=["is_active"])
    audit.note(after={"user": fresh.email})
    return fresh


@action(MANAGE)
def reset_second_factor(*, actor: Actor, user: User) -> User:
    """Take another user's second factor away, who has lost app and recovery codes.

    Their sessions end at once, and they are told by mail. Raises Conflict (``own_account``,
    ``user_not_active``, ``second_factor_off``).
    """
    me, fresh = _lock(actor, user, "reset_second_factor")
    second_factor.remove(fresh, by=me.email, ip=actor.ip)
    return fresh


@action(MANAGE)
def require_second_factor(*, actor: Actor, required: bool) -> Tenant:
    """Say whether every user of the tenant needs a second factor.

    From their next request on, users without one can only set it up; API keys go on working.
    """
    me = lock_users(actor)
    tenant = Tenant.objects.select_for_update(no_key=True).get(pk=me.tenant_id)
    audit.note(
        before={"second_factor_required": tenant.second_factor_required},
        after={"second_factor_required": required},
    )
    tenant.second_factor_required = required
    tenant.save(update_fields=["second_factor_required"])
    return tenant


def hand_over(*, actor: Actor, user: User, password: str, own_role: str) -> User:
    """Make another user an owner and give the caller ``own_role``, which may be the owner's.

    ``password`` is the caller's; wrong ones are counted and logged. Raises InvalidInput
    (``wrong_password``, ``role_unknown``), TooManyRequests (``account_locked``) and Conflict
    (``own_account``, ``user_not_active``, ``user_is_owner``).
    """
    me = person_of(actor)
    try:
        confirm_password(me, password, ip=actor.ip, field="password")
    except ScloudError as error:
        _log_refusal(actor, error)
        raise
    return _hand_over(actor=actor, user=user, own_role=own_role)


@action(MANAGE)
def _hand_over(*, actor: Actor, user: User, own_role: str) -> User:
    if own_role not in Role.values:
        raise InvalidInput(_("Choose one of the roles."), code="role_unknown", field="own_role")
    me, fresh = _lock(actor, user, "hand_over")
    audit.note(
        before={"user": fresh.email, "role": fresh.role},
        after={"user": fresh.email, "role": Role.OWNER, "own_role": own_role},
    )
    fresh.role = Role.OWNER
    fresh.save(update_fields=["role"])
    me.role = own_role
    me.save(update_fields=["role"])
    return fresh


def person_of(actor: Actor) -> User:
    """Return the person; a key that has leaked must not be able to let others in."""
    if actor.user is None or actor.tenant is None or actor.api_key is not None:
        raise Unauthenticated(
            _("Users can only be changed by signed-in users, not with an API key."),
            code="person_needed",
            remedy=_("Sign in to the console."),
        )
    return actor.user


def lock_users(actor: Actor) -> User:
    """Let nobody else change the users of the tenant until the transaction ends.

    Return the caller, who may have lost the right since the request began: another owner was first.
    """
    person = person_of(actor)
    assert actor.tenant is not None
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_advisory_xact_lock(%s)", [advisory_key(f"users of {actor.tenant.pk}")]
        )
    rows = User.objects.filter(tenant=actor.tenant, pk=person.pk)
    me = rows.select_for_update(no_key=True).first()
    if me is None or not me.is_active or me.role != Role.OWNER:
        raise Conflict(
            _("You are no longer an owner of this account."),
            code="owner_no_longer",
            remedy=_("Ask another owner."),
        )
    return me


def _lock(actor: Actor, user: User, verb: str) -> tuple[User, User]:
    """Return the caller and the other user as they are now, until the transaction ends."""
    me = lock_users(actor)
    rows = User.objects.filter(tenant=actor.tenant, pk=user.pk)
    other = rows.select_for_update(no_key=True).first()
    if other is None:
        raise NotFound(_("There is no user %(id)s.") % {"id": user.pk})
    error = refusal(verb, me=me, user=other)
    if error is not None:
        raise error
    return me, other


def _log_refusal(actor: Actor, error: ScloudError) -> None:
    Operation.objects.create(
        tenant=actor.tenant,
        actor=actor.label,
        user_id=actor.user.pk if actor.user else None,
        via=actor.via,
        ip=actor.ip,
        verb=MANAGE,
        succeeded=False,
        error_code=error.code,
        error_message=error.message,
        request_id=actor.request_id,
    )

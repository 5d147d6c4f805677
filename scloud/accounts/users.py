"""What the owners of a tenant do about its users.

Everything here takes the lock of the tenant's users first and then looks again: two owners who act
on each other at the same moment act one after the other, and a tenant always has an active owner.
Nobody changes their own rights, but for an owner who hands ownership over.
"""

from decimal import Decimal
from typing import Final

from django.db import connection
from django.utils.translation import gettext as _

from scloud.accounts import second_factor
from scloud.accounts.confirming import confirm_person
from scloud.audit import action as audit
from scloud.audit.action import action
from scloud.audit.models import Operation
from scloud.lib.errors import Conflict, InvalidInput, NotFound, ScloudError, Unauthenticated
from scloud.lib.locks import advisory_key
from scloud.tenancy import apikeys, sessions
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import CustomRole, Tenant, User
from scloud.tenancy.permissions import CUSTOM, Role

MANAGE: Final = "tenancy.manage_users"
# What an owner can make somebody; ownership is handed over, with the password.
GIVEN: Final = tuple(role for role in Role if role != Role.OWNER)

#: The highest limit above which payments are confirmed.
MOST_ASKED: Final = Decimal("999999999999.99")


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
def change_role(*, actor: Actor, user: User, role: str | CustomRole) -> User:
    """Give another user a role other than the owner's; it holds from their next request on.

    ``role`` is one of the platform's, or one that the tenant has made. Raises InvalidInput
    (``role_unknown``) and Conflict (``own_account``, ``user_not_active``).
    """
    require_known(role)
    _me, fresh = _lock(actor, user, "change_role")
    before = {"user": fresh.email, "role": _named(fresh)}
    fresh.role, fresh.custom_role = columns_of(role)
    audit.note(before=before, after={"user": fresh.email, "role": _named(fresh)})
    fresh.save(update_fields=["role", "custom_role"])
    return fresh


def require_known(role: str | CustomRole) -> None:
    """Raise InvalidInput (``role_unknown``) for what is no role that owners give."""
    if not isinstance(role, CustomRole) and role not in GIVEN:
        raise _unknown()


def columns_of(role: str | CustomRole) -> tuple[str, CustomRole | None]:
    """Return what a row of a role has in ``role`` and ``custom_role``.

    Under the lock of the tenant's users, which keeps a role of the tenant's own from being deleted.
    Raises InvalidInput (``role_unknown``) where it was, since the request began.
    """
    if not isinstance(role, CustomRole):
        return role, None
    fresh = CustomRole.objects.filter(pk=role.pk).first()
    if not isinstance(fresh, CustomRole):
        raise _unknown()
    return CUSTOM, fresh


def _unknown() -> InvalidInput:
    return InvalidInput(_("Choose one of the roles."), code="role_unknown", field="role")


def _named(user: User) -> str:
    """Return what the operation log calls a user's role."""
    return user.role_name if user.role == CUSTOM else user.role


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
def change_security(*, actor: Actor, required: bool, ask_above: Decimal | None = None) -> Tenant:
    """Say whether every user of the tenant needs a second factor, and what payments are confirmed.

    From their next request on, users without one can only set it up; API keys go on working. Who
    pays more than ``ask_above`` at once in a browser has to prove who they are, unless they did so
    lately; None leaves it as it is. Raises InvalidInput (``amount_out_of_range``).
    """
    me = lock_users(actor)
    tenant = Tenant.objects.select_for_update(no_key=True).get(pk=me.tenant_id)
    above = tenant.ask_above if ask_above is None else ask_above
    if not 0 <= above <= MOST_ASKED:
        raise InvalidInput(
            _("An amount is from 0 to %(max)s.") % {"max": MOST_ASKED},
            code="amount_out_of_range",
            field="ask_above",
            numbers={"min": 0, "max": str(MOST_ASKED)},
        )
    if above > tenant.ask_above:
        # Who has found an open browser must not lift the limit first.
        actor.require_confirmed()
    audit.note(
        before={"second_factor_required": tenant.second_factor_required},
        after={"second_factor_required": required},
    )
    if above != tenant.ask_above:
        audit.note(before={"ask_above": str(tenant.ask_above)}, after={"ask_above": str(above)})
    tenant.second_factor_required, tenant.ask_above = required, above
    tenant.save(update_fields=["second_factor_required", "ask_above"])
    return tenant


def hand_over(*, actor: Actor, user: User, password: str, own_role: str) -> User:
    """Make another user an owner and give the caller ``own_role``, which may be the owner's.

    ``password`` is the caller's, if they have one; wrong ones are counted and logged. Raises
    InvalidInput (``wrong_password``, ``role_unknown``), ConfirmationNeeded, TooManyRequests
    (``account_locked``) and Conflict (``own_account``, ``user_not_active``, ``user_is_owner``).
    """
    me = person_of(actor)
    try:
        confirm_person(actor, me, password, field="password")
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
        before={"user": fresh.email, "role": _named(fresh)},
        after={"user": fresh.email, "role": Role.OWNER, "own_role": own_role},
    )
    fresh.role, fresh.custom_role = Role.OWNER, None
    fresh.save(update_fields=["role", "custom_role"])
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
    lock_users_of(actor.tenant)
    rows = User.objects.filter(tenant=actor.tenant, pk=person.pk)
    me = rows.select_for_update(no_key=True).first()
    if me is None or not me.is_active or me.role != Role.OWNER:
        raise Conflict(
            _("You are no longer an owner of this account."),
            code="owner_no_longer",
            remedy=_("Ask another owner."),
        )
    return me


def require_owner_left(tenant: Tenant, without: User) -> None:
    """Raise Conflict (``last_owner``) if a tenant has no active owner beside a user.

    Its users cannot be changed by others until the transaction ends.
    """
    lock_users_of(tenant)
    others = User.objects.filter(tenant=tenant, role=Role.OWNER, is_active=True)
    if not others.exclude(pk=without.pk).exists():
        raise Conflict(
            _("%(email)s is the last owner of %(tenant)s.")
            % {"email": without.email, "tenant": tenant},
            code="last_owner",
            remedy=_("Make somebody else an owner first, or deactivate the tenant."),
        )


def lock_users_of(tenant: Tenant) -> None:
    """Let nobody else change the users of a tenant until the transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [advisory_key(f"users of {tenant.pk}")])


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

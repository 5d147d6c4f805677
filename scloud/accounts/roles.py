"""Roles that the owners of a tenant make: a name, and what it includes.

Rights are asked for as with the platform's roles. Nobody gets the right to manage users by one,
which owners alone have. As everything about users they change under the lock of the tenant's users.
"""

from collections.abc import Sequence
from typing import Final

from django.utils.translation import gettext as _

from scloud.accounts.rights import permissions_of
from scloud.accounts.users import MANAGE, lock_users
from scloud.audit import action as audit
from scloud.audit.action import action
from scloud.lib.errors import Conflict, InvalidInput, NotFound
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import CustomRole, User
from scloud.tenancy.permissions import CUSTOM, Role

#: Roles of a tenant.
MAX_ROLES: Final = 20
_LONGEST: Final = 40


@action(MANAGE)
def create_role(*, actor: Actor, name: str, abilities: Sequence[str]) -> CustomRole:
    """Make a role that includes abilities (their keys).

    Raises InvalidInput (``invalid_name``, ``abilities_unknown``) and Conflict (``name_taken``,
    ``too_many_roles``).
    """
    me = lock_users(actor)
    assert me.tenant is not None, "the lock says so"
    used = CustomRole.objects.count()
    if used >= MAX_ROLES:
        raise Conflict(
            _("You already have %(count)s roles.") % {"count": used},
            code="too_many_roles",
            remedy=_("Delete one that is no longer used."),
            numbers={"limit": MAX_ROLES, "used": used},
        )
    role = CustomRole(tenant=me.tenant, name=_checked(name), permissions=_included(abilities))
    role.save(force_insert=True)
    audit.note(role, after=_facts(role))
    return role


@action(MANAGE)
def change_custom_role(
    *, actor: Actor, role: CustomRole, name: str, abilities: Sequence[str]
) -> CustomRole:
    """Change a role's name and what it includes; it holds from the next request of its users on.

    Raises what :func:`create_role` raises, and NotFound.
    """
    lock_users(actor)
    fresh = _locked(role)
    before = _facts(fresh)
    fresh.name, fresh.permissions = _checked(name, fresh), _included(abilities)
    fresh.save(update_fields=["name", "permissions"])
    audit.note(fresh, before=before, after=_facts(fresh))
    return fresh


@action(MANAGE)
def delete_role(*, actor: Actor, role: CustomRole) -> None:
    """Delete a role that nobody has. Raises Conflict (``role_in_use``) and NotFound."""
    me = lock_users(actor)
    fresh = _locked(role)
    users = User.objects.filter(custom_role=fresh)
    # A user who has another role by now, or has left the tenant, is not kept from it.
    having = users.filter(tenant=me.tenant, role=CUSTOM).count()
    if having:
        raise Conflict(
            _("%(count)s users have this role.") % {"count": having},
            code="role_in_use",
            remedy=_("Give them another role first."),
            numbers={"users": having},
        )
    invited = fresh.invitations.filter(accepted_at=None, withdrawn_at=None).count()
    if invited:
        raise Conflict(
            _("%(count)s invitations are for this role.") % {"count": invited},
            code="role_in_use",
            remedy=_("Withdraw them first."),
            numbers={"invitations": invited},
        )
    users.update(custom_role=None)
    audit.note(fresh, before=_facts(fresh))
    fresh.delete()


def _facts(role: CustomRole) -> dict[str, object]:
    return {"role": role.name, "permissions": role.permissions}


def _checked(name: str, role: CustomRole | None = None) -> str:
    cleaned = " ".join(name.split())
    if not 1 <= len(cleaned) <= _LONGEST or not cleaned.isprintable():
        raise InvalidInput(
            _("A name has 1 to %(max)d characters.") % {"max": _LONGEST},
            code="invalid_name",
            field="name",
            numbers={"min": 1, "max": _LONGEST},
        )
    others = CustomRole.objects.filter(name__iexact=cleaned)
    if role is not None:
        others = others.exclude(pk=role.pk)
    known = {str(one.label).casefold() for one in Role}
    if others.exists() or cleaned.casefold() in known:
        raise Conflict(_("There is a role of this name."), code="name_taken", field="name")
    return cleaned


def _included(abilities: Sequence[str]) -> list[str]:
    try:
        found = permissions_of(abilities)
    except KeyError as error:
        raise InvalidInput(
            _("There is no such ability."), code="abilities_unknown", field="abilities"
        ) from error
    if not found:
        raise InvalidInput(
            _("Select at least one ability."), code="abilities_missing", field="abilities"
        )
    return found


def _locked(role: CustomRole) -> CustomRole:
    fresh = CustomRole.objects.select_for_update().filter(pk=role.pk).first()
    if not isinstance(fresh, CustomRole):
        raise NotFound(_("There is no role %(id)s.") % {"id": role.pk})
    return fresh

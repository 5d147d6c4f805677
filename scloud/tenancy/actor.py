"""Who does something: a user in the console, an API key, an administrator, or the platform."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

from django.utils.translation import gettext as _

from scloud.lib import tracing
from scloud.lib.errors import Forbidden
from scloud.tenancy.confirmation import ConfirmationNeeded
from scloud.tenancy.models import ApiKey, Tenant, User
from scloud.tenancy.permissions import CUSTOM, GRANTS, SPEND, covers, matches
from scloud.tenancy.staff import may

#: How staff comes that looks at a tenant's console, see acting.py.
ACTING: Final = "acting"

_noted: ContextVar[set[str] | None] = ContextVar("scloud_noted_rights", default=None)


@contextmanager
def noting_rights() -> Iterator[set[str]]:
    """Yield a set that is filled with the rights that are asked for, and had, meanwhile."""
    rights: set[str] = set()
    token = _noted.set(rights)
    try:
        yield rights
    finally:
        _noted.reset(token)


@dataclass(frozen=True, kw_only=True)
class Actor:
    """The caller of an action. ``tenant`` is whose resources it acts on."""

    tenant: Tenant | None
    user: User | None = None
    api_key: ApiKey | None = None
    role: str | None = None
    ip: str | None = None
    via: str = "system"
    request_id: str = ""
    # False in a browser whose user has not proven for a while who they are (sessions.py).
    confirmed: bool = True
    # Whose rights count for staff that looks at a tenant's console.
    seen_as: User | None = None

    @classmethod
    def system(cls, tenant: Tenant | None) -> "Actor":
        """The platform itself: jobs, sweeps, renewals."""
        return cls(tenant=tenant, via="system")

    @classmethod
    def administrator(
        cls,
        user: User,
        tenant: Tenant | None,
        ip: str | None = None,
        *,
        confirmed: bool = True,
    ) -> "Actor":
        """A platform administrator acting on a tenant's resource from Django admin."""
        return cls(
            tenant=tenant,
            user=user,
            ip=ip,
            via="admin",
            request_id=tracing.current().request_id,
            confirmed=confirmed,
        )

    @property
    def is_platform(self) -> bool:
        """True for the platform and its staff, who are not bound to a role of the tenant."""
        return self.via == "system" or (
            self.via == "admin" and self.user is not None and self.user.is_staff
        )

    @property
    def is_acting(self) -> bool:
        """True for staff that looks at a tenant's console: it may look, and nothing else."""
        return self.via == ACTING

    @property
    def label(self) -> str:
        if self.api_key is not None and self.user is not None:
            return f"{self.user.email} ({self.api_key.name})"
        if self.user is not None:
            return self.user.email
        return "SCloud"

    @property
    def grants(self) -> Sequence[str]:
        """The patterns of the caller's role: one of the platform's, or one of the tenant's own."""
        if self.role == CUSTOM:
            holder = self.seen_as or self.user
            return holder.custom_grants if holder is not None else ()
        return GRANTS.get(self.role or "", ())

    def allows(self, permission: str) -> bool:
        """Tell whether the caller may use the verb."""
        if self.is_platform:
            return self.user is None or may(self.user, permission)
        if self.tenant is None or self.role is None or not self.tenant.is_active:
            return False
        if permission.startswith("platform."):
            return False
        if self.is_acting and not permission.partition(".")[2].startswith("view"):
            return False
        if not covers(self.grants, permission):
            return False
        if self.api_key is not None and self.api_key.scopes:
            return any(matches(pattern, permission) for pattern in self.api_key.scopes)
        return True

    def require(self, permission: str) -> None:
        """Raise Forbidden unless the caller may use the verb."""
        if not self.allows(permission):
            if permission == SPEND and covers(self.grants, SPEND):
                raise Forbidden(
                    _("This API key cannot spend money."),
                    code="spending_not_allowed",
                    remedy=_("Use a key with the scope %(scope)s.") % {"scope": SPEND},
                    numbers={"permission": permission, "role": self.role},
                )
            if self.is_acting:
                raise Forbidden(
                    _("You look at this account as one of its users. Nothing can be changed."),
                    code="acting_read_only",
                    remedy=_("Use the administration."),
                    numbers={"permission": permission},
                )
            if self.is_platform and self.user is not None:
                raise Forbidden(
                    _("Your role does not include %(permission)s.") % {"permission": permission},
                    code="forbidden",
                    remedy=_("Ask an administrator of the platform."),
                    numbers={"permission": permission, "role": self.user.staff_role},
                )
            raise Forbidden(
                _("Your role does not include %(permission)s.") % {"permission": permission},
                code="forbidden",
                remedy=_("Ask the owner of the account for a role that includes it."),
                numbers={"permission": permission, "role": self.role},
            )
        noted = _noted.get()
        if noted is not None:
            noted.add(permission)

    def require_confirmed(self) -> None:
        """Raise ConfirmationNeeded in a browser whose user has not proven lately who they are."""
        if not self.confirmed:
            raise ConfirmationNeeded

    @property
    def caller(self) -> str:
        """Return who calls: a key, or a person; the same person with two keys is two callers."""
        if self.api_key is not None:
            return f"key:{self.api_key.pk}"
        return f"user:{self.user.pk}" if self.user is not None else self.via

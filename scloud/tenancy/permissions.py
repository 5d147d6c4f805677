"""Roles and what they may do. A permission is ``<app>.<verb>``; patterns end in ``*``."""

from collections.abc import Iterable
from typing import Final

from django.db import models
from django.utils.translation import gettext_lazy as _


class Role(models.TextChoices):
    """What a user may do within the tenant."""

    OWNER = "owner", _("Owner")
    ADMINISTRATOR = "administrator", _("Administrator")
    OPERATOR = "operator", _("Operator")
    FINANCE = "finance", _("Finance")
    READONLY = "readonly", _("Read-only")


# The role of users who have one of their tenant's own (CustomRole). It is not among the others, so
# that a process that does not know of such roles allows nothing.
CUSTOM: Final = "custom"

# What costs money needs this beside the right to the verb itself. Roles that may buy have it; an
# API key with scopes has it only if it was given to the key.
SPEND = "billing.spend"

# An operator buys and runs resources but does not see billing; finance sees and pays for
# everything but runs nothing.
GRANTS: dict[str, tuple[str, ...]] = {
    Role.OWNER: ("*",),
    Role.ADMINISTRATOR: (
        "compute.*",
        "network.*",
        "billing.*",
        "alarms.*",
        "audit.*",
        "tenancy.view*",
        "tenancy.manage_api_keys",
        "resources.*",
        "jobs.*",
    ),
    Role.OPERATOR: (
        "compute.*",
        "network.*",
        "alarms.*",
        "audit.view*",
        "resources.*",
        "jobs.*",
        "tenancy.manage_api_keys",
        "billing.quote",
        SPEND,
        "billing.view_quota",
        "billing.request_quota",
    ),
    Role.FINANCE: (
        "billing.*",
        "compute.view*",
        "network.view*",
        "alarms.view*",
        "audit.view*",
        "resources.view*",
        "jobs.view*",
    ),
    Role.READONLY: (
        "compute.view*",
        "network.view*",
        "alarms.view*",
        "audit.view*",
        "billing.quote",
        "resources.view*",
        "jobs.view*",
        "billing.view_quota",
    ),
}


def matches(pattern: str, permission: str) -> bool:
    """Tell whether a pattern such as ``compute.*`` or ``compute.view*`` covers a permission."""
    if pattern.endswith("*"):
        return permission.startswith(pattern[:-1])
    return pattern == permission


def covers(patterns: Iterable[str], permission: str) -> bool:
    """Tell whether one of the patterns covers a permission."""
    return any(matches(pattern, permission) for pattern in patterns)


def role_allows(role: str, permission: str) -> bool:
    """Tell whether a role of the platform includes a permission."""
    return covers(GRANTS.get(role, ()), permission)

"""Who has a second factor, and who has to have one. Its codes: scloud/accounts/second_factor.py."""

from datetime import datetime

from scloud.tenancy.models import PlatformSettings, SecondFactor, User


def has_one(user: User) -> bool:
    """Tell whether the password alone does not sign the user in."""
    return SecondFactor.objects.filter(pk=user.pk).exists()


def turned_on_at(user: User) -> datetime | None:
    """Return since when the present one is on; None without one."""
    return SecondFactor.objects.filter(pk=user.pk).values_list("turned_on_at", flat=True).first()


def is_required(user: User, limits: PlatformSettings | None = None) -> bool:
    """Tell whether the user has to have one: by the tenant, or by the platform's settings.

    ``limits`` are those settings where they were read before.
    """
    if user.tenant is not None:
        return user.tenant.second_factor_required
    return (limits or PlatformSettings.load()).second_factor_required


def is_missing(user: User, limits: PlatformSettings | None = None) -> bool:
    """Tell whether the user has to set one up before anything else."""
    return is_required(user, limits) and not has_one(user)

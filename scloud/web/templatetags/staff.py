"""What a member of the platform's staff may do: ``{% if user|may:"platform.lock_host" %}``."""

from typing import Any

from django import template

from scloud.tenancy import staff
from scloud.tenancy.models import User

register = template.Library()


@register.filter
def may(user: Any, right: str) -> bool:
    """Tell whether a link to a page or a verb is of any use to the user."""
    return isinstance(user, User) and staff.may(user, right)

"""Sign-in by e-mail, whatever its case."""

from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.http import HttpRequest

from scloud.tenancy import staff
from scloud.tenancy.models import User


class EmailBackend(ModelBackend):
    """Like Django's, but e-mail addresses match in any case."""

    def authenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        **kwargs: Any,
    ) -> User | None:
        email = username or kwargs.get("email")
        if email is None or password is None:
            return None
        user = User.objects.by_email(email)
        if user is None:
            # The same work as for a known address, so that time does not tell which exist.
            User().set_password(password)
            return None
        if user.check_password(password) and self.user_can_authenticate(user):
            return user
        return None

    def get_user(self, user_id: Any) -> User | None:
        """Return the user of a session, with the role and whether there is a second factor."""
        users = User.objects.select_related("second_factor", "custom_role")
        users = users.defer("second_factor__sealed_secret")
        user = users.filter(pk=user_id).first()
        return user if self.user_can_authenticate(user) else None

    def has_perm(self, user_obj: Any, perm: str, obj: Any = None) -> bool:
        """Tell what the pages of Django admin ask: by the role of a member of the staff."""
        return isinstance(user_obj, User) and staff.may(user_obj, perm)

    def has_module_perms(self, user_obj: Any, app_label: str) -> bool:
        """Tell whether a member of the staff sees any page of an app."""
        return isinstance(user_obj, User) and staff.sees_app(user_obj, app_label)

    def user_can_authenticate(self, user: Any) -> bool:
        """Refuse disabled users and users of disabled tenants."""
        if user is None or not user.is_active:
            return False
        return user.tenant is None or user.tenant.is_active

"""Small preferences: theme, collapsed navigation, page size, columns. Cookies, never secret."""

from django.http import HttpRequest, HttpResponse

from scloud.tenancy.models import User

THEME_COOKIE = "scloud_theme"
NAV_COOKIE = "scloud_nav"
SIZE_COOKIE = "scloud_size"
REGION_COOKIE = "scloud_region"
COLUMNS_COOKIE = "scloud_cols_"
THEMES = ("auto", "light", "dark")
YEAR_S = 365 * 24 * 3600


def theme_of(request: HttpRequest) -> str:
    """Return the theme: the user's choice, else the browser's cookie, else auto.

    The administrators of the platform have no profile: theirs is the cookie's, in admin as well.
    """
    user = getattr(request, "user", None)
    if isinstance(user, User) and user.theme in THEMES and user.theme != "auto":
        return user.theme
    chosen = request.COOKIES.get(THEME_COOKIE, "")
    if isinstance(user, User) and user.tenant_id is not None:
        return "auto"
    return chosen if chosen in THEMES else "auto"


def remember(response: HttpResponse, name: str, value: str) -> None:
    """Set a preference cookie for a year."""
    response.set_cookie(name, value, max_age=YEAR_S, samesite="Lax", path="/")

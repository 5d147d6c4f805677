"""The failure written into rows whose job never ended."""

from django.utils.translation import gettext as _

from scloud.lib.errors import ScloudError


def gave_up() -> ScloudError:
    """Return why a row was landed without its job."""
    return ScloudError(_("The operation timed out."), code="deadline_exceeded")

"""What rows whose job never ended are told."""

from django.utils.translation import gettext as _

from scloud.lib.errors import ScloudError


def gave_up() -> ScloudError:
    """Return why a row was landed without its job."""
    return ScloudError(_("The operation timed out."), code="deadline_exceeded")

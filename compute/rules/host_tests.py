"""When a host that was added may be put into service."""

from __future__ import annotations

from typing import Final

from django.utils.translation import gettext as _

from compute.models import Host, HostTest
from compute.states.hosts import IN_SERVICE, FindingLevel
from scloud.lib.errors import Conflict

# The job; compute/tasks/host_tests.py carries it out.
TEST: Final = "host.test"


def waits_for_test(host: Host) -> bool:
    """Tell whether a host was added and has never been in service."""
    rows = HostTest.objects.filter(host=host, required=True, admitted_at=None)
    return bool(rows.exists())


def check_admitted(host: Host) -> None:
    """Refuse to put an added host into service before it was tested.

    Raises Conflict (``host_not_tested``).
    """
    if waits_for_test(host):
        raise Conflict(
            _("%(name)s has not passed its connection test.") % {"name": host.name},
            code="host_not_tested",
            remedy=_("Test the connection; where only warnings are left, accept them."),
        )


def acceptance_problem(host: Host, test: HostTest | None) -> str:
    """Return why the warnings of a host's test cannot be accepted; empty when they can.

    It is in service at once then: not while it is silent, off or in maintenance.
    """
    if test is None or not test.required or test.admitted_at is not None:
        return _("%(name)s does not wait for a connection test.") % {"name": host.name}
    if test.tested_at is None:
        return _("%(name)s has not been tested yet.") % {"name": host.name}
    if not test.is_of(host):
        return _("%(name)s was changed since it was tested.") % {"name": host.name}
    if host.state not in IN_SERVICE:
        return _("%(name)s is %(label)s: it has to be locked to be put into service.") % {
            "name": host.name,
            "label": host.get_state_display(),
        }
    if test.worst is FindingLevel.ERROR:
        return _("The connection test of %(name)s found errors.") % {"name": host.name}
    return ""

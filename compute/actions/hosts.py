"""What administrators do with hosts."""

from datetime import timedelta
from typing import Final

from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.translation import gettext as _

from compute.hosts.witnesses import Word, verdict
from compute.models import Host, HostTest
from compute.queries.hosts import sightings_of
from compute.rules.fencing import check_typed
from compute.rules.host_tests import TEST, acceptance_problem, check_admitted
from compute.states.hosts import MOVES, HostMove
from compute.transitions import hosts as transitions
from scloud.audit import action as audit
from scloud.audit.action import action
from scloud.jobs import service as jobs
from scloud.jobs.models import Job
from scloud.lib.errors import Conflict, InvalidInput
from scloud.tenancy.actor import Actor

#: Longer than all questions of a test take together where nothing answers, and the wait for a slot.
TEST_DEADLINE_S: Final = 600.0
_LOGGED: Final = ("name", "cluster_id", "uri", "address", "offloads", "reserved_memory_mib", "tags")


def _move(actor: Actor, host: Host, name: HostMove, reason: str = "") -> Host:
    audit.note(host, before={"state": host.state})
    transitions.move(host, name, actor=actor, reason=reason)
    audit.note(after={"state": host.state})
    return host


@action("platform.lock_host")
def lock_host(*, actor: Actor, host: Host) -> Host:
    """Let a host take no new VMs; those that it has go on. Raises Conflict."""
    return _move(actor, host, HostMove.LOCK)


@action("platform.unlock_host")
def unlock_host(*, actor: Actor, host: Host) -> Host:
    """Let a locked host take new VMs again.

    Raises Conflict (``host_state``, and ``host_not_tested`` for one that was added and has not
    passed its connection test).
    """
    check_admitted(host)
    return _move(actor, host, HostMove.UNLOCK)


@action("platform.confirm_host_off", confirmed=True)
def confirm_host_off(*, actor: Actor, host: Host, typed: str) -> Host:
    """Take an operator's word that a host is off, where no device says so.

    ``typed`` is the host's name, as the operator has typed it. Its VMs start elsewhere when its
    witnesses are silent too. Raises InvalidInput (``name_differs``), Conflict (``host_state``, and
    ``host_alive`` while a witness hears it).
    """
    audit.note(host)
    check_typed(host, typed)
    transitions.check_state(host, MOVES[HostMove.CONFIRM_OFF].allowed_from)
    seen = sightings_of([host]).get(host.pk, ())
    if verdict(seen, timezone.now(), timedelta()).word is Word.ALIVE:
        raise Conflict(
            _("%(name)s gives signs of life: it is not off.") % {"name": host.name},
            code="host_alive",
            remedy=_("See its witnesses, and switch it off first."),
        )
    reason = _("An operator confirmed that it is off.")
    return _move(actor, host, HostMove.CONFIRM_OFF, reason)


@action("platform.return_host")
def return_host(*, actor: Actor, host: Host) -> Host:
    """Take a host that was off back: it is used when it answers and has been compared.

    Raises Conflict (``host_state``).
    """
    return _move(actor, host, HostMove.RETURN, _("An operator returns it to service."))


@action("platform.add_host")
def add_host(*, actor: Actor, host: Host) -> Host:
    """Store a new host and have its connection tested. It is locked until the test has passed.

    Raises InvalidInput (``host_invalid``).
    """
    try:
        host.full_clean()
    except ValidationError as error:
        field, texts = next(iter(error.message_dict.items()))
        raise InvalidInput(texts[0], code="host_invalid", field=field) from error
    transitions.add(host)
    HostTest.objects.create(host=host, required=True)
    audit.note(host, after={name: str(getattr(host, name)) for name in _LOGGED})
    _enqueue_test(actor, host)
    return host


@action("platform.test_host")
def test_host(*, actor: Actor, host: Host) -> Job:
    """Have the connection of a host tested; nothing is changed on it.

    Raises Conflict (``target_busy``) while it is being tested.
    """
    audit.note(host)
    return _enqueue_test(actor, host)


def _enqueue_test(actor: Actor, host: Host) -> Job:
    return jobs.enqueue(
        kind=TEST,
        actor=actor,
        tenant=None,
        title=_("Test the connection of %(name)s") % {"name": host.name},
        target_kind="host",
        target_id=host.pk,
        deadline_s=TEST_DEADLINE_S,
    )


@action("platform.accept_host")
def accept_host(*, actor: Actor, host: Host, seen: str) -> Host:
    """Put an added host into service although its test found warnings.

    ``seen`` is when the test ended whose findings the operator has seen, in ISO 8601. Raises
    Conflict (``host_not_acceptable``, ``host_findings_changed`` when another test has ended,
    ``host_state`` when the host was removed).
    """
    # No test ends meanwhile, and nobody changes where the host is reached.
    current = Host.objects.select_for_update().filter(pk=host.pk).first()
    if current is None:
        raise Conflict(_("%(name)s was removed.") % {"name": host.name}, code="host_state")
    test = HostTest.objects.filter(host=current).first()
    audit.note(current, before={"state": current.state})
    if problem := acceptance_problem(current, test):
        raise Conflict(problem, code="host_not_acceptable", remedy=_("Test the connection."))
    assert test is not None
    assert test.tested_at is not None
    if test.tested_at.isoformat() != seen:
        raise Conflict(
            _("%(name)s was tested again meanwhile.") % {"name": host.name},
            code="host_findings_changed",
            remedy=_("See its findings and decide anew."),
        )
    reason = _("An operator accepted the findings of its connection test.")
    current = transitions.admit(current, test, actor=actor, reason=reason)
    audit.note(
        after={
            "state": current.state,
            "accepted": [one["code"] for one in test.findings if one["level"] != "ok"],
        }
    )
    return current

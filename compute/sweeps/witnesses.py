"""What witnesses say of hosts is written down, and hosts without a sign of life become suspect."""

from __future__ import annotations

import logging
import socket
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from django.utils import timezone
from django.utils.translation import gettext as _

from compute.hosts.witnesses import FRESH, Sighting, Verdict, Word, verdict
from compute.models import Host, HostSighting, HostTransition
from compute.states.hosts import MOVES, HostMove, HostState, Witness
from compute.transitions.hosts import move
from scloud.jobs.rows import each
from scloud.lib.errors import Conflict

log = logging.getLogger(__name__)

KEEP_TRANSITIONS: Final = timedelta(days=365)
KEEP_SIGHTINGS: Final = timedelta(days=1)


def observer() -> str:
    """Return as what this process writes down what it has seen: its machine."""
    return socket.gethostname()[:100]


def note(witness: Witness, alive: Mapping[str, bool], now: datetime | None = None) -> None:
    """Write down of each host, by its id, whether a witness has just seen it alive.

    Of one that is left out nothing was learned. Two statements, however many hosts there are.
    """
    now = now or timezone.now()
    mine = observer()
    before = {
        row.host_id: row
        for row in HostSighting.objects.filter(witness=witness, observer=mine, host__in=list(alive))
    }
    rows = []
    for host_id, is_alive in alive.items():
        row = before.get(host_id)
        if row is None:
            row = HostSighting(
                host_id=host_id, witness=witness, observer=mine, watching_since=now, asked_at=now
            )
        elif now - row.asked_at > FRESH:
            row.watching_since = now
        row.asked_at = now
        if is_alive:
            row.alive_at = now
        rows.append(row)
    HostSighting.objects.bulk_create(
        rows,
        update_conflicts=True,
        unique_fields=["host", "witness", "observer"],
        update_fields=["watching_since", "asked_at", "alive_at"],
    )


def judge_hosts(now: datetime | None = None) -> None:
    """Let hosts become suspect of which there is no sign of life, and clear those that have one."""
    now = now or timezone.now()
    seen: dict[str, list[Sighting]] = {}
    for row in HostSighting.objects.all():
        seen.setdefault(row.host_id, []).append(
            Sighting(
                Witness(row.witness), row.observer, row.watching_since, row.asked_at, row.alive_at
            )
        )

    def judge(host: Host) -> None:
        limit = timedelta(seconds=host.cluster.suspect_after_s)
        found = verdict(seen.get(host.pk, ()), now, limit)
        try:
            if found.word is Word.DEAD and host.state in MOVES[HostMove.SUSPECT].allowed_from:
                move(host, HostMove.SUSPECT, reason=_words(found))
                log.warning("%s is suspect: %s", host.name, host.state_reason)
            elif found.word is Word.ALIVE and host.state == HostState.SUSPECT:
                move(host, HostMove.CLEAR, reason=_("It has given a sign of life."))
                log.warning("%s has given a sign of life", host.name)
        except Conflict as error:
            log.info("%s was changed meanwhile: %s", host.name, error.message)

    each(list(Host.objects.select_related("cluster")), judge, "judging a host")


def _words(found: Verdict) -> str:
    silent = ", ".join(
        _("%(witness)s since %(at)s") % {"witness": witness.label, "at": f"{at:%Y-%m-%d %H:%M:%S}"}
        for witness, at in sorted(found.silent_since.items(), key=lambda one: one[1])
    )
    return _("No sign of life (UTC): %(witnesses)s.") % {"witnesses": silent}


def forget_old() -> int:
    """Delete transitions of a year ago, and what observers saw that ask no more; return how many.

    The last change to each host's present state stays: it says what the host was before.
    """
    now = timezone.now()
    old = HostTransition.objects.filter(
        at__lt=now - KEEP_TRANSITIONS, host__state__in=[HostState.AVAILABLE, HostState.LOCKED]
    )
    transitions, _rows = old.delete()
    sightings, _rows = HostSighting.objects.filter(asked_at__lt=now - KEEP_SIGHTINGS).delete()
    return int(transitions) + int(sightings)

"""What witnesses say of hosts is written down, and hosts without a sign of life become suspect."""

from __future__ import annotations

import logging
import socket
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.utils import timezone
from django.utils.translation import gettext as _

from compute.hosts.admission import that_served
from compute.hosts.witnesses import FRESH, Verdict, Word, verdict
from compute.models import Host, HostSighting, HostTransition, StoragePool
from compute.queries.hosts import sightings_of
from compute.states.hosts import MOVES, HostMove, HostState, Witness
from compute.storage.base import StorageError
from compute.tasks.drivers import storage_of
from compute.transitions.hosts import move
from network.tasks.fabrics import fabric_of
from network.tasks.fabrics import translated_errors as network_errors
from scloud.jobs.rows import each
from scloud.lib.backoff import Said
from scloud.lib.errors import Conflict, HostError
from scloud.resources.models import Region

log = logging.getLogger(__name__)
said = Said(log)

#: A chassis answers within moments; so long it has at least.
ANSWER_S: Final = 3.0

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


@dataclass(frozen=True, slots=True)
class _Asked:
    """The last question to a region's chassis, and what they had answered until then."""

    number: int
    at: float
    answers: Mapping[str, int]


_asked: dict[str, _Asked] = {}


def ask_chassis() -> None:
    """Note whose chassis has answered the last question, and ask the next one, in every region."""

    def ask(region: Region) -> None:
        try:
            hear_chassis(region)
        except HostError as error:
            # Nothing was learned, so nothing is noted: it is as if nobody had asked.
            _asked.pop(region.pk, None)
            said.say(region.pk, error.code, logging.WARNING, "%s: %s", region.pk, error.detail)
        else:
            said.over(region.pk)

    regions = list(Region.objects.exclude(ovn_nb="").exclude(ovn_sb=""))
    each(regions, ask, "asking the chassis of a region")


def hear_chassis(region: Region) -> None:
    """Do so in one region. Raises HostError when its fabric does not answer."""
    fabric = fabric_of(region, chassis=True)
    with network_errors():
        answers = fabric.chassis_answers()
        names = Counter(answer.hostname for answer in answers)
        numbers = {one.hostname: one.number for one in answers if names[one.hostname] == 1}
        last = _asked.get(region.pk)
        _asked[region.pk] = _Asked(fabric.ask_chassis(), time.monotonic(), numbers)
    if last is None or time.monotonic() - last.at < ANSWER_S:
        # Nobody had the time to answer.
        return
    ids: dict[str, list[str]] = {}
    # One that was added may have been given the address of another, and with it the name.
    hosts = that_served().filter(cluster__region=region)
    for host_id, hostname in hosts.values_list("pk", "hostname"):
        ids.setdefault(hostname, []).append(host_id)
    # A name that two hosts or two chassis have tells of neither. Who is slow is alive as well.
    alive = {
        ids[name][0]: number >= last.number or number > last.answers.get(name, number)
        for name, number in numbers.items()
        if name and len(ids.get(name, ())) == 1
    }
    note(Witness.CHASSIS, alive)
    # What has no chassis any more has no such witness.
    HostSighting.objects.filter(
        witness=Witness.CHASSIS, observer=observer(), host__cluster__region=region
    ).exclude(host__in=list(alive)).delete()


# Of each pool: what every host had written at the last look.
_beats: dict[str, dict[str, str]] = {}


def look_at_heartbeats() -> None:
    """Note which hosts go on writing their heartbeat to a pool of their region."""
    fresh: dict[str, bool] = {}
    known: set[str] = set()
    silent: set[str] = set()

    def look(pool: StoragePool) -> None:
        try:
            beats = dict(storage_of(pool).heartbeats())
        except StorageError as error:
            _beats.pop(pool.pk, None)
            silent.add(pool.region_id)
            said.say(pool.pk, error.code, logging.WARNING, "heartbeats of %s: %s", pool.pk, error)
            return
        said.over(pool.pk)
        before = _beats.get(pool.pk)
        _beats[pool.pk] = beats
        hosts = that_served().filter(cluster__region=pool.region_id, hostname__in=list(beats))
        ids: dict[str, list[str]] = {}
        for host_id, hostname in hosts.values_list("pk", "hostname"):
            ids.setdefault(hostname, []).append(host_id)
        for hostname, (host_id, *others) in ids.items():
            if others:
                continue
            known.add(host_id)
            if before is not None and hostname in before:
                changed = before[hostname] != beats[hostname]
                # In one of the pools is enough.
                fresh[host_id] = changed or fresh.get(host_id, False)

    each(list(StoragePool.objects.all()), look, "looking at heartbeats")
    note(Witness.HEARTBEAT, fresh)
    # A host that has no heartbeat has no such witness: that is no death. Not known while a pool of
    # its region does not answer.
    HostSighting.objects.filter(witness=Witness.HEARTBEAT, observer=observer()).exclude(
        host__in=list(known)
    ).exclude(host__cluster__region__in=list(silent)).delete()


def judge_hosts(now: datetime | None = None) -> None:
    """Let hosts become suspect of which there is no sign of life, and clear those that have one."""
    now = now or timezone.now()
    seen = sightings_of()
    # Of one that was added nobody knows that it was ever alive, or the one that answered.
    served = set(that_served().values_list("pk", flat=True))

    def judge(host: Host) -> None:
        limit = timedelta(seconds=host.cluster.suspect_after_s)
        found = verdict(seen.get(host.pk, ()), now, limit)
        try:
            may_become = host.pk in served and host.state in MOVES[HostMove.SUSPECT].allowed_from
            if found.word is Word.DEAD and may_become:
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

"""One round after the other: ask hosts and guests, turn answers into samples, write them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from django.db import DatabaseError, InterfaceError, connection

from alarms.collecting.buffer import Buffer
from alarms.collecting.clock import Clock
from alarms.collecting.guests import Answers, Guests, Question
from alarms.collecting.leases import take_share
from alarms.collecting.targets import Target, targets_of
from alarms.models import HostCollection
from alarms.readings import samples
from alarms.readings.rates import LONGEST_S, Reading
from alarms.readings.samples import Numbers, VmReading
from alarms.store.base import PLATFORM, MetricsStore, Sample, StoreUnavailable
from compute.hypervisor.base import HostMeasurement, Hypervisor, HypervisorError, PowerState
from compute.models import Host
from compute.tasks.drivers import hypervisor_of
from scloud.lib.backoff import Said

log = logging.getLogger(__name__)
said = Said(log)

HOST_THREADS: Final = 64
HOST_PATIENCE_S: Final = 8.0


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a host said, and when by the collector's clock; or why it said nothing.

    It was counted at most `doubt_s` before or after `read_s`.
    """

    measurement: HostMeasurement | None
    read_s: float
    doubt_s: float = 0.0
    error: str = ""


@dataclass(slots=True)
class _Note:
    """What is to be told of a host when its samples are stored."""

    answered_at: datetime | None = None
    vms: int = 0
    silent_agents: int = 0
    error: str = ""


@dataclass
class Collecting:
    """What one process remembers between its rounds.

    While the database is away it goes on with the hosts and names that it knew; what it cannot
    write waits in the buffer.
    """

    name: str
    store: MetricsStore
    clock: Clock = field(default_factory=Clock)
    guests: Guests = field(default_factory=Guests)
    buffer: Buffer = field(default_factory=Buffer)
    driver_of: Callable[[Host], Hypervisor] = hypervisor_of
    host_patience_s: float = HOST_PATIENCE_S
    _away: bool = False
    _hosts: tuple[Host, ...] = ()
    _targets: Mapping[str, Target] = field(default_factory=dict)
    _threads: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(HOST_THREADS, thread_name_prefix="ask-host")
    )
    _asked: dict[str, Future[_Answer]] = field(default_factory=dict)
    _vms: dict[tuple[str, str], VmReading] = field(default_factory=dict)
    _host_readings: dict[str, Reading] = field(default_factory=dict)
    _notes: dict[str, _Note] = field(default_factory=dict)

    # -- sharing -------------------------------------------------------------------------------

    def share(self) -> bool:
        """Renew the leases and read what rows say; return whether the database answered."""
        try:
            asked_s = self.clock.seconds()
            share = take_share(self.name)
            self.clock.sync(share.now, asked_s)
            self._hosts = share.hosts
            self._targets = targets_of([host.pk for host in share.hosts])
        except (DatabaseError, InterfaceError) as error:
            said.say("database", "away", logging.ERROR, "the database did not answer: %s", error)
            connection.close()
            self._away = True
            return False
        said.over("database", "the database is back")
        self._away = False
        return True

    # -- a round -------------------------------------------------------------------------------

    def round(self) -> int:
        """Ask, and write what was said; return how many samples were written.

        One host's or guest's silence or error is a gap of its own lines and of no others.
        """
        answers = self._ask_hosts()
        guests = self.guests.ask(self._questions(answers))
        for host in self._hosts:
            answer = answers.get(host.pk)
            note = self._notes.setdefault(host.pk, _Note())
            if answer is None:
                note.error = "The host has not answered yet."
            elif answer.measurement is None:
                note.error = answer.error
            else:
                try:
                    self._take(host, answer, answer.measurement, guests, note)
                except Exception as error:
                    # A defect in reading one host's answer is a gap of that host.
                    note.error = self._defect(host, error)
        self._forget()
        return self.flush()

    def flush(self) -> int:
        """Write what waits, and tell how far it has come; return how many samples were written.

        Not tried where the database was away a moment ago: the wait for it would cost a round.
        """
        if self._away:
            return 0
        try:
            written = self.buffer.flush(self.store)
            self._tell()
        except StoreUnavailable as error:
            said.say("store", "away", logging.ERROR, "the store did not answer: %s", error)
            return 0
        except (DatabaseError, InterfaceError) as error:
            said.say("database", "away", logging.ERROR, "the database did not answer: %s", error)
            connection.close()
            return 0
        said.over("store", "the store is back")
        return written

    def close(self) -> None:
        """Ask nobody any more."""
        self.guests.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _ask_hosts(self) -> dict[str, _Answer]:
        """What hosts said within the patience; one that takes longer is not asked again before."""
        wanted = {host.pk: host for host in self._hosts}
        for pk in list(self._asked):
            # What is late says how it was when it was asked, and counts for its own time.
            if pk not in wanted and self._asked[pk].done():
                del self._asked[pk]
        for pk, host in wanted.items():
            if pk not in self._asked:
                self._asked[pk] = self._threads.submit(self._ask, host)
        wait([self._asked[pk] for pk in wanted], timeout=self.host_patience_s)
        done = [pk for pk in wanted if self._asked[pk].done()]
        return {pk: self._asked.pop(pk).result() for pk in done}

    def _ask(self, host: Host) -> _Answer:
        """Ask one host, in a thread of its own."""
        asked_s = self.clock.seconds()
        try:
            measurement = self.driver_of(host).measure()
        except HypervisorError as error:
            return _Answer(None, asked_s, error=error.message)
        except Exception as error:
            return _Answer(None, asked_s, error=self._defect(host, error))
        said.over((host.pk, "asked"))
        # Somewhere between question and answer; the middle is the least wrong.
        doubt_s = (self.clock.seconds() - asked_s) / 2
        return _Answer(measurement, asked_s + doubt_s, doubt_s)

    def _defect(self, host: Host, error: Exception) -> str:
        """Log an error of ours, once with its traceback; return what operators are told."""
        if said.say((host.pk, "asked"), repr(error)[:200], logging.ERROR, "%s", host.name):
            log.error("asking %s", host.name, exc_info=error)
        return f"Internal error ({type(error).__name__})."

    def _questions(self, answers: Mapping[str, _Answer]) -> list[Question]:
        """The guests that run now, with the drivers of the hosts on which they do."""
        found: dict[str, Question] = {}
        for host in self._hosts:
            answer = answers.get(host.pk)
            if answer is None or answer.measurement is None:
                continue
            for seen in answer.measurement.domains:
                target = self._targets.get(seen.uuid)
                if target is not None and seen.power_state is PowerState.RUNNING:
                    found[target.vm_id] = Question(
                        target.vm_id,
                        target.uuid,
                        target.os_family,
                        f"{host.pk}/{seen.run}",
                        self.driver_of(host),
                    )
        return list(found.values())

    # -- from answers to samples ---------------------------------------------------------------

    def _take(
        self, host: Host, answer: _Answer, said_by: HostMeasurement, guests: Answers, note: _Note
    ) -> None:
        """Turn one host's answer into samples."""
        read_s, doubt_s = answer.read_s, answer.doubt_s
        at = self.clock.at(read_s)
        found: list[Sample] = []
        vms = silent = 0
        waits: list[float] = []
        for seen in said_by.domains:
            target = self._targets.get(seen.uuid)
            if target is None or not samples.is_measured(seen):
                continue
            vms += 1
            silent += target.vm_id in guests.silent
            key = (host.pk, target.vm_id)
            after = samples.read_vm(
                host.pk,
                seen,
                disks=target.disks,
                nics=target.nics,
                read_s=read_s,
                doubt_s=doubt_s,
            )
            guest = guests.said.get(target.vm_id)
            agent = True if guest else False if target.vm_id in guests.silent else None
            waited = samples.waited_ns(self._vms.get(key), after)
            if waited is not None:
                waits.append(waited)
            numbers, totals = samples.vm_numbers(self._vms.get(key), after, guest, agent=agent)
            self._vms[key] = after
            found += _sample(target.tenant, target.vm_id, at, numbers, totals)
            for address in target.addresses:
                found += _sample(
                    address.tenant,
                    address.id,
                    at,
                    samples.address_numbers(address.nic_id, numbers),
                    samples.address_numbers(address.nic_id, totals),
                )
        reading = samples.read_host(host.pk, said_by.host, read_s=read_s, doubt_s=doubt_s)
        of_host = samples.host_numbers(
            self._host_readings.get(host.pk),
            reading,
            said_by.host,
            vms=vms,
            silent=silent,
            waited=sum(waits) if waits else None,
        )
        self._host_readings[host.pk] = reading
        found += _sample(PLATFORM, host.pk, at, of_host, {})
        self.buffer.add(found)
        note.answered_at, note.vms, note.silent_agents, note.error = at, vms, silent, ""

    def _forget(self) -> None:
        """Forget readings that no later one can be compared with."""
        oldest_s = self.clock.seconds() - LONGEST_S
        for key in [key for key, one in self._vms.items() if one.reading.read_s < oldest_s]:
            del self._vms[key]
        for pk in [pk for pk, one in self._host_readings.items() if one.read_s < oldest_s]:
            del self._host_readings[pk]

    def _tell(self) -> None:
        """Write down for operators how far the hosts' samples have come."""
        rows = []
        for row in HostCollection.objects.filter(pk__in=list(self._notes)):
            note = self._notes[row.pk]
            row.last_error = note.error[:300]
            if note.answered_at is not None:
                row.answered_at = row.stored_at = note.answered_at
                row.vms, row.silent_agents = note.vms, note.silent_agents
            rows.append(row)
        HostCollection.objects.bulk_update(
            rows, ["answered_at", "stored_at", "vms", "silent_agents", "last_error"]
        )
        self._notes.clear()


def _sample(
    tenant: str, resource: str, at: datetime, numbers: Numbers, totals: Numbers
) -> Sequence[Sample]:
    """The sample, or none of what has no numbers."""
    return [Sample(tenant, resource, at, numbers, totals)] if numbers else []

"""Asks guests by their agents, many beside each other, and waits for none of them for long.

A guest whose agent does not answer is asked more and more rarely, by a few threads kept for such
ones: it delays neither the round nor the guests that answer. Guests that never answered yet have
threads of their own, too: which of them hang is not known.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final

from alarms.readings import guest as texts
from alarms.readings.guest import GuestReading
from compute.hypervisor.base import (
    AgentRefused,
    AgentUnavailable,
    Hypervisor,
    HypervisorError,
    OperationTimeout,
)
from compute.models.image import OsFamily
from scloud.lib.backoff import Said

log = logging.getLogger(__name__)
said = Said(log)

THREADS: Final = 24
SILENT_THREADS: Final = 8
PATIENCE_S: Final = 5.0
COMMAND_S: Final = 4.0
#: PowerShell alone takes some seconds to start.
WINDOWS_COMMAND_S: Final = 15.0
FIRST_WAIT_S: Final = 30.0
LAST_WAIT_S: Final = 600.0
#: A guest that let no program run may be set up otherwise by now.
REFUSED_FOR_S: Final = 3600.0
#: Names of file systems that a guest may bring up in a day: each is a line that is kept.
NAMES_A_DAY: Final = 32
#: Sets of things that it may tell in a day: the store keeps each that it has seen.
SHAPES_A_DAY: Final = 64


class Way(Enum):
    """How a guest is asked: the first that its agent allows."""

    PROGRAM = "program"
    FILES = "files"
    SPACES = "spaces"


@dataclass(frozen=True, slots=True)
class Question:
    """A guest to be asked; `run` is this life of its domain."""

    vm_id: str
    uuid: str
    os_family: str
    run: str
    driver: Hypervisor


@dataclass(slots=True)
class _Guest:
    """What is remembered of a guest between the rounds."""

    run: str
    way: Way = Way.PROGRAM
    way_until_s: float = 0.0
    answered: bool = False
    failures: int = 0
    again_at_s: float = 0.0
    asked: Future[tuple[GuestReading, Way]] | None = None


@dataclass(slots=True)
class _Told:
    """What a guest brought up in a day, over all its restarts."""

    until_s: float
    names: set[str] = field(default_factory=set)
    shapes: set[tuple[bool | frozenset[str], ...]] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Answers:
    """What guests said in a round, by VM; `silent` are those whose agents do not answer."""

    said: Mapping[str, GuestReading]
    silent: frozenset[str]


class Guests:
    """The guests of this process's hosts. Not for several threads; it has its own."""

    def __init__(
        self,
        *,
        threads: int = THREADS,
        silent_threads: int = SILENT_THREADS,
        patience_s: float = PATIENCE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._patience_s = patience_s
        self._clock = clock
        self._quick = ThreadPoolExecutor(threads, thread_name_prefix="ask-agent")
        self._new = ThreadPoolExecutor(threads, thread_name_prefix="ask-new-agent")
        self._slow = ThreadPoolExecutor(silent_threads, thread_name_prefix="ask-silent-agent")
        self._guests: dict[str, _Guest] = {}
        self._told: dict[str, _Told] = {}

    def ask(self, questions: Collection[Question]) -> Answers:
        """Ask those that are due, and return what was said within the patience of a round.

        What is said later counts in the next round.
        """
        wanted = {question.vm_id: question for question in questions}
        for vm_id in self._guests.keys() - wanted.keys():
            if self._guests[vm_id].asked is None or self._cancelled(vm_id):
                del self._guests[vm_id]
        now = self._clock()
        for vm_id in [vm_id for vm_id, told in self._told.items() if now >= told.until_s]:
            del self._told[vm_id]
        # What was said too late for the round before.
        answers = self._answered(wanted)
        for vm_id, question in wanted.items():
            guest = self._guests.get(vm_id)
            if guest is None or (guest.run != question.run and guest.asked is None):
                guest = self._guests[vm_id] = _Guest(question.run)
            if guest.asked is None and now >= guest.again_at_s:
                if now >= guest.way_until_s:
                    guest.way = Way.PROGRAM
                guest.asked = self._threads_for(guest).submit(ask_guest, question, guest.way)
        wait(self._awaited(), timeout=self._patience_s)
        answers |= self._answered(wanted)
        silent = frozenset(vm_id for vm_id in wanted if self._guests[vm_id].failures)
        return Answers(answers, silent)

    def _answered(self, wanted: Collection[str]) -> dict[str, GuestReading]:
        """What those said whose asking has ended."""
        found: dict[str, GuestReading] = {}
        for vm_id in wanted:
            guest = self._guests.get(vm_id)
            if guest is not None and guest.asked is not None and guest.asked.done():
                reading = self._note(vm_id, guest, guest.asked)
                guest.asked = None
                if reading is not None:
                    found[vm_id] = reading
        return found

    def close(self) -> None:
        """Ask nobody any more; who is being asked is not waited for."""
        for pool in (self._quick, self._new, self._slow):
            pool.shutdown(wait=False, cancel_futures=True)

    def _threads_for(self, guest: _Guest) -> ThreadPoolExecutor:
        if guest.failures:
            return self._slow
        return self._quick if guest.answered else self._new

    def _awaited(self) -> list[Future[tuple[GuestReading, Way]]]:
        """Whose answers a round waits for: not those of guests that were silent before."""
        guests = self._guests.values()
        return [one.asked for one in guests if one.asked is not None and not one.failures]

    def _cancelled(self, vm_id: str) -> bool:
        asked = self._guests[vm_id].asked
        return asked is None or asked.done() or asked.cancel()

    def _note(
        self, vm_id: str, guest: _Guest, asked: Future[tuple[GuestReading, Way]]
    ) -> GuestReading | None:
        """Remember how a guest took it; return what it said, None for nothing."""
        now = self._clock()
        try:
            reading, way = asked.result()
        except HypervisorError as error:
            guest.failures += 1
            wait_s = min(LAST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(guest.failures - 1, 10))
            guest.again_at_s = now + wait_s
            said.say(
                (vm_id, "agent"), error.code, logging.INFO, "%s tells nothing: %s", vm_id, error
            )
            return None
        except Exception:
            # A defect of ours in reading a stranger's text costs this guest alone.
            guest.failures += 1
            guest.again_at_s = now + LAST_WAIT_S
            log.exception("what the guest of %s said was not understood", vm_id)
            return None
        guest.answered, guest.failures, guest.again_at_s = True, 0, 0.0
        if way is not guest.way:
            guest.way, guest.way_until_s = way, now + REFUSED_FOR_S
        said.over((vm_id, "agent"))
        return self._admitted(vm_id, reading, now)

    def _admitted(self, vm_id: str, reading: GuestReading, now: float) -> GuestReading:
        """The reading without file systems whose names are too many for a day.

        Nothing of it is left where the guest has told too many different sets of things.
        """
        told = self._told.setdefault(vm_id, _Told(now + 86_400))
        kept = []
        for one in reading.filesystems:
            if one.mount_point in told.names or len(told.names) < NAMES_A_DAY:
                told.names.add(one.mount_point)
                kept.append(one)
        reading = replace(reading, filesystems=tuple(kept))
        shape = (
            reading.memory_available_bytes is not None,
            reading.load is not None,
            reading.tcp_connections is not None,
            reading.processes_blocked is not None,
            frozenset(one.mount_point for one in kept),
        )
        if shape not in told.shapes and len(told.shapes) >= SHAPES_A_DAY:
            return GuestReading()
        told.shapes.add(shape)
        return reading


def ask_guest(question: Question, way: Way) -> tuple[GuestReading, Way]:
    """Ask one guest; return what it said and the way that its agent allowed.

    Raises HypervisorError when it said nothing.
    """
    windows = question.os_family == OsFamily.WINDOWS
    if way is Way.PROGRAM:
        try:
            return _by_program(question, windows=windows), way
        except AgentRefused:
            way = Way.SPACES if windows else Way.FILES
    if way is Way.FILES:
        try:
            return _by_files(question), way
        except AgentRefused:
            way = Way.SPACES
    return _spaces(question), way


def _by_program(question: Question, *, windows: bool) -> GuestReading:
    command = texts.WINDOWS_COMMAND if windows else texts.LINUX_COMMAND
    timeout_s = WINDOWS_COMMAND_S if windows else COMMAND_S
    result = question.driver.run(question.uuid, command, timeout_s=timeout_s)
    answer = result.stdout[: texts.MAX_ANSWER_BYTES].decode(errors="replace")
    reading = texts.parse_windows(answer) if windows else texts.parse_linux(answer)
    if reading.is_empty:
        raise AgentRefused("The guest's program said nothing that could be understood.")
    return reading


def _by_files(question: Question) -> GuestReading:
    contents = [
        question.driver.read_file(question.uuid, path, max_bytes=texts.MAX_ANSWER_BYTES)
        for path in texts.LINUX_FILES
    ]
    reading = texts.parse_linux_files(contents)
    try:
        return replace(reading, filesystems=_spaces(question).filesystems)
    except (AgentRefused, AgentUnavailable, OperationTimeout):
        return reading


def _spaces(question: Question) -> GuestReading:
    found = question.driver.filesystems(question.uuid)
    return texts.from_agent(
        (one.mount_point, one.total_bytes, one.used_bytes)
        for one in found
        if one.fs_type.lower() not in texts.READ_ONLY
    )

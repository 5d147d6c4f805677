"""Guests are asked beside each other; one that is silent costs nobody anything."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from alarms.collecting.guests import (
    FIRST_WAIT_S,
    LAST_WAIT_S,
    NAMES_A_DAY,
    REFUSED_FOR_S,
    SHAPES_A_DAY,
    Guests,
    Question,
)
from alarms.readings.guest import LINUX_COMMAND, LINUX_FILES, WINDOWS_COMMAND
from compute.hypervisor.base import (
    AgentRefused,
    AgentUnavailable,
    CommandResult,
    GuestFilesystem,
    HostRef,
    OperationTimeout,
)
from compute.hypervisor.fake import FakeHost, FakeHypervisor

LINUX = b"== loadavg\n0.50 0.40 0.30 1/2 3\n"
FILES = dict(
    zip(
        LINUX_FILES,
        (
            b"1.00 1.00 1.00 1/2 3\n",
            b"MemTotal: 100 kB\nMemAvailable: 50 kB\n",
            b"procs_blocked 0\n",
            b"Tcp: CurrEstab\nTcp: 4\n",
        ),
        strict=True,
    )
)


class Agents(FakeHypervisor):
    """A host whose guests' agents do as they are told here."""

    def __init__(self) -> None:
        super().__init__(FakeHost(HostRef("h", "fake:agents", "127.0.0.1")))
        self.asked: list[tuple[str, str]] = []
        self.programs: Callable[[str], bytes] = lambda uuid: LINUX
        self.files: dict[str, bytes] | None = None
        self.spaces: tuple[GuestFilesystem, ...] | None = None

    def run(
        self, uuid: str, argv: Sequence[str], *, stdin: bytes = b"", timeout_s: float = 30.0
    ) -> CommandResult:
        self.asked.append((uuid, argv[0]))
        return CommandResult(0, self.programs(uuid), b"")

    def read_file(self, uuid: str, path: str, *, max_bytes: int = 65536) -> bytes:
        self.asked.append((uuid, path))
        if self.files is None:
            raise AgentRefused("not allowed")
        return self.files[path]

    def filesystems(self, uuid: str) -> tuple[GuestFilesystem, ...]:
        self.asked.append((uuid, "filesystems"))
        if self.spaces is None:
            raise AgentRefused("not allowed")
        return self.spaces


class Now:
    """A clock that tests move."""

    seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture
def agents() -> Agents:
    return Agents()


@pytest.fixture
def guests(now: Now) -> Iterator[Guests]:
    made = Guests(threads=4, silent_threads=1, patience_s=10.0, clock=now)
    yield made
    made.close()


def question(
    agents: Agents, vm: str = "vm-1", *, run: str = "1", family: str = "linux"
) -> Question:
    return Question(vm, f"uuid-{vm}", family, run, agents)


def refuse(uuid: str) -> bytes:
    raise AgentRefused("not allowed")


def say_nothing(uuid: str) -> bytes:
    raise AgentUnavailable("silent")


def saying(text: str) -> Callable[[str], bytes]:
    """Programs that say the same in every guest."""
    return lambda uuid: text.encode()


def test_each_guest_is_asked_once_a_round(agents: Agents, guests: Guests) -> None:
    asked = [question(agents, f"vm-{number}") for number in range(10)]
    for _ in range(2):
        answers = guests.ask(asked)
        assert answers.said.keys() == {f"vm-{number}" for number in range(10)}
        assert answers.said["vm-3"].load == (0.5, 0.4, 0.3)
        assert answers.silent == frozenset()
    assert len(agents.asked) == 20
    assert {program for _uuid, program in agents.asked} == {LINUX_COMMAND[0]}


def test_windows_is_asked_by_its_own_command(agents: Agents, guests: Guests) -> None:
    agents.programs = lambda uuid: b"tcp_connections=3\r\n"
    answers = guests.ask([question(agents, family="windows")])
    assert answers.said["vm-1"].tcp_connections == 3
    assert agents.asked == [("uuid-vm-1", WINDOWS_COMMAND[0])]


def test_a_guest_that_hangs_delays_neither_the_round_nor_the_others(now: Now) -> None:
    agents, release = Agents(), threading.Event()

    def hang(uuid: str) -> bytes:
        if uuid == "uuid-deaf":
            release.wait(30)
            raise OperationTimeout("too long")
        return LINUX

    agents.programs = hang
    guests = Guests(threads=2, silent_threads=1, patience_s=0.3, clock=now)
    asked = [question(agents, "deaf"), *(question(agents, f"vm-{n}") for n in range(5))]
    try:
        for _ in range(3):
            began = time.monotonic()
            answers = guests.ask(asked)
            assert time.monotonic() - began < 5
            assert answers.said.keys() == {f"vm-{n}" for n in range(5)}
        # It hangs in one call, and is not asked again meanwhile.
        assert agents.asked.count(("uuid-deaf", LINUX_COMMAND[0])) == 1
    finally:
        release.set()
        guests.close()


def test_a_silent_guest_is_asked_more_and_more_rarely(
    agents: Agents, guests: Guests, now: Now
) -> None:
    agents.programs = say_nothing
    times = []
    for _ in range(400):
        before = len(agents.asked)
        answers = guests.ask([question(agents)])
        # Rounds do not wait for a guest that was silent before.
        deadline = time.monotonic() + 10
        while guests._guests["vm-1"].asked is not None and time.monotonic() < deadline:
            answers = guests.ask([question(agents)])
        assert answers.silent == {"vm-1"}
        assert answers.said == {}
        if len(agents.asked) > before:
            times.append(now.seconds)
        now.seconds += 30
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert gaps[0] == FIRST_WAIT_S
    assert gaps == sorted(gaps)
    assert gaps[-1] == LAST_WAIT_S


def test_a_guest_that_speaks_again_is_asked_as_before(
    agents: Agents, guests: Guests, now: Now
) -> None:
    agents.programs = say_nothing
    guests.ask([question(agents)])
    agents.programs = lambda uuid: LINUX
    now.seconds += FIRST_WAIT_S
    deadline = time.monotonic() + 10
    while "vm-1" not in guests.ask([question(agents)]).said:
        assert time.monotonic() < deadline
    now.seconds += 30
    assert guests.ask([question(agents)]).said.keys() == {"vm-1"}


def test_after_a_restart_a_guest_is_asked_at_once(agents: Agents, guests: Guests) -> None:
    agents.programs = say_nothing
    assert guests.ask([question(agents)]).silent == {"vm-1"}
    agents.programs = lambda uuid: LINUX
    assert guests.ask([question(agents, run="2")]).said.keys() == {"vm-1"}


def test_an_agent_that_runs_no_programs_has_its_files_read(
    agents: Agents, guests: Guests, now: Now
) -> None:
    agents.programs = refuse
    agents.files = FILES
    agents.spaces = (GuestFilesystem("/", "vda1", "ext4", 100, 40, ("disk-1",)),)
    reading = guests.ask([question(agents)]).said["vm-1"]
    assert reading.load == (1.0, 1.0, 1.0)
    assert reading.tcp_connections == 4
    assert reading.filesystems[0].usage_ratio == 0.4
    # It is not asked for a program again before some time has passed.
    agents.asked.clear()
    guests.ask([question(agents)])
    assert ("uuid-vm-1", LINUX_COMMAND[0]) not in agents.asked
    now.seconds += REFUSED_FOR_S
    agents.programs = lambda uuid: LINUX
    assert guests.ask([question(agents)]).said["vm-1"].load == (0.5, 0.4, 0.3)


@pytest.mark.parametrize("family", ["linux", "windows"])
def test_an_agent_that_allows_hardly_anything_tells_its_space(
    agents: Agents, guests: Guests, family: str
) -> None:
    agents.programs = refuse
    disc = GuestFilesystem("/mnt", "sr0", "iso9660", 100, 100, ())
    agents.spaces = (GuestFilesystem("/", "vda1", "ext4", 100, 40, ()), disc)
    reading = guests.ask([question(agents, family=family)]).said["vm-1"]
    assert [one.mount_point for one in reading.filesystems] == ["/"]
    assert reading.load is None


def test_an_agent_that_allows_nothing_is_silent(agents: Agents, guests: Guests) -> None:
    agents.programs = refuse
    assert guests.ask([question(agents)]).silent == {"vm-1"}


def test_a_defect_in_reading_one_guest_costs_that_guest(
    agents: Agents, guests: Guests, caplog: pytest.LogCaptureFixture
) -> None:
    def break_one(uuid: str) -> bytes:
        if uuid == "uuid-odd":
            raise ZeroDivisionError
        return LINUX

    agents.programs = break_one
    answers = guests.ask([question(agents, "odd"), question(agents, "vm-1")])
    assert answers.said.keys() == {"vm-1"}
    assert answers.silent == {"odd"}
    assert "what the guest of odd said was not understood" in caplog.text


def test_names_of_file_systems_are_bounded_for_a_day(
    agents: Agents, guests: Guests, now: Now
) -> None:
    seen: set[str] = set()
    for number in range(100):
        text = f"== df\n/dev/vda1 9 1 8 11% /\n/dev/vdb 9 1 8 11% /new-{number}\n"
        agents.programs = saying(text)
        reading = guests.ask([question(agents)]).said["vm-1"]
        seen |= {one.mount_point for one in reading.filesystems}
        assert "/" in {one.mount_point for one in reading.filesystems}
    assert len(seen) == NAMES_A_DAY
    now.seconds += 86_400
    reading = guests.ask([question(agents)]).said["vm-1"]
    assert {one.mount_point for one in reading.filesystems} == {"/", "/new-99"}


def test_guests_that_are_gone_are_forgotten(agents: Agents, guests: Guests) -> None:
    guests.ask([question(agents, "vm-1"), question(agents, "vm-2")])
    guests.ask([question(agents, "vm-2")])
    assert guests._guests.keys() == {"vm-2"}


def test_restarts_bring_up_no_more_names(agents: Agents, guests: Guests, now: Now) -> None:
    seen: set[str] = set()
    for number in range(60):
        text = f"== df\n/dev/vdb 9 1 8 11% /new-{number}\n"
        agents.programs = saying(text)
        reading = guests.ask([question(agents, run=str(number))]).said["vm-1"]
        seen |= {one.mount_point for one in reading.filesystems}
        # It is off for a round.
        guests.ask([])
    assert len(seen) == NAMES_A_DAY


def test_sets_of_what_a_guest_tells_are_bounded_for_a_day(
    agents: Agents, guests: Guests, now: Now
) -> None:
    shapes = set()
    for number in range(2**8):
        lines = [f"/dev/vd{place} 9 1 8 11% /{place}" for place in range(8) if number & 2**place]
        text = "\n".join(["== loadavg", "0.50 0.40 0.30 1/2 3", "== df", *lines, ""])
        agents.programs = saying(text)
        reading = guests.ask([question(agents)]).said["vm-1"]
        if not reading.is_empty:
            shapes.add(tuple(one.mount_point for one in reading.filesystems))
    assert len(shapes) == SHAPES_A_DAY
    # What it told before it may tell on.
    agents.programs = lambda uuid: LINUX
    assert guests.ask([question(agents)]).said["vm-1"].load == (0.5, 0.4, 0.3)

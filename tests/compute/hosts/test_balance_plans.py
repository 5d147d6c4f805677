"""Which move load balancing plans, over tables of loads and over a simulated day."""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time, timedelta
from statistics import median

import pytest

from compute.hosts.balance import (
    OFFERED,
    Figures,
    Guest,
    HostLoad,
    Limits,
    Node,
    Plan,
    VmLoad,
    hottest,
    is_open,
    plan,
)

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
LIMITS = Limits()
CPUS, MEMORY_MIB = 16, 65_536


def node(pk: str, **changes: object) -> Node:
    return replace(Node(pk, pk, CPUS, MEMORY_MIB), **changes)  # type: ignore[arg-type]  # by name


def guest(pk: str, host: str, **changes: object) -> Guest:
    return replace(Guest(pk, pk, host, 2048), **changes)  # type: ignore[arg-type]  # by name


@dataclass
class Case:
    """A cluster of which one thing is changed: h1 at 95 %, h2 at 20 %, h3 at 50 %."""

    nodes: list[Node] = field(default_factory=lambda: [node("h1"), node("h2"), node("h3")])
    guests: list[Guest] = field(default_factory=lambda: [guest("a", "h1"), guest("b", "h1")])
    hosts: dict[str, HostLoad] = field(
        default_factory=lambda: {
            "h1": HostLoad(0.95, 0.5),
            "h2": HostLoad(0.2, 0.4),
            "h3": HostLoad(0.5, 0.4),
        }
    )
    vms: dict[str, VmLoad] = field(
        default_factory=lambda: {"a": VmLoad(1.6, 2048), "b": VmLoad(4.8, 2048)}
    )
    refused: set[tuple[str, str]] = field(default_factory=set)
    limits: Limits = LIMITS

    def plan(self) -> Plan:
        return plan(
            self.limits,
            self.nodes,
            self.guests,
            Figures(NOW, self.hosts, self.vms),
            lambda vm, host: (vm, host) not in self.refused,
            NOW,
        )

    def moved(self) -> tuple[str, str, str] | None:
        move = self.plan().move
        return None if move is None else (move.vm, move.source, move.destination)


def test_the_vm_that_helps_most_goes_to_the_host_with_the_least_load() -> None:
    found = Case().plan()
    assert found.move is not None
    assert (found.move.vm, found.move.source, found.move.destination) == ("b", "h1", "h2")
    assert found.reason == (
        "Load on h1: CPU 95 % of 80 %, memory 50 % of 90 %. b uses 30 % of its CPUs: h1 goes from "
        "95 % to 65 %, h2 from 20 % to 50 %."
    )


def test_of_vms_that_help_as_much_the_one_with_little_memory_goes() -> None:
    case = Case(vms={"a": VmLoad(4.8, 2048), "b": VmLoad(4.8, 2048)})
    case.guests[1] = guest("b", "h1", memory_mib=1024)
    assert case.moved() == ("b", "h1", "h2")


def test_below_the_thresholds_nothing_moves_and_the_nearest_is_named() -> None:
    case = Case()
    case.hosts["h1"] = HostLoad(0.79, 0.5)
    assert case.plan() == Plan(
        "No host is at a threshold. The one nearest to one is h1: CPU 79 % of 80 %, memory 50 % of "
        "90 %."
    )


def test_without_figures_a_host_is_neither_source_nor_destination() -> None:
    case = Case()
    del case.hosts["h2"]
    assert case.moved() == ("a", "h1", "h3")
    del case.hosts["h1"]
    assert case.moved() is None
    case.hosts.clear()
    assert case.plan() == Plan("No host has fresh figures.")


def test_steal_alone_is_load_and_counts_as_wanted() -> None:
    case = Case()
    case.hosts["h1"] = HostLoad(0.7, 0.5, steal=0.12)
    assert case.moved() == ("b", "h1", "h2")
    case.hosts["h1"] = HostLoad(0.7, 0.5, steal=0.09)
    assert case.moved() is None
    # Waiting counts on top: what is wanted is at the threshold.
    case.hosts["h1"] = HostLoad(0.75, 0.5, steal=0.05)
    assert case.moved() == ("b", "h1", "h2")
    # A destination whose own VMs wait takes none.
    case.hosts["h2"] = HostLoad(0.2, 0.4, steal=0.1)
    assert case.moved() == ("a", "h1", "h3")


def test_memory_is_relieved_by_what_uses_memory() -> None:
    case = Case(vms={"a": VmLoad(0.0, 8192), "b": VmLoad(4.8, 100)})
    case.hosts["h1"] = HostLoad(0.5, 0.95)
    found = case.plan()
    assert case.moved() == ("a", "h1", "h2")
    assert "a uses 12 % of its memory: h1 goes from 95 % to 82 %, h2 from 40 % to 52 %" in (
        found.reason
    )


@pytest.mark.parametrize(
    ("there", "moved"),
    [
        # b would bring it to the threshold, a stays below.
        (HostLoad(0.5, 0.4), ("a", "h1", "h2")),
        # Below the threshold, but not below the source by the gain.
        (HostLoad(0.75, 0.4), None),
        # Room for the load, none for the memory.
        (HostLoad(0.2, 0.88), None),
    ],
)
def test_the_destination_stays_below_every_threshold_and_below_the_source_by_the_gain(
    there: HostLoad, moved: tuple[str, str, str] | None
) -> None:
    case = Case()
    del case.hosts["h3"]
    case.hosts["h2"] = there
    assert case.moved() == moved


def test_the_gain_is_what_the_cluster_says() -> None:
    case = Case(limits=replace(LIMITS, gain=0.44))
    del case.hosts["h3"]
    # b would leave h2 with 50 %, which is as much less.
    assert case.moved() == ("b", "h1", "h2")
    case.limits = replace(LIMITS, gain=0.46)
    assert case.moved() == ("a", "h1", "h2")
    case.limits = replace(LIMITS, gain=0.7)
    assert case.moved() is None


def test_a_vm_that_uses_next_to_nothing_is_not_moved() -> None:
    case = Case(vms={"a": VmLoad(0.15, 2048), "b": VmLoad(0.0, 2048)})
    found = case.plan()
    assert found.move is None
    assert "use less than 1 % of the host: 2" in found.reason


def test_what_placement_refuses_is_not_proposed() -> None:
    case = Case(refused={("b", "h2")})
    # b would be too much for h3.
    assert case.moved() == ("a", "h1", "h2")
    case.refused |= {("a", "h2"), ("a", "h3")}
    found = case.plan()
    assert found.move is None
    assert "no other host takes it and stays below the thresholds: 2" in found.reason


def test_what_cannot_be_moved_or_moved_lately_or_was_not_measured_is_left() -> None:
    case = Case()
    case.guests = [
        guest("gpu", "h1", obstacle="It has a GPU."),
        guest("lately", "h1", moved_at=NOW - timedelta(hours=3)),
        guest("new", "h1"),
    ]
    case.vms = {"gpu": VmLoad(4, 1), "lately": VmLoad(4, 1)}
    assert case.plan() == Plan(
        "h1 is under load (CPU 95 % of 80 %, memory 50 % of 90 %). None of its VMs is moved: "
        "cannot be moved now: 1, moved lately: 1, not measured for long enough: 1."
    )
    case.guests[1] = guest("lately", "h1", moved_at=NOW - timedelta(hours=4))
    assert case.moved() == ("lately", "h1", "h2")
    case.guests = []
    assert case.plan().reason.endswith("and no VM runs on it.")


@pytest.mark.parametrize("end", [0, 1])
def test_a_host_that_moved_lately_or_takes_no_part_is_no_end_of_a_move(end: int) -> None:
    case = Case()
    del case.hosts["h3"]
    case.nodes[end] = node(f"h{end + 1}", moved_at=NOW - timedelta(minutes=14))
    assert case.moved() is None
    case.nodes[end] = node(f"h{end + 1}", moved_at=NOW - timedelta(minutes=15))
    assert case.moved() == ("b", "h1", "h2")
    case.nodes[end] = node(f"h{end + 1}", obstacle="It is: Locked.")
    assert case.moved() is None


def test_a_host_that_cannot_be_helped_does_not_keep_the_next_one_waiting() -> None:
    case = Case()
    case.hosts["h3"] = HostLoad(0.9, 0.4)
    case.guests = [guest("a", "h1", obstacle="It is busy."), guest("c", "h3")]
    case.vms["c"] = VmLoad(4, 100)
    assert case.moved() == ("c", "h3", "h2")
    case.guests[1] = guest("c", "h3", obstacle="It is busy.")
    assert case.plan().reason.endswith("Nor can 1 more host be helped.")


def test_only_so_many_vms_of_a_host_are_offered_to_placement() -> None:
    asked: list[str] = []

    def refuse(vm: str, _host: str) -> bool:
        asked.append(vm)
        return False

    case = Case(guests=[guest(f"v{n:03}", "h1") for n in range(60)])
    case.vms = {one.pk: VmLoad(1, 100) for one in case.guests}
    found = plan(
        LIMITS, case.nodes, case.guests, Figures(NOW, case.hosts, case.vms),
        refuse, NOW,
    )  # fmt: skip
    assert found.move is None
    assert len(set(asked)) == OFFERED
    assert f"not looked at: {60 - OFFERED}" in found.reason


def test_the_most_pressed_come_first_and_only_those_at_a_threshold() -> None:
    loads = {"a": HostLoad(0.81, 0), "b": HostLoad(0.2, 0.99), "c": HostLoad(0.7, 0.5)}
    assert hottest(LIMITS, loads) == ["b", "a"]


@pytest.mark.parametrize(
    ("at", "start", "end", "zone", "is_in"),
    [
        ("12:00", None, None, "UTC", True),
        ("12:00", "08:00", "12:00", "UTC", False),
        ("11:59", "08:00", "12:00", "UTC", True),
        ("23:00", "22:00", "05:00", "UTC", True),
        ("04:59", "22:00", "05:00", "UTC", True),
        ("05:00", "22:00", "05:00", "UTC", False),
        # 12:00 UTC is 13:00 in Berlin in winter.
        ("12:00", "13:00", "14:00", "Europe/Berlin", True),
        ("12:00", "12:00", "13:00", "Europe/Berlin", False),
    ],
)
def test_times_of_day_are_of_the_clusters_own_zone(
    at: str, start: str | None, end: str | None, zone: str, is_in: bool
) -> None:
    hour, minute = map(int, at.split(":"))
    moment = NOW.replace(hour=hour, minute=minute)
    begin, over = (None if one is None else time.fromisoformat(one) for one in (start, end))
    assert is_open(moment, begin, over, zone) is is_in


# -- a day -----------------------------------------------------------------------------------------


@dataclass
class Day:
    """24 hours of a cluster, minute by minute, with the window and rests of the product.

    Each VM has a daily curve of its own, noise, and peaks of some minutes; those that were bought
    together are on one host and have their hour together.
    """

    seed: int
    balanced: bool
    hosts: int = 8
    per_host: int = 20
    moves: list[tuple[datetime, str, str, str]] = field(default_factory=list)
    #: Minutes in which a host wanted more than its threshold, and by how much.
    over: int = 0
    excess: float = 0.0

    def run(self) -> Day:
        dice = random.Random(self.seed)
        names = [f"h{n}" for n in range(self.hosts)]
        where = {f"v{n}": names[n // self.per_host] for n in range(self.hosts * self.per_host)}
        curves = {vm: self._curve(dice, int(vm[1:]) // self.per_host) for vm in where}
        seen: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=10))
        used: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=10))
        moved: dict[str, datetime] = {}
        for minute in range(24 * 60):
            at = NOW + timedelta(minutes=minute)
            now = {vm: next(curve) for vm, curve in curves.items()}
            totals = dict.fromkeys(names, 0.0)
            for vm, cpus in now.items():
                totals[where[vm]] += cpus
                used[vm].append(cpus)
            for name in names:
                share = totals[name] / CPUS
                seen[name].append(min(1.0, share))
                self.over += share >= LIMITS.cpu
                self.excess += max(0.0, share - LIMITS.cpu)
            if not self.balanced or minute < 10:
                continue
            figures = Figures(
                at,
                {name: HostLoad(median(seen[name]), 0.5) for name in names},
                {vm: VmLoad(sum(one) / len(one), 2048) for vm, one in used.items()},
            )
            found = plan(
                LIMITS,
                [node(name, moved_at=moved.get(name)) for name in names],
                [guest(vm, host, moved_at=moved.get(vm)) for vm, host in where.items()],
                figures,
                lambda vm, host: True,
                at,
            ).move
            if found is not None:
                where[found.vm] = found.destination
                moved |= dict.fromkeys((found.vm, found.source, found.destination), at)
                self.moves.append((at, found.vm, found.source, found.destination))
        return self

    def _curve(self, dice: random.Random, home: int) -> Iterator[float]:
        base, swing = dice.uniform(0.1, 0.5), dice.uniform(0.1, 0.5)
        phase = dice.uniform(0, 24 * 60)
        if home < 2:
            # Those of the first two hosts have their peak together in the evening.
            swing, phase = dice.uniform(0.3, 0.7), 8 * 60
        peak = 0
        minute = 0
        while True:
            wave = (1 + math.cos(2 * math.pi * (minute - phase) / (24 * 60))) / 2
            if peak == 0 and dice.random() < 0.003:
                peak = dice.randint(1, 4)
            cpus = base + swing * wave + dice.gauss(0, 0.08) + (1.5 if peak else 0.0)
            peak = max(0, peak - 1)
            minute += 1
            yield max(0.0, cpus)


@pytest.mark.parametrize("seed", [1, 7])
def test_a_day_of_load_is_relieved_by_few_moves_and_nothing_goes_back(seed: int) -> None:
    without, day = Day(seed, balanced=False).run(), Day(seed, balanced=True).run()
    # There is something to do, and a part of it is done.
    assert without.over > 100
    assert day.over < without.over / 2
    assert day.excess < without.excess / 2
    # Of 160 VMs, in 1440 rounds.
    assert 0 < len(day.moves) <= 24
    each = Counter(vm for _at, vm, _source, _destination in day.moves)
    assert max(each.values()) <= 2
    left: dict[str, set[str]] = defaultdict(set)
    for _at, vm, source, destination in day.moves:
        left[vm].add(source)
        assert destination not in left[vm], f"{vm} went back to {destination}"
    # No host takes part twice within its rest.
    last: dict[str, datetime] = {}
    for at, _vm, *ends in day.moves:
        for name in ends:
            assert name not in last or at - last[name] >= LIMITS.host_rest
            last[name] = at


def test_peaks_of_some_minutes_move_nothing() -> None:
    quiet = [0.6] * 10
    for length in (1, 2, 4):
        peak = [*quiet[length:], *[1.0] * length]
        case = Case()
        case.hosts["h1"] = HostLoad(median(peak), 0.5)
        assert case.moved() is None


def loads_after(case: Case) -> Mapping[str, float]:
    """The CPU loads after the planned move."""
    move = case.plan().move
    assert move is not None
    share = case.vms[move.vm].cpus / CPUS
    found = {pk: load.wanted for pk, load in case.hosts.items()}
    found[move.source] -= share
    found[move.destination] += share
    return found


def test_after_a_move_with_the_same_load_nothing_more_is_to_be_done() -> None:
    case = Case()
    after = loads_after(case)
    case.hosts = {pk: HostLoad(cpu, 0.5) for pk, cpu in after.items()}
    case.guests = [replace(one, host="h2") if one.pk == "b" else one for one in case.guests]
    # Even without any rest.
    assert case.moved() is None

"""When a host is dead: tables of sightings, without a database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from compute.hosts.witnesses import FRESH, KNOWN, Sighting, Word, verdict
from compute.states.hosts import IN_SERVICE, MOVES, HostMove, HostState, Witness

NOW = datetime(2026, 5, 4, 10, 0, tzinfo=UTC)
LIMIT = timedelta(seconds=60)
LIBVIRT, CHASSIS, HEARTBEAT = Witness.LIBVIRT, Witness.CHASSIS, Witness.HEARTBEAT


def seen(
    witness: Witness,
    alive_s: float | None,
    *,
    asked_s: float = 2,
    watching_s: float = 9999,
    observer: str = "a",
) -> Sighting:
    """A sighting, by how many seconds ago things were."""

    def ago(seconds: float) -> datetime:
        return NOW - timedelta(seconds=seconds)

    alive_at = None if alive_s is None else ago(alive_s)
    return Sighting(witness, observer, ago(watching_s), ago(asked_s), alive_at)


CASES: dict[str, tuple[list[Sighting], Word]] = {
    "nobody has asked": ([], Word.UNKNOWN),
    "libvirt answers": ([seen(LIBVIRT, 2)], Word.ALIVE),
    "libvirt alone, silent for long enough": ([seen(LIBVIRT, 60)], Word.DEAD),
    "libvirt alone, a moment too short": ([seen(LIBVIRT, 59.9)], Word.UNKNOWN),
    "libvirt never answered": ([seen(LIBVIRT, None)], Word.DEAD),
    "the observer has just begun": ([seen(LIBVIRT, None, watching_s=59)], Word.UNKNOWN),
    "it began again after a pause": ([seen(LIBVIRT, 900, watching_s=10)], Word.UNKNOWN),
    "all three are silent": (
        [seen(LIBVIRT, 61), seen(CHASSIS, 62), seen(HEARTBEAT, 63)],
        Word.DEAD,
    ),
    "the chassis answers": ([seen(LIBVIRT, 900), seen(CHASSIS, 2)], Word.ALIVE),
    "the heartbeat goes on": ([seen(LIBVIRT, 900), seen(HEARTBEAT, 2)], Word.ALIVE),
    "the chassis has only just become silent": (
        [seen(LIBVIRT, 900), seen(CHASSIS, 30)],
        Word.UNKNOWN,
    ),
    "nobody can ask OVN at present": (
        [seen(LIBVIRT, 900), seen(CHASSIS, 900, asked_s=31)],
        Word.UNKNOWN,
    ),
    "nobody has asked OVN for long": (
        [seen(LIBVIRT, 900), seen(CHASSIS, 900, asked_s=601)],
        Word.DEAD,
    ),
    "nobody asks libvirt": ([seen(CHASSIS, 900)], Word.UNKNOWN),
    "another observer hears it": (
        [seen(LIBVIRT, 900), seen(LIBVIRT, 1, asked_s=1, observer="b")],
        Word.ALIVE,
    ),
    "another observer heard it a moment ago": (
        [seen(LIBVIRT, 900), seen(LIBVIRT, 20, observer="b")],
        Word.UNKNOWN,
    ),
    "another observer has just begun": (
        [seen(LIBVIRT, 900), seen(LIBVIRT, None, watching_s=5, observer="b")],
        Word.UNKNOWN,
    ),
    "another observer is gone": (
        [seen(LIBVIRT, 900), seen(LIBVIRT, 40, asked_s=40, observer="b")],
        Word.DEAD,
    ),
    "two observers hear nothing": (
        [seen(LIBVIRT, 900), seen(LIBVIRT, 61, observer="b")],
        Word.DEAD,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_verdict(case: str) -> None:
    sightings, expected = CASES[case]
    assert verdict(sightings, NOW, LIMIT).word is expected
    assert verdict(reversed(sightings), NOW, LIMIT).word is expected


def test_the_shortest_silence_of_each_witness_is_told() -> None:
    found = verdict(
        [seen(LIBVIRT, 900), seen(LIBVIRT, 70, observer="b"), seen(CHASSIS, 80)], NOW, LIMIT
    )
    assert found.silent_since == {
        LIBVIRT: NOW - timedelta(seconds=70),
        CHASSIS: NOW - timedelta(seconds=80),
    }
    assert FRESH < LIMIT < KNOWN


def test_no_rule_leads_from_maintenance_to_suspect_and_each_leads_somewhere() -> None:
    assert set(MOVES) == set(HostMove)
    # One that enters maintenance still runs VMs.
    assert HostState.MAINTENANCE not in MOVES[HostMove.SUSPECT].allowed_from
    for rule in MOVES.values():
        assert rule.to not in rule.allowed_from
        assert rule.to is not None or not rule.allowed_from & IN_SERVICE

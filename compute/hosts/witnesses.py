"""When a host counts as dead: what every observer heard of it by every witness.

Pure: sightings go in, a verdict comes out. In doubt a host is neither dead nor alive.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from compute.states.hosts import Witness

#: What an observer has asked longer ago says nothing about now.
FRESH: Final = timedelta(seconds=30)
#: A sign of life that is noted so soon after a host was confirmed to be off may be from before.
STALE: Final = timedelta(seconds=15)
#: For so long a witness is missed that nobody asks any more: meanwhile nothing is certain.
KNOWN: Final = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Sighting:
    """What an observer knows of a host by one witness: see the model of the same name."""

    witness: Witness
    observer: str
    watching_since: datetime
    asked_at: datetime
    alive_at: datetime | None = None

    @property
    def silent_since(self) -> datetime:
        """Since when the observer has certainly heard nothing."""
        if self.alive_at is None:
            return self.watching_since
        return max(self.alive_at, self.watching_since)

    @property
    def answers(self) -> bool:
        """Whether the witness answered when it was asked last."""
        return self.alive_at is not None and self.alive_at >= self.asked_at


class Word(StrEnum):
    """What all sightings together say."""

    ALIVE = "alive"
    UNKNOWN = "unknown"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Verdict:
    """``silent_since``, by witness, is the shortest silence that any observer tells of."""

    word: Word
    silent_since: Mapping[Witness, datetime]


def verdict(sightings: Iterable[Sighting], now: datetime, limit: timedelta) -> Verdict:
    """Return whether a host is dead.

    It is when every known witness has been silent for ``limit`` to everybody who asks. libvirt has
    to be among them: it is the one that every host has. An observer that began to ask less than
    ``limit`` ago, and a witness that nobody asks at present, make it unknown.
    """
    silent: dict[Witness, datetime] = {}
    known: set[Witness] = set()
    answers = False
    for one in sightings:
        age = now - one.asked_at
        if age <= KNOWN:
            known.add(one.witness)
        if age > FRESH:
            continue
        answers = answers or one.answers
        silent[one.witness] = max(one.silent_since, silent.get(one.witness, one.silent_since))
    if answers:
        return Verdict(Word.ALIVE, silent)
    complete = known == silent.keys() and Witness.LIBVIRT in known
    if complete and all(now - since >= limit for since in silent.values()):
        return Verdict(Word.DEAD, silent)
    return Verdict(Word.UNKNOWN, silent)


class Since(StrEnum):
    """What was heard of a host since it was confirmed to be off."""

    #: Not every witness has been asked since, or one may still tell of before.
    UNKNOWN = "unknown"
    SILENT = "silent"
    #: It is not off, or it is on again.
    ALIVE = "alive"


def since_off(sightings: Iterable[Sighting], off_at: datetime, now: datetime) -> Since:
    """Return what the witnesses of a host say of the time after ``off_at``.

    *Silent* only when each known witness has been asked after it by everybody who asks, and has not
    answered. A witness that nobody asks at present leaves it unknown until it is forgotten.
    """
    asked: set[Witness] = set()
    known: set[Witness] = set()
    pending = False
    for one in sightings:
        age = now - one.asked_at
        if age <= KNOWN:
            known.add(one.witness)
        if one.alive_at is not None and one.alive_at > off_at + STALE:
            return Since.ALIVE
        if age > FRESH:
            continue
        may_be_old = one.alive_at is not None and one.alive_at > off_at
        if one.asked_at <= (off_at + STALE if may_be_old else off_at):
            pending = True
            continue
        asked.add(one.witness)
    complete = known == asked and Witness.LIBVIRT in asked
    return Since.SILENT if complete and not pending else Since.UNKNOWN

"""Kill -9 of the region's processes at random moments. Only what the stack itself started."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from scloud.lab import region
from scloud.lab import stack as stacks
from scloud.lab.plan import LabError
from scloud.lab.stack import Stack

PROGRAMS: Final = ("worker", "console", "sweeper", "gateway", "vnc")
VICTIMS: Final = (*PROGRAMS, "libvirtd", "postgres")
PAUSE_S: Final = (4.0, 14.0)
# How long after such a kill the console may say that it cannot answer.
EXCUSE_S: Final = 60.0


def kill_program(stack: Stack, name: str) -> None:
    """Kill -9 of a process and of its children; the supervisor starts it anew."""
    end = time.monotonic() + 30
    while True:
        try:
            pid = stacks.pid_of(stack, name)
            os.killpg(os.getpgid(pid), signal.SIGKILL)
            return
        except (LabError, ProcessLookupError):
            # Killed a moment ago, and not started anew yet.
            if time.monotonic() > end:
                raise LabError(f"{name} was not started anew") from None
            time.sleep(0.1)


def kill_postgres(stack: Stack) -> None:
    """Kill -9 of the database server, which then is started again."""
    stack.cluster.kill()
    stack.cluster.up()


def kill(stack: Stack, victim: str, chance: random.Random) -> None:
    """Kill one of the victims. What no supervisor starts anew is started here."""
    if victim == "postgres":
        kill_postgres(stack)
    elif victim == "libvirtd":
        region.kill_libvirtd(chance.choice(stack.lab.hosts))
    else:
        kill_program(stack, victim)


@dataclass
class Killer:
    """Kills until it is told to stop."""

    stack: Stack
    chance: random.Random
    victims: tuple[str, ...] = VICTIMS
    killed: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    excused_until: float = 0.0

    def run(self) -> None:
        """Kill at random moments: all victims in random order, and again in another one."""
        left: list[str] = []
        while not self.stop.wait(self.chance.uniform(*PAUSE_S)):
            left = left or self.chance.sample(self.victims, len(self.victims))
            victim = left.pop()
            if victim in ("console", "postgres"):
                self.excused_until = float("inf")
            try:
                kill(self.stack, victim, self.chance)
            except LabError as error:
                self.failures.append(f"{victim}: {error}")
            if victim in ("console", "postgres"):
                self.excused_until = time.monotonic() + EXCUSE_S
            self.killed[victim] += 1

    def excuses(self) -> bool:
        """Whether console or database were killed a moment ago."""
        return time.monotonic() < self.excused_until

"""What TLS costs a purchase: the same region with it and without it, in turns, in one run."""

from __future__ import annotations

import contextlib
import os
import time

from scloud.lab import region as regions
from scloud.lab import stack as stacks
from tests.bench import create, installation
from tests.bench.hosts import Hosts
from tests.bench.rows import Row, p50, p95, seconds

MORE_PERCENT = 10.0


def run(quick: bool) -> list[Row]:
    """Create VMs one at a time, on hosts that are started anew for each turn."""
    rounds, turns = (2, 1) if quick else (6, 3)
    installation.whole()
    took: dict[bool, list[float]] = {False: [], True: []}
    try:
        for turn in range(turns):
            # In turns, and the first one of a pair is not always the same.
            for encrypted in (False, True) if turn % 2 == 0 else (True, False):
                _start(encrypted=encrypted)
                took[encrypted] += _creations(rounds)
    finally:
        _start(encrypted=True)
    plain, tls = p50(took[False]), p50(took[True])
    more = 100 * (tls - plain) / plain
    return [
        Row(
            f"Create with TLS to hosts and OVN, {rounds * turns} VMs each way "
            f"({installation.emulation()})",
            f"at most {MORE_PERCENT:.0f} % more than without, p50",
            f"{more:.1f} %: {seconds(tls)}, without {seconds(plain)} "
            f"(p95 {seconds(p95(took[True]))} and {seconds(p95(took[False]))})",
            more <= MORE_PERCENT,
        )
    ]


def _start(*, encrypted: bool) -> None:
    """Start the region and the product anew, one way or the other."""
    stack = installation.stack()
    if stack.lab.tls is encrypted and regions.is_up(stack.lab):
        return
    stacks.stop_processes(stack)
    regions.down(stack.lab)
    os.environ[regions.WITHOUT_TLS] = "1" if encrypted else "0"
    try:
        stacks.up(stack, image_names=("mini",))
    finally:
        del os.environ[regions.WITHOUT_TLS]
    installation.facts.cache_clear()
    assert stack.lab.tls is encrypted


def _creations(rounds: int) -> list[float]:
    """Seconds from the accepted request to the running domain, of each VM."""
    api = installation.api()
    found = []
    with contextlib.closing(Hosts(installation.facts())) as hosts:
        # The first one warms connections up, and is not counted.
        for number in range(rounds + 1):
            (vm,) = create.buy(1)
            accepted = time.perf_counter()
            hosts.await_running([vm])
            ran = time.perf_counter()
            api.settled(vm)
            api.destroy(vm)
            if number:
                found.append(ran - accepted)
                installation.say(f"one VM: {ran - accepted:.2f} s")
            time.sleep(create.CALM_S)
    return found

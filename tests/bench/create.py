"""Creating VMs through the product, against the same work done directly on the same hosts."""

from __future__ import annotations

import contextlib
import functools
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.bench import installation
from tests.bench.hosts import Hosts
from tests.bench.rows import Row, p50, p95, seconds

MORE_S = 0.3
BATCH_RATIO = 1.2
# As many at a time as the product has workers.
AT_ONCE = 10
# A host is busy for a while after domains have gone; neither side is to pay for the other's.
CALM_S = 3.0


def run(quick: bool) -> list[Row]:
    """Take turns: one VM by the API, then the same directly."""
    with contextlib.closing(Hosts(installation.facts())) as hosts:
        return singles(hosts, 2 if quick else 9)


def run_batch(quick: bool) -> list[Row]:
    """Take turns: a batch by one request, then the same directly."""
    with contextlib.closing(Hosts(installation.facts())) as hosts:
        return batches(hosts, *((2, 1) if quick else (10, 7)))


def singles(hosts: Hosts, rounds: int) -> list[Row]:
    """Create one VM at a time."""
    api = installation.api()
    ours, theirs, requests = [], [], []
    emulation = ""
    # The first round warms caches and database connections up, and is not counted.
    for number in range(rounds + 1):
        began = time.perf_counter()
        (vm,) = buy(1)
        accepted = time.perf_counter()
        hosts.await_running([vm])
        ran = time.perf_counter()
        emulation = hosts.emulation(vm)
        twin = hosts.twin(vm)
        api.settled(vm)
        api.destroy(vm)
        try:
            started = time.perf_counter()
            hosts.create(twin)
            hosts.await_running([twin.name])
            direct = time.perf_counter() - started
        finally:
            hosts.remove(twin)
        if number:
            requests.append(accepted - began)
            ours.append(ran - accepted)
            theirs.append(direct)
        installation.say(f"one VM: {ran - accepted:.2f} s, directly {direct:.2f} s")
    more = p50(ours) - p50(theirs)
    return [
        Row(
            f"Create: accepted request to running domain, {rounds} rounds ({emulation})",
            f"at most {seconds(MORE_S)} more than directly, p50",
            f"{seconds(more)} more: {seconds(p50(ours))}, directly {seconds(p50(theirs))} "
            f"(p95 {seconds(p95(ours))} and {seconds(p95(theirs))})",
            more <= MORE_S,
        ),
        Row(
            "Create: the quote and the request that buys, together",
            "none set",
            f"p50 {seconds(p50(requests))}, p95 {seconds(p95(requests))}",
            None,
        ),
    ]


def batches(hosts: Hosts, size: int, rounds: int) -> list[Row]:
    """Create a batch in one request; directly, as many at a time as the product has workers."""
    api = installation.api()
    ratios, ours, theirs = [], [], []
    for _ in range(rounds):
        time.sleep(CALM_S)
        vms = buy(size)
        accepted = time.perf_counter()
        hosts.await_running(vms)
        took = time.perf_counter() - accepted
        twins = [hosts.twin(vm) for vm in vms]
        for vm in vms:
            api.settled(vm)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(api.destroy, vms))
        time.sleep(CALM_S)
        try:
            started = time.perf_counter()
            with ThreadPoolExecutor(AT_ONCE) as pool:
                list(pool.map(hosts.create, twins))
            hosts.await_running([twin.name for twin in twins])
            direct = time.perf_counter() - started
        finally:
            for twin in twins:
                hosts.remove(twin)
        ours.append(took)
        theirs.append(direct)
        ratios.append(took / direct)
        installation.say(f"{size} VMs: {took:.2f} s, directly {direct:.2f} s")
    ratio = p50(ratios)
    return [
        Row(
            f"Create {size} VMs in one request, {rounds} rounds",
            f"<= {BATCH_RATIO} x directly ({AT_ONCE} at a time)",
            f"{ratio:.2f} x: {seconds(p50(ours))}, directly {seconds(p50(theirs))}",
            ratio <= BATCH_RATIO,
        )
    ]


def buy(count: int) -> list[str]:
    """Quote and buy; return the ids once the request is answered with 201."""
    api = installation.api()
    order = order_of_mini()
    body = {**order, "count": count}
    quote = api.post("/vms/quote", body, expect=200)
    bought = api.post("/vms", {**body, "quote_token": quote["token"]}, expect=201)
    return [vm["id"] for vm in bought]


@functools.cache
def order_of_mini() -> dict[str, Any]:
    """Return the order of a small VM, looked together once."""
    return installation.api().order()

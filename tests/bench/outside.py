"""How soon what is asked of the network acts: an external IP that is bound, a rule of a group."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from scloud.lab.shell import succeeds
from tests.bench import installation
from tests.bench.rows import Row, p50, p95, seconds
from tests.e2e import outside

GOAL_S = 2.0
LIMIT_S = 30.0


def run(quick: bool) -> list[Row]:
    """Bind and unbind one external IP of a running VM, and change a rule of VMs on all hosts."""
    api, facts = installation.api(), installation.facts()
    with _two_vms(api, facts) as (vms, bought, group):
        times = [_bind_s(api, bought, vms[0]) for _ in range(3 if quick else 25)]
        _wait_for(bought_by(api, vms), answer=True)
        hosts = {name for vm in vms for name in outside.running(facts, vm)}
        changes = [
            took
            for _ in range(2 if quick else 10)
            for took in _change_s(api, group, bought_by(api, vms))
        ]
    return [
        Row(
            "External IP: request to bind until a ping from outside is answered "
            f"({len(times)} times)",
            f"p95 <= {seconds(GOAL_S)}",
            f"p50 {seconds(p50(times))}, p95 {seconds(p95(times))}",
            p95(times) <= GOAL_S,
        ),
        Row(
            "Security group: request for a rule until pings are refused, or answered again, by "
            f"VMs on {len(hosts)} hosts ({len(changes)} times)",
            f"p95 <= {seconds(GOAL_S)}",
            f"p50 {seconds(p50(changes))}, p95 {seconds(p95(changes))}",
            p95(changes) <= GOAL_S,
        ),
    ]


@contextmanager
def _two_vms(
    api: Any, facts: dict[str, Any]
) -> Iterator[tuple[list[str], dict[str, Any], dict[str, Any]]]:
    """Two VMs with an external IP each, a third address, and their external security group."""
    segment = next(one for one in api.get("/segments") if one["route_policy"] == "default")
    group = api.post(
        "/security-groups", {"region": "box", "name": "bench", "templates": ["default"]}, expect=201
    )
    order = {"region": "box", "segment": segment["id"], "bandwidth_mbps": 10}
    vms: list[str] = []
    addresses: list[str] = []
    try:
        for number in (1, 2):
            vm = api.buy(
                name=f"outside-{number}",
                external_segment=segment["id"],
                external_bandwidth_mbps=10,
                external_security_group=group["id"],
            )
            vms.append(vm["id"])
        for vm_id in vms:
            api.settled(vm_id)
            outside.await_agent(facts, vm_id)
        addresses += [one["id"] for one in bought_by(api, vms)]
        token = api.post("/external-ips/quote", order, expect=200)["token"]
        bought = api.post("/external-ips", {**order, "quote_token": token}, expect=201)[0]
        addresses.append(bought["id"])
        yield vms, bought, group
    finally:
        for vm_id in vms:
            api.destroy(vm_id)
        for pk in addresses:
            api.stubborn("DELETE", f"/external-ips/{pk}")
        api.stubborn("DELETE", f"/security-groups/{group['id']}")


def bought_by(api: Any, vms: list[str]) -> list[dict[str, Any]]:
    """The external IPs that are bound to these VMs."""
    rows: list[dict[str, Any]] = api.get("/external-ips?page_size=100")["results"]
    return [one for one in rows if one["target_id"] in vms]


def _answers(address: str) -> bool:
    return succeeds("ping", "-n", "-q", "-c", "1", "-W", "0.1", address, timeout_s=5)


def _wait_for(rows: list[dict[str, Any]], *, answer: bool) -> float:
    """Ping until all answer, or none does; return the instant at which the last one was seen so."""
    began = time.perf_counter()
    for row in rows:
        while _answers(row["address"]) != answer:
            assert time.perf_counter() - began < LIMIT_S, f"{row['address']}: not {answer}"
    return time.perf_counter()


def _change_s(api: Any, group: dict[str, Any], rows: list[dict[str, Any]]) -> Iterator[float]:
    """Yield how long it took until a rule that drops pings acted, and until it was gone."""
    assert len(rows) == 2
    rule = {
        "direction": "in",
        "protocol": "icmp",
        "cidr": "0.0.0.0/0",
        "action": "drop",
        "priority": "high",
    }
    began = time.perf_counter()
    made = api.post(f"/security-groups/{group['id']}/rules", rule, expect=201)
    yield _wait_for(rows, answer=False) - began
    began = time.perf_counter()
    gone = api.stubborn("DELETE", f"/security-group-rules/{made['id']}")
    assert gone.status == 204, gone
    yield _wait_for(rows, answer=True) - began


def _bind_s(api: Any, bought: dict[str, Any], vm: str) -> float:
    began = time.perf_counter()
    api.post(f"/external-ips/{bought['id']}/bind", {"target": vm})
    _wait_for([bought], answer=True)
    took_s = time.perf_counter() - began
    _settle(api, bought["id"])
    api.post(f"/external-ips/{bought['id']}/unbind")
    _settle(api, bought["id"])
    return took_s


def _settle(api: Any, pk: str) -> None:
    end = time.monotonic() + LIMIT_S
    while api.get(f"/external-ips/{pk}")["task"]:
        assert time.monotonic() < end, f"{pk} is still busy"
        time.sleep(0.05)

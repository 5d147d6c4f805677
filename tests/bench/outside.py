"""How soon an external IP answers from outside once it was bound."""

from __future__ import annotations

import time
from typing import Any

from scloud.lab.shell import succeeds
from tests.bench import installation
from tests.bench.rows import Row, p50, p95, seconds
from tests.e2e import outside

GOAL_S = 2.0
LIMIT_S = 30.0


def run(quick: bool) -> list[Row]:
    """Bind and unbind one external IP of a running VM, again and again."""
    rounds = 3 if quick else 25
    api, facts = installation.api(), installation.facts()
    vm = api.buy(name="outside")["id"]
    address = ""
    try:
        api.settled(vm)
        outside.await_agent(facts, vm)
        segment = next(one for one in api.get("/segments") if one["route_policy"] == "default")
        order = {"region": "box", "segment": segment["id"], "bandwidth_mbps": 10}
        token = api.post("/external-ips/quote", order, expect=200)["token"]
        bought = api.post("/external-ips", {**order, "quote_token": token}, expect=201)[0]
        address = bought["id"]
        times = [_bind_s(api, bought, vm) for _ in range(rounds)]
    finally:
        api.destroy(vm)
        if address:
            api.stubborn("DELETE", f"/external-ips/{address}")
    return [
        Row(
            f"External IP: request to bind until a ping from outside is answered ({rounds} times)",
            f"p95 <= {seconds(GOAL_S)}",
            f"p50 {seconds(p50(times))}, p95 {seconds(p95(times))}",
            p95(times) <= GOAL_S,
        )
    ]


def _bind_s(api: Any, bought: dict[str, Any], vm: str) -> float:
    began = time.perf_counter()
    api.post(f"/external-ips/{bought['id']}/bind", {"target": vm})
    while not succeeds("ping", "-n", "-q", "-c", "1", "-W", "0.1", bought["address"], timeout_s=5):
        assert time.perf_counter() - began < LIMIT_S, f"{bought['address']} does not answer"
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

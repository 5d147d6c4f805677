"""Kill -9 of every process during create, shut down, start and delete, on the real lab.

``make test`` stops the VM in one of the two ways for each kind of process, a soak in both. Each
ends, after the sweep, in a state from which one can go on: nothing doubled, lost or stuck.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from decimal import Decimal
from functools import partial
from typing import Any

import pytest

from scloud.lab import region
from scloud.lab.plan import Lab
from scloud.lab.stack import Stack
from tests.budget import share
from tests.chaos.kills import kill_postgres, kill_program
from tests.e2e import outside
from tests.e2e.client import Api

pytestmark = [pytest.mark.lab, pytest.mark.timeout(900)]


def kill_libvirtds(lab: Lab) -> None:
    """Kill -9 of libvirtd on every host: one of them has the VM."""
    for host in lab.hosts:
        region.kill_libvirtd(host)


# Ways to stop a VM, each with the verb that leads back.
STOPS = ["power-off", "shut-down"]
VICTIMS = ["worker", "console", "sweeper", "libvirtd", "postgres"]


@pytest.fixture
def stops(request: pytest.FixtureRequest) -> list[str]:
    """Return how the VM is stopped while processes of this kind are killed."""
    return share(STOPS, VICTIMS.index(request.node.callspec.params["kill"]), of=2)


@pytest.fixture(params=VICTIMS)
def kill(request: pytest.FixtureRequest, stack: Stack, lab: Lab) -> Callable[[], None]:
    """Return the function that kills one kind of process."""
    name = str(request.param)
    if name == "libvirtd":
        return lambda: kill_libvirtds(lab)
    if name == "postgres":
        return lambda: kill_postgres(stack)
    return lambda: kill_program(stack, name)


def during(kill: Callable[[], None], call: Callable[[], Any], delay_s: float) -> Any:
    """Make a call and kill ``delay_s`` after it began, while its job is running."""
    failures: list[BaseException] = []

    def strike() -> None:
        time.sleep(delay_s)
        try:
            kill()
        except BaseException as error:  # told below, in the test's own thread
            failures.append(error)

    thread = threading.Thread(target=strike)
    thread.start()
    result = call()
    thread.join()
    assert not failures, failures
    return result


def balance(api: Api) -> Decimal:
    """The tenant's balance."""
    answer = api.stubborn("GET", "/billing/account")
    assert answer.status == 200, answer
    return Decimal(answer.body["balance"])


def test_a_killed_process_costs_time_and_nothing_else(
    kill: Callable[[], None], stops: list[str], api: Api, facts: dict[str, Any], lab: Lab
) -> None:
    before = balance(api)
    ports_before = outside.ports(lab)
    quote = api.stubborn("POST", "/vms/quote", api.order())
    price = Decimal(quote.body["total"])

    vm_id = during(kill, api.buy, 0.4)["id"]
    vm = api.settled(vm_id)
    assert vm["status"] == "running", vm
    assert len(outside.domains(facts)[vm_id]) == 1
    assert len(outside.running(facts, vm_id)) == 1
    assert balance(api) == before - price

    for path, method, status in (
        *(
            (f"/vms/{vm_id}/{verb}", "POST", status)
            for stop in stops
            for verb, status in ((stop, "stopped"), ("start", "running"))
        ),
        (f"/vms/{vm_id}", "DELETE", "binned"),
    ):
        answer = during(kill, partial(api.stubborn, method, path), 0.15)
        assert answer.status == 202, answer
        vm = api.settled(vm_id, timeout_s=240)
        assert (vm["status"], vm["failure"]) == (status, None), vm
        assert len(outside.running(facts, vm_id)) == (1 if status == "running" else 0)

    assert vm_id not in outside.domains(facts)
    api.destroy(vm_id)
    assert vm_id not in outside.domains(facts)
    assert outside.seeds(facts, vm_id) == []
    assert outside.ports(lab) <= ports_before
    # Hourly: an hour that has begun is used up, so exactly one price was paid, once.
    assert balance(api) == before - price

"""Having the guest of a running VM configure what its NICs have.

Its seed says the same and is read when the VM starts; this is for the time between, and for guests
whose own tools do not understand all of a seed. Looks first: a guest that has the plan already is
not touched. Every call is bounded, and a guest that does not answer is asked again by the sweep.
"""

from __future__ import annotations

import enum
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from django.utils import timezone

from compute.hypervisor.base import (
    AgentRefused,
    AgentUnavailable,
    CommandResult,
    DomainNotFound,
    DomainNotRunning,
    Hypervisor,
    OperationTimeout,
)
from compute.hypervisor.guestnet import scripts, shell
from compute.hypervisor.guestnet.scripts import Renderer
from compute.models import VM, GuestNetwork
from compute.models.image import OsFamily
from compute.states.vms import VmStatus
from compute.tasks.base import guest_plan
from compute.tasks.drivers import hypervisor_of, translated_errors
from network.rules.guest import NicPlan
from network.tasks import external_ips
from scloud.lib.backoff import Said, delay_s

log = logging.getLogger(__name__)
said = Said(log)

#: How long a script may run in a guest: ``netplan apply`` took 41 s on a busy machine.
SCRIPT_LIMIT_S: Final = 90.0
#: The same within a job that somebody waits for; the sweep repeats what took longer.
JOB_LIMIT_S: Final = 20.0
DETECT_LIMIT_S: Final = 10.0
#: Of a plan that changes while it is being applied, so many versions follow each other at most.
ROUNDS: Final = 3
#: A NIC that was just plugged in appears in the guest within this time.
PLUG_LIMIT_S: Final = 5.0
#: After how long a guest that has its plan is looked at again, and one that did not take it.
KNOWN_FOR = timedelta(minutes=5)
RETRY_FIRST_S: Final = 10.0
RETRY_CEILING_S: Final = 300.0


class Outcome(enum.StrEnum):
    """What became of telling a guest."""

    APPLIED = "applied"
    #: No agent, or one that may not run programs: the seed tells it when the VM starts next.
    NO_AGENT = "agent_unavailable"
    #: The plan has a NIC that the guest does not see yet.
    NIC_MISSING = "guest_nic_missing"
    FAILED = "guest_network_failed"
    TIMEOUT = "operation_timeout"


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of telling a guest, what it is, and its own words for operators."""

    outcome: Outcome
    renderer: str = ""
    detail: str = ""


def apply_guest_network(vm_id: str, *, limit_s: float = JOB_LIMIT_S) -> bool:
    """Have the guest of a running VM configure its NICs; tell whether it has done so.

    False: it does when the VM starts next, or when the sweep reaches it. Of two that do this at
    once each looks afterwards whether the rows have changed, and applies them as they are then.
    Needs the tenant's scope. Raises HostError if the VM's host does not answer.
    """
    vm: VM | None = VM.objects.select_related("host", "image").filter(pk=vm_id).first()
    if vm is None or vm.host is None or vm.status != VmStatus.RUNNING:
        return False
    driver, revision = hypervisor_of(vm.host), vm.revision
    plans, plug_until = guest_plan(vm_id), time.monotonic() + PLUG_LIMIT_S
    for _round in range(ROUNDS):
        answer = _tell(vm, driver, plans, limit_s)
        while answer.outcome is Outcome.NIC_MISSING and time.monotonic() < plug_until:
            time.sleep(0.5)
            answer = _tell(vm, driver, plans, limit_s)
        record(vm, plans, answer, revision)
        now = guest_plan(vm_id)
        if now == plans:
            break
        plans = now
    return answer.outcome is Outcome.APPLIED


def _tell(vm: VM, driver: Hypervisor, plans: Sequence[NicPlan], limit_s: float) -> Answer:
    with translated_errors():
        return tell(driver, str(vm.uuid), plans, os_family=vm.image.os_family, limit_s=limit_s)


def tell(
    driver: Hypervisor,
    uuid: str,
    plans: Sequence[NicPlan],
    *,
    os_family: str,
    limit_s: float = SCRIPT_LIMIT_S,
) -> Answer:
    """Bring the guest to the plan unless it has it already; reads and writes no row.

    Raises HypervisorError if the host does not answer.
    """
    try:
        if not driver.agent_ready(uuid):
            return Answer(Outcome.NO_AGENT)
        if os_family == OsFamily.WINDOWS:
            return _tell_windows(driver, uuid, plans, limit_s)
        return _tell_linux(driver, uuid, plans, limit_s)
    except (AgentUnavailable, AgentRefused, DomainNotRunning, DomainNotFound) as error:
        return Answer(Outcome.NO_AGENT, detail=error.message)
    except OperationTimeout as error:
        return Answer(Outcome.TIMEOUT, detail=error.message)


def _tell_linux(driver: Hypervisor, uuid: str, plans: Sequence[NicPlan], limit_s: float) -> Answer:
    detected = driver.run(
        uuid, scripts.LINUX_SHELL, stdin=scripts.DETECT.encode(), timeout_s=DETECT_LIMIT_S
    )
    try:
        renderer, digest = scripts.parse_detected(detected.stdout.decode(errors="replace"))
    except ValueError as error:
        return Answer(Outcome.FAILED, detail=str(error))
    if digest == scripts.digest_of(plans):
        return Answer(Outcome.APPLIED, renderer)
    script = scripts.script(renderer, plans)
    done = driver.run(uuid, scripts.LINUX_SHELL, stdin=script.encode(), timeout_s=limit_s)
    return _answer(renderer, done)


def _tell_windows(
    driver: Hypervisor, uuid: str, plans: Sequence[NicPlan], limit_s: float
) -> Answer:
    script = scripts.script(Renderer.WINDOWS, plans)
    done = driver.run(uuid, scripts.WINDOWS_SHELL, stdin=script.encode(), timeout_s=limit_s)
    return _answer(Renderer.WINDOWS, done)


def _answer(renderer: Renderer, done: CommandResult) -> Answer:
    outcome = {shell.DONE: Outcome.APPLIED, shell.NIC_MISSING: Outcome.NIC_MISSING}.get(
        -1 if done.exit_code is None else done.exit_code, Outcome.FAILED
    )
    words = "" if outcome is Outcome.APPLIED else done.stderr.decode(errors="replace").strip()
    return Answer(outcome, renderer, words)


def record(vm: VM, plans: Sequence[NicPlan], answer: Answer, revision: int) -> None:
    """Note what became of it, and when the guest is asked next; needs the tenant's scope."""
    row = GuestNetwork.objects.filter(pk=vm.pk).first()
    applied = answer.outcome is Outcome.APPLIED
    tries = 0 if applied else (row.tries if row is not None else 0) + 1
    wait = (
        KNOWN_FOR
        if applied
        else timedelta(seconds=delay_s(tries, first_s=RETRY_FIRST_S, ceiling_s=RETRY_CEILING_S))
    )
    columns = {
        "tenant_id": vm.tenant_id,
        "renderer": answer.renderer or (row.renderer if row is not None else ""),
        "digest": scripts.digest_of(plans) if applied else "",
        "revision": revision,
        "tries": tries,
        "failure_code": "" if applied else answer.outcome.value,
        "failure_detail": _storable(answer.detail),
        "due_at": timezone.now() + wait,
    }
    GuestNetwork.objects.update_or_create(pk=vm.pk, defaults=columns)
    if applied:
        said.over((vm.pk, "network"))
        external_ips.configured_inside(VM.KIND, vm.pk)
    else:
        said.say(
            (vm.pk, "network"),
            answer.outcome,
            logging.INFO,
            "the guest of %s did not configure its network: %s %r",
            vm.pk,
            answer.outcome,
            _storable(answer.detail),
        )


def _storable(words: str) -> str:
    """The end of what a guest says, which may be anything, for a column that takes no NUL."""
    return words.replace("\0", "")[-1000:]

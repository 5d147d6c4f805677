"""Guests that do not have the network of their rows yet, or were not looked at for long."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from django.db import connection
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.utils import timezone

from compute.hypervisor.base import Hypervisor, HypervisorError
from compute.models import VM
from compute.states.vms import VmStatus
from compute.tasks import guest_network
from compute.tasks.base import guest_plan
from compute.tasks.drivers import hypervisor_of
from compute.tasks.guest_network import Answer
from network.models import Nic
from network.models.nic import INTERNAL_INDEX
from network.rules.guest import NicPlan
from scloud.jobs.rows import Rota, each
from scloud.lib.backoff import Said
from scloud.tenancy.scoping import scopes_disabled

log = logging.getLogger(__name__)
said = Said(log)

# An agent that hangs costs a thread some seconds, so that many are asked beside each other.
THREADS: Final = 8
_guests = Rota("created_at", 32)


@dataclass(frozen=True, slots=True)
class _Question:
    vm: VM
    driver: Hypervisor
    plans: tuple[NicPlan, ...]


def configure_guests() -> int:
    """Tell guests that are due what their NICs have; return how many have it.

    Due are VMs that run and have more than their first NIC's IPv4 address in use: those that were
    started, migrated or changed since the last try, and those whose time has come.
    """
    with scopes_disabled():
        vms = _guests.take(_due())
        questions: list[_Question] = []
        each(vms, lambda vm: questions.append(_question(vm)), "the network plan of a guest")
        with ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="tell-guest") as threads:
            answers = dict(
                zip([one.vm for one in questions], threads.map(_tell, questions), strict=True)
            )
        plans = {question.vm: question.plans for question in questions}
        told = [vm for vm, answer in answers.items() if answer is not None]
        each(told, lambda vm: _record(vm, plans[vm], answers[vm]), "the network of a guest")
        return sum(
            answer is not None and answer.outcome is guest_network.Outcome.APPLIED
            for answer in answers.values()
        )


def _due() -> QuerySet[VM]:
    used = (
        Q(subnet__isnull=False) | Q(external_ips__isnull=False) | Q(external_address__isnull=False)
    )
    six = Q(index=INTERNAL_INDEX, subnet__isnull=False) & ~Q(subnet__ipv6_cidr="")
    more = Nic.objects.filter(Q(index__gte=1) & used | six, vm_id=OuterRef("pk"))
    known = Q(guest_network__isnull=False)
    now = Q(guest_network__due_at__lte=timezone.now()) | ~Q(guest_network__revision=F("revision"))
    rows: QuerySet[VM] = (
        VM.objects.select_related("host", "image")
        .filter(status=VmStatus.RUNNING, task="", pause_reason="", host__isnull=False)
        .filter((known & now) | (~known & Exists(more)))
    )
    return rows


def _question(vm: VM) -> _Question:
    assert vm.host is not None
    return _Question(vm, hypervisor_of(vm.host), guest_plan(vm.pk))


def _tell(question: _Question) -> Answer | None:
    """What became of it; None when the host says nothing."""
    vm = question.vm
    try:
        return guest_network.tell(
            question.driver, str(vm.uuid), question.plans, os_family=vm.image.os_family
        )
    except HypervisorError as error:
        said.say((vm.pk, "network"), error.code, logging.INFO, "%s is not told: %s", vm.pk, error)
        return None
    finally:
        connection.close()


def _record(vm: VM, plans: tuple[NicPlan, ...], answer: Answer | None) -> None:
    """Note the answer, unless the rows have changed since the question was written."""
    assert answer is not None
    if guest_plan(vm.pk) == plans:
        guest_network.record(vm, plans, answer, vm.revision)

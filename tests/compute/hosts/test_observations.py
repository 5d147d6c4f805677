"""What hosts say arrives late and in any order; a row never shows what stopped being true."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from compute.actions import disks
from compute.actions.vms import lifecycle
from compute.actions.vms.migrate import migrate_vm
from compute.hypervisor.base import PowerState
from compute.hypervisor.fake import fake_host
from compute.models import VM, Disk, Drift, Host
from compute.states.vms import VmStatus
from compute.sweeps import reconcile
from compute.sweeps.hosts import HostAnswer, ask_host
from compute.sweeps.reconcile import Rounds
from compute.tasks.drivers import hypervisor_of
from compute.transitions.vms import observe
from scloud.audit.models import Event
from scloud.jobs.models import Job
from scloud.tenancy.actor import Actor
from tests.compute.box import Box, WorkerDied
from tests.compute.disks.test_tasks import attached, ready


def asked(box: Box) -> list[HostAnswer]:
    """What the hosts say now, to be heard later."""
    revisions = dict(VM.objects.values_list("pk", "revision"))
    return [ask_host(host, revisions) for host in box.platform.hosts]


def system(box: Box) -> Actor:
    return Actor.system(box.actor.tenant)


def test_an_answer_from_before_the_creation_ended_does_not_stop_the_vm(box: Box) -> None:
    with box.dying_at("vm.create:start:before"), pytest.raises(WorkerDied):
        box.vm()
    early = asked(box)
    box.run()
    vm = VM.objects.get()
    assert vm.status == "running"
    reconcile.reconcile_domains(early)
    vm.refresh_from_db()
    assert (vm.status, vm.failure) == ("running", "")
    assert not Event.objects.filter(kind="vm.stopped_itself").exists()
    assert not Drift.objects.exists()


def test_an_answer_from_before_a_migration_ended_does_not_move_the_row_back(box: Box) -> None:
    vm = box.vm()
    before = asked(box)
    migrate_vm(actor=system(box), vm=vm)
    box.run()
    vm.refresh_from_db()
    there = vm.host
    reconcile.reconcile_domains(before)
    vm.refresh_from_db()
    assert (vm.host, vm.status) == (there, "running")
    assert not Drift.objects.exists()


def test_a_vm_that_stops_by_itself_is_stopped_at_the_next_answer(box: Box) -> None:
    vm = box.vm()
    switch_off(box, vm)
    reconcile.reconcile_domains(asked(box))
    vm.refresh_from_db()
    assert vm.status == "stopped"
    assert Event.objects.filter(kind="vm.stopped_itself", resource_id=vm.pk).count() == 1


def test_a_vm_is_left_alone_while_a_disk_of_it_is_busy(box: Box) -> None:
    vm = box.vm()
    disk = ready(box)
    disks.attach_disk(actor=box.actor, vm=vm, disk=disk)
    # The job is the disk's, and exclusive on the VM, whose own task is empty.
    vm.refresh_from_db()
    assert (vm.task, Job.objects.get(kind="disk.attach").target_id) == ("", vm.pk)
    switch_off(box, vm)
    reconcile.reconcile_hosts()
    vm.refresh_from_db()
    assert vm.status == "running"
    box.run()
    reconcile.reconcile_hosts()
    vm.refresh_from_db()
    assert vm.status == "stopped"


def test_a_busy_disk_that_hangs_where_it_should_not_is_taken_off_when_its_job_has_ended(
    box: Box,
) -> None:
    vm = box.vm()
    disk = attached(box, vm)
    off = {"vm": None, "target": "", "status": "unbound"}
    soon = timezone.now() + timedelta(hours=1)
    Disk.objects.filter(pk=disk.pk).update(**off, task="expanding", task_deadline=soon)
    reconcile.reconcile_hosts()
    assert disk.pk in {one.id for one in box.domain(vm).spec.disks}
    Disk.objects.filter(pk=disk.pk).update(task="", task_deadline=None)
    reconcile.reconcile_hosts()
    assert disk.pk not in {one.id for one in box.domain(vm).spec.disks}


def test_a_busy_disk_is_not_reported_missing(box: Box) -> None:
    vm = box.vm()
    disk = attached(box, vm)
    hypervisor_of(vm.host or box.platform.hosts[0]).detach_disk(str(vm.uuid), disk.pk)
    soon = timezone.now() + timedelta(hours=1)
    Disk.objects.filter(pk=disk.pk).update(task="expanding", task_deadline=soon)
    reconcile.reconcile_hosts()
    assert not Drift.objects.filter(resource_id=disk.pk).exists()
    Disk.objects.filter(pk=disk.pk).update(task="", task_deadline=None)
    reconcile.reconcile_hosts()
    assert Drift.objects.filter(kind="missing_disk", resource_id=disk.pk).exists()


def test_an_observation_is_dropped_when_the_row_changes_between_look_and_write(box: Box) -> None:
    vm = box.vm()
    old = vm.revision
    lifecycle.power_off_vm(actor=box.actor, vm=vm)
    box.run()
    vm.refresh_from_db()
    assert vm.revision > old
    assert not observe(vm, PowerState.RUNNING.value, revision=old)
    vm.refresh_from_db()
    assert vm.status == "stopped"


def test_the_database_counts_whoever_writes(box: Box) -> None:
    vm = box.vm()
    stale = VM.objects.get(pk=vm.pk)
    VM.objects.filter(pk=vm.pk).update(status=VmStatus.STOPPED)
    VM.objects.filter(pk=vm.pk).update(remark="seen", power_state=PowerState.STOPPED)
    vm.refresh_from_db()
    assert vm.revision == stale.revision + 1
    # A whole row that was read earlier takes nothing back.
    stale.remark = "late"
    stale.save()
    vm.refresh_from_db()
    assert vm.revision == stale.revision + 2


def test_what_was_reported_of_a_silent_host_stays_reported(box: Box) -> None:
    vm = box.vm()
    assert vm.host is not None
    box.host_of(vm).domains.clear()
    reconcile.reconcile_domains(asked(box))
    reported = Drift.objects.get(kind="missing_domain", resource_id=vm.pk)
    others = [answer for answer in asked(box) if answer.host.pk != vm.host_id]
    reconcile.reconcile_domains(others)
    reported.refresh_from_db()
    assert reported.repaired_at is None


def test_a_host_whose_answer_cannot_be_read_keeps_no_other_from_being_heard(
    box: Box, caplog: pytest.LogCaptureFixture
) -> None:
    vm = box.vm()
    assert vm.host is not None
    (odd,) = [host for host in box.platform.hosts if host.pk != vm.host_id]

    def garbled(method: str) -> None:
        raise ValueError("no element found: line 1, column 0")

    fake_host(odd.uri).faults.before = garbled
    switch_off(box, vm)
    rounds = Rounds(patience_s=5)
    for _ in range(3):
        reconcile.reconcile_hosts(rounds)
    vm.refresh_from_db()
    assert vm.status == "stopped"
    odd.refresh_from_db()
    assert odd.unreachable_since is not None
    assert odd.last_error == "Internal error (ValueError)."
    # With its traceback, and once for all rounds.
    told = [record for record in caplog.records if record.exc_info and odd.name in record.message]
    assert len(told) == 1
    fake_host(odd.uri).faults.before = None
    reconcile.reconcile_hosts(rounds)
    assert Host.objects.filter(pk=odd.pk, unreachable_since=None, last_error="").exists()


def test_a_silent_host_holds_up_no_other_and_its_answer_counts_when_it_comes(
    box: Box, monkeypatch: pytest.MonkeyPatch
) -> None:
    box.vm()
    silent, quick = box.platform.hosts
    gate, calls = threading.Event(), []

    def ask(host: Host, revisions: dict[str, int]) -> HostAnswer:
        calls.append(host.pk)
        if host.pk == silent.pk:
            gate.wait(30)
        return HostAnswer(host, revisions=revisions)

    monkeypatch.setattr("compute.sweeps.hosts.ask_host", ask)
    rounds = Rounds(patience_s=0.3)
    hosts = list(box.platform.hosts)
    started = time.monotonic()
    assert [answer.host.pk for answer in rounds.ask(hosts)] == [quick.pk]
    assert [answer.host.pk for answer in rounds.ask(hosts)] == [quick.pk]
    assert time.monotonic() - started < 5
    assert calls.count(silent.pk) == 1
    gate.set()
    assert {answer.host.pk for answer in rounds.ask(hosts)} == {silent.pk, quick.pk}


def switch_off(box: Box, vm: VM) -> None:
    """The guest shuts itself down."""
    assert vm.host is not None
    hypervisor_of(vm.host).power_off(str(vm.uuid))


@contextmanager
def undone(box: Box) -> Iterator[None]:
    """Take the rows and the hosts of one example away again."""
    savepoint = transaction.atomic()
    with savepoint:
        yield
        transaction.set_rollback(True)
    for host in box.platform.hosts:
        fake_host(host.uri).domains.clear()
    box.storage.volumes.clear()


@pytest.mark.unmeasured
def test_no_order_of_questions_answers_and_verbs_shows_what_is_not_so(box: Box) -> None:
    steps = st.lists(
        st.sampled_from(["ask", "ask", "hear", "hear", "start", "stop", "move", "guest off"]),
        min_size=4,
        max_size=14,
    )

    @settings(
        max_examples=40,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(steps, st.randoms(use_true_random=False))
    def example(names: list[str], chance: object) -> None:
        with undone(box):
            vm = box.vm()
            pending: list[list[HostAnswer]] = []
            # Where it can stand by rights: what the last verb made, and what happened since.
            could_be = {"running"}
            for name in names:
                if name == "ask":
                    pending.append(asked(box))
                elif name == "hear" and pending:
                    answers = pending.pop(chance.randrange(len(pending)))  # type: ignore[attr-defined]  # random.Random
                    reconcile.reconcile_domains(answers)
                elif name == "start" and vm.status == "stopped":
                    lifecycle.start_vm(actor=box.actor, vm=vm)
                    box.run()
                    could_be = {"running"}
                elif name == "stop" and vm.status == "running":
                    lifecycle.power_off_vm(actor=box.actor, vm=vm)
                    box.run()
                    could_be = {"stopped"}
                elif name == "move" and vm.status == "running" and is_on(box, vm):
                    migrate_vm(actor=system(box), vm=vm)
                    box.run()
                    could_be = {"running"}
                elif name == "guest off" and is_on(box, vm):
                    switch_off(box, vm)
                    could_be.add("stopped")
                vm.refresh_from_db()
                assert vm.status in could_be, names
                assert vm.task == ""
                assert box.places(vm) == [vm.host.name if vm.host else None], names
            reconcile.reconcile_domains(asked(box))
            vm.refresh_from_db()
            assert vm.status == ("running" if is_on(box, vm) else "stopped")

    example()


def is_on(box: Box, vm: VM) -> bool:
    return box.domain(vm).running is not None

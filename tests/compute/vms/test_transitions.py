"""Begin, complete, fail, discard, observe: each one compare-and-swap that may come too late."""

from datetime import datetime, timedelta
from unittest.mock import patch

import pytest
from django.utils import timezone

from compute.actions.vms import lifecycle
from compute.models import VM
from compute.rules.refusals import vm_refusal
from compute.states import disks as disk_states
from compute.states.vms import PowerState, VmStatus, VmTask
from compute.transitions.vms import VMS, observe
from scloud.audit.models import Event
from scloud.jobs.models import Job, JobStatus
from scloud.lib.errors import Conflict, ScloudError
from scloud.tenancy.actor import Actor
from scloud.tenancy.scoping import scope
from tests.compute.factories import Platform, make_vm


def kinds_of(vm: VM) -> list[str]:
    """Return the kinds of a VM's events, the newest first."""
    with scope(tenant=vm.tenant):
        return list(Event.objects.filter(resource_id=vm.pk).values_list("kind", flat=True))


@pytest.fixture
def running(platform: Platform, actor: Actor) -> VM:
    """A running VM."""
    return make_vm(platform, actor, VmStatus.RUNNING)


def test_a_verb_pushes_aside_what_it_may(running: VM, actor: Actor) -> None:
    with scope(tenant=running.tenant):
        first = VMS.begin(running, "shut_down_vm", actor=actor)
        second = VMS.begin(running, "power_off_vm", actor=actor)
        first.refresh_from_db()
        running.refresh_from_db()
    assert first.status == JobStatus.CANCELLED
    assert (running.task, running.task_job) == (VmTask.POWERING_OFF, second.pk)


def test_who_comes_second_is_told(running: VM, actor: Actor) -> None:
    def faster(vm: VM, verb: str) -> None:
        VM.objects.filter(pk=vm.pk).update(status=VmStatus.EXPIRED)

    with (
        scope(tenant=running.tenant),
        patch.object(VMS, "guard", faster),
        pytest.raises(Conflict) as caught,
    ):
        VMS.begin(running, "shut_down_vm", actor=actor)
    assert caught.value.code == "vm_state"
    assert "another request" in caught.value.message


@pytest.mark.parametrize("land", ["complete", "fail"])
def test_a_job_that_is_no_longer_the_vms_lands_nothing(
    running: VM, actor: Actor, land: str
) -> None:
    with scope(tenant=running.tenant):
        job = VMS.begin(running, "shut_down_vm", actor=actor)
        VM.objects.filter(pk=running.pk).update(task_job="job-of-other")
        before = kinds_of(running)
        if land == "complete":
            landed = VMS.complete(running, job, "shut_down_vm", VmStatus.STOPPED)
        else:
            error = ScloudError("message", code="code")
            landed = VMS.fail(running, job, "shut_down_vm", error, VmStatus.STOPPED)
        running.refresh_from_db()
    assert landed is False
    assert running.status == VmStatus.RUNNING
    assert kinds_of(running) == before


def test_a_failed_verb_leaves_its_reason(running: VM, actor: Actor) -> None:
    with scope(tenant=running.tenant):
        job = VMS.begin(running, "shut_down_vm", actor=actor)
        assert isinstance(job, Job)
        error = ScloudError("It is.", code="deaf")
        assert VMS.fail(running, job, "shut_down_vm", error, VmStatus.RUNNING)
        running.refresh_from_db()
    assert (running.status, running.task) == (VmStatus.RUNNING, "")
    assert (running.failure_code, running.failure) == ("deaf", "It is.")
    assert kinds_of(running)[0] == "vm.shut_down_failed"


def test_only_a_failed_vm_is_forgotten(platform: Platform, actor: Actor) -> None:
    vm = make_vm(platform, actor, VmStatus.FAILED)
    with scope(tenant=vm.tenant):
        lifecycle.delete_vm(actor=actor, vm=vm)
        assert vm.status == VmStatus.DESTROYED
        with pytest.raises(Conflict):
            lifecycle.delete_vm(actor=actor, vm=vm)
    assert kinds_of(vm)[0] == "vm.destroyed"


def latest(vm: VM) -> int:
    """The VM's revision as the database counts it."""
    return VM.objects.values_list("revision", flat=True).get(pk=vm.pk)


@pytest.mark.parametrize(
    ("power", "status", "event", "code"),
    [
        (PowerState.STOPPED, VmStatus.STOPPED, "vm.stopped_itself", ""),
        (PowerState.CRASHED, VmStatus.STOPPED, "vm.stopped_itself", "guest_crashed"),
        (PowerState.ABSENT, VmStatus.STOPPED, "vm.stopped_itself", ""),
    ],
)
def test_what_the_host_says_becomes_the_status(
    running: VM, power: str, status: str, event: str, code: str
) -> None:
    with scope(tenant=running.tenant):
        assert observe(running, power, revision=latest(running), reason="so it is") is True
        running.refresh_from_db()
    assert (running.status, running.power_state) == (status, power)
    assert (running.failure_code, running.failure) == (code, "so it is")
    assert kinds_of(running)[0] == event


def test_a_long_reason_of_the_host_is_cut_to_its_column(running: VM) -> None:
    with scope(tenant=running.tenant):
        assert observe(
            running, PowerState.STOPPED, revision=latest(running), reason="r" * 400 + "s" * 200
        )
        running.refresh_from_db()
    assert running.failure == "r" * 400 + "s" * 100


def test_a_vm_that_an_operator_started_by_hand_is_running(platform: Platform, actor: Actor) -> None:
    vm = make_vm(platform, actor, VmStatus.STOPPED)
    with scope(tenant=vm.tenant):
        assert observe(vm, PowerState.RUNNING, revision=latest(vm)) is True
    assert kinds_of(vm)[0] == "vm.running"


@pytest.mark.parametrize("power", [PowerState.RUNNING, PowerState.PAUSED, PowerState.UNKNOWN])
def test_nothing_new_is_only_written_down(running: VM, power: str) -> None:
    before = kinds_of(running)
    with scope(tenant=running.tenant):
        assert observe(running, power, revision=latest(running)) is False
        running.refresh_from_db()
    assert (running.status, running.power_state) == (VmStatus.RUNNING, power)
    assert running.observed_at is not None
    assert timezone.now() - running.observed_at < timedelta(minutes=1)
    assert kinds_of(running) == before


def paused(vm: VM) -> tuple[str, str, datetime | None]:
    """Return status, reason of the pause and since when, read anew into the VM."""
    vm.refresh_from_db()
    return vm.status, vm.pause_reason, vm.paused_at


def test_a_guest_that_stands_still_has_a_reason_and_an_instant_until_it_runs(running: VM) -> None:
    with scope(tenant=running.tenant):
        assert observe(running, PowerState.PAUSED, revision=latest(running), pause="io_error")
        status, reason, since = paused(running)
        assert (status, reason) == (VmStatus.RUNNING, "io_error")
        assert since is not None
        assert timezone.now() - since < timedelta(minutes=1)
        # Seen once more, it is paused since then, and nobody hears of it twice.
        assert not observe(running, PowerState.PAUSED, revision=latest(running), pause="io_error")
        assert paused(running) == (VmStatus.RUNNING, "io_error", since)
        assert observe(running, PowerState.RUNNING, revision=latest(running))
        assert paused(running) == (VmStatus.RUNNING, "", None)
        assert kinds_of(running)[:2] == ["vm.running", "vm.paused"]
        assert observe(running, PowerState.PAUSED, revision=latest(running), pause="by_hand")
        assert paused(running)[1] == "by_hand"
        assert observe(running, PowerState.STOPPED, revision=latest(running))
        assert paused(running) == (VmStatus.STOPPED, "", None)


def test_a_guest_that_stands_still_for_another_reason_says_the_new_one(running: VM) -> None:
    with scope(tenant=running.tenant):
        for why in ("io_error", "no_space"):
            assert observe(running, PowerState.PAUSED, revision=latest(running), pause=why)
            running.refresh_from_db()
            assert (running.status, running.pause_reason) == (VmStatus.RUNNING, why)
        # One that this release does not know ends by itself: it runs again.
        assert observe(running, PowerState.PAUSED, revision=latest(running), pause="of_tomorrow")
        running.refresh_from_db()
    assert (running.status, running.pause_reason) == (VmStatus.RUNNING, "")


def test_an_observation_of_a_busy_vm_changes_nothing(running: VM, actor: Actor) -> None:
    with scope(tenant=running.tenant):
        VMS.begin(running, "shut_down_vm", actor=actor)
        assert observe(running, PowerState.STOPPED, revision=latest(running)) is False
        running.refresh_from_db()
    assert running.status == VmStatus.RUNNING


def test_a_vm_with_a_gpu_is_not_migrated(running: VM) -> None:
    running.gpu_count = 1
    assert "GPU" in str(vm_refusal(running, "migrate_vm"))
    running.gpu_count = 0
    assert vm_refusal(running, "migrate_vm") is None


def test_a_disk_has_a_colour_for_each_state() -> None:
    assert disk_states.disk_tone("bound", "expanding") == "busy"
    assert disk_states.disk_tone("bound", "") == "ok"
    assert disk_states.disk_tone("failed", "") == "bad"
    assert disk_states.disk_tone("unbound", "") == "idle"
    assert disk_states.disk_tone("bound", "", damaged=True) == "bad"
    assert disk_states.disk_tone("bound", "checking", damaged=True) == "busy"


def test_a_vm_without_headroom_is_not_upgraded_while_it_runs(running: VM) -> None:
    running.max_vcpus, running.max_memory_mib = running.vcpus, running.memory_mib
    assert "headroom" in str(vm_refusal(running, "hot_upgrade_vm"))
    running.max_memory_mib = running.memory_mib + 1024
    assert vm_refusal(running, "hot_upgrade_vm") is None


def test_a_protected_vm_is_not_deleted(running: VM) -> None:
    running.deletion_protected = True
    assert "protection" in str(vm_refusal(running, "delete_vm"))

"""A guest that stands still: why, what can be done with it, and how it goes on."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from billing.models import QuotaClaim, Subscription
from compute.actions import snapshots
from compute.actions.vms import lifecycle
from compute.hosts import capacity
from compute.hypervisor.base import PauseReason as Pause
from compute.hypervisor.fake import pause
from compute.models import VM
from compute.queries import vms as vm_queries
from compute.rules.refusals import vm_refusal
from compute.states.vms import PAUSED, PauseReason, PowerState, VmStatus
from compute.sweeps import vms as sweeps
from compute.sweeps.reconcile import reconcile_hosts
from compute.sweeps.subscriptions import catch_up_expired
from compute.tasks.drivers import hypervisor_of
from compute.transitions.vms import observe
from compute.verbs.vms import VM_RULES
from scloud.audit.models import Event
from scloud.jobs.models import Job
from scloud.lib.errors import Conflict
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import User
from scloud.tenancy.scoping import scope
from tests.api.client import program_of
from tests.compute.box import Box
from tests.compute.factories import Platform, make_vm
from tests.compute.snapshots.test_tasks import take


def stand_still(box: Box, vm: VM, why: Pause = Pause.BY_HAND) -> None:
    """Pause the guest behind the platform's back and let the platform see it."""
    pause(box.domain(vm), why)
    reconcile_hosts()
    vm.refresh_from_db()
    assert vm.standing == PAUSED


def kinds_of(vm: VM) -> list[str]:
    return list(Event.objects.filter(resource_id=vm.pk).values_list("kind", flat=True))


def test_a_suspended_guest_is_shown_paused_with_its_reason_and_resumes(box: Box) -> None:
    vm = box.vm()
    before = (capacity.hosts(), list(QuotaClaim.objects.order_by("pk").values()))
    stand_still(box, vm)
    assert (vm.status, vm.power_state) == (VmStatus.RUNNING, PowerState.PAUSED)
    assert vm.pause_words == "An administrator paused it."
    assert vm.paused_at is not None
    assert kinds_of(vm)[0] == "vm.paused"
    # It is paid and held like a running one.
    assert [(one.vms, one.memory_taken_mib) for one in capacity.hosts()] == [
        (one.vms, one.memory_taken_mib) for one in before[0]
    ]
    assert list(QuotaClaim.objects.order_by("pk").values()) == before[1]
    lifecycle.resume_vm(actor=box.actor, vm=vm)
    box.run()
    vm = VM.objects.get(pk=vm.pk)
    assert (vm.standing, vm.pause_reason, vm.paused_at, vm.failure) == ("running", "", None, "")
    assert box.domain(vm).pause is None
    box.assert_nothing_orphaned()


def test_a_guest_that_was_resumed_behind_our_back_is_shown_running(box: Box) -> None:
    vm = box.vm()
    stand_still(box, vm)
    assert vm.host is not None
    hypervisor_of(vm.host).resume(str(vm.uuid))
    reconcile_hosts()
    vm.refresh_from_db()
    assert (vm.standing, vm.paused_at) == ("running", None)
    assert kinds_of(vm)[:2] == ["vm.running", "vm.paused"]


def test_a_moment_of_a_migration_or_snapshot_is_no_pause(box: Box) -> None:
    vm = box.vm()
    pause(box.domain(vm), Pause.IN_TRANSIT)
    reconcile_hosts()
    vm.refresh_from_db()
    assert (vm.standing, vm.power_state) == ("running", "paused")
    assert "vm.paused" not in kinds_of(vm)


@pytest.mark.parametrize("why", [one for one in Pause if one is not Pause.IN_TRANSIT])
def test_every_reason_of_a_hypervisor_has_words(box: Box, why: Pause) -> None:
    vm = box.vm()
    stand_still(box, vm, why)
    assert vm.pause_reason == why
    assert vm.pause_words.endswith(".")


@pytest.mark.parametrize("why", [Pause.GUEST_CRASHED, Pause.MIGRATION_FAILED])
def test_what_cannot_go_on_says_so_and_can_be_switched_off(box: Box, why: Pause) -> None:
    vm = box.vm()
    stand_still(box, vm, why)
    with pytest.raises(Conflict, match="Power it off"):
        lifecycle.resume_vm(actor=box.actor, vm=vm)
    lifecycle.power_off_vm(actor=box.actor, vm=vm)
    box.run()
    vm.refresh_from_db()
    assert (vm.standing, vm.pause_reason) == ("stopped", "")
    lifecycle.start_vm(actor=box.actor, vm=vm)
    box.run()
    vm.refresh_from_db()
    assert vm.standing == "running"


def test_what_needs_a_guest_that_answers_is_refused_while_it_stands_still(box: Box) -> None:
    vm = box.vm()
    assert vm_refusal(vm, "resume_vm") is not None
    stand_still(box, vm)
    possible = {verb for verb in VM_RULES if vm_refusal(vm, verb) is None}
    assert possible == {
        "power_off_vm",
        "resume_vm",
        "open_vnc",
        "get_vnc_information",
        "change_security_groups",
        "change_placement_group",
        "change_alarm_template",
        "unbind_external_ip",
        "rename_vm",
        "protect_vm",
        "renew_vm",
        "delete_vm",
    }
    with pytest.raises(Conflict, match="Not possible while paused"):
        lifecycle.shut_down_vm(actor=box.actor, vm=vm)


def test_a_guest_that_is_paused_while_it_shuts_down_ends_the_wait_at_once(box: Box) -> None:
    vm = box.vm()
    box.host_of(vm).faults.ignores_acpi = True
    lifecycle.shut_down_vm(actor=box.actor, vm=vm)
    pause(box.domain(vm), Pause.NO_SPACE)
    box.run()
    vm.refresh_from_db()
    assert (vm.status, vm.failure_code) == ("running", "guest_paused")


@pytest.mark.parametrize("verb", ["delete", "expire"])
def test_a_paused_vm_expires_and_is_deleted_like_a_running_one(box: Box, verb: str) -> None:
    vm = box.vm()
    stand_still(box, vm)
    if verb == "delete":
        lifecycle.delete_vm(actor=box.actor, vm=vm)
    else:
        Subscription.objects.filter(resource_id=vm.pk).update(status="expired")
        assert catch_up_expired() == 1
    box.run()
    vm.refresh_from_db()
    assert (vm.standing, vm.failure) == ("binned" if verb == "delete" else "expired", "")
    assert vm.pause_reason == ""
    box.assert_nothing_orphaned()


# -- a full pool


def full(box: Box, vm: VM) -> None:
    """Fill the pool: guests that write are paused, and again when they are resumed."""
    box.storage.faults.full = True
    box.host_of(vm).faults.disk_error = Pause.NO_SPACE
    reconcile_hosts()
    vm.refresh_from_db()
    assert vm.pause_reason == PauseReason.NO_SPACE


def later(vm: VM, seconds: float) -> None:
    """Let time pass since the pause and all that was tried."""
    ago = timedelta(seconds=seconds)
    if vm.paused_at is not None:
        VM.objects.filter(pk=vm.pk).update(paused_at=vm.paused_at - ago)
    for job in Job.objects.filter(target_id=vm.pk):
        Job.objects.filter(pk=job.pk).update(created_at=job.created_at - ago)


def test_a_vm_that_a_full_pool_paused_goes_on_by_itself_when_there_is_room(box: Box) -> None:
    vm = box.vm()
    full(box, vm)
    assert sweeps.resume_paused() == 0
    box.storage.faults.full = False
    box.host_of(vm).faults.disk_error = None
    assert sweeps.resume_paused() == 1
    box.run()
    vm.refresh_from_db()
    assert (vm.standing, vm.failure) == ("running", "")
    assert sweeps.resume_paused() == 0


def test_one_that_is_paused_again_at_once_says_so_and_is_tried_more_and_more_rarely(
    box: Box,
) -> None:
    vm = box.vm()
    full(box, vm)
    box.storage.faults.full = False
    tried_after = []
    waited = 0
    for _ in range(40):
        if sweeps.resume_paused():
            tried_after.append(waited)
            waited = 0
            box.run()
            vm.refresh_from_db()
            assert (vm.standing, vm.failure_code) == (PAUSED, "paused_again")
            assert vm.pause_reason == PauseReason.NO_SPACE
            assert "storage is full" in vm.failure
        later(vm, 15)
        vm.refresh_from_db()
        waited += 15
    assert tried_after == [0, 30, 60, 120, 240]


def test_one_paused_by_hand_or_by_an_error_waits_for_somebody(box: Box) -> None:
    for why in (Pause.BY_HAND, Pause.IO_ERROR):
        stand_still(box, box.vm(), why)
    assert sweeps.resume_paused() == 0


def test_a_pool_that_does_not_answer_has_no_room(box: Box) -> None:
    vm = box.vm()
    full(box, vm)
    box.storage.faults.unavailable = True
    assert sweeps.resume_paused() == 0


# -- the row


def test_an_old_answer_neither_pauses_nor_resumes(platform: Platform, actor: Actor) -> None:
    vm = make_vm(platform, actor)
    with scope(tenant=vm.tenant):
        vm.refresh_from_db()
        assert not observe(vm, "paused", revision=vm.revision - 1, pause="by_hand")
        vm.refresh_from_db()
        assert vm.standing == "running"
        assert observe(vm, "paused", revision=vm.revision, pause="by_hand")
        vm.refresh_from_db()
        assert not observe(vm, "running", revision=vm.revision - 1)
        vm.refresh_from_db()
        assert vm.standing == PAUSED
        since = vm.paused_at
        assert not observe(vm, "paused", revision=vm.revision, pause="by_hand")
        vm.refresh_from_db()
        assert vm.paused_at == since


def test_a_started_vm_that_is_seen_paused_has_no_failure(platform: Platform, actor: Actor) -> None:
    vm = make_vm(platform, actor, VmStatus.STOPPED)
    with scope(tenant=vm.tenant):
        vm.refresh_from_db()
        assert observe(vm, "paused", revision=vm.revision, pause="io_error")
        vm.refresh_from_db()
    assert (vm.standing, vm.failure) == (PAUSED, "")


# -- where people see it


@pytest.fixture
def paused(platform: Platform, actor: Actor) -> VM:
    return make_vm(
        platform,
        actor,
        name="still",
        columns={
            "pause_reason": PauseReason.NO_SPACE,
            "paused_at": timezone.now(),
            "power_state": PowerState.PAUSED,
        },
    )


def test_list_page_and_card_show_it_paused_with_the_reason(
    console: Client, paused: VM, platform: Platform, actor: Actor
) -> None:
    other = make_vm(platform, actor, name="other")
    html = console.get(reverse("vm-list")).content.decode()
    assert "Paused" in html
    assert "Its storage is full." in html
    menu = console.get(reverse("vm-list"), {"menu": paused.pk}, HTTP_HX_REQUEST="true")
    assert reverse("vm-resume", args=[paused.pk]) in menu.content.decode()
    for query, found in (("paused", paused), ("running", other)):
        html = console.get(reverse("vm-list"), {"status": query}).content.decode()
        shown = [vm.pk for vm in (paused, other) if f'id="row-{vm.pk}"' in html]
        assert shown == [found.pk]
    page = console.get(reverse("vm-detail", args=[paused.pk])).content.decode()
    assert "Its storage is full." in page
    assert reverse("vm-resume", args=[paused.pk]) in page
    assert "?status=paused" in console.get(reverse("home")).content.decode()


def test_it_is_resumed_in_the_console_and_in_a_batch(console: Client, paused: VM) -> None:
    console.post(reverse("vm-resume", args=[paused.pk]))
    with scope(tenant=paused.tenant):
        assert Job.objects.filter(kind="vm.resume", target_id=paused.pk).count() == 1
        paused.refresh_from_db()
        assert paused.task == "resuming"
        VM.objects.filter(pk=paused.pk).update(task="", task_job="", task_deadline=None)
        Job.objects.all().delete()
    console.post(reverse("vm-batch-resume"), {"ids": [paused.pk]})
    with scope(tenant=paused.tenant):
        paused.refresh_from_db()
    assert paused.task == "resuming"


def test_the_api_says_paused_and_why_and_resumes(user: User, paused: VM) -> None:
    program = program_of(user)
    body = program.get(f"/vms/{paused.pk}").body
    assert (body["status"], body["state"]) == ("paused", "Paused")
    assert (body["pause_reason"], body["power_state"]) == ("no_space", "paused")
    assert body["paused_at"]
    allowed = {row["verb"] for row in body["allowed_actions"] if row["allowed"]}
    assert "resume_vm" in allowed
    assert "shut_down_vm" not in allowed
    assert [one["id"] for one in program.get("/vms?status=paused").body["results"]] == [paused.pk]
    assert program.get("/vms?status=running").body["results"] == []
    refused = program.post(f"/vms/{paused.pk}/shut-down").error(409, "vm_state")
    assert refused["numbers"]["status"] == "paused"
    assert program.post(f"/vms/{paused.pk}/resume").status == 202
    body = program.get(f"/vms/{paused.pk}").body
    assert body["task"] == "resuming"


def test_a_running_vm_has_no_reason(user: User, platform: Platform, actor: Actor) -> None:
    vm = make_vm(platform, actor)
    body = program_of(user).get(f"/vms/{vm.pk}").body
    assert (body["status"], body["pause_reason"], body["paused_at"]) == ("running", None, None)


def test_operators_see_and_resume_it(paused: VM) -> None:
    operator = Client()
    operator.force_login(User.objects.create_superuser("root@scloud.test", "a long secret 9"))
    html = operator.get(reverse("admin:compute_vm_changelist")).content.decode()
    assert "Paused" in html
    html = operator.get(reverse("admin:compute_vm_change", args=[paused.pk])).content.decode()
    assert "Its storage is full." in html
    operator.post(reverse("admin:compute_vm_do", args=[paused.pk, "resume_vm"]))
    with scope(tenant=paused.tenant):
        paused.refresh_from_db()
    assert paused.task == "resuming"


def test_narrowing_to_several_standings(paused: VM, platform: Platform, actor: Actor) -> None:
    stopped = make_vm(platform, actor, VmStatus.STOPPED)
    running = make_vm(platform, actor)
    with scope(tenant=paused.tenant):
        rows = VM.objects.all()
        both = vm_queries.standing(rows, PAUSED, VmStatus.STOPPED)
        assert {vm.pk for vm in both} == {paused.pk, stopped.pk}
        on = vm_queries.standing(rows, PAUSED, VmStatus.RUNNING)
        assert {vm.pk for vm in on} == {paused.pk, running.pk}


def test_what_the_storage_does_alone_goes_on_under_a_paused_guest(box: Box) -> None:
    vm = box.vm()
    stand_still(box, vm)
    snapshot = take(box, box.system_disk(vm), "still")
    assert snapshot.status == "available"
    snapshots.delete_snapshot(actor=box.actor, snapshot=snapshot)
    box.run()
    vm.refresh_from_db()
    assert vm.standing == PAUSED
    assert box.system_disk(vm).failure == ""
    box.assert_nothing_orphaned()

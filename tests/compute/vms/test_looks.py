"""Looks at guests: who may ask, what the worker keeps, how long it is shown, what pages say."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from compute.actions.looks import ask_guest_facts, look_at_guest
from compute.hypervisor.base import (
    AgentUnavailable,
    GuestFilesystem,
    GuestInterface,
    GuestSystem,
    HostUnreachable,
)
from compute.models import VM, Disk, GuestLook, Host, Image, LookKind, SnapshotSchedule
from compute.queries import looks
from compute.sweeps.looks import forget_looks
from compute.tasks.looks import MAX_FILESYSTEMS, MAX_INTERFACES, MAX_TEXT, facts_of
from compute.views.vms.guest import readable
from scloud.audit.models import Operation
from scloud.jobs.models import Job
from scloud.lib.errors import Conflict, Forbidden
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import User
from scloud.tenancy.permissions import Role
from scloud.tenancy.scoping import scopes_disabled
from tests.compute.box import Box
from tests.compute.factories import Platform, make_vm

pytestmark = pytest.mark.usefixtures("unscoped")


def age(vm: VM, what: LookKind, by: timedelta) -> None:
    """Let a look be as old as that."""
    row = GuestLook.objects.get(vm=vm, what=what)
    row.asked_at = row.asked_at and row.asked_at - by
    row.seen_at = row.seen_at and row.seen_at - by
    row.save()


def page(client: Client, vm: VM, name: str = "vm-detail", *args: Any, **extra: Any) -> str:
    answer = client.get(reverse(name, args=[vm.pk, *args]), **extra)
    assert answer.status_code == 200, answer.content.decode()
    return answer.content.decode()


# -- asking ------------------------------------------------------------------------------------


def test_of_several_requests_one_is_a_job_until_it_ended(vm: VM, actor: Actor) -> None:
    assert look_at_guest(actor=actor, vm=vm, what=LookKind.SCREEN) is not None
    assert look_at_guest(actor=actor, vm=vm, what=LookKind.SCREEN) is None
    # Another kind is another look.
    assert look_at_guest(actor=actor, vm=vm, what=LookKind.CONSOLE) is not None
    GuestLook.objects.filter(vm=vm, what=LookKind.SCREEN).update(seen_at=timezone.now())
    assert look_at_guest(actor=actor, vm=vm, what=LookKind.SCREEN) is not None
    assert Job.objects.filter(kind="vm.look").count() == 3
    # Nothing that was seen may ever be in a job.
    assert {str(job.payload) for job in Job.objects.filter(kind="vm.look")} == {
        "{'what': 'screen'}",
        "{'what': 'console'}",
    }


def test_one_whose_worker_was_lost_can_be_asked_for_again(vm: VM, actor: Actor) -> None:
    assert look_at_guest(actor=actor, vm=vm, what=LookKind.SCREEN) is not None
    age(vm, LookKind.SCREEN, timedelta(seconds=61))
    assert not looks.looks_at(vm, LookKind.SCREEN)[LookKind.SCREEN].is_waiting
    assert look_at_guest(actor=actor, vm=vm, what=LookKind.SCREEN) is not None


def test_screen_and_log_are_for_those_who_may_open_the_screen(
    vm: VM, actor: Actor, make_user: Callable[..., User]
) -> None:
    reader = make_user(actor.tenant, Role.READONLY)
    readonly = Actor(tenant=actor.tenant, user=reader, role=reader.role, via="console")
    for what in (LookKind.SCREEN, LookKind.CONSOLE):
        with pytest.raises(Forbidden):
            look_at_guest(actor=readonly, vm=vm, what=what)
    assert ask_guest_facts(actor=readonly, vm=vm) is not None
    refused = Operation.objects.filter(verb="compute.look_at_guest")
    assert [one.error_code for one in refused] == ["forbidden", "forbidden"]
    # Facts are asked for by pages: they fill no log.
    assert not Operation.objects.filter(verb="compute.view_vm").exists()


def test_a_stopped_vm_has_no_screen_but_a_log(platform: Platform, actor: Actor) -> None:
    vm = make_vm(platform, actor, "stopped", name="db")
    with pytest.raises(Conflict) as no_screen:
        look_at_guest(actor=actor, vm=vm, what=LookKind.SCREEN)
    with pytest.raises(Conflict) as no_facts:
        ask_guest_facts(actor=actor, vm=vm)
    assert no_screen.value.code == no_facts.value.code == "vm_state"
    assert look_at_guest(actor=actor, vm=vm, what=LookKind.CONSOLE) is not None
    VM.objects.filter(pk=vm.pk).update(host=None)
    vm.refresh_from_db()
    with pytest.raises(Conflict) as refused:
        look_at_guest(actor=actor, vm=vm, what=LookKind.CONSOLE)
    assert refused.value.code == "vm_not_placed"


def test_facts_are_not_asked_for_again_for_minutes_and_sooner_where_none_came(
    vm: VM, actor: Actor
) -> None:
    assert ask_guest_facts(actor=actor, vm=vm) is not None
    rows = GuestLook.objects.filter(vm=vm, what=LookKind.FACTS)
    rows.update(seen_at=timezone.now())
    assert ask_guest_facts(actor=actor, vm=vm) is None
    age(vm, LookKind.FACTS, timedelta(minutes=6))
    assert ask_guest_facts(actor=actor, vm=vm) is not None
    rows.update(seen_at=timezone.now(), error_code="agent_unavailable")
    assert ask_guest_facts(actor=actor, vm=vm) is None
    age(vm, LookKind.FACTS, timedelta(seconds=31))
    assert ask_guest_facts(actor=actor, vm=vm) is not None


# -- looking -----------------------------------------------------------------------------------


def test_a_screenshot_is_kept_sealed_and_comes_as_png(box: Box, console: Client) -> None:
    vm = box.vm()
    assert console.post(reverse("vm-look", args=[vm.pk, "screen"])).status_code == 302
    assert "Taking it" in page(console, vm)
    box.run()
    with scopes_disabled():
        row = GuestLook.objects.get(vm=vm, what=LookKind.SCREEN)
        job = Job.objects.get(kind="vm.look")
    assert b"PNG" not in bytes(row.sealed_content)
    assert "PNG" not in str(job.result) + str(job.payload)
    answer = console.get(reverse("vm-screenshot", args=[vm.pk]))
    assert answer.content.startswith(b"\x89PNG")
    assert answer.headers["Content-Type"] == "image/png"
    assert answer.headers["Cache-Control"] == "private, no-store"
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    assert reverse("vm-screenshot", args=[vm.pk]) in page(console, vm)


def test_the_end_of_the_console_log_is_shown_as_text_and_kept_byte_by_byte(
    box: Box, console: Client
) -> None:
    vm = box.vm()
    said = b"\x1b[32m[  OK  ]\x1b[0m Started <script>\r\nlogin: \xff"
    box.host_of(vm).console_logs[str(vm.uuid)] = said
    console.post(reverse("vm-look", args=[vm.pk, "console"]))
    box.run()
    text = page(console, vm)
    assert "[  OK  ] Started &lt;script&gt;\nlogin: \ufffd" in text
    answer = console.get(reverse("vm-console-log", args=[vm.pk]))
    assert answer.content == said
    assert answer.headers["Content-Disposition"].startswith("attachment")


def test_a_guest_that_wrote_nothing_is_told_from_one_that_was_not_looked_at(
    box: Box, console: Client
) -> None:
    vm = box.vm()
    nothing = "Its system has written nothing to its serial port."
    assert nothing not in page(console, vm)
    console.post(reverse("vm-look", args=[vm.pk, "console"]))
    box.run()
    assert nothing in page(console, vm)


def test_what_the_agent_says_is_on_the_overview(box: Box, console: Client) -> None:
    vm = box.vm()
    ask = f'hx-post="{reverse("vm-look-facts", args=[vm.pk])}"'
    assert ask in page(console, vm)
    answer = console.post(reverse("vm-look-facts", args=[vm.pk]), HTTP_HX_REQUEST="true")
    assert answer.status_code == 204
    assert ask not in page(console, vm)
    box.run()
    text = page(console, vm, "vm-guest-part", "system")
    for expected in ("Debian GNU/Linux 12", "6.1.0-18-amd64 x86_64", ">ext4<", "2 GB"):
        assert expected in text
    assert ask not in text


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (AgentUnavailable("qemu://host-1 says no"), "The guest agent does not answer."),
        (HostUnreachable("qemu://host-1 is away"), "host did not answer."),
        (ValueError("qemu://host-1 sent rubbish"), "It could not be read."),
    ],
)
def test_why_nothing_was_seen_is_said_without_a_word_of_the_driver(
    box: Box, console: Client, error: Exception, words: str
) -> None:
    vm = box.vm()
    box.host_of(vm).faults.fail_next["system"] = error
    console.post(reverse("vm-look-facts", args=[vm.pk]))
    (job,) = box.run()
    assert job.status == "succeeded"
    text = page(console, vm)
    assert words in text
    assert "qemu:" not in text


def test_what_is_no_picture_is_said_so(box: Box, console: Client) -> None:
    vm = box.vm()
    box.host_of(vm).screens[str(vm.uuid)] = b"P6\n99999 99999\n255\n"
    console.post(reverse("vm-look", args=[vm.pk, "screen"]))
    box.run()
    assert GuestLook.objects.get(vm=vm).error_code == "look_not_understood"
    assert console.get(reverse("vm-screenshot", args=[vm.pk])).status_code == 404


def test_what_was_seen_of_a_vm_that_moved_meanwhile_is_not_kept(box: Box, actor: Actor) -> None:
    """A worker that was slow would show the screen of a host that no longer has the VM."""
    vm = box.vm()
    look_at_guest(actor=box.actor, vm=vm, what=LookKind.SCREEN)
    elsewhere = next(one for one in box.platform.hosts if one.pk != vm.host_id)

    def moves(call: str) -> None:
        if call == "screenshot":
            with scopes_disabled():
                VM.objects.filter(pk=vm.pk).update(host=elsewhere)

    box.host_of(vm).faults.before = moves
    box.run()
    assert GuestLook.objects.get(vm=vm).seen_at is None


def test_a_worker_that_dies_in_between_leaves_the_look_to_the_next(box: Box) -> None:
    vm = box.vm()
    look_at_guest(actor=box.actor, vm=vm, what=LookKind.SCREEN)
    box.run_dying("vm.look:look:before")
    assert GuestLook.objects.get(vm=vm).seen_at is not None


def test_looks_are_no_tasks(box: Box, console: Client) -> None:
    vm = box.vm()
    look_at_guest(actor=box.actor, vm=vm, what=LookKind.SCREEN)
    title = f"Look at {vm.name}"
    for name in ("tasks", "task-strip", "home"):
        assert title not in console.get(reverse(name)).content.decode()
    assert title not in page(console, vm, "vm-events")


# -- keeping -----------------------------------------------------------------------------------


def test_pictures_are_gone_after_minutes_and_facts_after_days(box: Box, console: Client) -> None:
    vm = box.vm()
    for name, args in (("vm-look", ["screen"]), ("vm-look-facts", [])):
        console.post(reverse(name, args=[vm.pk, *args]))
    box.run()
    assert forget_looks() == 0
    for what in (LookKind.SCREEN, LookKind.FACTS):
        age(vm, what, timedelta(minutes=16))
    # Before the sweep comes, too.
    assert console.get(reverse("vm-screenshot", args=[vm.pk])).status_code == 404
    assert reverse("vm-screenshot", args=[vm.pk]) not in page(console, vm)
    assert "Debian GNU/Linux 12" in page(console, vm)
    assert forget_looks() == 1
    age(vm, LookKind.FACTS, timedelta(days=7))
    assert "Debian GNU/Linux 12" not in page(console, vm)
    assert forget_looks() == 1
    assert not GuestLook.objects.exists()


def test_what_a_guest_says_is_kept_in_small_parts() -> None:
    many = tuple(f"192.0.2.{n}/24" for n in range(200))
    found = facts_of(
        GuestSystem("x" * 5000, "12\x00\x1b[31m", "k", "m", "h"),
        [GuestInterface("lo", "0", ("127.0.0.1/8", "::1/128"))]
        + [GuestInterface(f"eth{n}", "mac", many) for n in range(100)],
        [GuestFilesystem("/", "sda", "ext4", 2**80, -1, many) for _n in range(100)],
    )
    assert len(found["system"]["name"]) == MAX_TEXT
    assert found["system"]["version"] == "12[31m"
    assert len(found["interfaces"]) == MAX_INTERFACES
    assert found["interfaces"][0]["name"] == "eth0"
    assert len(found["interfaces"][0]["addresses"]) == 16
    assert len(found["filesystems"]) == MAX_FILESYSTEMS
    assert found["filesystems"][0]["total_bytes"] is None
    assert found["filesystems"][0]["used_bytes"] is None


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("a\r\nb\n", "a\nb"),
        ("10%\r50%\r100%\ndone", "100%\ndone"),
        ("\x1b[2J\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07prompt", "prompt"),
        ("\x1b(Bplain\x1b=", "plain"),
        ("tab\tbell\x07", "tab\tbell"),
        ("\n\n", ""),
    ],
)
def test_a_terminal_s_output_is_read_as_lines(said: str, shown: str) -> None:
    assert readable(said) == shown


# -- how to reach it, and when -------------------------------------------------------------------


def test_the_connection_card_has_the_command_for_the_address(vm: VM, console: Client) -> None:
    text = page(console, vm, "vm-guest-part", "connection")
    (address,) = [str(one) for one in vm_addresses(vm)]
    assert f"ssh {vm.admin_account}@{address}" in text
    assert "reached from within the VPC only" in text
    assert console.get(reverse("vm-rdp", args=[vm.pk])).status_code == 404


def vm_addresses(vm: VM) -> list[str]:
    from compute.queries import vms as vm_queries

    return vm_queries.private_ips(vm_queries.vm(vm.pk))[:1]


def test_windows_gets_a_file_for_its_remote_desktop(vm: VM, console: Client) -> None:
    Image.objects.filter(pk=vm.image_id).update(os_family="windows")
    text = page(console, vm, "vm-guest-part", "connection")
    assert reverse("vm-rdp", args=[vm.pk]) in text
    assert "ssh " not in text
    answer = console.get(reverse("vm-rdp", args=[vm.pk]))
    lines = answer.content.decode().split("\r\n")
    (address,) = vm_addresses(vm)
    assert lines[0] == f"full address:s:{address}:3389"
    assert lines[1] == f"username:s:{vm.admin_account}"
    assert "password" not in answer.content.decode().lower().replace("prompt for credentials", "")
    assert answer.headers["Content-Disposition"] == f'attachment; filename="{vm.pk}.rdp"'


def test_the_overview_says_what_happens_next(
    platform: Platform, actor: Actor, console: Client
) -> None:
    vm = make_vm(platform, actor, name="dated", method="month")
    disk = Disk.objects.get(vm=vm)
    at = timezone.now().replace(microsecond=0) + timedelta(hours=5)
    schedule = SnapshotSchedule.objects.create(
        tenant=vm.tenant,
        region=vm.region,
        disk=disk,
        hours=[3],
        weekdays=[0],
        keep_count=3,
        next_run_at=at,
    )
    words = f"Snapshot of {disk.name}"
    text = page(console, vm)
    assert words in text
    assert at.astimezone(UTC).isoformat(timespec="seconds") in text
    assert "Paid until" in text
    schedule.enabled = False
    schedule.save()
    assert words not in page(console, vm)


def test_readers_see_no_screen_and_no_log(
    box: Box, make_user: Callable[..., User], console: Client
) -> None:
    vm = box.vm()
    for what in ("screen", "console"):
        console.post(reverse("vm-look", args=[vm.pk, what]))
    box.run()
    client = Client()
    client.force_login(make_user(box.actor.tenant, Role.READONLY))
    text = page(client, vm)
    assert 'id="vm-guest"' not in text
    for name, args in (
        ("vm-screenshot", []),
        ("vm-console-log", []),
        ("vm-guest-part", ["guest"]),
    ):
        assert client.get(reverse(name, args=[vm.pk, *args])).status_code == 403


def test_the_host_of_a_vm_is_never_asked_by_a_page(vm: VM, console: Client) -> None:
    assert vm.host is not None
    Host.objects.filter(pk=vm.host.pk).update(uri="qemu+tcp://192.0.2.1/none")
    assert console.get(reverse("vm-detail", args=[vm.pk])).status_code == 200
    assert console.post(reverse("vm-look", args=[vm.pk, "screen"])).status_code == 302

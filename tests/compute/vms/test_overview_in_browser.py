"""The overview of a VM in a real browser: looks come by push, nothing is wider than the page."""

from __future__ import annotations

import re

import pytest
from django.db import transaction
from django.utils import timezone
from playwright.sync_api import Page, expect

from compute.models import VM, GuestLook, LookKind
from scloud.audit import events
from scloud.jobs.models import Job
from scloud.lib import keys
from scloud.tenancy.actor import Actor
from scloud.tenancy.scoping import scopes_disabled
from tests.compute.factories import Platform, make_vm

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

FACTS = {
    "system": {
        "name": "Debian GNU/Linux 12",
        "version": "12",
        "kernel": "6.1.0-18-amd64",
        "machine": "x86_64",
        "hostname": "web",
    },
    "interfaces": [{"name": "eth0", "mac": "", "addresses": ["10.0.0.5/24"]}],
    "filesystems": [
        {
            "mount_point": "/",
            "device": "vda1",
            "type": "ext4",
            "total_bytes": 40 << 30,
            "used_bytes": 3 << 30,
            "disks": [],
        }
    ],
}


def seen(vm: VM, what: LookKind, *, facts: object = None, content: bytes = b"") -> None:
    """Write down a look, as a worker would. (The console process has keys of its own.)"""
    with scopes_disabled(), transaction.atomic():
        GuestLook.objects.filter(vm=vm, what=what).update(
            seen_at=timezone.now(),
            facts=facts,
            sealed_content=keys.box().encrypt(content) if content else b"",
        )
        events.notify(tenant_id=vm.tenant_id, kind="vm.seen", resource_kind="vm", resource_id=vm.pk)


def test_the_page_asks_once_and_shows_what_the_agent_said(
    page: Page, console_url: str, platform: Platform, actor: Actor
) -> None:
    vm = make_vm(platform, actor, name="web")
    with page.expect_response(re.compile("/look/facts/")) as asked:
        page.goto(f"{console_url}/vms/{vm.pk}/")
    assert asked.value.status == 204
    system = page.locator("#vm-system")
    expect(system).to_contain_text("Asking")
    with scopes_disabled():
        assert Job.objects.filter(kind="vm.look").count() == 1
    seen(vm, LookKind.FACTS, facts=FACTS)
    expect(system).to_contain_text("Debian GNU/Linux 12")
    expect(system).to_contain_text("ext4")
    page.reload()
    expect(system).to_contain_text("Debian GNU/Linux 12")
    with scopes_disabled():
        assert Job.objects.filter(kind="vm.look").count() == 1


def test_a_look_at_screen_or_log_comes_when_it_is_there(
    page: Page, console_url: str, platform: Platform, actor: Actor
) -> None:
    vm = make_vm(platform, actor, name="web")
    page.goto(f"{console_url}/vms/{vm.pk}/")
    page.get_by_role("button", name="Take screenshot").click()
    taking = page.get_by_role("button", name="Taking it")
    expect(taking).to_be_disabled()
    page.get_by_role("button", name="Read log").click()
    expect(page.get_by_role("button", name="Reading it")).to_be_disabled()
    seen(vm, LookKind.CONSOLE)
    expect(page.locator("#vm-guest")).to_contain_text("written nothing to its serial port")
    expect(taking).to_be_disabled()


@pytest.mark.parametrize("width", [1440, 1280, 390])
def test_facts_and_charts_share_the_width(
    page: Page, console_url: str, platform: Platform, actor: Actor, width: int
) -> None:
    vm = make_vm(platform, actor, name="a-name-of-thirty-characters-01")
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(f"{console_url}/vms/{vm.pk}/")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    facts = page.locator(".overview-facts").bounding_box()
    charts = page.locator(".overview-main").bounding_box()
    assert facts is not None
    assert charts is not None
    if width > 1100:
        assert facts["x"] + facts["width"] <= charts["x"]
        assert charts["y"] == facts["y"]
        assert charts["width"] > facts["width"]
    else:
        assert charts["y"] >= facts["y"] + facts["height"]


def test_the_command_is_copied(
    page: Page, console_url: str, platform: Platform, actor: Actor
) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=console_url)
    vm = make_vm(platform, actor, name="web")
    page.goto(f"{console_url}/vms/{vm.pk}/")
    command = page.locator(".command")
    command.get_by_role("button").click()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == command.locator("code").inner_text()
    assert copied.startswith(f"ssh {vm.admin_account}@")

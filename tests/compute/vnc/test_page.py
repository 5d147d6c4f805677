"""The page of the screen, and its requests."""

import re
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from compute.models import VM, VncTicket
from compute.states.vms import PauseReason, VmStatus
from compute.views.vnc import proxy_origin
from scloud.tenancy.models import Tenant, User
from scloud.tenancy.permissions import Role
from scloud.tenancy.scoping import scopes_disabled
from scloud.web.static_assets import ASSETS, BUNDLES, files_of
from tests.compute.factories import settle


@pytest.fixture
def stranger(other_tenant: Tenant) -> Client:
    """A browser of another tenant."""
    browser = Client()
    browser.force_login(
        User.objects.create_user("stranger@rival.test", tenant=other_tenant, role=Role.OWNER)
    )
    return browser


def test_the_page_shows_the_vm_its_state_and_no_script_of_its_own(console: Client, vm: VM) -> None:
    answer = console.get(f"/vms/{vm.pk}/screen")
    assert answer.status_code == 200
    html = answer.content.decode()
    assert vm.name in html
    assert "Running" in html
    for script in re.findall(r"<script[^>]*>", html):
        assert "src=" in script or 'type="application/json"' in script
    assert not re.search(r"\sstyle=|\son[a-z]+=", html)


def test_the_page_may_connect_to_the_proxy_and_to_no_other_site(console: Client, vm: VM) -> None:
    policy = console.get(f"/vms/{vm.pk}/screen").headers["Content-Security-Policy"]
    connect = next(part for part in policy.split(";") if part.strip().startswith("connect-src"))
    assert connect.split()[1:] == ["'self'", settings.SCLOUD_VNC_PUBLIC_URL]
    assert "'unsafe-inline'" not in policy


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("localhost:8000", "ws://localhost:8001"),
        ("127.0.0.1:8000", "ws://127.0.0.1:8001"),
        ("[::1]:8000", "ws://[::1]:8001"),
        ("127.0.0.1", "ws://127.0.0.1:8001"),
        ("evil.example:8000", "ws://localhost:8001"),
    ],
)
def test_a_proxy_on_this_machine_is_called_by_the_name_that_the_cookies_are_for(
    host: str, origin: str, settings: Any
) -> None:
    settings.SCLOUD_VNC_PUBLIC_URL = "ws://localhost:8001"
    assert proxy_origin(host) == origin


def test_a_public_proxy_is_called_as_it_is_set(settings: Any) -> None:
    settings.SCLOUD_VNC_PUBLIC_URL = "wss://vnc.example.com/"
    assert proxy_origin("127.0.0.1:8000") == "wss://vnc.example.com"


def test_the_vm_of_another_tenant_is_unknown_on_every_address(stranger: Client, vm: VM) -> None:
    for part in ("", "/status", "/power"):
        assert stranger.get(f"/vms/{vm.pk}/screen{part}").status_code == 404
    assert stranger.post(f"/vms/{vm.pk}/screen/ticket").status_code == 404
    with scopes_disabled():
        assert not VncTicket.objects.exists()


def test_nobody_signed_in_is_sent_to_the_login(client: Client, vm: VM) -> None:
    assert client.get(f"/vms/{vm.pk}/screen").status_code == 302
    assert client.post(f"/vms/{vm.pk}/screen/ticket").status_code == 302


def test_a_ticket_is_not_given_on_get_nor_without_the_csrf_token(vm: VM, user: User) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(user)
    assert browser.get(f"/vms/{vm.pk}/screen/ticket").status_code == 405
    assert browser.post(f"/vms/{vm.pk}/screen/ticket").status_code == 403
    with scopes_disabled():
        assert not VncTicket.objects.exists()


def test_a_stopped_vm_has_a_page_that_says_why_there_is_no_screen(console: Client, vm: VM) -> None:
    settle(vm, VmStatus.STOPPED)
    assert console.get(f"/vms/{vm.pk}/screen").status_code == 200
    answer = console.post(f"/vms/{vm.pk}/screen/ticket")
    assert answer.status_code == 409
    assert answer.json()["code"] == "vm_state"
    assert answer.json()["remedy"]


def test_a_reader_gets_neither_page_nor_ticket(vm: VM, user: User) -> None:
    User.objects.filter(pk=user.pk).update(role=Role.READONLY)
    user.refresh_from_db()
    browser = Client()
    browser.force_login(user)
    assert browser.get(f"/vms/{vm.pk}/screen").status_code == 403
    assert browser.post(f"/vms/{vm.pk}/screen/ticket").status_code == 403


def test_the_power_menu_says_why_a_verb_is_disabled(console: Client, vm: VM) -> None:
    html = console.get(f"/vms/{vm.pk}/screen/power").content.decode()
    assert html.count('role="menuitem"') == 5
    assert html.count('aria-disabled="true"') == 2  # start and resume, for it runs
    settle(vm, VmStatus.RUNNING, pause_reason=PauseReason.BY_HAND)
    html = console.get(f"/vms/{vm.pk}/screen/power").content.decode()
    assert f"/vms/{vm.pk}/resume/" in html
    assert html.count('aria-disabled="true"') == 3  # all but resume and power off
    settle(vm, VmStatus.STOPPED)
    html = console.get(f"/vms/{vm.pk}/screen/power").content.decode()
    assert html.count('aria-disabled="true"') == 4


def test_the_state_tells_whether_the_screen_can_be_opened_and_the_vm_started(
    console: Client, vm: VM
) -> None:
    url = f"/vms/{vm.pk}/screen/status"
    html = console.get(url).content.decode()
    assert 'data-may-open="yes"' in html
    assert 'data-may-start="no"' in html
    settle(vm, VmStatus.STOPPED)
    for html in (console.get(u).content.decode() for u in (url, f"/vms/{vm.pk}/screen")):
        assert 'data-may-open="no"' in html
        assert 'data-may-start="yes"' in html


def test_the_power_menu_leads_to_the_verbs_of_the_console(console: Client, vm: VM) -> None:
    html = console.get(f"/vms/{vm.pk}/screen/power").content.decode()
    for verb in ("shut-down", "restart", "power-off"):
        assert f"/vms/{vm.pk}/{verb}/" in html
        assert console.get(f"/vms/{vm.pk}/{verb}/").status_code == 200


def test_modules_of_the_page_import_only_files_that_are_published() -> None:
    """Of the vendored library these are two files, not dozens."""
    folder = Path(settings.BASE_DIR) / "static/vnc"
    vendored = set()
    for module in folder.glob("*.js"):
        for target in re.findall(r'from "([^"]+)"', module.read_text()):
            if target.startswith("../vendor/"):
                vendored.add(target.removeprefix("../vendor/"))
            else:
                assert (folder / target).is_file(), target
    names = {str(target) for asset in ASSETS for _source, target in files_of(asset)}
    assert vendored <= names | {bundled.target for bundled in BUNDLES}
    assert vendored == {"novnc/rfb.js", "novnc/input/keysymdef.js"}

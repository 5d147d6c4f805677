"""The operation log in words."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from django.conf import settings
from django.test import Client
from django.utils import timezone

from scloud.audit import action
from scloud.audit.models import Operation
from scloud.web import operations, ui

MakeOperation = Callable[..., Operation]
HTMX = {"HX-Request": "true"}


def test_every_action_of_tenants_has_words() -> None:
    known = operations.OTHERS.keys() | operations._of_catalogues().keys()
    # Other tests have actions of their own.
    rights = {
        right
        for right, calls in action._actions.items()
        if not right.startswith("platform.")
        and not all(call.__module__.startswith("tests.") for call in calls)
    }
    assert len(rights) > 80
    # The toy verb of other tests is in a catalogue only while they run.
    assert rights - known - {"compute.nudge_vm"} == set()


def test_everything_that_people_do_about_their_account_has_words() -> None:
    # These write into the log by themselves: they are no actions, or not of a right.
    sources = (settings.BASE_DIR / "scloud" / "accounts").glob("*.py")
    named = {
        verb for path in sources for verb in re.findall(r'"(tenancy\.[a-z_]+)"', path.read_text())
    }
    assert {"tenancy.sign_in", "tenancy.use_recovery_code"} < named
    assert named - operations.OTHERS.keys() == set()


@pytest.mark.parametrize(
    ("verb", "kind", "words"),
    [
        ("compute.start_vm", "vm", "Start"),
        ("compute.attach_disk", "disk", "Attach"),
        ("compute.attach_disk", "vm", "Attach disk"),
        ("network.create_vpc", "vpc", "Create VPC"),
        ("platform.enter_top_up", "", "Enter top up"),
    ],
)
def test_words_depend_on_what_it_was_done_to(verb: str, kind: str, words: str) -> None:
    assert operations.words_of(verb, kind) == words


def test_the_log_names_operation_and_object(console: Client, make_operation: MakeOperation) -> None:
    entry = make_operation()
    make_operation(verb="tenancy.manage_users", resources=[])
    html = console.get("/operations/").content.decode()
    assert ">Start: web-1</button>" in html
    assert ">Manage users</button>" in html
    assert '<span class="mono">compute.start_vm</span>' in html
    detail = console.get(f"/operations/{entry.pk}/", headers=HTMX).content.decode()
    assert '<h2 id="dialog-title">Start: web-1</h2>' in detail
    assert "compute.start_vm" in detail


def test_the_log_is_searched_and_filtered_by_words(
    console: Client, make_operation: MakeOperation
) -> None:
    make_operation()
    make_operation(verb="compute.power_off_vm")
    found = console.get("/operations/?q=power+off").content.decode()
    assert ">Power off: web-1<" in found
    assert ">Start: web-1<" not in found
    found = console.get("/operations/?verb=compute.start_vm").content.decode()
    assert ">Start: web-1<" in found
    assert ">Power off: web-1<" not in found
    assert '<option value="compute.start_vm" selected>Start (compute.start_vm)</option>' in found
    make_operation(verb="tenancy.renew_recovery_codes", resources=[])
    assert ">Make new recovery codes<" in console.get("/operations/?q=make+new").content.decode()
    # The words of another kind's verb are words of the right, too.
    make_operation(verb="compute.attach_disk", resources=[{"kind": "disk", "id": "disk-1"}])
    assert "Attach: disk-1" in console.get("/operations/?q=attach+disk").content.decode()


def test_a_moment_says_its_zone() -> None:
    at = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
    with timezone.override(ZoneInfo("Asia/Shanghai")):
        assert ">2026-03-01 20:30 CST</time>" in ui.moment(at)
    with timezone.override(UTC):
        assert ">2026-03-01 12:30 UTC</time>" in ui.moment(at)

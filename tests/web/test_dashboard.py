"""The dashboard: what is wrong and what is due is there, and nothing where nothing is."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from alarms.models import Alarm
from billing.models import Account, Subscription
from compute.models import VM
from scloud.audit.models import Operation
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import User
from scloud.tenancy.permissions import Role
from scloud.tenancy.scoping import scope
from tests.compute.factories import Platform, make_vm

CARDS = ("Failed or paused VMs", "Expiring soon", "Running alarms", "Quotas", "Recent operations")


@pytest.fixture
def vm(platform: Platform, actor: Actor) -> VM:
    """A running VM of the tenant."""
    return make_vm(platform, actor, name="web")


@pytest.fixture
def opened_alarms(vm: VM) -> list[Alarm]:
    """Two alarms of the VM, the less urgent one opened later."""
    now = timezone.now()
    with scope(tenant=vm.tenant):
        return [
            Alarm.objects.create(
                tenant=vm.tenant,
                kind="threshold",
                severity=severity,
                subject="vm",
                resource_id=vm.pk,
                resource_name=vm.name,
                device=severity,
                metric="cpu_usage",
                comparison=">",
                threshold=0.9,
                period_s=60,
                value=0.97,
                last_value=0.98,
                opened_at=now - ago,
            )
            for severity, ago in (
                ("critical", timedelta(hours=2)),
                ("warning", timedelta(minutes=1)),
            )
        ]


def front(client: Client) -> str:
    answer = client.get("/")
    assert answer.status_code == 200
    return answer.content.decode()


def has_card(page: str, title: str) -> bool:
    return f">{title}</h2>" in page


def test_a_new_account_is_led_from_the_money_to_the_first_vm(
    platform: Platform, console: Client, actor: Actor, settings: Any
) -> None:
    settings.SCLOUD_DEMO = True
    assert actor.tenant is not None
    with scope(tenant=actor.tenant):
        Account.objects.filter(tenant=actor.tenant).delete()
        Account.objects.create(tenant=actor.tenant)
    page = front(console)
    steps = ["Top up the account", "Create your first VM", "Open the screen", "Log in"]
    places = [page.index(step) for step in steps]
    assert places == sorted(places)
    assert 'hx-get="/billing/recharge/"' in page
    for title in ("Failed or paused VMs", "Expiring soon", "Running alarms", "Quotas"):
        assert not has_card(page, title)
    with scope(tenant=actor.tenant):
        Account.objects.filter(tenant=actor.tenant).update(cash_minor=5000)
    assert "Done: the balance is" in front(console)


def test_vms_that_failed_or_are_paused_are_named_with_the_reason(
    platform: Platform, console: Client, actor: Actor
) -> None:
    make_vm(platform, actor, name="fine")
    assert not has_card(front(console), "Failed or paused VMs")
    make_vm(platform, actor, "failed", name="broken", columns={"failure": "Its host was full."})
    make_vm(platform, actor, name="held", columns={"pause_reason": "no_space"})
    page = front(console)
    card = page[page.index(">Failed or paused VMs</h2>") :].split("</section>")[0]
    assert ">broken</a>" in card
    assert "Its host was full." in card
    assert ">held</a>" in card
    assert ">fine</a>" not in card


def test_what_expires_soon_can_be_renewed_from_here(
    platform: Platform, console: Client, actor: Actor, make_user: Callable[..., User]
) -> None:
    vm = make_vm(platform, actor, name="ending", method="month")
    with scope(tenant=vm.tenant):
        row = Subscription.objects.get(resource_id=vm.pk)
        row.auto_renew, row.paid_until = False, timezone.now() + timedelta(days=30)
        row.save()
    assert not has_card(front(console), "Expiring soon")
    with scope(tenant=vm.tenant):
        Subscription.objects.update(paid_until=timezone.now() + timedelta(days=2))
    page = front(console)
    assert has_card(page, "Expiring soon")
    assert "Renew ending" in page
    client = Client()
    client.force_login(make_user(actor.tenant, Role.OPERATOR))
    assert not has_card(front(client), "Expiring soon")


def test_running_alarms_are_there_the_most_urgent_first(
    vm: VM, console: Client, opened_alarms: list[Alarm]
) -> None:
    page = front(console)
    card = page[page.index(">Running alarms</h2>") :].split("</section>")[0]
    assert card.index("Critical") < card.index("Warning")
    with scope(tenant=vm.tenant):
        Alarm.objects.update(ended_at=timezone.now(), end_reason="recovered")
    assert not has_card(front(console), "Running alarms")


def test_the_fullest_quotas_and_the_last_operations_are_there(
    vm: VM, console: Client, actor: Actor
) -> None:
    with scope(tenant=actor.tenant):
        Operation.objects.create(
            tenant=actor.tenant,
            actor="ann@example.test",
            verb="compute.start_vm",
            resources=[{"kind": "vm", "id": vm.pk, "name": "web"}],
            succeeded=False,
            error_code="vm_state",
            error_message="web is running.",
        )
    page = front(console)
    quotas = page[page.index(">Quotas</h2>") :].split("</section>")[0]
    assert "<meter" in quotas
    log = page[page.index(">Recent operations</h2>") :].split("</section>")[0]
    assert "Start: web" in log
    assert "Refused" in log
    assert "ann@example.test" in log


@pytest.mark.parametrize("title", CARDS)
def test_cards_follow_the_rights(
    vm: VM, actor: Actor, make_user: Callable[..., User], title: str
) -> None:
    client = Client()
    client.force_login(make_user(actor.tenant, Role.FINANCE))
    page = front(client)
    assert has_card(page, title) == (title in ("Quotas", "Recent operations"))

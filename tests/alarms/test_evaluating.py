"""Rules are evaluated period by period: alarms open, repeat, end, and survive what goes wrong."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from alarms.actions.alarms import acknowledge_alarm
from alarms.actions.binding import change_vm_template
from alarms.actions.templates import edit_alarm_rule, remove_alarm_rule
from alarms.models import AlarmTemplate, EvaluationMark, RuleState
from alarms.queries.templates import template_of, templates_of
from alarms.states.alarms import AlarmKind, EndReason
from alarms.store.base import Sample, SeriesKey
from alarms.sweeps import binding, evaluating, presence, settling
from alarms.transitions import alarms as transitions
from alarms.transitions.alarms import Happening, News
from compute.models import VM, Host
from scloud.audit.models import Event
from scloud.lib.errors import Conflict
from scloud.tenancy.actor import Actor
from scloud.tenancy.scoping import scopes_disabled
from tests.alarms.stories import CPU, Story, minutely, rules_of

DISK = "disk_read_bytes_per_second"


@pytest.fixture
def news(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What listeners were told: what happened, to which resource."""
    told: list[tuple[str, str]] = []

    def listener(found: list[News]) -> None:
        told.extend((one.what, one.alarm.resource_name) for one in found)

    monkeypatch.setattr(transitions, "_listeners", [listener])
    return told


def reasons(story: Story) -> list[str]:
    return [one.end_reason for one in story.alarms]


def test_the_life_of_an_alarm(story: Story, actor: Actor, news: list[tuple[str, str]]) -> None:
    """It opens after two periods, repeats at growing distances, ends with the first good one."""
    story.template(minutely(convergence="exponential", severity="critical"))
    story.cpu(0.95, 0.95, 0.97)
    first, second = story.alarms
    assert (first.resource_id, second.resource_id) == tuple(vm.pk for vm in story.vms)
    assert (first.value, first.last_value, first.severity) == (0.95, 0.97, "critical")
    assert first.opened_at == story.now - timedelta(minutes=1)
    assert str(first) == "web-1: CPU usage > 90 %"
    story.cpu(*[0.99] * 4)
    told = ["opened", *["persisted"] * 3]
    assert sorted(news) == sorted((what, vm) for what in told for vm in ("web-1", "web-2"))
    acknowledge_alarm(actor=actor, alarm=first)
    with pytest.raises(Conflict, match="already"):
        acknowledge_alarm(actor=actor, alarm=first)
    # Silence is no recovery: the alarm waits for somebody who has looked.
    story.cpu(*[None] * 5)
    assert all(one.is_open for one in story.alarms)
    story.cpu(0.2)
    ended = story.alarms
    assert reasons(story) == [EndReason.RECOVERED] * 2
    assert [(one.last_value, one.duration) for one in ended] == [(0.2, timedelta(minutes=11))] * 2
    assert sorted(news[-2:]) == [(Happening.ENDED, "web-1"), (Happening.ENDED, "web-2")]
    with scopes_disabled():
        assert not RuleState.objects.exists()
        kinds = Event.objects.filter(resource_id=first.resource_id, kind__startswith="alarm.")
        assert [one.kind for one in kinds.order_by("pk")] == [
            "alarm.opened", "alarm.acknowledged", "alarm.ended",
        ]  # fmt: skip
    with pytest.raises(Conflict, match="not open"):
        acknowledge_alarm(actor=actor, alarm=first)
    # What begins anew is another alarm.
    story.cpu(0.95, 0.95)
    assert len(story.alarms) == 4


def test_a_disk_that_is_gone_ends_its_alarm_and_no_other(story: Story) -> None:
    story.template(minutely(DISK, 1, unit="mb_per_second"))
    both = {(DISK, "disk-a"): 2e6, (DISK, "disk-b"): 3e6}
    story.minute(both)
    story.minute(both)
    assert [one.device for one in story.alarms] == ["disk-a", "disk-b"] * 2
    for _ in range(3):
        story.minute({(DISK, "disk-a"): 2e6})
    assert reasons(story) == ["", EndReason.DEVICE_GONE] * 2


def test_a_rule_that_changes_while_it_fires(story: Story, actor: Actor) -> None:
    """Its alarms end at once and it begins to count anew; so it does without its template."""
    template = story.template(minutely())
    story.cpu(0.95, 0.95)
    (rule,) = rules_of(template)
    edit_alarm_rule(actor=actor, rule=rule, values=minutely(threshold=80))
    assert reasons(story) == [EndReason.RULE_CHANGED] * 2
    story.cpu(0.95)
    assert len(story.alarms) == 2
    story.cpu(0.95)
    assert [one.threshold for one in story.alarms] == pytest.approx([0.9, 0.9, 0.8, 0.8])
    change_vm_template(actor=actor, vm=story.vms[0], template=None)
    assert reasons(story)[2:] == [EndReason.UNBOUND, ""]
    remove_alarm_rule(actor=actor, rule=rules_of(template)[0])
    assert reasons(story)[2:] == [EndReason.UNBOUND, EndReason.RULE_CHANGED]
    story.cpu(0.95, 0.95, 0.95)
    assert len(story.alarms) == 4


def test_what_stops_or_goes_has_no_open_alarm(story: Story) -> None:
    story.template(minutely())
    story.cpu(0.95, 0.95)
    with scopes_disabled():
        VM.objects.filter(pk=story.vms[0].pk).update(status="stopped")
        VM.objects.filter(pk=story.vms[1].pk).update(status="destroyed")
    assert settling.settle() == 2
    assert reasons(story) == [EndReason.NOT_RUNNING, EndReason.RESOURCE_GONE]
    with scopes_disabled():
        assert not RuleState.objects.exists()
    assert binding.unbind_gone() == 1
    with scopes_disabled():
        VM.objects.filter(pk=story.vms[0].pk).update(status="running")
    story.cpu(0.95)
    assert len(story.alarms) == 2


def test_an_outage_loses_nothing_that_is_younger_than_an_hour(
    story: Story, caplog: pytest.LogCaptureFixture
) -> None:
    """A store that is away stops the mark; a clock that jumps neither stops nor repeats."""
    story.template(minutely())
    story.cpu(0.1)
    story.store.faults.away = True
    story.cpu(*[None] * 3)
    story.store.faults.away = False
    assert "rules are not evaluated" in caplog.text
    for _ in range(2):
        story.minute({(CPU, ""): 0.95}, evaluate=False)
    story.cpu(0.1)
    assert reasons(story) == [EndReason.RECOVERED] * 2
    with scopes_disabled():
        mark = EvaluationMark.objects.get(pk=60)
        assert mark.done_until == story.now
        # The database's clock was a day ahead for a while.
        EvaluationMark.objects.filter(pk=60).update(done_until=story.now + timedelta(days=1))
    story.cpu(0.95, 0.95)
    assert len(story.alarms) == 4
    story.now += timedelta(days=2)
    story.cpu(0.95)
    assert evaluating.evaluate() < 20


def test_one_resources_error_harms_one_resource(
    story: Story, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    story.template(minutely())
    really = evaluating._Period.look

    def look(period: evaluating._Period, resource: object, *given: object) -> None:
        if getattr(resource, "id", "") == story.vms[0].pk:
            raise ZeroDivisionError("a defect")
        really(period, resource, *given)  # type: ignore[arg-type]  # passed on as it came

    monkeypatch.setattr(evaluating._Period, "look", look)
    story.cpu(0.95, 0.95)
    assert [one.resource_id for one in story.alarms] == [story.vms[1].pk]
    assert "a defect" in caplog.text


def test_no_data_and_a_silent_host_are_alarms_of_their_own(story: Story) -> None:
    """No data opens after the template's time; a host that is silent explains it better."""
    story.template(no_data_s=300)
    story.cpu(0.5)
    for _ in range(2):
        presence.look()
        story.minute(None)
    story.minute(None)
    assert presence.look() == 0
    story.now += timedelta(minutes=4)
    assert presence.look() == 2
    assert {one.kind for one in story.alarms} == {AlarmKind.NO_DATA}
    with scopes_disabled():
        Host.objects.filter(pk=story.vms[0].host_id).update(
            unreachable_since=story.now - timedelta(minutes=2)
        )
    down = presence.look()
    assert down == sum(vm.host_id == story.vms[0].host_id for vm in story.vms)
    assert presence.look() == 0
    with scopes_disabled():
        Host.objects.update(unreachable_since=None)
    story.cpu(0.5)
    presence.look()
    assert reasons(story) == [EndReason.RECOVERED] * (2 + down)
    assert [one.kind for one in story.alarms].count(AlarmKind.HOST_DOWN) == down


def test_a_thousand_alarms_at_once(story: Story) -> None:
    """They open in a number of queries that does not grow with them."""
    story.template(minutely(DISK, 1, unit="mb_per_second"))

    def storm(disks: int) -> int:
        """The queries of a period in which so many alarms open per VM."""
        values = {SeriesKey(DISK, f"disk-{number}"): 9e9 for number in range(disks)}
        for _ in range(2):
            for vm in story.vms:
                story.store.write([Sample(vm.tenant_id, vm.pk, story.now, values)])
            story.now += timedelta(minutes=1)
            with CaptureQueriesContext(connection) as queries:
                evaluating.evaluate()
        return len(queries)

    few = storm(10)
    assert storm(500) <= few + 6
    assert len(story.alarms) == 1000


def test_new_tenants_and_vms_get_the_default(story: Story, actor: Actor) -> None:
    """Once; a VM that shall have none keeps none."""
    assert binding.bind_new() >= 2
    assert binding.bind_new() == 0
    with scopes_disabled():
        found = templates_of("vm", [vm.pk for vm in story.vms])
        (template,) = set(found.values())
    assert template is not None
    assert [str(rule) for rule in rules_of(template)] == [
        "CPU usage > 90 %", "Memory usage > 90 %", "Space usage > 90 %",
    ]  # fmt: skip
    change_vm_template(actor=actor, vm=story.vms[0], template=None)
    assert binding.bind_new() == 0
    with scopes_disabled():
        assert template_of("vm", story.vms[0].pk) is None
        assert template_of("vm", story.vms[1].pk) == template
        assert template_of("vm", "vm-000000000") == AlarmTemplate.objects.get(is_default=True)

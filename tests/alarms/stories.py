"""A VM that is measured, with a template, and a sweep that runs when the test says so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from alarms.actions.templates import create_alarm_template
from alarms.models import Alarm, AlarmBinding, AlarmRule, AlarmTemplate, EvaluationMark
from alarms.rules.rule_values import RuleInput
from alarms.states.alarms import PERIODS_S
from alarms.store.base import Sample, SeriesKey, floor
from alarms.store.fake import FakeStore
from alarms.sweeps import evaluating
from compute.models import VM
from scloud.tenancy.actor import Actor
from scloud.tenancy.scoping import scopes_disabled

CPU = "cpu_usage_ratio"
#: Each VM says this of itself whatever else it does.
ALIVE = SeriesKey("memory_total_bytes")
Values = Mapping[tuple[str, str], float]


@dataclass
class Story:
    """Time passes by :meth:`minute`: samples are written, and the rules are evaluated."""

    store: FakeStore
    actor: Actor
    now: datetime
    vms: list[VM] = field(default_factory=list)

    def minute(self, values: Values | None = None, *, evaluate: bool = True) -> None:
        """One minute in which every VM said this; with None it said nothing."""
        if values is not None:
            keys = {SeriesKey(*key): value for key, value in values.items()}
            for at in (self.now, self.now + timedelta(seconds=30)):
                self.store.write(
                    [Sample(vm.tenant_id, vm.pk, at, {ALIVE: 1e9, **keys}) for vm in self.vms]
                )
        self.now += timedelta(minutes=1)
        if evaluate:
            evaluating.evaluate()

    def cpu(self, *values: float | None) -> None:
        """Minutes of CPU usage; None is a minute of silence."""
        for value in values:
            self.minute(None if value is None else {(CPU, ""): value})

    def clock(self) -> datetime:
        """What the sweeps take for the time: late enough for the minute before."""
        return self.now + timedelta(seconds=50)

    @property
    def alarms(self) -> list[Alarm]:
        """All alarms, the oldest first."""
        with scopes_disabled():
            return list(Alarm.objects.order_by("opened_at", "resource_name", "device"))

    def template(self, *rules: RuleInput, name: str = "own", **more: Any) -> AlarmTemplate:
        """A template with these rules, which all VMs have."""
        made = create_alarm_template(actor=self.actor, name=name, rules=rules, **more)
        self.bind(made)
        return made

    def bind(self, template: AlarmTemplate | None) -> None:
        """Give every VM a template."""
        with scopes_disabled():
            for vm in self.vms:
                AlarmBinding.objects.update_or_create(
                    resource_id=vm.pk,
                    defaults={"subject": "vm", "tenant_id": vm.tenant_id, "template": template},
                )


def minutely(metric: str = CPU, threshold: float = 90, **more: Any) -> RuleInput:
    """A rule of one minute, two in a row."""
    return RuleInput(
        **{"metric": metric, "threshold": threshold, "period_s": 60, "count": 2, **more}
    )


def begin(store: FakeStore, actor: Actor, vms: Sequence[VM], now: datetime) -> Story:
    """A story that begins at a full hour some time ago."""
    start = floor(now, 3600) - timedelta(hours=6)
    for period_s in PERIODS_S:
        EvaluationMark.objects.create(pk=period_s, done_until=start)
    return Story(store, actor, start, list(vms))


def rules_of(template: AlarmTemplate) -> list[AlarmRule]:
    """The rules of a template."""
    with scopes_disabled():
        return list(AlarmRule.objects.filter(template=template))

"""Evaluates the rules of all tenants, a period at a time, and opens and ends alarms.

How far it has come is a row, locked for as long as a period is evaluated: however many sweepers
believe that it is their turn, each period counts once.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from django.db import transaction

from alarms.catalogue import METRICS, Device, Source
from alarms.models import Alarm, AlarmRule, EvaluationMark, RuleState
from alarms.queries import clock, metrics, resources
from alarms.queries.resources import Resource
from alarms.rules.evaluation import CALM, Change, Standing, advance, is_told
from alarms.rules.steps import Step, next_step
from alarms.states.alarms import PERIODS_S, AlarmKind, EndReason
from alarms.store.base import SeriesKey, StoreError, floor
from alarms.transitions import alarms as transitions
from alarms.transitions.alarms import Happening, News
from scloud.lib.backoff import Said
from scloud.tenancy.scoping import scopes_disabled

log = logging.getLogger(__name__)
said = Said(log)

#: Periods of one length that one run evaluates; after an outage the rest waits for the next run.
STEPS_AT_ONCE: Final = 10
_BATCH: Final = 1000
#: What each source tells whenever it tells anything: a disk that is missing beside it is gone.
_SIBLINGS: Final[Mapping[Source, frozenset[str]]] = {
    Source.HYPERVISOR: frozenset({"memory_total_bytes"}),
    Source.GUEST: frozenset({"memory_usage_ratio", "filesystem_usage_ratio", "load1"}),
}
Place = tuple[str, str, str]
"""Rule, resource and device."""


def evaluate() -> int:
    """Evaluate what is due; return how many periods were."""
    done = 0
    try:
        for period_s in PERIODS_S:
            for _ in range(STEPS_AT_ONCE):
                if not evaluate_next(period_s):
                    break
                done += 1
    except StoreError as error:
        # The mark has not moved: the same period is evaluated when the store is back.
        said.say("store", "away", logging.ERROR, "rules are not evaluated: %s", error)
        return done
    said.over("store", "rules are evaluated again")
    return done


def evaluate_next(period_s: int) -> bool:
    """Evaluate the next period of a length; return whether one was due. Raises StoreError."""
    with scopes_disabled(), transaction.atomic():
        now = clock.now()
        first = floor(now, period_s)
        EvaluationMark.objects.get_or_create(pk=period_s, defaults={"done_until": first})
        mark = EvaluationMark.objects.select_for_update().get(pk=period_s)
        step = next_step(mark.done_until, now, period_s)
        if step is None:
            return False
        _evaluate(period_s, step, now)
        mark.done_until = step.end
        mark.save(update_fields=["done_until"])
    return True


@dataclass
class _Outcome:
    """What a period changes."""

    opened: list[Alarm] = field(default_factory=list)
    persisted: list[tuple[Alarm, float, bool]] = field(default_factory=list)
    ended: dict[EndReason, list[Alarm]] = field(default_factory=dict)
    states: list[RuleState] = field(default_factory=list)
    calm: list[int] = field(default_factory=list)


class _Period:
    """One period of one length: its rules, and where they stood before it."""

    def __init__(self, period_s: int, at: datetime) -> None:
        self.at = at
        self.rules: dict[str, list[AlarmRule]] = {}
        for rule in AlarmRule.objects.filter(period_s=period_s):
            if rule.known is not None:
                self.rules.setdefault(rule.template_id, []).append(rule)
        self.states: dict[tuple[str, str], dict[str, RuleState]] = {}
        for state in RuleState.objects.filter(rule__period_s=period_s):
            self.states.setdefault((state.rule_id, state.resource_id), {})[state.device] = state
        self.open: dict[Place, Alarm] = {
            (alarm.rule_id or "", alarm.resource_id, alarm.device): alarm
            for alarm in Alarm.objects.filter(ended_at__isnull=True, rule__period_s=period_s)
        }
        for rule_id, resource_id, device in self.open:
            # Without a state an open alarm would open again instead of ending.
            known = self.states.setdefault((rule_id, resource_id), {})
            if device not in known:
                known[device] = RuleState(
                    rule_id=rule_id, resource_id=resource_id, device=device, open_for=1
                )
        self.outcome = _Outcome()

    def metrics(self) -> set[str]:
        """The names of all that is looked at."""
        rules = [rule for those in self.rules.values() for rule in those]
        names = {rule.metric for rule in rules}
        for name in list(names):
            if METRICS[name].device is not Device.NONE:
                names |= _SIBLINGS[METRICS[name].source]
        return names

    def look(
        self, resource: Resource, rules: Sequence[AlarmRule], measured: Mapping[SeriesKey, float]
    ) -> None:
        """Compare what was measured of one resource with its rules."""
        by_metric: dict[str, dict[str, float]] = {}
        for key, number in measured.items():
            by_metric.setdefault(key.metric, {})[key.device] = number
        for rule in rules:
            lines = by_metric.get(rule.metric, {})
            states = self.states.get((rule.pk, resource.id), {})
            metric = METRICS[rule.metric]
            others = metric.device is not Device.NONE and any(
                name in by_metric for name in _SIBLINGS[metric.source]
            )
            for device in lines.keys() | states.keys():
                if rule.device and device != rule.device:
                    continue
                value = lines.get(device)
                self._advance(rule, resource, device, states.get(device), value, others)

    def _advance(
        self,
        rule: AlarmRule,
        resource: Resource,
        device: str,
        state: RuleState | None,
        value: float | None,
        others: bool,
    ) -> None:
        before = CALM
        if state is not None:
            before = Standing(state.breaches, state.absent, state.open_for)
        after, change = advance(rule.condition, before, value, others=others)
        if after != before:
            self._keep(rule, resource, device, state, after)
        if change is Change.OPENED:
            self.outcome.opened.append(_alarm(rule, resource, device, value, self.at))
            return
        alarm = self.open.get((rule.pk, resource.id, device))
        if alarm is None:
            return
        if change is Change.PERSISTED and value is not None and after.open_for is not None:
            told = alarm.acknowledged_at is None and is_told(rule.convergence, after.open_for)
            self.outcome.persisted.append((alarm, value, told))
        elif change is Change.RECOVERED:
            alarm.last_value = value
            self.outcome.ended.setdefault(EndReason.RECOVERED, []).append(alarm)
        elif change is Change.GONE:
            self.outcome.ended.setdefault(EndReason.DEVICE_GONE, []).append(alarm)

    def _keep(
        self,
        rule: AlarmRule,
        resource: Resource,
        device: str,
        state: RuleState | None,
        after: Standing,
    ) -> None:
        if after == CALM:
            if state is not None and state.pk is not None:
                self.outcome.calm.append(state.pk)
            return
        self.outcome.states.append(
            RuleState(
                rule=rule,
                tenant_id=resource.tenant_id,
                resource_id=resource.id,
                device=device,
                breaches=after.breaches,
                absent=after.absent,
                open_for=after.open_for,
            )
        )

    def write(self) -> None:
        """Write what has changed."""
        outcome = self.outcome
        RuleState.objects.filter(pk__in=outcome.calm).delete()
        RuleState.objects.bulk_create(
            outcome.states,
            batch_size=_BATCH,
            update_conflicts=True,
            unique_fields=["rule", "resource_id", "device"],
            update_fields=["breaches", "absent", "open_for"],
        )
        transitions.open_alarms(outcome.opened)
        for alarm, number, _told in outcome.persisted:
            alarm.last_value = number
        changed = [alarm for alarm, *_more in outcome.persisted]
        changed += outcome.ended.get(EndReason.RECOVERED, [])
        Alarm.objects.bulk_update(changed, ["last_value"], batch_size=_BATCH)
        transitions.tell(
            [
                News(alarm, Happening.PERSISTED, self.at)
                for alarm, _v, told in outcome.persisted
                if told
            ]
        )
        for reason, alarms in outcome.ended.items():
            transitions.end_alarms(alarms, reason, self.at)


def _evaluate(period_s: int, step: Step, now: datetime) -> None:
    period = _Period(period_s, min(step.end, now))
    if not period.rules:
        return
    bound = resources.measured_with(period.rules.keys())
    names = period.metrics()
    for part in _parts(list(bound)):
        owners = {one.id: one.tenant_id for one in part}
        measured = metrics.means(owners, names, start=step.begin, end=step.end)
        for one in part:
            try:
                period.look(one, period.rules[bound[one]], measured.get(one.id, {}))
            except Exception as error:
                # A defect that one resource's numbers bring up is that resource's alone.
                if said.say(one.id, repr(error)[:200], logging.ERROR, "evaluating %s", one.id):
                    log.error("evaluating %s", one.id, exc_info=error)
    period.write()


def _parts(found: Sequence[Resource]) -> Iterator[Sequence[Resource]]:
    for begin in range(0, len(found), _BATCH):
        yield found[begin : begin + _BATCH]


def _alarm(
    rule: AlarmRule, resource: Resource, device: str, value: float | None, at: datetime
) -> Alarm:
    return Alarm(
        tenant_id=resource.tenant_id,
        kind=AlarmKind.THRESHOLD,
        severity=rule.severity,
        subject=resource.subject,
        resource_id=resource.id,
        resource_name=resource.name,
        template=rule.template_id,
        rule=rule,
        metric=rule.metric,
        device=device,
        comparison=rule.comparison,
        threshold=rule.threshold,
        period_s=rule.period_s,
        value=value,
        last_value=value,
        opened_at=at,
    )

"""What a rule is made of when somebody writes one."""

from __future__ import annotations

from dataclasses import dataclass

from alarms.states.alarms import Comparison, Convergence, Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleInput:
    """A rule as it is typed or sent. ``unit`` is a key of :data:`SCALES`, empty for the usual one.

    An empty ``device`` stands for all of them.
    """

    metric: str
    threshold: float
    unit: str = ""
    device: str = ""
    comparison: str = Comparison.ABOVE.value
    period_s: int = 300
    count: int = 3
    convergence: str = Convergence.ONCE.value
    severity: str = Severity.WARNING.value


#: The first template of every tenant.
DEFAULT_RULES: tuple[RuleInput, ...] = (
    RuleInput(metric="cpu_usage_ratio", threshold=90),
    RuleInput(metric="memory_usage_ratio", threshold=90),
    RuleInput(metric="filesystem_usage_ratio", threshold=90),
)

"""The form of a rule table: per verb when it is allowed and what it sets in flight.

Buttons, the API's ``allowed_actions`` and the guards in :mod:`compute.transitions` all read the
tables of this package. Nothing else decides in which states a verb is allowed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext as _


@dataclass(frozen=True)
class Rule:
    """One verb: when it is allowed, and what it sets in flight.

    ``task`` is empty for verbs that take effect at once; ``preempts`` are tasks that the verb may
    push aside; ``deadline_s`` bounds the job; ``event`` is emitted on success.
    """

    verb: str
    label: str | Promise
    allowed_from: frozenset[str]
    task: str = ""
    deadline_s: int = 300
    event: str = ""
    preempts: frozenset[str] = frozenset()
    icon: str = ""
    danger: bool = False
    administrator_only: bool = False
    # Refused while something is in flight, even though it sets no task itself.
    needs_idle: bool = True
    # For verbs of disks: where the VM may stand that the disk hangs on. Empty: on none at all.
    vm_from: frozenset[str] = frozenset()
    # For verbs of disks: whether something in flight on that VM forbids the verb, too.
    vm_idle: bool = True
    # For verbs of disks: whether a system disk knows the verb.
    system_too: bool = False

    @property
    def permission(self) -> str:
        """The right that the verb needs, such as ``compute.start_vm``."""
        if self.administrator_only:
            return f"platform.{self.verb}"
        return f"compute.{self.verb}"


@dataclass(frozen=True)
class RuleTable:
    """The verbs of one kind of resource.

    ``public`` ones are what people invoke, ``internal`` ones belong to the platform itself.
    ``labels`` has a word for every status and task, ``hidden_tasks`` are shown as the status.
    ``busy`` tells people that something is in flight and takes ``%(state)s``.
    """

    kind: str
    public: Mapping[str, Rule]
    internal: Mapping[str, Rule]
    labels: Mapping[Any, str | Promise]
    busy: str | Promise = ""
    hidden_tasks: frozenset[str] = frozenset()

    def rule(self, verb: str) -> Rule:
        """Return the rule of a verb; KeyError for an unknown one."""
        return self.public.get(verb) or self.internal[verb]

    def name(self, verb: str) -> str:
        """Return the verb without its kind, as in the names of jobs: ``start`` of ``start_vm``."""
        return verb.removesuffix(f"_{self.kind}")

    def label(self, status: str, task: str = "") -> str:
        """Return the state that people see: what is being done, else where it stands."""
        return str(self.labels[status if task in self.hidden_tasks else task or status])

    def standing(self, verb: str, status: str, task: str = "") -> str | None:
        """Return why status and task do not allow a verb; None when they do."""
        rule = self.rule(verb)
        if task:
            if task in rule.preempts:
                return None
            if rule.needs_idle:
                return str(self.busy) % {"state": self.label(status, task).lower()}
        if status not in rule.allowed_from:
            return _("Not possible while %(state)s; allowed when %(allowed)s.") % {
                "state": self.label(status).lower(),
                "allowed": self.words(rule.allowed_from),
            }
        return None

    def words(self, statuses: Iterable[str]) -> str:
        """Return statuses in words, such as ``running / stopped``."""
        return " / ".join(self.label(status).lower() for status in sorted(statuses))


def by_verb(rules: Iterable[Rule]) -> dict[str, Rule]:
    """Return rules by the names of their verbs."""
    return {rule.verb: rule for rule in rules}

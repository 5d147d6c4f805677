"""The form of a rule: one verb, when it is allowed and what it sets in flight."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.utils.functional import Promise


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
    # For verbs of disks: whether a system disk knows the verb.
    system_too: bool = False

    @property
    def permission(self) -> str:
        """The right that the verb needs, such as ``compute.start_vm``."""
        if self.administrator_only:
            return f"platform.{self.verb}"
        return f"compute.{self.verb}"


def words(labels: Iterable[object]) -> str:
    return " / ".join(str(label).lower() for label in labels)

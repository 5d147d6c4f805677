"""The registry of job handlers and what a handler is."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scloud.lib.errors import HostError, ScloudError

if TYPE_CHECKING:
    from scloud.jobs.models import Job


class LeaseLostError(Exception):
    """Another worker, a cancellation or the sweep has taken the job over: stop at once."""


class Context:
    """What a step sees of its job."""

    def __init__(
        self,
        job: Job,
        *,
        still_mine: Callable[[], bool],
        report: Callable[[float, str], None],
    ) -> None:
        self.job = job
        self.payload: dict[str, Any] = job.payload
        self.result: dict[str, Any] = dict(job.result)
        self._still_mine = still_mine
        self._report = report

    def check(self) -> None:
        """Raise LeaseLostError when the job is no longer this worker's."""
        if not self._still_mine():
            raise LeaseLostError(self.job.id)

    def progress(self, fraction: float, words: str = "") -> None:
        """Report how far the present step is, 0.0 to 1.0."""
        self._report(max(0.0, min(1.0, fraction)), words)

    def wait_until(
        self, condition: Callable[[], bool], *, timeout_s: float, poll_s: float = 0.25
    ) -> bool:
        """Poll until the condition holds; return False after ``timeout_s`` seconds.

        The lease is looked at between polls, so a wait ends at once when the job is taken over.
        """
        end = time.monotonic() + timeout_s
        while True:
            if condition():
                return True
            if time.monotonic() >= end:
                return False
            self.check()
            time.sleep(poll_s)


@dataclass(frozen=True)
class Step:
    """One idempotent ``ensure`` of a job: it looks before it acts."""

    name: str
    label: str
    run: Callable[[Context], None]
    weight: int = 1


class Handler:
    """How one kind of job is made true. Steps run in order and are all repeated on a retry."""

    max_attempts = 5
    # Whether an administrator may run an ended job again. Not where its end gave money, quota or a
    # state back: then the verb is to be invoked anew.
    repeatable = True

    def steps(self, job: Job) -> Sequence[Step]:
        """Return the steps for this job."""
        raise AssertionError(f"{type(self).__name__} defines no steps")

    def on_success(self, context: Context) -> None:
        """Write the outcome; runs in the transaction that ends the job."""

    def on_failure(self, context: Context, error: ScloudError) -> None:
        """Compensate; runs in the transaction that ends the job."""

    def before_failure(self, context: Context, error: ScloudError) -> None:
        """Clean up on hosts before ``on_failure``; outside a transaction; must be idempotent.

        A ScloudError raised here is logged, and the sweep repairs later what was left.
        """


_handlers: dict[str, Handler] = {}


def register(kind: str, handler: Handler) -> None:
    """Make a handler known for a kind of job."""
    if kind in _handlers:
        raise ValueError(f"job kind {kind} is registered twice")
    _handlers[kind] = handler


def handler_for(kind: str) -> Handler:
    """Return the handler of a kind; HostError (not found) if this release has none."""
    try:
        return _handlers[kind]
    except KeyError:
        raise HostError(f"No handler for job kind {kind}.", code="unknown_job_kind") from None


def registered_kinds() -> list[str]:
    """Return every kind that can run."""
    return sorted(_handlers)

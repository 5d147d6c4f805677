"""The registry of job handlers and what a handler is."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from django.utils.translation import gettext as _

from scloud.jobs.lanes import Lane
from scloud.lib.errors import HostError, ScloudError

if TYPE_CHECKING:
    from scloud.jobs.models import Job

#: The code of a job that a release failed because it has no handler of the kind.
UNKNOWN_KIND = "unknown_job_kind"


class LeaseLostError(Exception):
    """Another worker, a cancellation or the sweep has taken the job over: stop at once."""


class Parked(Exception):
    """The job waits for something: give the slot back and go on at this step in ``wake_s``."""

    def __init__(self, wake_s: float) -> None:
        super().__init__(wake_s)
        self.wake_s = wake_s


# A wait shorter than this is worth no wake-up; afterwards a waiting job gives its slot back.
KEEPS_SLOT_S = 1.0
FIRST_WAKE_S = 0.5
LAST_WAKE_S = 2.0


class Context:
    """What a step sees of its job."""

    def __init__(
        self,
        job: Job,
        *,
        still_mine: Callable[[], bool],
        report: Callable[[float, str], None],
        confirm: Callable[[], bool] | None = None,
        parkable: bool = False,
    ) -> None:
        self.job = job
        self.payload: dict[str, Any] = job.payload
        self.result: dict[str, Any] = dict(job.result)
        # What the present step keeps over a wait for which it gave its slot back: plain values.
        self.memory: dict[str, Any] = {}
        self.parkable = parkable
        self._still_mine = still_mine
        self._confirm = confirm or still_mine
        self._report = report

    def check(self) -> None:
        """Raise LeaseLostError when the job is no longer this worker's, as far as it knows."""
        if not self._still_mine():
            raise LeaseLostError(self.job.id)

    def guard(self) -> None:
        """Raise LeaseLostError unless the database confirms now that the job is this worker's.

        To be called right before anything is published. The drivers call it too, through
        :func:`scloud.lib.lease.confirm`.
        """
        self.check()
        if not self._confirm():
            raise LeaseLostError(self.job.id)

    def progress(self, fraction: float, words: str = "") -> None:
        """Report how far the present step is, 0.0 to 1.0."""
        self._report(max(0.0, min(1.0, fraction)), words)

    def park(self, wake_s: float) -> NoReturn:
        """Give the slot back and begin this step again in ``wake_s`` seconds, with its memory.

        Only where ``parkable``: a clean-up cannot wait.
        """
        raise Parked(wake_s)

    def wait_until(
        self,
        condition: Callable[[], bool],
        *,
        timeout_s: float,
        poll_s: float = 0.25,
        name: str = "wait",
    ) -> bool:
        """Poll until the condition holds; return False ``timeout_s`` seconds after the first look.

        What takes longer than a moment is waited for without a slot: the step ends with
        :class:`Parked`, and is run again from its beginning when it is time to look again. So what
        precedes the wait must bear being repeated. ``name`` tells the waits of one step apart. The
        lease is looked at between polls.
        """
        now = time.time()
        wait: dict[str, float] = self.memory.setdefault(
            name, {"until": now + timeout_s, "wakes": 0}
        )
        # The times are kept over restarts of workers, so they are the wall clock's; a clock that
        # was set back must not lengthen the wait.
        wait["until"] = min(wait["until"], now + timeout_s)
        began = time.monotonic()
        while True:
            if condition():
                del self.memory[name]
                return True
            left = wait["until"] - time.time()
            if left <= 0:
                del self.memory[name]
                return False
            self.check()
            kept_s = time.monotonic() - began
            if self.parkable and kept_s >= (KEEPS_SLOT_S if not wait["wakes"] else 0):
                wait["wakes"] += 1
                wake_s = min(LAST_WAKE_S, FIRST_WAKE_S * wait["wakes"], left)
                self.park(wake_s)
            time.sleep(min(poll_s, max(left, 0.001)))


@dataclass(frozen=True)
class Step:
    """One idempotent ``ensure`` of a job: it looks before it acts."""

    name: str
    label: str
    run: Callable[[Context], None]
    weight: int = 1


class Handler:
    """How one kind of job is carried out. Steps run in order and are all repeated on a retry."""

    max_attempts = 5
    # Whether an administrator may run an ended job again. Not where its end gave money, quota or a
    # state back: then the verb is to be invoked anew.
    repeatable = True
    lane: str = Lane.SHORT
    # For what copies: the deadline is never nearer than this many seconds after the last sign of
    # progress, however long the whole takes. None: the deadline is what it was.
    stall_s: float | None = None
    # Work that pages ask for by themselves: no list of tasks shows it.
    quiet = False
    # Errors that mean "somebody else has it open" or "it is away": waited for until the deadline,
    # without a slot and without using up attempts.
    waits_for: frozenset[str] = frozenset()

    def lane_of(self, payload: dict[str, Any]) -> str:
        """Return the lane of a job with that payload."""
        return self.lane

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


def knows(kind: str) -> bool:
    """Tell whether this release can run a kind of job."""
    return kind in _handlers


def handler_for(kind: str) -> Handler:
    """Return the handler of a kind; HostError (not found) if this release has none."""
    try:
        return _handlers[kind]
    except KeyError:
        raise HostError(
            _("No handler for job kind %(kind)s.") % {"kind": kind}, code=UNKNOWN_KIND
        ) from None


def registered_kinds() -> list[str]:
    return sorted(_handlers)


def quiet_kinds() -> list[str]:
    """Return the kinds of jobs that no list of tasks shows."""
    return sorted(kind for kind, handler in _handlers.items() if handler.quiet)

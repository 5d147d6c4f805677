"""Which request, job and trace the work of this thread belongs to.

Traces are those of https://www.w3.org/TR/trace-context/: what a caller says in ``traceparent`` goes
on in the answer, in the jobs that the request queues, and in every line that is logged meanwhile,
under the names that OpenTelemetry gives to them in logs (``trace_id``, ``span_id``,
``trace_flags``). Nothing is exported; collectors of logs put them together.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

#: Of a ``traceparent`` of version 00. Later versions may append fields.
LENGTH: Final = 55

_HEADER: Final = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})"
    r"(?P<rest>-.*)?",
    re.ASCII,
)
_SAMPLED: Final = 1


@dataclass(frozen=True, slots=True)
class Trace:
    """A trace and the present span of it; ids are lower-case hexadecimal, never all zeros."""

    trace_id: str
    span_id: str
    sampled: bool = False

    @classmethod
    def new(cls) -> Trace:
        """Begin a trace of our own."""
        return cls(_random_id(16), _random_id(8))

    @classmethod
    def parse(cls, header: str) -> Trace | None:
        """Read a ``traceparent``; None for what the specification says to ignore."""
        found = _HEADER.fullmatch(header.strip()) if len(header) <= 512 else None
        if found is None or found["version"] == "ff":
            return None
        if found["version"] == "00" and found["rest"]:
            return None
        if not found["trace"].strip("0") or not found["span"].strip("0"):
            return None
        return cls(found["trace"], found["span"], bool(int(found["flags"], 16) & _SAMPLED))

    @property
    def flags(self) -> str:
        """The flags in hexadecimal: whether the caller keeps the trace."""
        return "01" if self.sampled else "00"

    @property
    def header(self) -> str:
        """The trace as the value of ``traceparent``."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"

    def child(self) -> Trace:
        """Return a new span of the same trace."""
        return Trace(self.trace_id, _random_id(8), self.sampled)


@dataclass(frozen=True, slots=True)
class Context:
    """What lines of the log are marked with; empty where nothing is known."""

    request_id: str = ""
    job_id: str = ""
    trace: Trace | None = None


_NOTHING: Final = Context()
_current: ContextVar[Context] = ContextVar("scloud_trace", default=_NOTHING)


def current() -> Context:
    """Return the context of this thread's work."""
    return _current.get()


def new_request_id() -> str:
    """Return an id for a request, as the operation log keeps it."""
    return secrets.token_hex(6)


def request_id() -> str:
    """Return the id of the request that is being answered, or a new one outside of any."""
    return current().request_id or new_request_id()


def to_pass_on() -> str:
    """Return the ``traceparent`` for what the present work leaves to others, or of a new trace."""
    return (current().trace or Trace.new()).header


@contextmanager
def request(traceparent: str) -> Iterator[Context]:
    """Mark what is done meanwhile as one request; ``traceparent`` is what its caller said."""
    given = Trace.parse(traceparent)
    trace = Trace.new() if given is None else given.child()
    with _marked(Context(request_id=new_request_id(), trace=trace)) as context:
        yield context


@contextmanager
def job(job_id: str, traceparent: str) -> Iterator[Context]:
    """Mark what is done meanwhile as an attempt at a job, in the trace that queued it."""
    given = Trace.parse(traceparent)
    trace = Trace.new() if given is None else given.child()
    with _marked(Context(job_id=job_id, trace=trace)) as context:
        yield context


@contextmanager
def _marked(context: Context) -> Iterator[Context]:
    token = _current.set(context)
    try:
        yield context
    finally:
        _current.reset(token)


def _random_id(size: int) -> str:
    """Return so many random bytes in hexadecimal, not all zero."""
    while not (found := secrets.token_hex(size)).strip("0"):
        pass
    return found

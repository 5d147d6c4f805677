"""What long work on hosts, pools and the network says to whoever runs it, without knowing who.

A job's runner opens :func:`held` around the work. Drivers call :func:`confirm` right before they
publish something (rename a file into its place, define, start, write to the network's database),
so that a worker whose job was taken over publishes nothing any more; and :func:`moving` while they
copy, so that a stall ends the work and not its duration. Without a runner both do nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

_confirm: ContextVar[Callable[[], None] | None] = ContextVar("confirm", default=None)
_moving: ContextVar[Callable[[int, int | None], None] | None] = ContextVar("moving", default=None)


@contextmanager
def held(
    confirm: Callable[[], None] | None = None,
    moving: Callable[[int, int | None], None] | None = None,
) -> Iterator[None]:
    """Run the block as the work of somebody who holds a lease on it.

    ``confirm`` raises when the lease is lost. ``moving`` gets what is done and, if known, the
    total, both in bytes.
    """
    first, second = _confirm.set(confirm), _moving.set(moving)
    try:
        yield
    finally:
        _confirm.reset(first)
        _moving.reset(second)


@contextmanager
def also(check: Callable[[], None]) -> Iterator[None]:
    """Let ``check`` be called too, after the lease was confirmed, whenever the block confirms.

    It raises when what is about to be published must not be any more.
    """
    outer = _confirm.get()

    def both() -> None:
        if outer is not None:
            outer()
        check()

    token = _confirm.set(both)
    try:
        yield
    finally:
        _confirm.reset(token)


def confirm() -> None:
    """Raise what the runner raises when this work is no longer the caller's to do."""
    call = _confirm.get()
    if call is not None:
        call()


def moving(done: int, total: int | None = None) -> None:
    """Tell that a copy moves: ``done`` bytes so far, of ``total`` if that is known."""
    call = _moving.get()
    if call is not None:
        call(done, total)


def publishes(method: Callable[P, R]) -> Callable[P, R]:
    """Mark a driver's method that changes something others see: it confirms the lease first."""

    @functools.wraps(method)
    def confirmed(*args: P.args, **kwargs: P.kwargs) -> R:
        confirm()
        return method(*args, **kwargs)

    return confirmed

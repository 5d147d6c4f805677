"""What copies ends by a stall and not by its duration."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, cast

import pytest

from compute.hypervisor.base import HostRef, MigrationProgress, OperationTimeout
from compute.hypervisor.libvirt import migration
from compute.tasks.base import STALL_S
from scloud.jobs import handlers
from scloud.jobs.lanes import Lane

COPIES = {
    "disk.create",
    "disk.roll_back_snapshot",
    "image.export",
    "image.import",
    "vm.make_image",
    "vm.migrate",
    "vm.reinstall",
}


def test_every_job_that_copies_has_as_long_as_it_makes_progress() -> None:
    known = handlers._handlers
    assert set(known) >= COPIES
    for kind, handler in known.items():
        is_long = handler.lane_of({"source": {"kind": "disk"}}) == Lane.LONG
        if is_long or kind in COPIES:
            assert handler.stall_s == STALL_S, kind


class Moving:
    """A host whose call for a migration takes so long."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.ref = HostRef("h1", "qemu+tcp://h1/system", "192.0.2.1")
        self.over = threading.Event()

    def with_domain(self, uuid: str, work: Callable[[Any], Any], **limits: Any) -> None:
        if not self.over.wait(self.seconds):
            return
        raise OperationTimeout("aborted")


def move(monkeypatch: pytest.MonkeyPatch, host: Moving, left: Callable[[], int]) -> list[int]:
    """Wait for a migration of which so much memory is left."""
    monkeypatch.setattr(migration, "_POLL_S", 0.02)
    monkeypatch.setattr(migration, "_REPORT_S", 0.05)
    monkeypatch.setattr(
        migration, "progress", lambda *given: MigrationProgress(percent=1, remaining_mib=left())
    )
    monkeypatch.setattr(migration, "abort", lambda *given: host.over.set())
    told: list[int] = []
    migration._wait(
        cast(Any, host),
        "uuid",
        HostRef(name="h9", uri="qemu+tcp://192.0.2.9/system", address="192.0.2.9"),
        timeout_s=0.8,
        on_progress=lambda state: told.append(state.remaining_mib),
    )
    return told


def test_a_migration_has_its_time_while_memory_becomes_less(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    remaining = iter(range(10**6, 0, -1))
    told = move(monkeypatch, Moving(3.0), lambda: next(remaining))
    assert told == sorted(told, reverse=True)


def test_a_migration_that_gets_nowhere_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a guest that writes faster than the network carries."""
    with pytest.raises(OperationTimeout, match="made no progress"):
        move(monkeypatch, Moving(30.0), lambda: 4096)

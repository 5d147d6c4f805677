"""What the tests of alarms share."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from alarms.queries import clock, metrics
from alarms.store.fake import FakeStore
from scloud.tenancy.actor import Actor
from tests.alarms.stories import Story, begin
from tests.compute.box import box, fabric, make_box
from tests.compute.factories import Platform, make_vm

__all__ = ["box", "fabric", "make_box", "story"]


@pytest.fixture
def story(platform: Platform, actor: Actor, monkeypatch: pytest.MonkeyPatch) -> Story:
    """Two running VMs, a store in memory, and time that passes when the test says so."""
    vms = [make_vm(platform, actor, name=name) for name in ("web-1", "web-2")]
    made = begin(FakeStore(), actor, vms, datetime.now(UTC))
    monkeypatch.setattr(metrics, "metrics_store", lambda: made.store)
    monkeypatch.setattr(metrics, "timezone", SimpleNamespace(now=made.clock))
    monkeypatch.setattr(clock, "now", made.clock)
    return made

"""A handler whose steps do what the test says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from scloud.jobs import faults, handlers, service
from scloud.jobs.handlers import Context, Handler, Step
from scloud.jobs.models import Job
from scloud.lib.errors import ScloudError
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scopes_disabled

Work = Callable[[Context], None]


@dataclass
class Script(Handler):
    """Two steps; what they do is set by the test, and all that is called is written down."""

    works: dict[str, Work] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    max_attempts: int = 3

    def steps(self, job: Job) -> Sequence[Step]:
        return [
            Step("first", "Do the first", lambda context: self._do("first", context)),
            Step("second", "Do the second", lambda context: self._do("second", context), weight=3),
        ]

    def _work(self, name: str, context: Context) -> None:
        if name in self.works:
            self.works[name](context)

    def _do(self, name: str, context: Context) -> None:
        self.calls.append(name)
        self._work(name, context)

    def on_success(self, context: Context) -> None:
        self.calls.append("success")
        self._work("success", context)

    def on_failure(self, context: Context, error: ScloudError) -> None:
        self.calls.append(f"failure {error.code}")

    def before_failure(self, context: Context, error: ScloudError) -> None:
        self.calls.append("clean up")
        self._work("clean up", context)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    """The handler of ``test.work``."""
    found = Script()
    monkeypatch.setitem(handlers._handlers, "test.work", found)
    return found


@pytest.fixture
def enqueue(script: Script, tenant: Tenant) -> Callable[..., Job]:
    """Return a function that puts a job of ``test.work`` into the queue."""

    def put(**values: Any) -> Job:
        defaults: dict[str, Any] = {
            "kind": "test.work",
            "tenant": tenant,
            "title": "Work",
            "target_kind": "vm",
            "target_id": "vm-000000001",
        }
        with scopes_disabled():
            return service.enqueue(**{**defaults, **values})

    return put


@pytest.fixture
def rings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids for which the bell was rung, instead of a message in the queue."""
    rung: list[str] = []
    from scloud.jobs import sweep

    monkeypatch.setattr(service, "wake_up", rung.append)
    monkeypatch.setattr(sweep, "wake_up", rung.append)
    return rung


@pytest.fixture(autouse=True)
def _no_fault_stays() -> Iterator[None]:
    yield
    faults.install(None)


def fresh(job: Job) -> Job:
    """Return the row as it is now."""
    with scopes_disabled():
        found: Job = Job.objects.get(pk=job.pk)
    return found


def change(job: Job, **values: Any) -> None:
    """Set columns of the row."""
    with scopes_disabled():
        Job.objects.filter(pk=job.pk).update(**values)


def ago(seconds: float) -> Any:
    """Return a time in the past."""
    return timezone.now() - timedelta(seconds=seconds)

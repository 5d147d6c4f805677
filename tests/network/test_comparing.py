"""Comparing a region by order, without repairing it; and who has a connection to the network."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from network.actions import Defaults
from network.actions.operators import reconcile_region
from network.fabric import fake
from network.fabric.base import Kind
from network.models import NetworkDrift
from network.tasks import fabrics
from scloud.jobs import runner
from scloud.jobs.models import Job
from scloud.recovery import freezing
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.scoping import scopes_disabled

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("scoped")]
RunJobs = Callable[[], list[str]]


def lose(world: fake.World, region: Region, defaults: Defaults) -> None:
    """Take the default security group away."""
    del world.things[region.pk, Kind.SECURITY_GROUP, defaults.security_group.pk]


def problems() -> set[tuple[str, str]]:
    """What the report says is still so."""
    return set(NetworkDrift.objects.filter(resolved_at=None).values_list("problem", "target_id"))


def test_a_region_may_be_compared_only(
    region: Region, world: fake.World, defaults: Defaults, run_jobs: RunJobs
) -> None:
    run_jobs()
    lose(world, region, defaults)
    reconcile_region(actor=Actor.system(None), region=region, repair=False)
    assert run_jobs() == ["succeeded"]
    assert problems() == {("missing", defaults.security_group.pk)}
    assert (region.pk, Kind.SECURITY_GROUP, defaults.security_group.pk) not in world.things
    reconcile_region(actor=Actor.system(None), region=region)
    assert run_jobs() == ["succeeded"]
    assert problems() == set()
    assert (region.pk, Kind.SECURITY_GROUP, defaults.security_group.pk) in world.things


def test_nothing_is_repaired_by_order_while_sweeps_are_frozen(
    region: Region, world: fake.World, defaults: Defaults, run_jobs: RunJobs
) -> None:
    run_jobs()
    lose(world, region, defaults)
    freezing.freeze("a test")
    reconcile_region(actor=Actor.system(None), region=region)
    assert run_jobs() == ["succeeded"]
    assert problems() == {("missing", defaults.security_group.pk)}


def run_command(*args: str) -> str:
    """Run the command; what it hands over is done by a worker at once."""
    told = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Job, "refresh_from_db", _worked(Job.refresh_from_db))
        call_command("reconcile_network", *args, stdout=told)
    return told.getvalue()


def _worked(refresh: Callable[..., None]) -> Callable[..., None]:
    def run(job: Job, *args: Any, **kwargs: Any) -> None:
        runner.run(job.pk)
        refresh(job, *args, **kwargs)

    return run


def test_the_command_tells_what_differs_and_repairs_it(
    region: Region, world: fake.World, defaults: Defaults, run_jobs: RunJobs
) -> None:
    run_jobs()
    lose(world, region, defaults)
    with pytest.raises(CommandError, match="1 differences remain"):
        run_command(region.pk, "--dry-run")
    assert run_command(region.pk) == "1 differences seen\n"
    assert run_command(region.pk) == "0 differences seen\n"
    with pytest.raises(CommandError, match="no region"):
        run_command("nowhere")
    freezing.freeze("a test")
    with pytest.raises(CommandError, match="frozen"):
        run_command(region.pk)


def test_a_process_has_one_connection_for_each_region_and_none_to_where_it_was(
    region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    closed: list[str] = []

    class Counted(fake.FakeFabric):
        def __init__(self, nb: str, owner: str) -> None:
            super().__init__(fake.World(), owner)
            self.nb = nb
            opened.append(nb)

        def close(self) -> None:
            closed.append(self.nb)

    monkeypatch.setattr(fabrics, "connect", lambda nb, *, owner, **_: Counted(nb, owner))
    fabrics.close_all()
    region.ovn_nb = "tcp:192.0.2.1:6641"
    threads = [threading.Thread(target=fabrics.fabric_of, args=(region,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert opened == ["tcp:192.0.2.1:6641"]
    region.ovn_nb = "tcp:192.0.2.2:6641"
    fabrics.fabric_of(region)
    assert opened == ["tcp:192.0.2.1:6641", "tcp:192.0.2.2:6641"]
    assert closed == ["tcp:192.0.2.1:6641"]
    fabrics.close_all()


def test_orders_are_handed_over_and_do_not_open_a_connection(
    region: Region, defaults: Defaults, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(nb: str, **_: Any) -> fake.FakeFabric:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(fabrics, "connect", refuse)
    fabrics.close_all()
    reconcile_region(actor=Actor.system(None), region=region)
    with scopes_disabled():
        assert Job.objects.filter(kind="network.reconcile", status="queued").count() == 1

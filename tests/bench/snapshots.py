"""Snapshots of a running VM, with little and with much on its disk."""

from __future__ import annotations

import time
from pathlib import Path

from tests.bench import installation
from tests.bench.rows import Row, p50, seconds
from tests.e2e import outside

GOAL_S = 1.0


def run(quick: bool) -> list[Row]:
    """Fill the same VM's disk in two stages, and take snapshots at each, while it runs."""
    fills_mb = (10, 50) if quick else (10, 1000)
    rounds = 2 if quick else 7
    api, facts = installation.api(), installation.facts()
    vm = api.buy(name="snap")["id"]
    try:
        api.settled(vm)
        outside.await_agent(facts, vm)
        rows, medians = [], []
        written_mb = 0
        for fill_mb in fills_mb:
            write(vm, fill_mb - written_mb)
            written_mb = fill_mb
            took = [snapshot_s(vm) for _ in range(rounds)]
            medians.append(p50(took))
            rows.append(
                Row(
                    f"Snapshot of a running VM, {fill_mb} MB written: request to available "
                    f"({rounds} snapshots)",
                    f"<= {seconds(GOAL_S)}",
                    f"p50 {seconds(p50(took))}, slowest {seconds(max(took))} "
                    f"(the volume holds {held_mb(vm):.0f} MB)",
                    max(took) <= GOAL_S,
                )
            )
        rows.append(
            Row(
                "Snapshot: the fuller disk against the emptier one, p50",
                "none set",
                f"{medians[-1] / medians[0]:.2f} x",
                None,
            )
        )
        return rows
    finally:
        api.destroy(vm)


def write(vm: str, megabytes: int) -> None:
    """Have the guest write to its disk, and wait until it is there."""
    name = f"/fill-{time.monotonic_ns()}"
    outside.guest_run(
        installation.facts(),
        vm,
        "/bin/dd",
        "if=/dev/zero",
        f"of={name}",
        "bs=1000000",
        f"count={megabytes}",
        timeout_s=600,
    )
    outside.guest_run(installation.facts(), vm, "/bin/sync", timeout_s=300)


def _volume(vm: str) -> Path:
    from compute.models import Disk
    from scloud.tenancy.scoping import scopes_disabled

    with scopes_disabled():
        disk = Disk.objects.get(vm_id=vm, is_system=True)
    return Path(installation.facts()["storage"]["path"]) / "volumes" / f"{disk.pk}.qcow2"


def held_mb(vm: str) -> float:
    """Return what the volume takes on the medium, in MB."""
    return _volume(vm).stat().st_blocks * 512 / 1e6


def snapshot_s(vm: str) -> float:
    """Take a snapshot and delete it again; return the seconds until it was available."""
    from compute.actions import snapshots
    from compute.models import Disk, Snapshot
    from compute.states.snapshots import SnapshotStatus
    from scloud.tenancy.actor import Actor
    from scloud.tenancy.models import Tenant
    from scloud.tenancy.scoping import scope

    tenant = Tenant.objects.get(name="Demo")
    actor = Actor.system(tenant)
    with scope(tenant=tenant):
        disk = Disk.objects.get(vm_id=vm, is_system=True)
        began = time.perf_counter()
        taken = snapshots.create_snapshot(actor=actor, disk=disk, name="bench")
        while Snapshot.objects.get(pk=taken.pk).status == SnapshotStatus.CREATING:
            time.sleep(0.01)
        took = time.perf_counter() - began
        taken.refresh_from_db()
        assert taken.status == SnapshotStatus.AVAILABLE, taken.failure
        assert taken.frozen, "the guest was not frozen: not what is to be measured"
        snapshots.delete_snapshot(actor=actor, snapshot=taken)
        while Snapshot.objects.get(pk=taken.pk).status == SnapshotStatus.DELETING:
            time.sleep(0.05)
        taken.refresh_from_db()
        assert taken.status == SnapshotStatus.DESTROYED, taken.status
    return took

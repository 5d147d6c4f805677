"""The lab's Ceph: made once, started again with what it held, and gone when it is wiped."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scloud.lab import ceph, region
from scloud.lab.__main__ import main
from scloud.lab.ceph import POOL, Cluster
from scloud.lab.plan import Lab, LabError, lab_named
from scloud.lab.shell import marked_processes, run, wait_for
from tests.ceph_fixture import free_port

pytestmark = pytest.mark.ceph


@pytest.fixture
def spare_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """A cluster of its own, not made yet, that a test may break."""
    cluster = Cluster(tmp_path / "ceph", "127.0.0.1", free_port())
    yield cluster
    cluster.wipe()


def rados(cluster: Cluster, *words: str | Path) -> str:
    return run("rados", "--conf", cluster.configuration, "--pool", POOL, *words)


def test_it_is_made_once_and_keeps_what_it_held(spare_cluster: Cluster) -> None:
    spare_cluster.up()
    before = spare_cluster.pids()
    assert sorted(before) == ["ceph-mgr", "ceph-mon", "ceph-osd"]
    spare_cluster.up()
    assert spare_cluster.pids() == before
    key = spare_cluster.key()
    rados(spare_cluster, "put", "kept", "/etc/hostname")
    for end in (spare_cluster.down, lambda: spare_cluster.kill("ceph-osd")):
        end()
        assert not spare_cluster.is_up()
        spare_cluster.up()
        assert "kept" in rados(spare_cluster, "ls")
        assert spare_cluster.key() == key
    spare_cluster.wipe()
    assert marked_processes(spare_cluster.marker) == []
    assert not spare_cluster.root.exists()
    spare_cluster.down()


def test_the_platforms_client_may_use_its_pool_and_no_other(spare_cluster: Cluster) -> None:
    spare_cluster.up()
    facts = spare_cluster.facts()
    assert facts["monitors"] == spare_cluster.monitors
    assert spare_cluster.key() not in str(facts)
    spare_cluster.ceph("osd", "pool", "create", "other", "8", "8")
    as_client = ["--conf", str(spare_cluster.configuration), "--id", facts["user"],
                 "--keyring", facts["keyring"]]  # fmt: skip
    run("rados", *as_client, "--pool", POOL, "ls")
    with pytest.raises(LabError, match="not permitted"):
        run("rados", *as_client, "--pool", "other", "ls")


def test_one_that_was_killed_while_it_was_made_is_made_anew(spare_cluster: Cluster) -> None:
    code = (
        "from pathlib import Path; from scloud.lab.ceph import Cluster;"
        f"Cluster(Path({str(spare_cluster.root)!r}), '127.0.0.1', {spare_cluster.port}).up()"
    )
    for named in ("monmap", "osd.0/keyring"):
        child = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.DEVNULL)
        half = spare_cluster.root / named
        wait_for(f"{named}", half.exists, timeout_s=30, every_s=0.01)
        child.kill()
        child.wait(timeout=10)
        assert not spare_cluster.is_up()
    spare_cluster.up()
    assert spare_cluster.is_up()
    assert len(marked_processes(spare_cluster.marker)) == 3


def test_a_lab_remembers_its_storage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SCLOUD_STATE_DIR", str(tmp_path))
    lab = Lab("spare", 61, 1, ceph=True)
    assert not lab_named("spare", 61).ceph
    lab.state.mkdir(parents=True)
    region._save(lab)
    assert lab_named("spare") == lab
    assert region._saved_host_count(lab) == 1
    assert not lab_named("spare", ceph=False).ceph
    assert ceph.of_lab(lab).root == lab.state / "ceph"
    assert region.status(lab)["storage"]["ceph"]["up"] is False
    assert region.status(Lab("spare", 61, 1))["storage"]["ceph"] is None
    with pytest.raises(SystemExit):
        main(["up", "--name", "spare", "--storage", "tape"])

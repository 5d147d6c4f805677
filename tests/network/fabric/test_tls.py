"""OVN's databases by TLS on the region in a box: what each certificate opens."""

from __future__ import annotations

import logging
import shutil
import subprocess
import time
import uuid
from pathlib import Path

import pytest

from network.fabric import ovn
from network.fabric.base import FabricUnreachable, VpcSpec
from network.fabric.ovn import tls
from network.fabric.ovn.session import Session
from scloud.lab import certificates
from scloud.lab.plan import Lab
from scloud.pki import Holder, Kind, Pki

pytestmark = pytest.mark.lab


def options(directory: Path) -> list[str]:
    return [
        f"--private-key={directory}/key.pem",
        f"--certificate={directory}/cert.pem",
        f"--ca-cert={directory}/ca.pem",
    ]


def ask(program: str, db: str, directory: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run one of OVN's programs with certificates."""
    return subprocess.run(
        [program, f"--db={db}", "--timeout=5", *options(directory), *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def test_a_host_writes_what_is_its_own_and_no_more(lab: Lab) -> None:
    first, second = lab.hosts[:2]
    ours = certificates.of_host(first) / "ovn"
    seen = ask("ovn-sbctl", lab.sb, ours, "--bare", "--columns=name", "list", "Chassis")
    assert {first.hostname, second.hostname} <= set(seen.stdout.split()), seen.stderr
    for words in (
        ("chassis-del", second.hostname),
        ("set", "Chassis", second.hostname, "hostname=mine"),
        ("set", "SB_Global", ".", "options:northd_probe_interval=1"),
        ("set-connection", "ptcp:6650"),
    ):
        refused = ask("ovn-sbctl", lab.sb, ours, *words)
        assert refused.returncode != 0, words
        assert "permission error" in refused.stderr, (words, refused.stderr)
    allowed = ask("ovn-sbctl", lab.sb, ours, "set", "Chassis", first.hostname, "external_ids:x=1")
    assert allowed.returncode == 0, allowed.stderr
    ask("ovn-sbctl", lab.sb, ours, "remove", "Chassis", first.hostname, "external_ids", "x")


def test_a_host_does_not_reach_the_northbound_database(lab: Lab) -> None:
    ours = certificates.of_host(lab.hosts[0]) / "ovn"
    for words in (("ls-add", "mine"), ("ls-list",)):
        refused = ask("ovn-nbctl", lab.nb, ours, *words)
        assert refused.returncode != 0
        assert "mine" not in refused.stdout
    worker = certificates.of_worker(lab) / "ovn"
    assert ask("ovn-nbctl", lab.nb, worker, "ls-list").returncode == 0


def test_a_worker_only_reads_the_southbound_database(lab: Lab) -> None:
    worker = certificates.of_worker(lab) / "ovn"
    name = lab.hosts[0].hostname
    assert ask("ovn-sbctl", lab.sb, worker, "list", "Chassis").returncode == 0
    refused = ask("ovn-sbctl", lab.sb, worker, "chassis-del", name)
    assert "permission error" in refused.stderr


def test_nobody_comes_without_a_certificate_or_with_a_strange_one(lab: Lab, tmp_path: Path) -> None:
    strange = Pki(tmp_path / "strange").issue(Holder(Kind.WORKER, "worker")) / "ovn"
    # They believe the centre, which does not believe them.
    (strange / "ca.pem").write_bytes((certificates.of_worker(lab) / "ovn/ca.pem").read_bytes())
    for db, program in ((lab.nb, "ovn-nbctl"), (lab.sb, "ovn-sbctl")):
        assert ask(program, db, strange, "show").returncode != 0
        plain = subprocess.run(
            [program, f"--db={db.replace('ssl:', 'tcp:')}", "--timeout=3", "show"],
            capture_output=True,
            check=False,
        )
        assert plain.returncode != 0


def test_the_driver_writes_by_tls_and_takes_no_other_server(
    lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lab.nb.startswith("ssl:")
    fabric = ovn.connect(lab.nb, owner=f"test-{uuid.uuid4()}", sb=lab.sb, timeout_s=10)
    vpc = f"vpc-{uuid.uuid4().hex[:8]}"
    fabric.ensure_vpc(VpcSpec(vpc))
    assert [one.id for one in fabric.list_owned().owned] == [vpc]
    fabric.delete_vpc(vpc)
    fabric.close()

    ours = tls._directory
    assert ours is not None
    strange = Pki(tmp_path / "strange").issue(Holder(Kind.WORKER, "worker")) / "ovn"
    try:
        # It does not believe this centre.
        ovn.use_certificates(strange)
        with pytest.raises(FabricUnreachable, match=r"(?i)certificate"):
            Session(lab.nb, "OVN_Northbound", {"NB_Global": ["name"]}, 5.0)._connected()
        # Without any it says so, and asks nobody.
        ovn.use_certificates(tmp_path / "missing")
        with pytest.raises(FabricUnreachable, match="No such file"):
            Session(lab.nb, "OVN_Northbound", {"NB_Global": ["name"]}, 5.0)._connected()
        with monkeypatch.context() as none:
            none.setattr(tls, "_directory", None)
            with pytest.raises(FabricUnreachable, match="no certificates"):
                Session(lab.nb, "OVN_Northbound", {"NB_Global": ["name"]}, 5.0)._connected()
    finally:
        ovn.use_certificates(ours)


def test_a_connection_without_its_certificates_waits_and_says_it_once(
    lab: Lab, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ours = tls._directory
    assert ours is not None
    copied = shutil.copytree(ours, tmp_path / "copied")
    session = Session(lab.nb, "OVN_Northbound", {"NB_Global": ["name"]}, 10.0)
    try:
        ovn.use_certificates(copied)
        api = session._connected()
        copied.rename(tmp_path / "away")
        api.ovsdb_connection.force_reconnect()
        with caplog.at_level(logging.INFO):
            time.sleep(3)
        said = [one for one in caplog.records if "No such file" in one.getMessage()]
        assert [one.name for one in said] == ["network.fabric.ovn.session"]
        (tmp_path / "away").rename(copied)
        with session.reading() as tables:
            assert len(tables["NB_Global"].rows) == 1
    finally:
        ovn.use_certificates(ours)
        session.close()

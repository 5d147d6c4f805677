"""The region in a box comes up twice, goes down once, and forgives a crash."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from scloud.lab import links, probe, region
from scloud.lab.plan import HostPlan, Lab, LabError
from scloud.lab.shell import marked_processes, run, wait_for
from scloud.pki import Kind, Pki

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def spare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab of its own, with its state elsewhere, that tests may break."""
    patch = pytest.MonkeyPatch()
    patch.setenv("SCLOUD_STATE_DIR", str(tmp_path_factory.mktemp("state")))
    lab = Lab("spare", 61, 2)
    region.down(lab, wipe=True)
    yield lab
    region.down(lab, wipe=True)
    patch.undo()


def traces(lab: Lab) -> list[str]:
    """Everything on the machine that bears the lab's name."""
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    namespaces = Path("/run/netns")
    groups = Path("/sys/fs/cgroup")
    return [
        *(line for line in mounts if str(lab.run) in line or f"scl-{lab.name}" in line),
        *(
            path.name
            for path in Path("/sys/class/net").iterdir()
            if path.name.startswith(lab.prefix)
        ),
        *(
            path.name
            for path in (namespaces.iterdir() if namespaces.exists() else [])
            if path.name.startswith(f"scl-{lab.name}-")
        ),
        *(str(pid) for pid in marked_processes(lab.marker)),
        *(str(path) for path in groups.glob(f"*/scl-{lab.name}-*")),
        *(str(path) for path in groups.glob(f"scl-{lab.name}-*")),
        *([str(lab.run)] if lab.run.exists() else []),
    ]


def identity(lab: Lab) -> list[int]:
    """Pids that change when anything is started anew."""
    return [region.inner_pid(host) for host in lab.hosts]


def test_up_is_fast_and_up_again_changes_nothing(spare: Lab) -> None:
    started = time.monotonic()
    region.up(spare)
    assert time.monotonic() - started < 30
    before = identity(spare)
    region.up(spare)
    assert identity(spare) == before
    facts = region.status(spare)
    assert facts["up"] is True
    assert [host["uri"] for host in facts["hosts"]] == [
        "qemu+tls://10.99.61.11/system?pkipath=/run/scloud-lab/spare/pki/workers/worker",
        "qemu+tls://10.99.61.12/system?pkipath=/run/scloud-lab/spare/pki/workers/worker",
    ]
    json.dumps(facts)
    for host in spare.hosts:
        assert run("virsh", "-q", "-c", host.uri, "hostname").strip() == host.hostname


def test_the_external_gateway_and_both_databases_answer_from_outside(spare: Lab) -> None:
    region.up(spare)
    assert run("ovn-nbctl", *spare.nb_options, "get-connection") == ""
    chassis = run("ovn-sbctl", *spare.sb_options, "--bare", "--columns=name", "list", "chassis")
    assert sorted(chassis.split()) == ["spare-h1", "spare-h2"]
    for segment in spare.segments:
        run("ping", "-n", "-q", "-c", "1", "-w", "2", segment.gateway)


def test_a_host_that_lost_its_power_is_started_again_and_the_other_is_left_alone(
    spare: Lab,
) -> None:
    region.up(spare)
    first, second = spare.hosts
    before = region.inner_pid(second)
    region.kill_host(first)
    assert region.status(spare)["up"] is False
    region.up(spare)
    assert region.is_up(spare)
    assert region.inner_pid(second) == before


def test_the_box_outlives_a_machine_that_replaces_its_files(spare: Lab) -> None:
    """What an installed package does to /etc/passwd reaches no host."""
    region.up(spare)
    host = spare.host("h1")
    files = [Path("/etc/passwd"), Path("/etc/group"), Path("/etc/hosts")]
    before = region.in_host(host, "stat", "--format=%d:%i %s", *files)
    mounts = Path("/proc/self/mounts").read_text().split()
    replaced = [path for path in files if str(path) not in mounts]
    assert files[0] in replaced
    for path in replaced:
        # The same content, owner and mode in a new file of the same name, as useradd leaves it.
        fresh = path.with_name(f"{path.name}.scloud-test")
        run("cp", "-a", path, fresh)
        fresh.rename(path)
    assert region.in_host(host, "stat", "--format=%d:%i %s", *files) == before
    region.kill_libvirtd(host)
    region.start_libvirtd(host)
    assert run("virsh", "-q", "-c", host.uri, "hostname").strip() == host.hostname
    assert spare.host("h2").address in region.in_host(host, "getent", "hosts", "spare-h2")
    region.in_host(host, "getent", "passwd", "libvirt-qemu")


def test_names_of_hosts_that_come_later_reach_those_that_run(spare: Lab) -> None:
    region.up(Lab("spare", 61, 1))
    assert "spare-h2" not in region.in_host(spare.host("h1"), "cat", "/etc/hosts")
    region.up(spare)
    assert spare.host("h2").address in region.in_host(
        spare.host("h1"), "getent", "hosts", "spare-h2"
    )


def test_leftovers_of_a_killed_lab_are_cleaned_up(spare: Lab) -> None:
    region.up(spare)
    # What a crash of the machine's user land leaves: half of the processes, no pid files, a
    # namespace that is only a name, a bridge, sockets without a listener.
    os.kill(region.inner_pid(spare.host("h1")), signal.SIGKILL)
    (spare.host("h2").run / "box.pid").unlink()
    (spare.run / "central" / "box.pid").unlink()
    Path("/run/netns/scl-spare-p-gone").touch()
    region.up(spare)
    assert region.is_up(spare)
    chassis = run("ovn-sbctl", *spare.sb_options, "--bare", "--columns=name", "list", "chassis")
    assert sorted(chassis.split()) == ["spare-h1", "spare-h2"]
    boxes = [
        pid
        for pid in marked_processes(spare.marker)
        if Path(f"/proc/{pid}/comm").read_text().strip() == "unshare"
    ]
    assert len(boxes) == 3, "one for the centre and one for each host"


def test_a_run_killed_half_way_can_be_repeated(spare: Lab) -> None:
    region.down(spare)
    command = [sys.executable, "-m", "scloud.lab", "up", "--name", "spare", "--index", "61"]
    child = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    wait_for(
        "the first host's link", lambda: links.exists(spare.host("h1").link("m")), timeout_s=20,
        every_s=0.01,
    )  # fmt: skip
    child.kill()
    child.wait(timeout=10)
    region.up(spare)
    assert region.is_up(spare)


@pytest.mark.parametrize("program", ["nsenter", "unshare", "tini"])
def test_a_box_that_a_killed_run_had_just_begun_is_ended(spare: Lab, program: str) -> None:
    name, _, value = spare.marker.partition("=")
    child = subprocess.Popen(
        [program, "30"], executable="/bin/sleep", env={name: value}, start_new_session=True
    )
    wait_for("its start", lambda: child.pid in marked_processes(spare.marker), timeout_s=5)
    region._remove_leftovers(spare)
    assert child.wait(timeout=5) == -signal.SIGKILL


def test_fewer_hosts_are_wanted(spare: Lab) -> None:
    region.up(spare)
    region.up(Lab("spare", 61, 1))
    assert not links.netns_exists(HostPlan(spare, 2).netns)
    chassis = run("ovn-sbctl", *spare.sb_options, "--bare", "--columns=name", "list", "chassis")
    assert chassis.split() == ["spare-h1"]


def shown_by(host: HostPlan) -> bytes:
    """The certificate that a host's libvirt daemon shows."""
    text = ssl.get_server_certificate((host.address, host.libvirt_port), timeout=10)
    return ssl.PEM_cert_to_DER_cert(text)


def test_certificates_that_end_soon_are_renewed_while_the_hosts_run(spare: Lab) -> None:
    region.up(spare)
    before, boxes = [shown_by(host) for host in spare.hosts], identity(spare)
    first = spare.hosts[0]
    holder = Pki(spare.pki).holder(Kind.HOST, first.name)
    assert holder is not None
    Pki(spare.pki).issue(holder, lifetime=timedelta(days=10))
    region.up(spare)
    assert identity(spare) == boxes
    after = [shown_by(host) for host in spare.hosts]
    assert after[0] != before[0]
    assert after[1] == before[1]
    assert Pki(spare.pki).due() == []
    assert Pki(spare.pki).former() == []
    assert run("virsh", "-q", "-c", first.uri, "hostname").strip() == first.hostname


def test_a_region_without_tls_goes_on_without_until_everything_is_down(
    spare: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    region.down(spare, wipe=True)
    with monkeypatch.context() as patch:
        patch.setenv("SCLOUD_LAB_TLS", "0")
        region.up(spare)
    assert not spare.encrypted.exists()
    assert [host.uri for host in spare.hosts] == [
        "qemu+tcp://10.99.61.11/system",
        "qemu+tcp://10.99.61.12/system",
    ]
    assert (spare.nb, spare.sb) == ("tcp:10.99.61.1:6641", "tcp:10.99.61.1:6642")
    run("ovn-nbctl", *spare.nb_options, "ls-add", "kept")
    before = region.inner_pid(spare.hosts[1])
    # One that was started by an earlier release looks just so.
    region.kill_host(spare.hosts[0])
    region.up(spare)
    assert not spare.encrypted.exists()
    assert region.inner_pid(spare.hosts[1]) == before
    for host in spare.hosts:
        assert run("virsh", "-q", "-c", host.uri, "hostname").strip() == host.hostname

    region.down(spare)
    region.up(spare)
    assert spare.encrypted.exists()
    assert region.status(spare)["hosts"][0]["plain_uri"] == "qemu+tcp://10.99.61.11/system"
    for host in spare.hosts:
        assert run("virsh", "-q", "-c", host.uri, "hostname").strip() == host.hostname
    assert "kept" in run("ovn-nbctl", *spare.nb_options, "ls-list"), "its networks are still there"
    run("ovn-nbctl", *spare.nb_options, "ls-del", "kept")


def test_down_leaves_nothing_and_down_again_is_fine(spare: Lab) -> None:
    region.up(spare)
    assert traces(spare)
    region.down(spare)
    assert traces(spare) == []
    assert spare.storage.exists(), "guests' disks outlive the lab"
    region.down(spare, wipe=True)
    assert not spare.state.exists()


def test_a_probe_on_a_host_that_is_down_is_refused(spare: Lab) -> None:
    region.down(spare)
    with pytest.raises(LabError, match="host h1 of lab spare is down"):
        probe.add(spare, name="x", port="x", mac="52:54:00:00:00:01", ip=["10.0.0.1/24"])

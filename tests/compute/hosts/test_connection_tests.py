"""Hosts that are added: tested before they take VMs, and what a test finds."""

from __future__ import annotations

import itertools
import socket
import ssl
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from compute.actions import hosts as actions
from compute.actions.maintenance import remove_host
from compute.hypervisor.base import HostCapacity, HostCertificate, HostCpu
from compute.hypervisor.fake import FakeHost, fake_host
from compute.hypervisor.libvirt import certificates
from compute.models import Host, HostTest
from compute.queries.hosts import situation_of
from compute.states.hosts import FindingLevel, HostState
from compute.storage.base import StorageUnavailable
from compute.tasks import host_tests
from compute.tasks.drivers import hypervisor_of
from compute.tasks.host_findings import LONGEST, Beat, Peer, Seen, findings_of
from network.fabric import fake as fake_fabric
from network.fabric.base import FabricUnreachable
from scloud.audit.models import Operation
from scloud.jobs.models import ACTIVE, Job
from scloud.lib.errors import Conflict, InvalidInput
from scloud.pki import Holder, Kind, Pki
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import User
from scloud.tenancy.scoping import scopes_disabled
from scloud.tenancy.staff import StaffRole
from tests.compute.box import Box, points_of

SYSTEM = Actor.system(None)
NOW = datetime(2026, 5, 4, 10, 0, tzinfo=UTC)
ADD = "admin:compute_host_add"
CAPACITY = HostCapacity("h9.example", "x86_64", 64, 262_144, 200_000, True, "8.2.2", "10.0.0")
CPU = HostCpu("EPYC-Rome", "AMD", frozenset({"xsaves"}))
GOOD = Seen(
    now=NOW,
    architecture="x86_64",
    reserved_memory_mib=1024,
    encrypted=True,
    capacity=CAPACITY,
    cpu=CPU,
    peers=(Peer("h1", "8.2.2 / libvirt 10.0.0", CPU), Peer("h2", "8.2.2 / libvirt 10.0.0")),
    certificates=tuple(
        HostCertificate(holder, NOW + timedelta(days=200))
        for holder in ("authority", "client", "host")
    ),
    pools={"nfs": ""},
    beats={"nfs": Beat(True, 0.5)},
    chassis=(True,),
)


# -- what is found -------------------------------------------------------------------------------


def levels(seen: Seen) -> dict[str, FindingLevel]:
    """The worst level of each code that is not OK."""
    order = [FindingLevel.OK, FindingLevel.WARNING, FindingLevel.ERROR]
    found: dict[str, FindingLevel] = {}
    for one in findings_of(seen):
        found[one.code] = max(found.get(one.code, FindingLevel.OK), one.level, key=order.index)
        assert bool(one.remedy) == (one.level is not FindingLevel.OK), one
    return {code: level for code, level in found.items() if level is not FindingLevel.OK}


def test_a_host_in_order_has_no_finding_but_good_ones() -> None:
    assert levels(GOOD) == {}
    codes = [one.code for one in findings_of(GOOD)]
    assert codes == [
        "reachable", "hostname", "acceleration", "capacity", "versions", "cpu", "chassis", "pools",
        "heartbeat", "clock", "certificates", "certificates", "certificates",
    ]  # fmt: skip


W, E = FindingLevel.WARNING, FindingLevel.ERROR


@pytest.mark.parametrize(
    ("changes", "expected", "words"),
    [
        ({"capacity": None, "error": "refused"}, {"reachable": E}, "refused"),
        ({"same_name": "h1"}, {"hostname": E}, "as h1 does"),
        ({"architecture": "aarch64"}, {"architecture": E}, "x86_64, the cluster of aarch64"),
        ({"capacity": replace(CAPACITY, accelerated=False)}, {"acceleration": W}, "TCG"),
        ({"reserved_memory_mib": 262_144}, {"capacity": E}, "256.0 GB reserved"),
        ({"peers": (Peer("h1", "9.1.0 / libvirt 10.0.0"),)}, {"versions": W}, "version: h1"),
        ({"peers": (Peer("h1", "", HostCpu("EPYC")),)}, {"cpu": W}, "h1 (EPYC)"),
        ({"peers": (Peer("h1", "", replace(CPU, features=frozenset())),)}, {"cpu": W}, "h1"),
        ({"cpu": None}, {"cpu": W}, "does not name"),
        ({"chassis": ()}, {"chassis": E}, "no chassis with the host name h9.example"),
        ({"chassis": (True, True)}, {"chassis": E}, "several"),
        ({"chassis": (False,)}, {"chassis": E}, "does not answer"),
        ({"has_chassis": False, "chassis": ()}, {"chassis": W}, "not asked"),
        ({"chassis_error": "gone", "chassis": ()}, {"chassis": W}, "gone"),
        ({"pools": {}}, {"pools": W}, "no storage pool"),
        ({"pools": {"nfs": "", "b": "hangs"}}, {"pools": W}, "1 of 2 storage pools"),
        ({"beats": {}}, {"heartbeat": W, "clock": W}, "leaves no heartbeat"),
        ({"beats": {"nfs": Beat(False)}}, {"heartbeat": W, "clock": W}, "does not change: nfs"),
        ({"beats": {"nfs": Beat(True)}}, {"clock": W}, "cannot be compared"),
        ({"beats": {"nfs": Beat(True, -61.0)}}, {"clock": W}, "by -61 s"),
        ({"encrypted": False, "certificates": ()}, {"encryption": W}, "certificates"),
        ({"certificates": ()}, {"certificates": E}, "no certificate, or no authority"),
        ({"certificates": GOOD.certificates[:2]}, {"certificates": W}, "could not be read"),
        (
            {
                "certificates": (
                    *GOOD.certificates[:2],
                    HostCertificate("host", NOW + timedelta(days=29)),
                )
            },
            {"certificates": W},
            "of the host ends on 2026-06-02",
        ),
        (
            {"certificates": (HostCertificate("client", NOW), *GOOD.certificates[::2])},
            {"certificates": E},
            "of the worker ends on 2026-05-04",
        ),
    ],
)
def test_what_is_not_as_it_should_be_is_found(
    changes: dict[str, Any], expected: dict[str, FindingLevel], words: str
) -> None:
    seen = replace(GOOD, **changes)
    assert levels(seen) == expected
    assert any(words in one.words for one in findings_of(seen) if one.level != "ok")


def test_what_a_host_says_is_kept_only_in_part() -> None:
    hostile = replace(CAPACITY, hostname="h\x00\n" + "x" * 5000)
    kept = [one.as_dict() for one in findings_of(replace(GOOD, capacity=hostile))]
    assert all(len(text) <= LONGEST for one in kept for text in one.values())
    assert not any("\x00" in one["words"] or "\n" in one["words"] for one in kept)


# -- in the administration -----------------------------------------------------------------------


@pytest.fixture
def box(make_box: Callable[..., Box], region: Region, monkeypatch: pytest.MonkeyPatch) -> Box:
    """Two hosts in service and a heart that beats while one waits."""
    made = make_box(hosts=2)
    Region.objects.filter(pk=region.pk).update(ovn_sb="tcp:192.0.2.1:6642")
    beats = itertools.count()

    def wait(_seconds: float) -> None:
        made.storage.beats["h9"] = f"{int(time.time())} {next(beats)}"

    monkeypatch.setattr(host_tests, "wait", wait)
    monkeypatch.setattr(host_tests.TestHost, "watched_s", 0.02)
    made.storage.beats["h9"] = "1 0"
    for host in made.platform.hosts:
        machine(host)
        Host.objects.filter(pk=host.pk).update(version="0.0.0 / libvirt 0.0.0")
    return made


@pytest.fixture
def operator(superuser: User) -> Client:
    client = Client()
    client.force_login(superuser)
    return client


def machine(host: Host) -> FakeHost:
    return fake_host(host.uri)


def entered(box: Box, **changes: object) -> dict[str, object]:
    return {
        "name": "h9",
        "cluster": box.platform.cluster.pk,
        "uri": "qemu+tls://192.0.2.9/system?pkipath=/etc/scloud/worker",
        "address": "192.0.2.9",
        "offloads": "on",
        "reserved_memory_mib": "1024",
        "tags": "",
        **changes,
    }


def added(box: Box, operator: Client, monkeypatch: pytest.MonkeyPatch) -> Host:
    """Add a host by the form; behind its URI is a machine in memory that is in order."""
    answer = operator.post(reverse(ADD), entered(box))
    assert answer.status_code == 302, answer.context["adminform"].form.errors
    host = Host.objects.get(name="h9")
    monkeypatch.setattr(
        host_tests,
        "hypervisor_of",
        lambda row: (
            hypervisor_of(Host(name=row.name, uri="fake:h9", address=row.address))
            if row.name == "h9"
            else hypervisor_of(row)
        ),
    )
    behind = fake_host("fake:h9")
    behind.accelerated = True
    ends_at = datetime.now(UTC) + timedelta(days=300)
    behind.certificates = (
        HostCertificate("authority", ends_at),
        HostCertificate("client", ends_at),
        HostCertificate("host", ends_at),
    )
    return host


def state_of(host: Host) -> str:
    host.refresh_from_db()
    return host.state


def test_a_host_is_in_service_when_its_test_has_passed(
    box: Box,
    fabric: fake_fabric.World,
    operator: Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fabric.chassis["h9"] = 0
    host = added(box, operator, monkeypatch)
    assert state_of(host) == HostState.LOCKED
    page = operator.get(reverse("admin:compute_host_change", args=[host.pk])).content.decode()
    assert "The connection is being tested." in page
    with pytest.raises(Conflict) as refused:
        actions.unlock_host(actor=SYSTEM, host=host)
    assert refused.value.code == "host_not_tested"
    box.run()
    test = HostTest.objects.get(host=host)
    assert [one for one in test.findings if one["level"] != "ok"] == []
    assert state_of(host) == HostState.AVAILABLE
    assert host.transitions.get().reason == "It has passed its connection test."
    page = operator.get(reverse("admin:compute_host_change", args=[host.pk])).content.decode()
    assert "The chassis of h9 answers." in page
    # From now on it is a host like others: a test that fails takes it out of nothing.
    fake_host("fake:h9").faults.unreachable = True
    operator.post(reverse("admin:compute_host_do", args=[host.pk, "test"]))
    box.run()
    test.refresh_from_db()
    assert test.worst is FindingLevel.ERROR
    assert state_of(host) == HostState.AVAILABLE
    actions.lock_host(actor=SYSTEM, host=host)
    actions.unlock_host(actor=SYSTEM, host=host)


def test_a_locked_host_stays_locked_when_a_later_test_passes(
    box: Box,
    fabric: fake_fabric.World,
    operator: Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fabric.chassis["h9"] = 0
    host = added(box, operator, monkeypatch)
    box.run()
    host.refresh_from_db()
    actions.lock_host(actor=SYSTEM, host=host)
    actions.test_host(actor=SYSTEM, host=host)
    box.run()
    assert HostTest.objects.get(host=host).worst is FindingLevel.OK
    assert state_of(host) == HostState.LOCKED


def test_warnings_are_accepted_as_they_were_seen(
    box: Box,
    fabric: fake_fabric.World,
    operator: Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fabric.chassis["h9"] = 0
    host = added(box, operator, monkeypatch)
    fake_host("fake:h9").accelerated = False
    url = reverse("admin:compute_host_accept", args=[host.pk])
    assert "has not been tested yet" in operator.get(url).content.decode()
    box.run()
    assert state_of(host) == HostState.LOCKED
    before = HostTest.objects.get(host=host).tested_at
    assert before is not None
    page = operator.get(url).content.decode()
    assert "emulated (TCG)" in page
    assert before.isoformat() in page
    operator.post(reverse("admin:compute_host_do", args=[host.pk, "test"]))
    box.run()
    refused = operator.post(url, {"seen": before.isoformat()}).content.decode()
    assert "was tested again meanwhile" in refused
    assert state_of(host) == HostState.LOCKED
    now = HostTest.objects.get(host=host).tested_at
    assert now is not None
    operator.post(url, {"seen": now.isoformat()})
    assert state_of(host) == HostState.AVAILABLE
    with scopes_disabled():
        row = Operation.objects.filter(verb="platform.accept_host", succeeded=True).get()
    assert row.after is not None
    assert row.after["accepted"] == ["acceleration"]
    with pytest.raises(Conflict):
        actions.accept_host(actor=SYSTEM, host=host, seen=now.isoformat())


@pytest.mark.parametrize("what", ["silent", "changed"])
def test_errors_and_what_was_not_tested_are_not_accepted(
    box: Box,
    fabric: fake_fabric.World,
    operator: Client,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
) -> None:
    fabric.chassis["h9"] = 0
    host = added(box, operator, monkeypatch)
    if what == "silent":
        fake_host("fake:h9").faults.unreachable = True
    else:
        real = host_tests.look

        def look(row: Host, *rest: Any, **options: Any) -> Seen:
            Host.objects.filter(pk=row.pk).update(uri="qemu+tls://192.0.2.99/system")
            return real(row, *rest, **options)

        monkeypatch.setattr(host_tests, "look", look)
    box.run()
    test = HostTest.objects.get(host=host)
    assert test.tested_at is not None
    assert state_of(host) == HostState.LOCKED
    assert test.admitted_at is None
    with pytest.raises(Conflict) as refused:
        actions.accept_host(actor=SYSTEM, host=host, seen=test.tested_at.isoformat())
    assert refused.value.code == "host_not_acceptable"
    page = operator.get(reverse("admin:compute_host_change", args=[host.pk])).content.decode()
    assert ("test it again" in page) == (what == "changed")
    # It never took a VM: it is forgotten without having been in maintenance.
    remove_host(actor=SYSTEM, host=host, typed="h9")
    assert not HostTest.objects.exists()


def test_a_host_in_service_is_not_forgotten_like_one_that_never_was(box: Box) -> None:
    host = box.platform.hosts[0]
    actions.test_host(actor=SYSTEM, host=host)
    box.run()
    with pytest.raises(Conflict):
        remove_host(actor=SYSTEM, host=host, typed=host.name)


def test_a_host_that_was_there_before_is_tested_and_unlocked_as_ever(box: Box) -> None:
    host = box.platform.hosts[0]
    actions.lock_host(actor=SYSTEM, host=host)
    actions.test_host(actor=SYSTEM, host=host)
    with pytest.raises(Conflict) as refused:
        actions.test_host(actor=SYSTEM, host=host)
    assert refused.value.code == "target_busy"
    box.run()
    test = HostTest.objects.get(host=host)
    assert not test.required
    assert state_of(host) == HostState.LOCKED
    actions.unlock_host(actor=SYSTEM, host=host)
    assert state_of(host) == HostState.AVAILABLE


@pytest.mark.parametrize("point", points_of("host.test"))
def test_a_test_survives_its_worker(
    box: Box,
    fabric: fake_fabric.World,
    operator: Client,
    monkeypatch: pytest.MonkeyPatch,
    point: str,
) -> None:
    fabric.chassis["h9"] = 0
    host = added(box, operator, monkeypatch)
    box.run_dying(point)
    assert state_of(host) == HostState.AVAILABLE
    assert host.transitions.count() == 1


def test_a_test_that_is_given_up_says_so_and_lets_nothing_into_service(
    box: Box,
    fabric: fake_fabric.World,
    operator: Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host = added(box, operator, monkeypatch)
    box.give_up_at(points_of("host.test")[0])
    test = HostTest.objects.get(host=host)
    assert "The test did not finish" in test.findings[0]["words"]
    assert test.worst is FindingLevel.ERROR
    assert state_of(host) == HostState.LOCKED
    with scopes_disabled():
        assert not Job.objects.filter(status__in=ACTIVE).exists()


def test_a_network_and_a_storage_that_are_away_are_findings(
    box: Box,
    fabric: fake_fabric.World,
    operator: Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host = added(box, operator, monkeypatch)
    fabric.failure = FabricUnreachable("no answer from 192.0.2.1")
    box.storage.faults.fail_next["capacity"] = StorageUnavailable("not mounted")
    box.run()
    found = {
        one["code"]: (one["level"], one["words"])
        for one in HostTest.objects.get(host=host).findings
    }
    assert found["chassis"] == ("warning", "OVN does not answer: no answer from 192.0.2.1")
    assert found["pools"][0] == "warning"
    assert "not mounted" in found["pools"][1]
    assert found["heartbeat"][0] == "warning"


def test_a_deaf_chassis_and_a_clock_that_is_behind_are_found(
    box: Box,
    fabric: fake_fabric.World,
    operator: Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host = added(box, operator, monkeypatch)
    fabric.chassis["h9"] = 0
    fabric.deaf.add("h9")
    beats = itertools.count()

    def wait(_seconds: float) -> None:
        box.storage.beats["h9"] = f"{int(time.time()) - 3600} {next(beats)}"

    monkeypatch.setattr(host_tests, "wait", wait)
    box.run()
    found = {
        one["code"]: one["words"]
        for one in HostTest.objects.get(host=host).findings
        if one["level"] != "ok"
    }
    assert found["chassis"] == "The chassis of h9 does not answer."
    assert "by -360" in found["clock"]
    assert found.keys() == {"chassis", "clock"}


def test_another_cpu_and_another_host_of_that_name_are_found(
    box: Box,
    fabric: fake_fabric.World,
    operator: Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host = added(box, operator, monkeypatch)
    fabric.chassis["h9"] = 0
    fake_host("fake:h9").cpu = HostCpu("Skylake-Server")
    first = box.platform.hosts[0]
    Host.objects.filter(pk=first.pk).update(hostname="h9")
    box.run()
    found = {
        one["code"]: one["words"]
        for one in HostTest.objects.get(host=host).findings
        if one["level"] != "ok"
    }
    assert found.keys() == {"cpu", "hostname"}
    assert first.name in found["hostname"]
    assert f"{first.name} (qemu64)" in found["cpu"]


def test_a_host_that_was_never_in_service_counts_for_no_decision_about_others(
    box: Box, operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = box.platform.hosts[0]
    before = situation_of(host, others_alive=True)
    assert before.hosts == 2
    row = added(box, operator, monkeypatch)
    Host.objects.filter(pk=row.pk).update(unreachable_since=NOW)
    assert situation_of(host, others_alive=True) == before
    HostTest.objects.filter(host=row).update(admitted_at=NOW)
    after = situation_of(host, others_alive=True)
    assert (after.hosts, after.gone) == (3, before.gone + 1)


def test_what_ends_after_the_host_was_removed_is_written_nowhere(
    box: Box, operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = added(box, operator, monkeypatch)
    gone = Host.objects.get(pk=host.pk)
    remove_host(actor=SYSTEM, host=host, typed="h9")
    host_tests.record_host_test(
        actor=SYSTEM,
        host=gone,
        result={"uri": "", "address": "", "cluster": "", "findings": []},
    )
    assert not HostTest.objects.exists()
    with pytest.raises(Conflict) as refused:
        actions.accept_host(actor=SYSTEM, host=gone, seen="")
    assert refused.value.code == "host_state"
    (job,) = box.run()
    assert (job.status, job.error_code) == ("failed", "host_gone")


def test_a_form_with_a_bad_address_adds_nothing(box: Box, operator: Client) -> None:
    for uri in ("qemu+ssh://h9/system?command=sh", "fake:h9"):
        assert operator.post(reverse(ADD), entered(box, uri=uri)).status_code == 200
        row = Host(name="h9", cluster=box.platform.cluster, uri=uri, address="192.0.2.9")
        with pytest.raises(InvalidInput) as refused:
            actions.add_host(actor=SYSTEM, host=row)
        assert refused.value.field == "uri"
    assert not Host.objects.filter(name="h9").exists()


def test_a_change_writes_only_what_was_changed(
    box: Box, operator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = box.platform.hosts[0]
    Host.objects.filter(pk=host.pk).update(uri="qemu+tcp://192.0.2.9/system")
    url = reverse("admin:compute_host_change", args=[host.pk])
    real = Host.save

    def save(row: Host, *args: Any, **options: Any) -> None:
        # Meanwhile.
        Host.objects.filter(pk=row.pk).update(state=HostState.SUSPECT)
        real(row, *args, **options)

    monkeypatch.setattr(Host, "save", save)
    values = entered(box, name=host.name, uri="qemu+tcp://192.0.2.9/system", tags="nvme")
    answer = operator.post(url, values, follow=True)
    host.refresh_from_db()
    assert (host.tags, host.state) == ("nvme", HostState.SUSPECT)
    assert "test its connection" in answer.content.decode()  # its address is another one


@pytest.mark.parametrize(
    ("role", "allowed"), [(StaffRole.OPERATIONS, True), (StaffRole.SUPPORT, False)]
)
def test_operations_add_test_and_accept_hosts_and_support_does_not(
    box: Box, role: str, allowed: bool
) -> None:
    user = User.objects.create_user("staff@example.org", "a long secret 9", is_staff=True)
    User.objects.filter(pk=user.pk).update(staff_role=role, tenant=None)
    client = Client()
    client.force_login(User.objects.get(pk=user.pk))
    host = box.platform.hosts[0]
    assert (client.post(reverse(ADD), entered(box)).status_code == 302) is allowed
    assert Host.objects.filter(name="h9").exists() is allowed
    answer = client.post(reverse("admin:compute_host_do", args=[host.pk, "test"]))
    assert (answer.status_code == 302) is allowed
    answer = client.get(reverse("admin:compute_host_accept", args=[host.pk]))
    assert (answer.status_code == 200) is allowed


# -- certificates --------------------------------------------------------------------------------


def test_the_certificates_of_a_connection_are_read(tmp_path: Path) -> None:
    pki = Pki(tmp_path / "pki")
    client = pki.issue(Holder(Kind.WORKER, "worker"))
    server = pki.issue(
        Holder(Kind.HOST, "h9", addresses=("127.0.0.1",)), lifetime=timedelta(days=20)
    )
    listener = socket.create_server(("127.0.0.1", 0))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server / "libvirt/servercert.pem", server / "libvirt/serverkey.pem")
    context.load_verify_locations(server / "libvirt/cacert.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    came: list[object] = []

    def serve() -> None:
        link, _address = listener.accept()
        with context.wrap_socket(link, server_side=True) as inside:
            came.append(inside.getpeercert())
            inside.recv(1)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    uri = f"qemu+tls://127.0.0.1:{listener.getsockname()[1]}/system?pkipath={client}"
    found = {one.holder: one.ends_at for one in certificates.of(uri)}
    thread.join(5)
    listener.close()
    assert came
    assert found.keys() == {"authority", "client", "host"}
    assert abs(found["host"] - datetime.now(UTC) - timedelta(days=20)) < timedelta(minutes=5)
    assert found["client"] > found["host"]
    # A host that does not answer takes nothing from what is known of this end.
    assert {one.holder for one in certificates.of(uri)} == {"authority", "client"}
    assert certificates.of(uri.replace(str(client), str(tmp_path / "none"))) == ()
    assert certificates.of("qemu+ssh://h9/system") == ()

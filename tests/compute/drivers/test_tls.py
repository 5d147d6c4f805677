"""Libvirt and live migration by TLS on real hosts: whom they let in, and whom we believe."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import libvirt
import pytest

from compute.hypervisor.base import HostRef, HypervisorError, PowerState
from compute.hypervisor.opening import open_hypervisor
from compute.vnc import screens
from compute.vnc.screen import Endpoint, ScreenOpener
from scloud.lab import certificates, region
from scloud.lab.plan import HostPlan, Lab, LabError
from scloud.lib import libvirt_uris
from scloud.pki import HOST_DIRECTORY, Holder, Kind, Pki
from tests.compute.drivers.rig import Rig

pytestmark = pytest.mark.lab


@pytest.fixture(autouse=True)
def encrypted(lab: Lab) -> None:
    assert lab.tls, "started by an earlier release: take it down first"


def is_let_in(host: HostPlan, certificate: Path | None, key: Path | None = None) -> bool:
    """Whether a libvirt daemon takes a client's certificate: it says so in one byte within TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(certificates.of_worker(host.lab) / "cacert.pem")
    if certificate is not None:
        context.load_cert_chain(certificate, key)
    with socket.create_connection((host.address, host.libvirt_port), timeout=10) as link:
        try:
            with context.wrap_socket(link, server_hostname=host.address) as inside:
                return inside.recv(1) == b"\x01"
        except (ssl.SSLError, ConnectionError):
            return False


def test_workers_and_hosts_are_let_in_and_nobody_else(lab: Lab, tmp_path: Path) -> None:
    host, other = lab.hosts[:2]
    worker, theirs = certificates.of_worker(lab), certificates.of_host(other)
    assert is_let_in(host, worker / "clientcert.pem", worker / "clientkey.pem")
    # The source of a migration.
    assert is_let_in(host, theirs / "libvirt/clientcert.pem", theirs / "libvirt/clientkey.pem")
    assert not is_let_in(host, None)
    # Of the same authority, but for QEMU, which a guest that breaks out can read.
    assert not is_let_in(host, theirs / "qemu/client-cert.pem", theirs / "qemu/client-key.pem")
    gateway = certificates.of_gateway(lab)
    assert not is_let_in(host, gateway / "cert.pem", gateway / "key.pem")
    strange = Pki(tmp_path / "strange").issue(Holder(Kind.WORKER, "worker"))
    assert not is_let_in(host, strange / "clientcert.pem", strange / "clientkey.pem")


def test_nobody_comes_without_tls(lab: Lab) -> None:
    for host in lab.hosts[:2]:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((host.address, 16509), timeout=5)


def test_a_worker_that_was_revoked_is_let_in_no_more(lab: Lab, tmp_path: Path) -> None:
    host = lab.hosts[0]
    pki = Pki(lab.pki)
    kept = tmp_path / "kept"
    shutil.copytree(pki.issue(Holder(Kind.WORKER, "stray")), kept)
    assert is_let_in(host, kept / "clientcert.pem", kept / "clientkey.pem")
    before = open_hypervisor(HostRef(host.name, host.uri, host.address, offloads=False))
    before.observe_all()
    pid = region.in_host(host, "pidof", "libvirtd")
    pki.revoke(Kind.WORKER, "stray")
    assert is_let_in(host, kept / "clientcert.pem", kept / "clientkey.pem"), "not yet installed"
    region.in_host(host, certificates.INSTALL, certificates.of_host(host))
    assert not is_let_in(host, kept / "clientcert.pem", kept / "clientkey.pem")
    # Without a restart, and all others go on.
    assert region.in_host(host, "pidof", "libvirtd") == pid
    before.observe_all()


def test_a_host_is_renewed_while_it_runs(lab: Lab) -> None:
    host = lab.hosts[0]

    def shown() -> bytes:
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with (
            socket.create_connection((host.address, host.libvirt_port), timeout=10) as link,
            context.wrap_socket(link) as inside,
        ):
            found = inside.getpeercert(binary_form=True)
            assert found is not None
            return found

    before, pid = shown(), region.in_host(host, "pidof", "libvirtd")
    Pki(lab.pki).renew(Kind.HOST, host.name)
    assert shown() == before
    region.in_host(host, certificates.INSTALL, certificates.of_host(host))
    assert shown() != before
    assert region.in_host(host, "pidof", "libvirtd") == pid
    open_hypervisor(HostRef(host.name, host.uri, host.address, offloads=False)).observe_all()


def test_a_screen_that_is_open_for_long_gets_the_new_certificate_too(
    lab: Lab, lab_rig: Rig
) -> None:
    rig, host = lab_rig, lab.hosts[0]
    spec = rig.started()
    where = rig.hypervisor.vnc_endpoint(spec.uuid)
    soon = datetime.now(UTC) + timedelta(seconds=300)
    rig.hypervisor.set_vnc_password(spec.uuid, "abcdefgh", valid_until=soon)

    async def shown() -> bytes:
        end = await ScreenOpener.connect(
            Endpoint(
                address=where.address,
                port=where.port,
                password="abcdefgh",
                tls=screens.encryption(certificates.of_gateway(lab)),
                plain_allowed=False,
            )
        )
        found: bytes = end.transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        end.close()
        return found

    before = asyncio.run(shown())
    Pki(lab.pki).renew(Kind.HOST, host.name)
    region.in_host(host, certificates.INSTALL, certificates.of_host(host))
    assert asyncio.run(shown()) != before
    rig.hypervisor.undefine(spec.uuid)


def test_a_host_does_not_install_the_certificates_of_another(lab: Lab) -> None:
    host, other = lab.hosts[:2]
    installed = f"{HOST_DIRECTORY}/libvirt/servercert.pem"
    before = region.in_host(host, "cat", installed)
    with pytest.raises(LabError, match="for another host"):
        region.in_host(host, certificates.INSTALL, certificates.of_host(other))
    assert region.in_host(host, "cat", installed) == before


class Impostor(threading.Thread):
    """Listens at 127.0.0.1 with the certificate of a host."""

    def __init__(self, directory: Path) -> None:
        super().__init__(daemon=True)
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(directory / "servercert.pem", directory / "serverkey.pem")
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self.listening.getsockname()[1])

    def run(self) -> None:
        """Complete each handshake; what comes then is of no interest."""
        with contextlib.suppress(OSError):
            while True:
                link, _peer = self.listening.accept()
                with contextlib.suppress(OSError), self._tls.wrap_socket(link, server_side=True):
                    pass


def test_a_server_with_the_certificate_of_another_host_is_not_believed(lab: Lab) -> None:
    impostor = Impostor(certificates.of_host(lab.hosts[0]) / "libvirt")
    impostor.start()
    query = lab.hosts[0].uri.partition("?")[2]
    try:
        with pytest.raises(libvirt.libvirtError, match=r"(?i)certificate"):
            libvirt.open(f"qemu+tls://127.0.0.1:{impostor.port}/system?{query}")
    finally:
        impostor.listening.close()


# -- migration -------------------------------------------------------------------------------------


def directly(rig: Rig, uuid: str, flags: int) -> None:
    """Migrate by libvirt itself, from daemon to daemon."""
    conn = libvirt.open(rig.here.uri)
    try:
        domain = conn.lookupByUUIDString(uuid)
        uri = libvirt_uris.for_other_hosts(rig.there.uri)
        given = {libvirt.VIR_MIGRATE_PARAM_URI: f"tcp://{rig.there.address}"}
        domain.migrateToURI3(
            uri,
            given,
            libvirt.VIR_MIGRATE_LIVE
            | libvirt.VIR_MIGRATE_PEER2PEER
            | libvirt.VIR_MIGRATE_UNSAFE
            | flags,
        )
    finally:
        conn.close()


@contextlib.contextmanager
def other_files(host: HostPlan, change: Callable[[Path], None]) -> Iterator[None]:
    """Let QEMU on a host have other certificates for a while, past the checks."""
    etc = host.run / "etc/pki/scloud"
    place = etc / (etc / "current").readlink() / "qemu"
    kept = place.with_name("qemu-kept")
    shutil.copytree(place, kept)
    try:
        change(place)
        yield
    finally:
        shutil.rmtree(place)
        kept.rename(place)


def test_a_guest_moves_by_tls_only(lab: Lab, lab_rig: Rig, tmp_path: Path) -> None:
    rig = lab_rig
    spec = rig.started()
    # The hosts do not do it without, whoever asks.
    with pytest.raises(libvirt.libvirtError, match=r"(?i)tls"):
        directly(rig, spec.uuid, 0)
    assert rig.hypervisor.observe(spec.uuid).power_state is PowerState.RUNNING

    strange = Pki(tmp_path / "strange")
    target = lab.hosts[1]
    strange.issue(Holder(Kind.HOST, target.name, (target.address,)))
    foreign = strange.directory(Kind.HOST, target.name) / "qemu"
    another = certificates.of_host(lab.hosts[0]) / "qemu"

    def posing(place: Path) -> None:
        for name in ("server-cert.pem", "server-key.pem"):
            shutil.copy(another / name, place / name)

    def of_strangers(place: Path) -> None:
        shutil.copytree(foreign, place, dirs_exist_ok=True)

    # The target shows the certificate of another host, or one of another authority.
    for change in (posing, of_strangers):
        with other_files(target, change), pytest.raises(HypervisorError):
            rig.hypervisor.migrate(spec.uuid, rig.there)
        assert rig.hypervisor.observe(spec.uuid).power_state is PowerState.RUNNING
        assert rig.other.observe(spec.uuid).power_state is not PowerState.RUNNING
    # The source shows one of another authority.
    source = lab.hosts[0]
    strange.issue(Holder(Kind.HOST, source.name, (source.address,)))
    foreign = strange.directory(Kind.HOST, source.name) / "qemu"
    with other_files(source, of_strangers), pytest.raises(HypervisorError):
        rig.hypervisor.migrate(spec.uuid, rig.there)
    assert rig.hypervisor.observe(spec.uuid).power_state is PowerState.RUNNING

    rig.hypervisor.migrate(spec.uuid, rig.there)
    assert rig.other.observe(spec.uuid).power_state is PowerState.RUNNING
    assert rig.hypervisor.observe(spec.uuid).power_state is PowerState.ABSENT
    rig.other.undefine(spec.uuid)

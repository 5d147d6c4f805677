"""Live migration between two hosts that share the storage."""

import contextlib
import threading
import time
from collections.abc import Callable
from xml.etree import ElementTree

import libvirt

from compute.hypervisor.base import (
    DomainNotFound,
    DomainNotRunning,
    HostRef,
    HypervisorError,
    MigrationProgress,
    OperationTimeout,
    PowerState,
    Refused,
)
from compute.hypervisor.libvirt.build import VNC_LOCKED_UNTIL, random_vnc_password, vnc_time
from compute.hypervisor.libvirt.host import Host, xml_of
from compute.hypervisor.libvirt.overlays import stop_merges
from compute.hypervisor.libvirt.parse import DomainXml
from scloud.lib import libvirt_uris as uris

_POLL_S = 0.25
# Not a limit of the migration: the thread that waits for libvirt's call is not kept for ever.
MAX_MIGRATION_S = 7 * 86_400.0
_REPORT_S = 1.0
_ABORT_TIMEOUT_S = 30.0
_ABORT_AGAIN_S = 0.5

# The daemons talk to each other (peer to peer), so that a client that dies does not take the
# migration along. UNSAFE: libvirt only knows network file systems as shared; whether the pool is
# shared is known here by definition, and disks run without host cache.
_FLAGS = (
    libvirt.VIR_MIGRATE_LIVE
    | libvirt.VIR_MIGRATE_PEER2PEER
    | libvirt.VIR_MIGRATE_PERSIST_DEST
    | libvirt.VIR_MIGRATE_UNDEFINE_SOURCE
    | libvirt.VIR_MIGRATE_ABORT_ON_ERROR
    | libvirt.VIR_MIGRATE_AUTO_CONVERGE
    | libvirt.VIR_MIGRATE_UNSAFE
)


def migrate(
    host: Host,
    uuid: str,
    destination: HostRef,
    *,
    timeout_s: float,
    on_progress: Callable[[MigrationProgress], None] | None,
) -> None:
    """Move the running domain and wait for the end."""
    if destination.uri == host.ref.uri:
        raise Refused("The domain is on that host already.")
    target = Host(destination)
    if _arrived(host, target, uuid):
        return
    state = _state(host, uuid)
    if state is PowerState.ABSENT:
        raise DomainNotFound("The host does not know this domain.")
    if state is not PowerState.RUNNING:
        raise DomainNotRunning("The domain is not running.")
    _wait(host, uuid, destination, timeout_s=timeout_s, on_progress=on_progress)


def _state(host: Host, uuid: str) -> PowerState:
    def work(conn: libvirt.virConnect) -> PowerState:
        domain = host.find(conn, uuid)
        if domain is None:
            return PowerState.ABSENT
        return PowerState.RUNNING if domain.isActive() else PowerState.STOPPED

    return host.call(work)


def _arrived(source: Host, target: Host, uuid: str) -> bool:
    """Whether it runs there and not here; tidies what an earlier attempt left here."""
    if _state(source, uuid) is PowerState.RUNNING:
        return False
    if _state(target, uuid) is not PowerState.RUNNING:
        return False

    def forget(conn: libvirt.virConnect) -> None:
        domain = source.find(conn, uuid)
        if domain is not None and not domain.isActive():
            domain.undefine()

    source.call(forget)
    return True


def _wait(
    host: Host,
    uuid: str,
    destination: HostRef,
    *,
    timeout_s: float,
    on_progress: Callable[[MigrationProgress], None] | None,
) -> None:
    errors: list[Exception] = []
    done = threading.Event()
    # Hosts that the platform gave certificates to have some for QEMU too.
    encrypted = uris.names_certificates(host.ref.uri) and uris.names_certificates(destination.uri)

    def move() -> None:
        try:
            host.with_domain(
                uuid,
                lambda domain: _move(domain, destination, encrypted),
                # Ended from here, when it makes no progress any more.
                timeout_s=MAX_MIGRATION_S,
                giving_up_breaks=False,
            )
        except Exception as error:  # handed to the caller's thread
            errors.append(error)
        finally:
            done.set()

    threading.Thread(target=move, name="libvirt-migrate", daemon=True).start()
    deadline = time.monotonic() + timeout_s
    report_at = 0.0
    least_mib: int | None = None
    while not done.wait(_POLL_S):
        now = time.monotonic()
        if now >= report_at:
            report_at = now + _REPORT_S
            with contextlib.suppress(HypervisorError):
                if (state := progress(host, uuid)) is not None:
                    if least_mib is None or state.remaining_mib < least_mib:
                        # Large memory takes long; what counts is that it becomes less.
                        least_mib, deadline = state.remaining_mib, now + timeout_s
                    if on_progress is not None:
                        on_progress(state)
        if now > deadline:
            _end(host, uuid, done)
            if errors or not done.is_set():
                raise OperationTimeout(f"The migration made no progress for {timeout_s:g} seconds.")
            return
    if errors:
        raise errors[0]


def _end(host: Host, uuid: str, done: threading.Event) -> None:
    """Abort the migration until its call returns.

    Again and again: the call may not have reached libvirt yet, and then an abort ends nothing.
    """
    until = time.monotonic() + _ABORT_TIMEOUT_S
    while not done.is_set() and time.monotonic() < until:
        with contextlib.suppress(HypervisorError):
            abort(host, uuid)
        done.wait(_ABORT_AGAIN_S)


def _move(domain: libvirt.virDomain, destination: HostRef, encrypted: bool) -> None:
    stop_merges(domain, xml_of(domain).targets())
    live = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_MIGRATABLE | libvirt.VIR_DOMAIN_XML_SECURE)
    stored = domain.XMLDesc(
        libvirt.VIR_DOMAIN_XML_MIGRATABLE
        | libvirt.VIR_DOMAIN_XML_SECURE
        | libvirt.VIR_DOMAIN_XML_INACTIVE
    )
    domain.migrateToURI3(
        # It is the source's daemon that connects there.
        uris.for_other_hosts(destination.uri),
        {
            libvirt.VIR_MIGRATE_PARAM_URI: f"tcp://{destination.address}",
            libvirt.VIR_MIGRATE_PARAM_DEST_XML: for_destination(live, destination),
            libvirt.VIR_MIGRATE_PARAM_PERSIST_XML: for_destination(stored, destination),
        },
        _FLAGS | (libvirt.VIR_MIGRATE_TLS if encrypted else 0),
    )


def for_destination(text: str, destination: HostRef) -> str:
    """The domain's XML with its screen on the destination's address, locked anew."""
    xml = DomainXml.parse(text)
    graphics = xml.graphics()
    if graphics is not None:
        graphics.set("listen", destination.address)
        graphics.set("passwd", random_vnc_password())
        graphics.set("passwdValidTo", vnc_time(VNC_LOCKED_UNTIL))
        for listen in graphics.findall("listen"):
            listen.set("address", destination.address)
    return ElementTree.tostring(xml.root, encoding="unicode")


def progress(host: Host, uuid: str) -> MigrationProgress | None:
    def work(conn: libvirt.virConnect) -> MigrationProgress | None:
        domain = host.find(conn, uuid)
        if domain is None or not domain.isActive():
            return None
        stats = domain.jobStats(0)
        if stats.get("operation") != libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT:
            return None
        total = stats.get("memory_total", 0)
        remaining = stats.get("memory_remaining", 0)
        return MigrationProgress(
            percent=0 if not total else min(100, 100 * (total - remaining) // total),
            remaining_mib=remaining // 1024**2,
            elapsed_s=stats.get("time_elapsed", 0) / 1000,
        )

    return host.call(work)


def abort(host: Host, uuid: str) -> None:
    """End the migration in flight, if there is one."""

    def work(conn: libvirt.virConnect) -> None:
        domain = host.find(conn, uuid)
        if domain is None or not domain.isActive():
            return
        stats = domain.jobStats(0)
        if stats.get("operation") == libvirt.VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT:
            domain.abortJob()

    host.call(work)

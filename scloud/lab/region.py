"""Bringing a lab up, taking it down, and telling what is there."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from scloud.lab import ceph, certificates, controllers, images, kvm, links
from scloud.lab.plan import (
    PHYSICAL_NETWORK,
    HostPlan,
    Lab,
    LabError,
    project_root,
    state_root,
)
from scloud.lab.shell import alive, daemon, kill_all, marked_processes, run, say, succeeds, wait_for
from scloud.pki import HOST_DIRECTORY

FILES = Path(__file__).parent / "files"
# What belongs on every host, in a lab or elsewhere.
FORGET_UNSTARTED = project_root() / "compute/hypervisor/libvirt/forget-unstarted.sh"
HEARTBEAT = project_root() / "compute/storage/heartbeat.sh"
# In the environment, as 0: a region that starts from nothing has no TLS.
WITHOUT_TLS = "SCLOUD_LAB_TLS"
# Where cgroups are: one directory per controller, or (version 2) one for all.
CGROUP_DIRECTORIES = (
    ".",
    "cpu",
    "cpuacct",
    "cpuset",
    "memory",
    "devices",
    "freezer",
    "blkio",
    "pids",
)

LIBVIRTD_CONF = """\
listen_addr = "{address}"
auth_unix_ro = "none"
auth_unix_rw = "none"
host_uuid = "{uuid}"
log_outputs = "3:stderr"
max_clients = 200
max_workers = 40
keepalive_interval = 5
keepalive_count = 3
"""

# Only workers and other hosts reach the daemons: not QEMU's certificates, nor any other.
LISTEN_TLS = """\
listen_tls = 1
listen_tcp = 0
auth_tls = "none"
tls_allowed_dn_list = ["O=SCloud,OU=worker,CN=*", "O=SCloud,OU=host,CN=*"]
"""

LISTEN_TCP = """\
listen_tls = 0
listen_tcp = 1
auth_tcp = "none"
"""

QEMU_TLS = f"""\
default_tls_x509_cert_dir = "{HOST_DIRECTORY}/qemu"
default_tls_x509_verify = 1
migrate_tls_force = 1
vnc_tls = 1
vnc_tls_x509_cert_dir = "{HOST_DIRECTORY}/vnc"
vnc_tls_x509_verify = 1
"""

QEMU_CONF = """\
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
namespaces = []
stdio_handler = "file"
vnc_listen = "{address}"
migration_address = "{address}"
"""


@contextmanager
def locked(lab: Lab) -> Iterator[None]:
    """One ``up`` or ``down`` of a lab at a time; the next one waits."""
    lab.state.mkdir(parents=True, exist_ok=True)
    with (state_root() / "labs" / f".{lab.name}.lock").open("w") as handle:
        os.set_inheritable(handle.fileno(), False)
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def require_root() -> None:
    """LabError unless this process may make namespaces."""
    if os.geteuid() != 0:
        raise LabError("the lab needs root: it makes network namespaces and bridges")


# ---------------------------------------------------------------- what is there


def _read_pid(file: Path) -> int | None:
    try:
        pid = int(file.read_text())
    except (OSError, ValueError):
        return None
    return pid if alive(pid) else None


def _box_pid(run_directory: Path) -> int | None:
    """Pid of the ``unshare`` that holds a host or the centre; None when it is gone."""
    pid = _read_pid(run_directory / "box.pid")
    if pid is None:
        return None
    with suppress(OSError):
        if f"SCLOUD_BOX={run_directory}".encode() in Path(f"/proc/{pid}/environ").read_bytes():
            return pid
    return None


def inner_pid(host: HostPlan) -> int:
    """Pid, on the outer machine, of a host's PID 1; LabError when the host is down."""
    box = _box_pid(host.run)
    if box is not None:
        with suppress(OSError, ValueError, IndexError):
            return int(Path(f"/proc/{box}/task/{box}/children").read_text().split()[0])
    raise LabError(f"host {host.name} of lab {host.lab.name} is down")


def answers(address: str, port: int) -> bool:
    """Whether something accepts TCP connections there."""
    try:
        with socket.create_connection((address, port), timeout=1):
            return True
    except OSError:
        return False


def host_is_up(host: HostPlan) -> bool:
    """Whether a host's libvirt and switch are there."""
    return (
        _box_pid(host.run) is not None
        and (host.run / "ready").exists()
        and answers(host.address, host.libvirt_port)
    )


def central_is_up(lab: Lab) -> bool:
    """Whether both OVN databases accept connections."""
    return (
        _box_pid(lab.run / "central") is not None
        and (lab.run / "central" / "ready").exists()
        and answers(lab.management_address, 6641)
        and answers(lab.management_address, 6642)
    )


def is_up(lab: Lab) -> bool:
    """Whether everything is there that is switched on."""
    return (
        links.exists(lab.external_bridge)
        and central_is_up(lab)
        and all(host.switched_off.exists() or host_is_up(host) for host in lab.hosts)
        and (not lab.ceph or ceph.of_lab(lab).is_up())
    )


def status(lab: Lab) -> dict[str, Any]:
    """What is there, in the shape that ``status --json`` prints."""
    hosts = [
        {
            "name": host.name,
            "hostname": host.hostname,
            "uri": host.uri,
            # By which an installation may know it still.
            "plain_uri": host.plain_uri,
            "address": host.address,
            "netns": host.netns,
            "up": host_is_up(host),
            "controller": controllers.facts(host),
        }
        for host in lab.hosts
    ]
    return {
        "name": lab.name,
        "index": lab.index,
        "up": central_is_up(lab) and all(bool(host["up"]) for host in hosts),
        "hosts": hosts,
        "ovn": {
            "nb": lab.nb,
            "sb": lab.sb,
            "nb_socket": f"unix:{lab.run}/central/nb.sock",
            "sb_socket": f"unix:{lab.run}/central/sb.sock",
        },
        "tls": lab.tls,
        "storage": {
            "path": str(lab.storage),
            "ceph": ceph.of_lab(lab).facts() if lab.ceph else None,
        },
        "external": {
            "physical_network": PHYSICAL_NETWORK,
            "bridge": lab.external_bridge,
            "segments": [
                {
                    "name": one.name,
                    "cidr": one.cidr,
                    "gateway": one.gateway,
                    "destinations": list(one.destinations),
                    "vnc_address": one.vnc_address,
                }
                for one in lab.segments
            ],
        },
        "images": images.built(),
    }


# ---------------------------------------------------------------- up


def _start_box(run_directory: Path, script: str, log: Path, env: dict[str, str]) -> int:
    """Start ``script`` under PID 1 of fresh namespaces; returns the pid to kill them by."""
    netns = env.get("HOST_NETNS")
    enter = ["nsenter", f"--net=/run/netns/{netns}"] if netns else []
    flags = ["-m", "-p", "-f", "--kill-child", "--mount-proc"] + (["-u"] if netns else [])
    pid = daemon(
        [*enter, "unshare", *flags, "tini", "-s", "--", "sh", FILES / script],
        log=log,
        env={**env, "SCLOUD_BOX": str(run_directory)},
    )
    (run_directory / "box.pid").write_text(str(pid))
    return pid


def _await_box(what: str, run_directory: Path, pid: int, log: Path) -> None:
    def ready() -> bool:
        if not alive(pid):
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
            raise LabError(f"{what} ended while it started:\n{tail}")
        return (run_directory / "ready").exists()

    wait_for(f"{what} to be ready (see {log})", ready, timeout_s=30)


def _stop_box(run_directory: Path) -> None:
    pid = _box_pid(run_directory)
    if pid is not None:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        kill_all([int(child) for child in children] + [pid])
    shutil.rmtree(run_directory, ignore_errors=True)


def _up_central(lab: Lab) -> None:
    if central_is_up(lab):
        return
    run_directory = lab.run / "central"
    _stop_box(run_directory)
    state = lab.state / "central"
    state.mkdir(parents=True, exist_ok=True)
    run_directory.mkdir(parents=True)
    pid = _start_box(
        run_directory,
        "central-init.sh",
        state / "init.log",
        {
            "CENTRAL_STATE": str(state),
            "CENTRAL_RUN": str(run_directory),
            "MANAGEMENT_ADDRESS": lab.management_address,
            "CERTIFICATES": str(certificates.of_centre(lab)) if lab.tls else "",
            "SCLOUD_LAB": lab.name,
        },
    )
    _await_box("OVN central", run_directory, pid, state / "init.log")


def _write_configuration(host: HostPlan) -> None:
    etc = host.state / "etc-libvirt"
    etc.mkdir(parents=True, exist_ok=True)
    tls = host.lab.tls
    daemon_conf = LIBVIRTD_CONF.format(address=host.address, uuid=host.uuid)
    (etc / "libvirtd.conf").write_text(daemon_conf + (LISTEN_TLS if tls else LISTEN_TCP))
    qemu_conf = QEMU_CONF.format(address=host.address)
    (etc / "qemu.conf").write_text(qemu_conf + (QEMU_TLS if tls else ""))
    names = ["127.0.0.1 localhost", f"{host.lab.management_address} central"]
    names += [f"{other.address} {other.hostname} {other.name}" for other in host.lab.hosts]
    text = "\n".join(names) + "\n"
    (host.state / "hosts").write_text(text)
    # A host that runs has its own /etc, made from what was there when it started.
    if (host.run / "etc" / "hosts").exists():
        (host.run / "etc" / "hosts").write_text(text)


def _up_host(host: HostPlan, with_kvm: bool) -> None:
    _write_configuration(host)
    if host_is_up(host):
        return
    _stop_host(host)
    lab = host.lab
    host.run.mkdir(parents=True)
    links.ensure_netns(host.netns)
    links.plug(host.link("m"), lab.management_bridge, host.netns, "mgmt0")
    wide = links.WIDE_MTU_BYTES
    links.plug(host.link("t"), lab.tunnel_bridge, host.netns, "phy0", mtu_bytes=wide)
    links.plug(host.link("x"), lab.external_bridge, host.netns, "ext0", mtu_bytes=wide)
    run("ip", "-n", host.netns, "address", "replace", f"{host.address}/24", "dev", "mgmt0")
    for outer, inner in ((host.link("x"), "ext0"), (host.link("t"), "phy0")):
        links.offload_off(outer)
        links.offload_off_in(host.netns, inner)
    log = host.state / "init.log"
    pid = _start_box(
        host.run,
        "host-init.sh",
        log,
        {
            "HOST_NETNS": host.netns,
            "HOST_STATE": str(host.state),
            "HOST_RUN": str(host.run),
            "HOST_NAME": host.hostname,
            "HOST_ADDRESS": host.address,
            "TUNNEL_ADDRESS": host.tunnel_address,
            "OVN_SB": lab.sb,
            "PHYSICAL_NETWORK": PHYSICAL_NETWORK,
            "WITH_KVM": "1" if with_kvm else "0",
            "LAB_GROUP": host.netns,
            "FORGET_UNSTARTED": str(FORGET_UNSTARTED),
            "HEARTBEAT": str(HEARTBEAT),
            "SHARED_STORAGE": str(lab.storage),
            "CERTIFICATES": str(certificates.of_host(host)) if lab.tls else "",
            "INSTALL_CERTIFICATES": str(certificates.INSTALL),
            "SCLOUD_LAB": lab.name,
        },
    )
    _await_box(f"host {host.name}", host.run, pid, log)
    wait_for(
        f"libvirt of host {host.name} (see {host.state}/libvirtd.log)",
        lambda: succeeds("virsh", "-c", host.uri, "list"),
        timeout_s=30,
        every_s=0.2,
    )


def _remove_leftovers(lab: Lab) -> None:
    """End processes of this lab that belong to no box that we know of."""
    known: set[int] = set()
    for directory in [lab.run / "central", *(host.run for host in lab.hosts)]:
        pid = _box_pid(directory)
        if pid is not None:
            known.add(pid)
    strays = [
        pid
        for pid in marked_processes(lab.marker)
        if not _descends_from(pid, known) and _is_init_of_box(pid)
    ]
    if strays:
        say(f"  removing {len(strays)} processes left over from an earlier run")
        kill_all(strays)


def _is_init_of_box(pid: int) -> bool:
    """Whether a process is one of those whose end ends a whole box."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    # nsenter becomes unshare: of a run that was killed it may not have come so far.
    return words[0] in (b"nsenter", b"unshare", b"tini")


def _descends_from(pid: int, ancestors: set[int]) -> bool:
    while pid > 1:
        if pid in ancestors:
            return True
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            return False
    return False


def up(lab: Lab, *, fresh: bool = False) -> None:
    """Bring the lab up; whatever is up already stays untouched.

    ``fresh`` takes it down first and forgets its state. LabError when something does not start.
    """
    require_root()
    if fresh:
        down(lab, wipe=True)
    started = time.monotonic()
    with locked(lab):
        if is_up(lab) and _saved_host_count(lab) == lab.host_count:
            _end_unwanted_storage(lab)
            _save(lab)
            # One that an earlier release brought up may lack a range, and the controllers.
            _ensure_external(lab)
            _ensure_controllers(lab)
            _ensure_certificates(lab)
            say(f"lab {lab.name} is up")
            return
        say(f"lab {lab.name}: {lab.host_count} hosts, state in {lab.state}")
        with_kvm = kvm.works()
        say(f"  guests run under {'KVM' if with_kvm else 'TCG (no usable KVM here)'}")
        _remove_leftovers(lab)
        _choose_tls(lab)
        lab.storage.mkdir(parents=True, exist_ok=True)
        lab.run.mkdir(parents=True, exist_ok=True)
        for host in _surplus_hosts(lab):
            say(f"  host {host.name} is no longer wanted")
            _stop_host(host)
            run("ovn-sbctl", f"--db=unix:{lab.run}/central/sb.sock", "--if-exists", "chassis-del",
                host.hostname, check=False)  # fmt: skip
        _end_unwanted_storage(lab)
        _save(lab)
        _ensure_certificates(lab)
        links.ensure_bridge(lab.management_bridge, [f"{lab.management_address}/24"])
        _ensure_controllers(lab)
        links.ensure_bridge(lab.tunnel_bridge, [], mtu_bytes=links.WIDE_MTU_BYTES)
        _ensure_external(lab)
        links.offload_off(lab.tunnel_bridge)
        with ThreadPoolExecutor(max_workers=lab.host_count + 2) as pool:
            central = pool.submit(_up_central, lab)
            storage = pool.submit(ceph.of_lab(lab).up) if lab.ceph else None
            hosts = {
                host: pool.submit(_up_host, host, with_kvm)
                for host in lab.hosts
                if not host.switched_off.exists()
            }
            if storage is not None:
                storage.result()
            central.result()
            say(f"  OVN central {lab.nb}")
            for host, started_host in hosts.items():
                started_host.result()
                say(f"  host {host.name} {host.uri}")
        for host in lab.hosts:
            if host.switched_off.exists():
                say(f"  host {host.name} is switched off")
        _await_chassis(lab)
    say(f"lab {lab.name} is up after {time.monotonic() - started:.1f} s")


def _choose_tls(lab: Lab) -> None:
    """Encrypt unless somebody said otherwise; what runs without, goes on without until ``down``.

    Hosts with certificates and hosts without do not understand each other, so all change at once.
    """
    boxes = [lab.run / "central", *(host.run for host in lab.hosts)]
    if any(_box_pid(directory) is not None for directory in boxes):
        return
    lab.state.mkdir(parents=True, exist_ok=True)
    if os.environ.get(WITHOUT_TLS) == "0":
        lab.encrypted.unlink(missing_ok=True)
        # What says that there was a decision.
        lab.saved.touch()
        say("  without TLS")
    else:
        lab.encrypted.touch()


def _ensure_certificates(lab: Lab) -> None:
    """Issue what is missing or ends soon, and bring it to the hosts that run."""
    if not lab.tls:
        return
    for host in certificates.ensure(lab):
        if host_is_up(host):
            in_host(host, certificates.INSTALL, certificates.of_host(host))
        # One that is down installs them when it starts.
        certificates.installed(host)


def _ensure_external(lab: Lab) -> None:
    """The bridge that stands for the world outside, with the outer machine as every gateway."""
    addresses = [address for one in lab.segments for address in one.interfaces]
    links.ensure_bridge(lab.external_bridge, addresses, mtu_bytes=links.WIDE_MTU_BYTES)
    links.offload_off(lab.external_bridge)


def _ensure_controllers(lab: Lab) -> None:
    """The hosts' Redfish services, on addresses of the management network."""
    # Without the network's prefix length: nothing else shall leave by these addresses.
    addresses = [f"{host.controller_address}/32" for host in lab.hosts]
    links.ensure_bridge(lab.management_bridge, [f"{lab.management_address}/24", *addresses])
    controllers.ensure(lab)


def _await_chassis(lab: Lab) -> None:
    def all_there() -> bool:
        there = run(
            "ovn-sbctl", f"--db=unix:{lab.run}/central/sb.sock", "--bare", "--columns=name",
            "list", "chassis",
        ).split()  # fmt: skip
        return all(host.hostname in there for host in lab.hosts if not host.switched_off.exists())

    wait_for("every host to register with OVN", all_there, timeout_s=20, every_s=0.2)


def _end_unwanted_storage(lab: Lab) -> None:
    """Stop the Ceph of an earlier run that had one; what it holds stays until the lab is wiped."""
    if not lab.ceph:
        ceph.of_lab(lab).down()


def _save(lab: Lab) -> None:
    """Keep what the next ``up`` takes for what it is not told."""
    text = f"index={lab.index}\nceph={int(lab.ceph)}\nhosts={lab.host_count}\n"
    lab.saved.write_text(text)


def _saved_host_count(lab: Lab) -> int:
    with suppress(OSError, ValueError):
        return int(lab.saved.read_text().rpartition("hosts=")[2])
    return 0


def _surplus_hosts(lab: Lab) -> list[HostPlan]:
    """Hosts of an earlier, larger run."""
    wanted = {host.name for host in lab.hosts}
    numbers = {
        int(path.name[1:])
        for directory in (lab.state / "hosts", lab.run)
        if directory.exists()
        for path in directory.iterdir()
        if path.name[:1] == "h" and path.name[1:].isdigit() and path.name not in wanted
    }
    return [HostPlan(lab, number) for number in sorted(numbers)]


# ---------------------------------------------------------------- down


def _remove_cgroups(group: str) -> None:
    for directory in CGROUP_DIRECTORIES:
        top = Path("/sys/fs/cgroup") / directory / group
        if not top.is_dir():
            continue
        for path in sorted((p for p in top.rglob("*") if p.is_dir()), reverse=True):
            with suppress(OSError):
                path.rmdir()
        with suppress(OSError):
            top.rmdir()


def _stop_host(host: HostPlan) -> None:
    _stop_box(host.run)
    for role in ("m", "t", "x"):
        links.delete_link(host.link(role))
    links.delete_netns(host.netns)
    _remove_cgroups(host.netns)


def down(lab: Lab, *, wipe: bool = False) -> None:
    """Take the lab down with all guests in it; what is down already is fine.

    The state (defined guests, OVN's northbound database, storage) stays for the next ``up``
    unless ``wipe``.
    """
    require_root()
    with locked(lab):
        controllers.stop(lab)
        with ThreadPoolExecutor(max_workers=8) as pool:
            everything = [*lab.hosts, *_surplus_hosts(lab)]
            list(pool.map(_stop_host, everything))
        _stop_box(lab.run / "central")
        strays = [pid for pid in marked_processes(lab.marker) if _is_init_of_box(pid)]
        kill_all(strays)
        # After the guests: what they wrote last is on its way to it.
        ceph.of_lab(lab).down()
        _remove_namespaces(lab)
        for bridge in (lab.management_bridge, lab.tunnel_bridge, lab.external_bridge):
            links.delete_link(bridge)
        shutil.rmtree(lab.run, ignore_errors=True)
        if wipe:
            shutil.rmtree(lab.state, ignore_errors=True)
    say(f"lab {lab.name} is down")


def _remove_namespaces(lab: Lab) -> None:
    """Namespaces of the lab that are still there: probes, and hosts nobody knows any more."""
    names = Path("/run/netns")
    if names.exists():
        for path in names.iterdir():
            if path.name.startswith(f"scl-{lab.name}-"):
                links.delete_netns(path.name)


# ---------------------------------------------------------------- the power button


def is_on(host: HostPlan) -> bool:
    """Whether anything of a host is left."""
    return _box_pid(host.run) is not None or bool(marked_processes(f"SCLOUD_BOX={host.run}"))


def power_off(host: HostPlan) -> None:
    """Cut a host's power: all its processes are killed, guests included, and its links are gone.

    Returns when nothing of it is left; it stays off, also over ``down`` and ``up``, until
    ``power_on``. LabError when a process does not end.
    """
    require_root()
    with locked(host.lab):
        host.state.mkdir(parents=True, exist_ok=True)
        host.switched_off.touch()
        namespace = process_namespace(host)
        _stop_host(host)
        kill_all(marked_processes(f"SCLOUD_BOX={host.run}"))
        if namespace is not None:
            wait_for(
                f"the end of every process of host {host.name}",
                lambda: not processes_in(namespace),
                timeout_s=15,
            )


def power_on(host: HostPlan) -> None:
    """Switch a host on and wait until its libvirt answers. LabError when the lab is down."""
    require_root()
    with locked(host.lab):
        host.switched_off.unlink(missing_ok=True)
        if not links.exists(host.lab.management_bridge):
            raise LabError(f"lab {host.lab.name} is down: host {host.name} starts with it")
        _up_host(host, kvm.works())
        _await_chassis(host.lab)


def process_namespace(host: HostPlan) -> Path | None:
    try:
        return Path(f"/proc/{inner_pid(host)}/ns/pid").readlink()
    except (LabError, OSError):
        return None


def processes_in(namespace: Path) -> list[int]:
    """Pids, on the outer machine, of the processes of a PID namespace."""
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                if (entry / "ns" / "pid").readlink() == namespace:
                    found.append(int(entry.name))
    return found


# ---------------------------------------------------------------- faults, for tests


def _libvirtd_pid(host: HostPlan) -> int | None:
    return _read_inner_pid(host, "libvirtd")


def _read_inner_pid(host: HostPlan, name: str) -> int | None:
    """Pid on the outer machine of the daemon ``name`` inside a host."""
    namespace = Path(f"/proc/{inner_pid(host)}/ns/pid").readlink()
    for pid in processes_in(namespace):
        with suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if Path(words[0].decode(errors="replace")).name == name:
                return pid
    return None


def kill_libvirtd(host: HostPlan, *, hold: bool = False) -> None:
    """``kill -9`` of a host's libvirtd; guests live on.

    It is started again within a second, unless ``hold``: then ``start_libvirtd`` does it.
    """
    if hold:
        (host.run / "libvirtd.hold").touch()
    pid = _libvirtd_pid(host)
    if pid is not None:
        kill_all([pid])


def start_libvirtd(host: HostPlan, *, timeout_s: float = 20) -> None:
    """Let a held libvirtd run again and wait until it answers."""
    (host.run / "libvirtd.hold").unlink(missing_ok=True)
    wait_for(
        f"libvirt of host {host.name}",
        lambda: _libvirtd_pid(host) is not None and answers(host.address, host.libvirt_port),
        timeout_s=timeout_s,
    )


def kill_programs(lab: Lab, *names: str) -> int:
    """``kill -9`` of all programs of these names in a lab; returns how many there were.

    What supervises them starts them again within a second.
    """
    pids = []
    for pid in marked_processes(lab.marker):
        with suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if Path(words[0].decode(errors="replace")).name in names:
                pids.append(pid)
    kill_all(pids)
    return len(pids)


def kill_host(host: HostPlan) -> None:
    """Pull a host's plug: everything in it, guests included, is gone at once."""
    _stop_box(host.run)


def in_host(host: HostPlan, *command: str | Path, timeout_s: float = 30) -> str:
    """Run a command inside a host (its network, mounts and processes); returns its output."""
    target = str(inner_pid(host))
    return run("nsenter", "-t", target, "-m", "-u", "-n", "-p", "--", *command, timeout_s=timeout_s)

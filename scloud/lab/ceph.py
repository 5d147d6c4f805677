"""A Ceph cluster of one monitor, one OSD and one manager: the storage of a lab that is told so.

Plain daemons without systemd or containers, on a sparse file, for demonstrations and tests: there
is one copy of everything. Nothing outside its directory is needed or changed.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scloud.lab.plan import Lab, LabError
from scloud.lab.shell import alive, daemon, kill_all, marked_processes, run, say, wait_for

POOL = "scloud"
USER = "scloud"
"""The client that the platform and the hosts are; it may use this pool and nothing else."""

MONITOR_PORT = 6789
SIZE_BYTES = 64 * 1024**3
"""What the OSD's sparse file can grow to."""

_READY_S = 60.0
_END_S = 20.0

_CONFIGURATION = """\
[global]
fsid = {fsid}
mon_initial_members = a
mon_host = [v2:{address}:{second_port},v1:{address}:{port}]
public_addr = {address}
cluster_addr = {address}
ms_bind_ipv6 = false
auth_cluster_required = cephx
auth_service_required = cephx
auth_client_required = cephx
auth_allow_insecure_global_id_reclaim = false
keyring = {root}/client.admin.keyring
run_dir = {root}/run
crash_dir = {root}/crash
admin_socket =
log_file = {root}/log/$name.log
log_to_stderr = false
err_to_stderr = true
# One proposal after the other: with a single monitor there is nobody to wait for.
paxos_propose_interval = 0.05
osd_mon_report_interval = 1
osd_pool_default_size = 1
osd_pool_default_min_size = 1
osd_pool_default_pg_num = 8
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_warn_on_pool_no_redundancy = false
[client]
log_file =
[mon]
mon_data = {root}/mon.a
mon_cluster_log_file = {root}/log/cluster.log
# The machine's disk may be fuller than a storage node's.
mon_data_avail_warn = 3
mon_data_avail_crit = 1
[osd]
# For so long the cluster believes in a client that was killed; 30 s elsewhere.
osd_client_watch_timeout = 10
osd_data = {root}/osd.0
keyring = {root}/osd.0/keyring
osd_objectstore = bluestore
bluestore_block_size = {size_bytes}
bluestore_block_db_create = false
bluestore_block_wal_create = false
bluestore_cache_autotune = false
bluestore_cache_size = 67108864
osd_memory_target = 1073741824
osd_op_num_shards = 2
osd_mclock_skip_benchmark = true
# On what calls itself a hard disk it rests 5 s after each object of a deleted snapshot.
osd_snap_trim_sleep_hdd = 0
[mgr]
mgr_data = {root}/mgr.x
keyring = {root}/mgr.x/keyring
mgr_stats_period = 1
"""


@dataclass(frozen=True)
class Cluster:
    """A cluster whose state is in ``root`` and whose daemons listen at ``address``."""

    root: Path
    address: str
    port: int = MONITOR_PORT
    #: An environment entry beside the cluster's own, ``NAME=value``.
    label: str = ""

    @property
    def marker(self) -> str:
        """Environment entry that every daemon of the cluster carries."""
        return f"SCLOUD_CEPH={self.root}"

    @property
    def configuration(self) -> Path:
        return self.root / "ceph.conf"

    @property
    def monitors(self) -> str:
        """What clients connect to: ``address:port``."""
        return f"{self.address}:{self.port}"

    @property
    def _complete(self) -> Path:
        """The file that is there once the cluster was made to its end."""
        return self.root / "complete"

    def key(self) -> str:
        """The key of the platform's client."""
        for line in (self.root / f"client.{USER}.keyring").read_text().splitlines():
            name, _, value = line.partition("=")
            if name.strip() == "key":
                return value.strip()
        raise LabError(f"the keyring of client.{USER} in {self.root} holds no key")

    def facts(self) -> dict[str, Any]:
        """Where it is, in the shape that ``status --json`` prints; no key."""
        return {
            "monitors": self.monitors,
            "pool": POOL,
            "user": USER,
            "keyring": str(self.root / f"client.{USER}.keyring"),
            "up": self.is_up(),
        }

    # -- daemons -------------------------------------------------------------------------------

    def pids(self) -> dict[str, int]:
        """The daemons that run, by name: ``ceph-mon``, ``ceph-osd``, ``ceph-mgr``."""
        found: dict[str, int] = {}
        for pid in marked_processes(self.marker):
            with suppress(OSError):
                name = Path(f"/proc/{pid}/comm").read_text().strip()
                if name.startswith("ceph-") and alive(pid):
                    found[name] = pid
        return found

    def is_up(self) -> bool:
        """Whether all daemons run and the pool answers."""
        return self._complete.exists() and len(self.pids()) == 3 and self._answers()

    def up(self) -> None:
        """Make the cluster if need be, start what does not run, and wait until it answers.

        One whose making was interrupted is made anew: nothing can be in it. LabError.
        """
        began = time.monotonic()
        if self.is_up():
            return
        if not self._complete.exists():
            self._make()
        else:
            self._configure()
            for name in ("mon", "osd", "mgr"):
                self._start(name)
        wait_for(
            f"Ceph at {self.monitors} (see {self.root}/log)",
            self._answers,
            timeout_s=_READY_S,
            every_s=0.2,
        )
        self._await_figures()
        say(f"  Ceph {self.monitors}, pool {POOL} ({time.monotonic() - began:.1f} s)")

    def down(self) -> None:
        """Stop the daemons; what is down already is fine."""
        running = self.pids()
        for name in ("ceph-mgr", "ceph-osd", "ceph-mon"):
            pid = running.get(name)
            if pid is None:
                continue
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            end = time.monotonic() + _END_S
            while alive(pid) and time.monotonic() < end:
                time.sleep(0.05)
        # An OSD bears it: its store is a journal.
        kill_all(list(self.pids().values()))

    def wipe(self) -> None:
        """Stop the daemons and delete what they kept."""
        kill_all(list(self.pids().values()))
        shutil.rmtree(self.root, ignore_errors=True)

    def kill(self, name: str) -> None:
        """``kill -9`` of a daemon, as ``ceph-osd``; one that is down is fine."""
        pid = self.pids().get(name)
        if pid is not None:
            kill_all([pid])

    def ceph(self, *words: str, stdin: str | None = None, timeout_s: float = 30) -> str:
        """Run the ``ceph`` command as the administrator; returns its output. LabError."""
        return self._run(
            "ceph", "--connect-timeout", "10", *words, stdin=stdin, timeout_s=timeout_s
        )

    def _run(self, *words: str, stdin: str | None = None, timeout_s: float = 30) -> str:
        name, *rest = words
        command = [name, "--conf", str(self.configuration), *rest]
        return run(*command, stdin=stdin, timeout_s=timeout_s)

    def _start(self, kind: str) -> None:
        """Start a daemon that does not run: ``mon``, ``osd`` or ``mgr``."""
        program = f"ceph-{kind}"
        if program in self.pids():
            return
        name = {"mon": "a", "osd": "0", "mgr": "x"}[kind]
        (self.root / "log").mkdir(exist_ok=True)
        marker, _, value = self.marker.partition("=")
        label, _, labelled = self.label.partition("=")
        daemon(
            # In the foreground: the process that was started is the one to end.
            [program, "-f", "--conf", self.configuration, "-i", name],
            log=self.root / "log" / f"{kind}.out",
            env={marker: value, **({label: labelled} if label else {})},
        )

    def _answers(self) -> bool:
        """Whether a client can read an object that is kept in the pool, or be told it is not."""
        try:
            self._run("rbd", "ls", "--pool", POOL, timeout_s=5)
        except LabError:
            return False
        return True

    def _await_figures(self) -> None:
        """Wait until the manager says how much room there is."""

        def known() -> bool:
            said = json.loads(self.ceph("df", "--format", "json"))
            rooms = [pool["stats"].get("max_avail", 0) for pool in said["pools"]]
            return bool(rooms) and all(rooms)

        wait_for("Ceph to say how much room it has", known, timeout_s=_READY_S, every_s=0.5)

    # -- making --------------------------------------------------------------------------------

    def _configure(self) -> None:
        fsid = self.root / "fsid"
        if not fsid.exists():
            fsid.write_text(f"{uuid.uuid4()}\n")
        for name in ("run", "log", "crash", "mon.a", "osd.0", "mgr.x"):
            (self.root / name).mkdir(exist_ok=True)
        self.configuration.write_text(
            _CONFIGURATION.format(
                root=self.root,
                fsid=fsid.read_text().strip(),
                address=self.address,
                port=self.port,
                second_port=self.port + 1,
                size_bytes=SIZE_BYTES,
            )
        )

    def _make(self) -> None:
        self.wipe()
        self.root.mkdir(parents=True, mode=0o700)
        self._configure()
        admin, monitor = self.root / "client.admin.keyring", self.root / "mon.keyring"
        allowed = [
            word for kind in ("mon", "osd", "mds", "mgr") for word in ("--cap", kind, "allow *")
        ]
        run("ceph-authtool", "--create-keyring", monitor, "--gen-key", "-n", "mon.",
            "--cap", "mon", "allow *")  # fmt: skip
        run("ceph-authtool", "--create-keyring", admin, "--gen-key", "-n", "client.admin", *allowed)
        run("ceph-authtool", monitor, "--import-keyring", admin)
        # Clients name the first of the two versions of its protocol: libvirt knows no other.
        addresses = f"[v2:{self.address}:{self.port + 1},v1:{self.address}:{self.port}]"
        fsid = (self.root / "fsid").read_text().strip()
        run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", addresses,
            self.root / "monmap")  # fmt: skip
        self._run(
            "ceph-mon", "--mkfs", "-i", "a",
            "--monmap", str(self.root / "monmap"), "--keyring", str(monitor),
        )  # fmt: skip
        self._start("mon")
        wait_for(
            f"Ceph's monitor at {self.monitors} (see {self.root}/log)",
            self._monitor_answers,
            timeout_s=_READY_S,
        )
        self._make_osd()
        self._start("osd")
        self.ceph(
            "auth", "get-or-create", "mgr.x",
            "mon", "allow profile mgr", "osd", "allow *", "mds", "allow *",
            "-o", str(self.root / "mgr.x" / "keyring"),
        )  # fmt: skip
        self._start("mgr")
        wait_for(
            "Ceph's OSD",
            lambda: '"num_up_osds":1' in self.ceph("osd", "stat", "--format", "json"),
            timeout_s=_READY_S,
            every_s=0.2,
        )
        self.ceph("osd", "pool", "create", POOL, "8", "8")
        self._run("rbd", "pool", "init", POOL)
        # Snapshots that have clones can be removed from then on, without being protected first.
        self.ceph("osd", "set-require-min-compat-client", "mimic")
        self.ceph(
            "auth", "get-or-create", f"client.{USER}",
            "mon", "profile rbd", "osd", f"profile rbd pool={POOL}",
            "-o", str(self.root / f"client.{USER}.keyring"),
        )  # fmt: skip
        self._complete.touch()

    def _monitor_answers(self) -> bool:
        try:
            # Refuses at once where nobody listens yet, instead of waiting for ten seconds.
            with socket.create_connection((self.address, self.port), timeout=1):
                pass
            self.ceph("mon", "stat")
        except (OSError, LabError):
            return False
        return True

    def _make_osd(self) -> None:
        osd, keyring = str(uuid.uuid4()), self.root / "osd.0" / "keyring"
        run("ceph-authtool", "--create-keyring", keyring, "--gen-key", "-n", "osd.0")
        key = run("ceph-authtool", "-p", "-n", "osd.0", keyring).strip()
        self.ceph("osd", "new", osd, "-i", "-", stdin=json.dumps({"cephx_secret": key}))
        self._run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd, timeout_s=120)


def of_lab(lab: Lab) -> Cluster:
    """The cluster of a lab, which its hosts reach as they reach the rest of the centre."""
    return Cluster(lab.state / "ceph", lab.management_address, label=lab.marker)

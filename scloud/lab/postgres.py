"""A private PostgreSQL cluster in a directory of the project's own."""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from scloud.lab.plan import LabError, state_root
from scloud.lab.shell import alive, run, say, succeeds, wait_for

DEFAULT_PORT = 55432
SYSTEM_USER = "postgres"
# Beside the checkout may be a directory that the system user cannot enter: then here.
FALLBACK_ROOT = Path("/var/lib/scloud-lab")


def _binaries() -> Path:
    """Directory of the newest installed server; LabError when there is none."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/postgres"),
        key=lambda path: int(path.parts[-3]),
    )
    if not found:
        raise LabError("PostgreSQL is not installed (see scloud/lab/packages.txt)")
    return found[-1].parent


@dataclass(frozen=True)
class Cluster:
    """A cluster; only reachable from this machine, and without a password."""

    port: int = DEFAULT_PORT
    fsync: bool = True
    role: str = "scloud"
    database: str = "scloud"
    place: Path | None = None

    @property
    def wanted(self) -> Path:
        """Directory of the cluster; without ``place`` one in the state directory, by port."""
        name = "pg" if self.port == DEFAULT_PORT else f"pg-{self.port}"
        return self.place or state_root() / name

    @property
    def key(self) -> str:
        """Short name that no other directory's cluster has."""
        return hashlib.sha256(str(self.wanted).encode()).hexdigest()[:8]

    @property
    def directory(self) -> Path:
        """Where the data is: ``wanted`` if the system user can get there."""
        if _enterable(self.wanted.parent):
            return self.wanted
        return FALLBACK_ROOT / f"pg-{self.key}"

    @property
    def data(self) -> Path:
        return self.directory / "data"

    @property
    def log(self) -> Path:
        return self.directory / "postgres.log"

    @property
    def sockets(self) -> Path:
        """Directory of the unix socket; short, because of the limit on its length."""
        return Path(f"/run/scloud-lab/pg-{self.key}")

    @property
    def url(self) -> str:
        """What to put into ``DATABASE_URL``."""
        return f"postgres://{self.role}@127.0.0.1:{self.port}/{self.database}"

    def pid(self) -> int | None:
        """Pid of the running server of this directory; None when it is down."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().splitlines()[0])
            # After a crash the number may belong to somebody else by now.
            data = Path(f"/proc/{pid}/cwd").readlink()
        except (OSError, ValueError, IndexError):
            return None
        return pid if alive(pid) and data == self.data else None

    def accepts(self) -> bool:
        return succeeds(_binaries() / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port))

    def up(self, *, timeout_s: float = 30) -> str:
        """Create the cluster if need be and start it; returns the URL of its database.

        LabError when the port is taken by somebody else, or the server does not start.
        """
        if self.pid() is None:
            if self.accepts():
                raise LabError(f"port {self.port} is taken by another PostgreSQL")
            self._create()
            self._start()
            wait_for(
                f"PostgreSQL on port {self.port} (see {self.log})",
                self._ready_or_dead,
                timeout_s=timeout_s,
                every_s=0.1,
            )
        self._ensure_role_and_database()
        say(f"PostgreSQL {self.url}, data in {self.directory}")
        return self.url

    def down(self, *, timeout_s: float = 30) -> None:
        """Stop the server, cutting its connections; one that is down is fine."""
        self._signal(signal.SIGINT, timeout_s)
        shutil.rmtree(self.sockets, ignore_errors=True)

    def kill(self, *, timeout_s: float = 30) -> None:
        """``kill -9`` of the server, as a crash would; its children follow by themselves."""
        self._signal(signal.SIGKILL, timeout_s)

    def wipe(self) -> None:
        """Stop the server and delete its data."""
        self.down()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _ready_or_dead(self) -> bool:
        if self.accepts():
            return True
        if self.pid() is None and "FATAL" in self.log.read_text(errors="replace"):
            tail = "\n".join(self.log.read_text(errors="replace").splitlines()[-5:])
            raise LabError(f"PostgreSQL did not start:\n{tail}")
        return False

    def _signal(self, number: signal.Signals, timeout_s: float) -> None:
        pid = self.pid()
        if pid is None:
            return
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        os.kill(pid, number)
        # After kill -9 the children notice by themselves; the shared memory is theirs until then.
        wait_for(
            f"end of PostgreSQL on port {self.port}",
            lambda: not alive(pid) and not any(alive(int(child)) for child in children),
            timeout_s=timeout_s,
            every_s=0.1,
        )

    def _create(self) -> None:
        account = _account()
        for directory in (self.directory, self.sockets):
            directory.mkdir(parents=True, exist_ok=True)
            os.chown(directory, account.pw_uid, account.pw_gid)
        if (self.data / "PG_VERSION").exists():
            return
        shutil.rmtree(self.data, ignore_errors=True)  # an initdb that did not get to its end
        # Without sync: the server syncs everything at its first checkpoint anyway.
        words: list[str | Path] = ["-D", self.data, "-U", self.role, "-A", "trust", "-E", "UTF8"]
        done = _as_user(
            _binaries() / "initdb", *words, "--no-sync", "--locale=C.UTF-8", timeout_s=120
        )
        if done.returncode != 0:
            raise LabError(f"initdb: {done.stderr.strip()}")

    def _remaining(self) -> list[int]:
        """Processes of this cluster, whether or not their server still lives."""
        found: list[int] = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with suppress(OSError):
                    if (entry / "cwd").readlink() == self.data:
                        found.append(int(entry.name))
        return found

    def _start(self) -> None:
        account = _account()
        # A server that was killed leaves its pid file, and refuses to start while that number
        # is anybody's. None of its children may still use the data when the file goes.
        wait_for(
            "the children of a killed PostgreSQL to end",
            lambda: not self._remaining(),
            timeout_s=20,
        )
        (self.data / "postmaster.pid").unlink(missing_ok=True)
        for left in self.sockets.glob(".s.PGSQL.*"):
            left.unlink()
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": str(self.sockets),
            "max_connections": "300",
            "fsync": "on" if self.fsync else "off",
            # Without fsync a power cut loses data; the death of a process still must not.
            "synchronous_commit": "on",
            "full_page_writes": "on" if self.fsync else "off",
            "log_min_messages": "warning",
            "timezone": "UTC",
        }
        command: list[str | Path] = [_binaries() / "postgres", "-D", self.data]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        self.log.write_text("")
        os.chown(self.log, account.pw_uid, account.pw_gid)
        with self.log.open("ab") as output:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                cwd=self.directory,
                **_identity(),
            )
        time.sleep(0.1)
        child.returncode = 0  # it outlives us on purpose

    def _sql(self, statement: str, database: str = "postgres") -> str:
        return run(
            _binaries() / "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1",
            "-h", "127.0.0.1", "-p", str(self.port), "-U", self.role, "-d", database,
            "-c", statement,
        ).strip()  # fmt: skip

    def _ensure_role_and_database(self) -> None:
        # The role owns the cluster: tests create and drop databases of their own.
        if self._sql(f"SELECT 1 FROM pg_database WHERE datname = '{self.database}'") != "1":
            self._sql(f'CREATE DATABASE "{self.database}"')


def _account() -> pwd.struct_passwd:
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid())
    try:
        return pwd.getpwnam(SYSTEM_USER)
    except KeyError as error:
        raise LabError(f"there is no system user {SYSTEM_USER} to run PostgreSQL as") from error


class Identity(TypedDict, total=False):
    """What makes a child process run as somebody else."""

    user: int
    group: int
    extra_groups: list[int]


def _identity() -> Identity:
    """The system user, when we are root: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    account = _account()
    return {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}


def _as_user(*command: str | Path, timeout_s: float) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in command]
    return subprocess.run(
        words,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
        cwd="/",
        **_identity(),
    )


def _enterable(directory: Path) -> bool:
    """Whether the system user can pass through a directory and all above it."""
    if os.geteuid() != 0:
        return True
    directory.mkdir(parents=True, exist_ok=True)
    return _as_user("test", "-x", directory, timeout_s=10).returncode == 0

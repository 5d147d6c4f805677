"""All processes of an installation on one machine: database, region in a box, web, workers.

``python -m scloud.lab.stack up|down|status`` is what ``make run`` and ``make stop`` call; the
browser and failure tests bring up a second stack beside it. Processes run under supervisord, which
starts anew what dies.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from scloud.lab import images, postgres, region
from scloud.lab.plan import Lab, LabError, lab_named

ROOT = Path(__file__).resolve().parents[2]
BIN = ROOT / ".venv" / "bin"
PROGRAMS = ("console", "vnc", "gateway", "worker", "sweeper", "collector")


def say(words: str) -> None:
    """Tell what is being done."""
    print(f"==> {words}", flush=True)


@dataclass(frozen=True)
class Stack:
    """One installation: names, ports and directories derive from its lab."""

    lab: Lab
    state: Path
    console_port: int
    vnc_port: int
    postgres_port: int
    durable: bool = True
    # Beside the process's own environment and what every stack sets.
    settings: tuple[tuple[str, str], ...] = ()

    @property
    def run(self) -> Path:
        """Where pid files and the supervisor's socket are."""
        return self.state / "run"

    @property
    def logs(self) -> Path:
        """Where the processes write."""
        return self.state / "logs"

    @property
    def url(self) -> str:
        return f"http://localhost:{self.console_port}"

    @property
    def cluster(self) -> postgres.Cluster:
        return postgres.Cluster(port=self.postgres_port, fsync=self.durable)

    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "scloud.settings",
            "DATABASE_URL": self.cluster.url,
            "SCLOUD_STATE_DIR": str(self.state),
            "SCLOUD_DEMO": "1",
            "SCLOUD_PKI_DIR": str(self.lab.pki),
            "SCLOUD_VNC_TLS": "required" if self.lab.tls else "preferred",
            "SCLOUD_VNC_PUBLIC_URL": f"ws://localhost:{self.vnc_port}",
            "SCLOUD_VNC_LISTEN": f"127.0.0.1:{self.vnc_port}",
            "PYTHONUNBUFFERED": "1",
            **dict(self.settings),
        }

    def manage(self, *words: str, quiet: bool = False) -> str:
        """Run ``manage.py`` and return what it printed; LabError with it when it fails."""
        done = subprocess.run(
            [str(BIN / "python"), str(ROOT / "manage.py"), *words],
            env=self.environment(),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise LabError(f"manage.py {words[0]} failed:\n{done.stdout}{done.stderr}")
        for line in [] if quiet else done.stdout.splitlines():
            if line.strip():
                print(f"    {line}", flush=True)
        return done.stdout


def demo(*, ceph: bool | None = None) -> Stack:
    """Return the stack of ``make run``; without ``ceph`` its storage is what it was last."""
    state = Path(os.environ.get("SCLOUD_STATE_DIR", ROOT / ".scloud"))
    port = int(os.environ.get("SCLOUD_PORT", "8000"))
    return Stack(lab_named("demo", ceph=ceph), state, port, port + 1, port + 2)


def supervisor_config(stack: Stack) -> str:
    """Return supervisord's configuration."""
    python = BIN / "python"
    commands = {
        "console": f"{python} -m scloud.serve --listen 127.0.0.1:{stack.console_port}",
        "vnc": f"{python} -m compute.vnc proxy",
        "gateway": f"{python} -m compute.vnc gateway",
        "worker": f"{python} manage.py worker",
        "sweeper": f"{python} manage.py sweeper",
        "collector": f"{python} manage.py collector",
    }
    lines = [
        "[supervisord]",
        f"pidfile={stack.run / 'supervisord.pid'}",
        f"logfile={stack.logs / 'supervisord.log'}",
        f"childlogdir={stack.logs}",
        "nodaemon=false",
        "[unix_http_server]",
        f"file={socket_of(stack)}",
        "chmod=0700",
        "[supervisorctl]",
        f"serverurl=unix://{socket_of(stack)}",
        "[rpcinterface:supervisor]",
        "supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface",
    ]
    for name in PROGRAMS:
        lines += [
            f"[program:{name}]",
            f"command={commands[name]}",
            f"directory={ROOT}",
            f"stdout_logfile={stack.logs / name}.log",
            "redirect_stderr=true",
            "autorestart=true",
            "startretries=1000",
            "startsecs=1",
            # django-q's cluster ends its own children in order; the others have none.
            "stopasgroup=false",
            "killasgroup=true",
            "stopwaitsecs=10",
        ]
    return "\n".join(lines) + "\n"


def socket_of(stack: Stack) -> Path:
    """Return the supervisor's socket; short, because a socket's path has 108 characters."""
    return Path("/run/scloud-lab") / f"{stack.lab.name}-supervisor.sock"


def control(stack: Stack, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(BIN / "supervisorctl"), "-c", str(stack.run / "supervisord.conf"), *words],
        capture_output=True,
        text=True,
        check=False,
    )


def pid_of(stack: Stack, program: str) -> int:
    """Return the pid of a program; LabError while it has none."""
    done = control(stack, "pid", program)
    try:
        pid = int(done.stdout.strip())
    except ValueError:
        pid = 0
    if pid == 0:
        raise LabError(f"{program} is not running: {done.stdout}{done.stderr}")
    return pid


def supervisor_pid(stack: Stack) -> int:
    """Return the pid of the stack's supervisor, 0 when it is gone."""
    config = stack.run / "supervisord.conf"
    try:
        pid = int((stack.run / "supervisord.pid").read_text())
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return 0
    return pid if str(config).encode() in words else 0


def start_processes(stack: Stack) -> None:
    """Start or restart all processes under the supervisor, and wait until the console answers."""
    stack.run.mkdir(parents=True, exist_ok=True)
    stack.logs.mkdir(parents=True, exist_ok=True)
    socket_of(stack).parent.mkdir(parents=True, exist_ok=True)
    stop_processes(stack)
    (stack.run / "supervisord.conf").write_text(supervisor_config(stack))
    subprocess.run(
        [str(BIN / "supervisord"), "-c", str(stack.run / "supervisord.conf")],
        env=stack.environment(),
        cwd=ROOT,
        check=True,
    )
    await_console(stack)


def await_console(stack: Stack, timeout_s: float = 60) -> None:
    """Wait until the console answers and every program runs; LabError after ``timeout_s``."""
    end = time.monotonic() + timeout_s
    problem = ""
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"{stack.url}/login/", timeout=5) as answer:
                if answer.status == 200:
                    states = control(stack, "status").stdout
                    if states.count("RUNNING") == len(PROGRAMS):
                        return
                    problem = states
        except (urllib.error.URLError, OSError) as error:
            problem = str(error)
        time.sleep(0.3)
    raise LabError(
        f"the console did not come up in {timeout_s:.0f} s: {problem} (see {stack.logs})"
    )


def stop_processes(stack: Stack) -> None:
    pid = supervisor_pid(stack)
    if pid == 0:
        return
    control(stack, "shutdown")
    end = time.monotonic() + 40
    # Not until it refuses calls: it does so from the beginning of its end on.
    while supervisor_pid(stack) == pid:
        if time.monotonic() > end:
            raise LabError(f"supervisord ({pid}) does not stop (see {stack.logs})")
        time.sleep(0.1)


def logins(stack: Stack) -> dict[str, str]:
    """Return the demo logins; the passwords are made once and kept readable for the owner only."""
    path = stack.state / "logins.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as file:
            json.dump(
                {
                    "email": "demo@scloud.test",
                    "password": secrets.token_urlsafe(9),
                    "admin": "admin@scloud.test",
                    "admin_password": secrets.token_urlsafe(9),
                },
                file,
            )
    kept: dict[str, str] = json.loads(path.read_text())
    return kept


def up(stack: Stack, *, image_names: tuple[str, ...] = ("mini", "debian")) -> None:
    """Bring everything up; repeats do what is missing."""
    say(f"database on port {stack.postgres_port}")
    stack.cluster.up()
    say("region in a box")
    region.up(stack.lab)
    for name in image_names:
        say(f"guest image {name} (built once, then cached)")
        images.ensure(name)
    facts = region.status(stack.lab)
    facts["images"] = {key: path for key, path in facts["images"].items() if key in image_names}
    stack.run.mkdir(parents=True, exist_ok=True)
    facts_file = stack.run / "region.json"
    facts_file.write_text(json.dumps(facts))
    say("migrating the database")
    stack.manage("migrate", "--verbosity", "0")
    say("collecting static files")
    stack.manage("collectstatic", "--noinput", "--verbosity", "0")
    say("seeding the demo tenant")
    known = logins(stack)
    stack.manage(
        "seed_demo",
        "--facts", str(facts_file),
        "--email", known["email"],
        # Joined: a password may begin with a dash, which would read as the next option.
        f"--password={known['password']}",
        "--admin", known["admin"],
        f"--admin-password={known['admin_password']}",
    )  # fmt: skip
    say("starting console, VNC, workers, sweeper and collector")
    start_processes(stack)


def down(stack: Stack, *, wipe: bool = False) -> None:
    """Stop everything; with ``wipe`` forget the state too."""
    stop_processes(stack)
    region.down(stack.lab, wipe=wipe)
    stack.cluster.down()
    if wipe:
        stack.cluster.wipe()
        for name in ("run", "logs", "uploads"):
            shutil.rmtree(stack.state / name, ignore_errors=True)
        (stack.state / "logins.json").unlink(missing_ok=True)


def tell(stack: Stack) -> None:
    """Print where it is and how to sign in."""
    known = logins(stack)
    print(
        f"\nSCloud runs at {stack.url}\n\n"
        f"  tenant         {known['email']:24} {known['password']}\n"
        f"  administrator  {known['admin']:24} {known['admin_password']}   {stack.url}/admin/\n"
        f"  API            {stack.url}/api/v1/openapi.json\n"
        f"  logs           {stack.logs}\n\n"
        "make stop ends it, make clean removes everything."
    )


def main(words: list[str] | None = None) -> int:
    """Run one verb on the demo stack."""
    parser = argparse.ArgumentParser(prog="python -m scloud.lab.stack", description=__doc__)
    parser.add_argument("verb", choices=["up", "down", "wipe", "status"])
    parser.add_argument("--storage", choices=["directory", "ceph"])
    options = parser.parse_args(words)
    verb = options.verb
    stack = demo(ceph=None if options.storage is None else options.storage == "ceph")
    try:
        if verb == "up":
            started = time.monotonic()
            up(stack)
            tell(stack)
            print(f"(ready after {time.monotonic() - started:.0f} s)")
        elif verb == "status":
            print(control(stack, "status").stdout)
        else:
            down(stack, wipe=verb == "wipe")
    except LabError as error:
        print(f"scloud: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

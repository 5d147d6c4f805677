"""The hosts' management controllers: a process of the lab (scloud/lab/buttons.py) serves them all.

``up`` starts it and ``down`` ends it. It outlives the hosts, as a controller outlives its machine.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
from pathlib import Path
from typing import Any

from scloud.lab.plan import HostPlan, Lab, project_root, state_root
from scloud.lab.redfish import SYSTEM, make_certificate
from scloud.lab.shell import daemon, kill_all, marked_processes, wait_for

PORT = 443
USER = "operator"
MODULE = "scloud.lab.buttons"


def credentials(host: HostPlan) -> tuple[str, str]:
    """User and password of a host's service, made once and readable for root only."""
    path = host.controller / "credentials.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as file:
            json.dump({"user": USER, "password": secrets.token_urlsafe(12)}, file)
    kept = json.loads(path.read_text())
    return str(kept["user"]), str(kept["password"])


def facts(host: HostPlan) -> dict[str, Any]:
    """Where a host's service is, in the shape that ``status --json`` prints; no password."""
    return {
        "address": host.controller_address,
        "port": PORT,
        "system": SYSTEM,
        "credentials": str(host.controller / "credentials.json"),
        "certificate": str(host.controller / "certificate.pem"),
    }


def _argv(lab: Lab) -> list[str]:
    return [
        sys.executable, "-m", MODULE,
        "--name", lab.name, "--index", str(lab.index), "--hosts", str(lab.host_count),
    ]  # fmt: skip


def _running(lab: Lab) -> dict[int, list[str]]:
    """Arguments of the processes that serve a lab, by pid."""
    found: dict[int, list[str]] = {}
    for pid in marked_processes(lab.marker):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if words[1:3] == ["-m", MODULE]:
            found[pid] = words[:-1]
    return found


def ready_file(lab: Lab) -> Path:
    """The file that the process makes when it serves."""
    return lab.run / "controllers.ready"


def ensure(lab: Lab) -> None:
    """Have exactly one process for the lab's hosts. LabError when it does not come up."""
    running = _running(lab)
    if list(running.values()) == [_argv(lab)]:
        return
    kill_all(list(running))
    for host in lab.hosts:
        credentials(host)
        make_certificate(host.controller, host.controller_address)
    lab.run.mkdir(parents=True, exist_ok=True)
    ready = ready_file(lab)
    ready.unlink(missing_ok=True)
    log = lab.state / "controllers.log"
    daemon(
        _argv(lab),
        log=log,
        env={
            "PYTHONPATH": str(project_root()),
            "SCLOUD_STATE_DIR": str(state_root()),
            "SCLOUD_LAB": lab.name,
        },
    )
    wait_for(f"the controllers of lab {lab.name} (see {log})", ready.exists, timeout_s=20)


def stop(lab: Lab) -> None:
    """End the lab's process, if there is one."""
    kill_all(list(_running(lab)))

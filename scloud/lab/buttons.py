"""The power buttons of a lab's hosts, behind a Redfish service for each.

``python -m scloud.lab.buttons --name NAME --index I --hosts N`` is the process that
scloud/lab/controllers.py starts.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading

from scloud.lab import controllers, region
from scloud.lab.plan import HostPlan, Lab, LabError, project_root
from scloud.lab.redfish import Service, make_certificate


class Button:
    """The power button of one host: presses come one after the other, the last one counts."""

    def __init__(self, host: HostPlan) -> None:
        self._host = host
        self._lock = threading.Lock()
        self._wanted: bool | None = None
        self._doing: bool | None = None

    @property
    def name(self) -> str:
        """As the host calls itself."""
        return self._host.hostname

    def power_state(self) -> str:
        """`Off` only when nothing of the host is left."""
        with self._lock:
            doing = self._doing
        if doing is not None:
            return "PoweringOn" if doing else "PoweringOff"
        return "On" if region.is_on(self._host) else "Off"

    def switch(self, on: bool) -> None:
        """Press it."""
        with self._lock:
            self._wanted = on
            if self._doing is None:
                self._doing = on
                threading.Thread(target=self._work, daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._lock:
                self._doing, self._wanted = self._wanted, None
                doing = self._doing
            if doing is None:
                return
            self._press(doing)

    def _press(self, on: bool) -> None:
        """In a process of its own: what it starts shall not be ours to wait for."""
        lab, verb = self._host.lab, "on" if on else "off"
        done = subprocess.run(
            [
                sys.executable, "-m", "scloud.lab", "power", verb, self._host.name,
                "--name", lab.name, "--index", str(lab.index),
            ],
            cwd=project_root(),
            env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            capture_output=True,
            text=True,
            check=False,
        )  # fmt: skip
        print(f"{self._host.name} {verb}: {(done.stdout + done.stderr).strip()}", flush=True)


def serve(lab: Lab) -> None:
    """Serve the controllers of a lab until a signal comes."""
    for host in lab.hosts:
        user, password = controllers.credentials(host)
        certificate, key = make_certificate(host.controller, host.controller_address)
        service = Service(
            (host.controller_address, controllers.PORT),
            Button(host),
            user=user,
            password=password,
            certificate=certificate,
            key=key,
        )
        threading.Thread(target=service.serve_forever, daemon=True).start()
    controllers.ready_file(lab).touch()
    signal.sigwait({signal.SIGTERM, signal.SIGINT})


def main(words: list[str] | None = None) -> int:
    """Run the process of a lab."""
    parser = argparse.ArgumentParser(prog=f"python -m {controllers.MODULE}", description=__doc__)
    parser.add_argument("--name", required=True)
    parser.add_argument("--index", type=int, required=True)
    parser.add_argument("--hosts", type=int, required=True)
    options = parser.parse_args(words)
    try:
        serve(Lab(options.name, options.index, options.hosts))
    except (LabError, OSError) as error:
        print(f"controllers: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

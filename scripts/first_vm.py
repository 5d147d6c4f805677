"""Buy a VM of the running demo through its API, and wait until its guest agent answers.

``python -m scripts.first_vm``, as root: the proof at the end of ``make bare``.
"""

from __future__ import annotations

import json
import time

from scloud.lab import stack
from scloud.lab.shell import succeeds, wait_for
from tests.e2e.client import Api


def main() -> None:
    """Say what came of it; an error when there is no VM that runs."""
    demo = stack.demo()
    secret = demo.manage("issue_api_key", stack.logins(demo)["email"], quiet=True).strip()
    api = Api(demo.url, secret)
    started = time.monotonic()
    vm_id = api.buy(name="first")["id"]
    vm = api.settled(vm_id)
    assert vm["status"] == "running", vm
    running = time.monotonic() - started
    hosts = json.loads((demo.run / "region.json").read_text())["hosts"]

    def agent_answers() -> bool:
        ping = '{"execute": "guest-ping"}'
        return any(
            succeeds("virsh", "-c", host["uri"], "qemu-agent-command", vm_id, ping)
            for host in hosts
        )

    wait_for("the guest agent of the VM", agent_answers, timeout_s=600, every_s=1)
    answered = time.monotonic() - started
    print(f"VM {vm_id} ran after {running:.0f} s, its agent answered after {answered:.0f} s")


if __name__ == "__main__":
    main()

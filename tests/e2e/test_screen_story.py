"""VNC information used as a tenant would: with a client of others, through the running gateway."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncvnc
import pytest

from scloud.lab import links
from scloud.lab.plan import Lab
from scloud.lab.shell import run
from tests.e2e import outside
from tests.e2e.client import Api

pytestmark = [
    pytest.mark.lab,
    pytest.mark.timeout(600),
    # How asyncvnc calls its cipher is going out of use.
    pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning"),
]
PASSWORD = "passw0rd-X"
FILE = "/tmp/by-another-client"


@asynccontextmanager
async def connected(
    information: dict[str, Any], opens_within_s: float = 15
) -> AsyncIterator[asyncvnc.Client]:
    """A client on the screen; the answer does not wait for the gateway, which is told of it."""
    end = time.monotonic() + opens_within_s
    async with AsyncExitStack() as stack:
        while True:
            try:
                client = await stack.enter_async_context(
                    asyncvnc.connect(
                        information["address"],
                        information["port"],
                        password=information["password"],
                    )
                )
                break
            except ConnectionRefusedError:
                if time.monotonic() > end:
                    raise
            await asyncio.sleep(0.1)
        yield client


async def log_in_and_touch(information: dict[str, Any]) -> None:
    """Look at the screen, log in on it and make a file."""
    async with asyncio.timeout(90), connected(information) as client:
        await _use(client)


async def watch_restart(api: Api, information: dict[str, Any]) -> None:
    """Restart the VM and go on looking: each screenshot is asked of the screen anew."""
    async with asyncio.timeout(300), connected(information) as client:
        pictures = {(await client.screenshot()).tobytes()}
        api.post(f"/vms/{information['vm_id']}/restart")
        while (await asyncio.to_thread(api.get, f"/vms/{information['vm_id']}"))["task"]:
            pictures.add((await client.screenshot()).tobytes())
            await asyncio.sleep(0.2)
        assert len(pictures) > 1
        assert (await client.screenshot()).any()


async def _use(client: asyncvnc.Client) -> None:
    picture = await client.screenshot()
    assert picture.any()
    for words, pause_s in (("", 2.0), ("root", 3.0), (PASSWORD, 5.0), (f"touch {FILE}", 2.0)):
        if words:
            client.keyboard.write(words)
        client.keyboard.press("Return")
        await client.drain()
        await asyncio.sleep(pause_s)


@dataclass(frozen=True)
class Desk:
    """A machine somewhere in the external network, which is no part of the platform."""

    netns: str
    address: str

    def view(self, information: dict[str, Any], within_s: float = 15) -> str:
        """Look at a screen from there, as soon as the port is open; what the viewer printed."""
        end = time.monotonic() + within_s
        while True:
            done = self.try_to(information)
            if done.returncode == 0 or "Refused" not in done.stdout or time.monotonic() > end:
                return done.stdout.strip()
            time.sleep(0.1)

    def try_to(self, information: dict[str, Any]) -> subprocess.CompletedProcess[str]:
        """Look once."""
        words = [str(information[name]) for name in ("address", "port", "password")]
        return subprocess.run(
            ["ip", "netns", "exec", self.netns, sys.executable, "-m", "tests.e2e.viewer", *words],
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )


@pytest.fixture
def desks(lab: Lab) -> Iterator[list[Desk]]:
    """Two machines on the wire of the external network."""
    segment = lab.segments[0]
    made = []
    for number in (1, 2):
        desk = Desk(
            f"scl-{lab.name}-desk{number}", segment.gateway.rpartition(".")[0] + f".20{number}"
        )
        links.delete_netns(desk.netns)
        links.ensure_netns(desk.netns)
        links.plug(f"{lab.prefix}desk{number}", lab.external_bridge, desk.netns, "eth0")
        links.offload_off(f"{lab.prefix}desk{number}")
        links.offload_off_in(desk.netns, "eth0")
        run("ip", "-n", desk.netns, "address", "add", f"{desk.address}/24", "dev", "eth0")
        made.append(desk)
    yield made
    for number, desk in enumerate(made, 1):
        links.delete_link(f"{lab.prefix}desk{number}")
        links.delete_netns(desk.netns)


def test_a_machine_outside_sees_the_screen_and_comes_again_with_the_same_information(
    api: Api, lab: Lab, desks: list[Desk]
) -> None:
    vm_id = api.buy(name="outside", password=PASSWORD)["id"]
    assert api.settled(vm_id)["status"] == "running"
    here, elsewhere = desks
    information = api.post(f"/vms/{vm_id}/vnc-information", {}, expect=200)
    assert information["address"] == lab.segments[0].vnc_address
    for _ in range(3):
        seen = here.view(information)
        assert seen.startswith("QEMU"), seen
        assert int(seen.split()[-1]) > 10_000
    # Nobody else, although the password is right.
    stranger = elsewhere.try_to(information)
    assert stranger.returncode == 1
    assert "IncompleteReadError" in stranger.stdout or "Reset" in stranger.stdout
    # Not with the information of before the VM was stopped.
    api.post(f"/vms/{vm_id}/power-off")
    assert api.settled(vm_id)["status"] == "stopped"
    api.post(f"/vms/{vm_id}/start")
    assert api.settled(vm_id)["status"] == "running"
    assert "Refused" in here.try_to(information).stdout
    assert elsewhere.view(api.post(f"/vms/{vm_id}/vnc-information", {}, expect=200)).startswith(
        "QEMU"
    )
    api.destroy(vm_id)


def test_another_client_types_on_the_screen(api: Api, facts: dict[str, Any]) -> None:
    vm_id = api.buy(name="screen", password=PASSWORD)["id"]
    assert api.settled(vm_id)["status"] == "running"
    outside.await_agent(facts, vm_id)
    first = api.post(f"/vms/{vm_id}/vnc-information", {}, expect=200)
    information = api.post(f"/vms/{vm_id}/vnc-information", {}, expect=200)
    assert information["vm_id"] == vm_id
    assert information["password"] != first["password"]

    end = time.monotonic() + 240
    while FILE not in outside.guest_run(facts, vm_id, "/bin/sh", "-c", "echo /tmp/*"):
        assert time.monotonic() < end, "what was typed did not reach the guest"
        information = api.post(f"/vms/{vm_id}/vnc-information", {}, expect=200)
        asyncio.run(log_in_and_touch(information))

    # The same connection shows the boot when the VM restarts.
    information = api.post(f"/vms/{vm_id}/vnc-information", {}, expect=200)
    asyncio.run(watch_restart(api, information))
    outside.await_agent(facts, vm_id)
    assert FILE not in outside.guest_run(facts, vm_id, "/bin/sh", "-c", "echo /tmp/*")
    api.destroy(vm_id)

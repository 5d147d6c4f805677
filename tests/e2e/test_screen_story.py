"""VNC information used as a tenant would: with a client of others, through the running gateway."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import asyncvnc
import pytest

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
    async with connected(information) as client:
        await _use(client)


async def watch_restart(api: Api, information: dict[str, Any]) -> None:
    """Restart the VM and go on looking: each screenshot is asked of the screen anew."""
    async with connected(information) as client:
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
        asyncio.run(asyncio.wait_for(log_in_and_touch(information), 90))

    # The same connection shows the boot when the VM restarts.
    information = api.post(f"/vms/{vm_id}/vnc-information", {}, expect=200)
    asyncio.run(asyncio.wait_for(watch_restart(api, information), 300))
    outside.await_agent(facts, vm_id)
    assert FILE not in outside.guest_run(facts, vm_id, "/bin/sh", "-c", "echo /tmp/*")
    api.destroy(vm_id)

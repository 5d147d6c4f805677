"""A VM whose host, network and screen are reached by TLS only, from its purchase to a move."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from compute.actions.vms.migrate import migrate_vm
from compute.models import VM, Host
from compute.vnc import screens
from compute.vnc.screen import ScreenOpener
from scloud.lib.libvirt_uris import names_certificates
from scloud.tenancy.actor import Actor
from tests.lab_platform import RealPlatform

pytestmark = pytest.mark.lab


def look(vm: VM) -> bytes:
    """Open the screen as the proxy and the gateway do; what it calls itself."""
    endpoint = screens.prepare(vm.pk)
    assert endpoint.plain_allowed is False

    async def name() -> bytes:
        end = await ScreenOpener.connect(endpoint)
        assert end.transport.get_extra_info("cipher") is not None
        await end.write(b"\1")
        head = await end.readexactly(24)
        told = await end.readexactly(int.from_bytes(head[20:24], "big"))
        end.close()
        return told

    return asyncio.run(name())


def test_its_screen_opens_and_it_moves(real_platform: RealPlatform, settings: Any) -> None:
    platform = real_platform
    settings.SCLOUD_VNC_TLS = "required"
    assert platform.region.ovn_nb.startswith("ssl:")
    assert all(names_certificates(host.uri) for host in Host.objects.all())
    vm = platform.running_vm()
    assert platform.ports(), "its NICs are in OVN"
    assert b"QEMU" in look(vm)
    assert vm.host is not None
    there = Host.objects.exclude(pk=vm.host.pk).get()
    migrate_vm(actor=Actor.system(platform.tenant), vm=vm, host=there)
    platform.run_jobs()
    vm.refresh_from_db()
    assert (vm.status, vm.host, vm.failure) == ("running", there, "")
    assert b"QEMU" in look(vm)
    assert platform.domains() == {vm.pk: [there.name]}

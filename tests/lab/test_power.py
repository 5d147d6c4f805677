"""The power of a lab's hosts: a Redfish service that really kills and starts them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from compute.fencing.agents import AgentDevice
from compute.fencing.base import AgentKind, DeviceRef, FencePort, Power
from compute.fencing.opening import open_fence
from scloud.lab import controllers, links, region
from scloud.lab.plan import HostPlan, Lab
from scloud.lab.redfish import SYSTEM
from scloud.lab.shell import marked_processes, run, wait_for

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def spare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab of its own, with its state elsewhere, whose hosts may lose their power."""
    patch = pytest.MonkeyPatch()
    patch.setenv("SCLOUD_STATE_DIR", str(tmp_path_factory.mktemp("state")))
    patch.setattr(AgentDevice, "settle_s", 0.2)
    lab = Lab("fence", 60, 2)
    region.down(lab, wipe=True)
    region.up(lab)
    yield lab
    region.down(lab, wipe=True)
    assert marked_processes(lab.marker) == []
    patch.undo()


def fence(host: HostPlan) -> FencePort:
    """The port of a host, as the product opens it."""
    user, password = controllers.credentials(host)
    facts = controllers.facts(host)
    return open_fence(
        DeviceRef(
            AgentKind.REDFISH,
            facts["address"],
            user,
            password,
            system=SYSTEM,
            certificate=(host.controller / "certificate.pem").read_text(),
        )
    )


def test_a_host_loses_its_power_stays_off_and_comes_back(spare: Lab) -> None:
    first, second = spare.hosts
    assert controllers.credentials(first)[1] != controllers.credentials(second)[1]
    before = region.inner_pid(second)
    inside = region.process_namespace(first)
    assert inside is not None
    # As a guest would, it has nothing of the host's environment and a session of its own.
    run(
        "nsenter", "-t", str(region.inner_pid(first)), "-m", "-p", "--",
        "sh", "-c", "exec env -i setsid --fork sleep 600 </dev/null >/dev/null 2>&1",
    )  # fmt: skip
    assert len(region.processes_in(inside)) > 4

    done = fence(first).off()
    assert (done.power, done.already) == (Power.OFF, False)
    assert region.processes_in(inside) == []
    assert not region.answers(first.address, first.libvirt_port)
    assert not links.netns_exists(first.netns), "its kernel would still answer"
    assert region.inner_pid(second) == before

    # Off is off, whoever brings the lab up.
    region.up(spare)
    assert region.status(spare)["up"] is False
    assert fence(first).off().already

    assert fence(first).on().power is Power.ON
    wait_for("the host to be up", lambda: region.host_is_up(first), timeout_s=60, every_s=0.2)
    assert region.is_up(spare)

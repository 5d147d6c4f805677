"""Rigs for the driver contracts."""

from collections.abc import Iterator

import pytest

from compute.hypervisor.base import HostRef
from compute.storage.base import StorageRef
from compute.storage.fake import FakeStorage
from compute.storage.opening import open_storage
from tests.compute.drivers.rig import Rig


def _fake_rig() -> Rig:
    storage = open_storage(StorageRef("fake", "drivers"))
    assert isinstance(storage, FakeStorage)
    storage.add_image("image-mini")
    return Rig(
        kind="fake",
        here=HostRef("h1", "fake:drivers-h1", "127.0.0.1"),
        there=HostRef("h2", "fake:drivers-h2", "127.0.0.2"),
        storage=storage,
        image_id="image-mini",
        boot_timeout_s=2.0,
        poll_s=0.005,
    )


@pytest.fixture(scope="session")
def fake_rig() -> Iterator[Rig]:
    """The fakes."""
    rig = _fake_rig()
    yield rig
    rig.clean()


@pytest.fixture(params=["fake", pytest.param("libvirt", marks=pytest.mark.lab)])
def rig(request: pytest.FixtureRequest) -> Rig:
    """Each test of the contract runs over both."""
    name = "fake_rig" if request.param == "fake" else "lab_rig"
    found: Rig = request.getfixturevalue(name)
    return found

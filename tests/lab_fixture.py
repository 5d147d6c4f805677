"""The region in a box for tests, and the drivers on it: one per run, left as it was found."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.conf import settings

from compute.hypervisor.base import HostRef
from compute.storage.base import StorageRef
from compute.storage.opening import open_storage
from network.fabric import ovn
from scloud.lab import certificates, images, region
from scloud.lab.plan import Lab, lab_named
from tests.compute.drivers.rig import Rig, new_id


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """A lab with two hosts: brought up once, taken down unless it was up before.

    ``SCLOUD_TEST_LAB`` names another one than ``test``, for runs beside each other. With
    ``SCLOUD_TEST_NO_REGION`` a test that asks for it fails.
    """
    if "SCLOUD_TEST_NO_REGION" in os.environ:
        pytest.fail("run beside the tests of the region, which is theirs; see REGIONS in conftest")
    wanted = lab_named(os.environ.get("SCLOUD_TEST_LAB", "test"), host_count=2)
    was_up = region.is_up(wanted)
    region.up(wanted, fresh=not was_up)
    with _certificates(wanted):
        yield wanted
    if not was_up:
        region.down(wanted, wipe=True)


@contextmanager
def _certificates(lab: Lab) -> Iterator[None]:
    """What the product's processes have by their settings, for the drivers in this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(settings, "SCLOUD_WORKER_CERTIFICATES", certificates.of_worker(lab))
        patch.setattr(settings, "SCLOUD_GATEWAY_CERTIFICATES", certificates.of_gateway(lab))
        ovn.use_certificates(certificates.of_worker(lab) / "ovn")
        yield


def _lab_rig(wanted: Lab) -> Rig:
    storage = open_storage(StorageRef("dir", str(wanted.storage)))
    image_id = new_id("image")
    storage.import_image(image_id, images.ensure("mini"))
    here, there = (
        HostRef(host.name, host.uri, host.address, offloads=False) for host in wanted.hosts[:2]
    )
    return Rig(
        kind="libvirt",
        here=here,
        there=there,
        storage=storage,
        image_id=image_id,
        # A warm boot under TCG takes 40 s on a quiet machine, several times that on a busy one.
        boot_timeout_s=240.0,
        poll_s=0.3,
    )


@pytest.fixture(scope="session")
def lab_rig(lab: Lab) -> Iterator[Rig]:
    """The real drivers, once for a run: at its end it takes away every volume that was made."""
    rig = _lab_rig(lab)
    yield rig
    rig.clean()

"""The region in a box for tests: one per run, left as it was found."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from scloud.lab import region
from scloud.lab.plan import Lab, lab_named


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
    yield wanted
    if not was_up:
        region.down(wanted, wipe=True)

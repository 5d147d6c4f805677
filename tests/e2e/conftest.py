"""A whole installation for the end-to-end tests: database, lab, console, VNC, workers, sweeper."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from scloud.lab import stack as stacks
from scloud.lab.plan import Lab
from tests.e2e.client import Api

PORT = int(os.environ.get("SCLOUD_E2E_PORT", "18000"))


@pytest.fixture(scope="package")
def stack(lab: Lab) -> Iterator[stacks.Stack]:
    """An installation of its own, wiped before and after; short leases keep the tests short."""
    root = Path(__file__).resolve().parents[2]
    installed = stacks.Stack(
        lab=lab,
        state=root / ".scloud" / f"e2e-{PORT}",
        console_port=PORT,
        vnc_port=PORT + 1,
        postgres_port=PORT + 2,
        durable=False,
        settings=(
            ("SCLOUD_JOB_LEASE_S", "4"),
            ("SCLOUD_WORKERS", "3"),
            ("SCLOUD_SECRET_KEY", "only for the tests of this checkout, 50 characters"),
        ),
    )
    stacks.stop_processes(installed)
    installed.cluster.wipe()
    stacks.up(installed)
    yield installed
    stacks.stop_processes(installed)
    installed.cluster.wipe()


@pytest.fixture(scope="package")
def logins(stack: stacks.Stack) -> dict[str, str]:
    """E-mail addresses and passwords of the demo tenant and of the administrator."""
    return stacks.logins(stack)


@pytest.fixture(scope="package")
def api(stack: stacks.Stack, logins: dict[str, str]) -> Api:
    """The API, with a key of the demo tenant."""
    secret = stack.manage("issue_api_key", logins["email"], quiet=True).strip()
    return Api(stack.url, secret)


@pytest.fixture(scope="package")
def facts(stack: stacks.Stack) -> dict[str, object]:
    """What the lab told the installation about itself."""
    found: dict[str, object] = json.loads((stack.run / "region.json").read_text())
    return found

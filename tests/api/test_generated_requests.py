"""Requests that schemathesis makes from the schema, and answers that it judges by the schema.

They go through the ASGI application that the console's process serves. ``make test`` spends half a
minute on it, ``make soak`` a quarter of an hour: ``API_MINUTES=15 SEED=7 make soak``.
"""

from __future__ import annotations

import os
from typing import Any

import pytest
from rest_framework.response import Response

from compute.actions.disks import create_disk, quote_disk
from compute.actions.snapshots import create_snapshot
from compute.models import Disk
from compute.rules.orders import DiskOrder
from scloud.rest.regions import RegionViewSet
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant, User
from tests.api import fuzz
from tests.api.client import program_of
from tests.billing.helpers import fund
from tests.compute.box import Box

SECONDS = int(os.environ.get("SCLOUD_API_MINUTES", "0")) * 60 or 30
SEED = int(os.environ.get("SCLOUD_API_SEED", "1"))
# How many requests are made of an operation in a phase.
EXAMPLES = 2 if SECONDS < 120 else 10

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(SECONDS * 2 + 300),
]


@pytest.fixture
def secret(box: Box, actor: Actor, tenant: Tenant, user: User, settings: Any) -> str:
    """The key of an owner with money, VMs, a disk and a snapshot."""
    # Nobody counts the requests, and nothing is fetched from anywhere.
    settings.SCLOUD_API_REQUESTS_PER_MINUTE = 10**9
    settings.SCLOUD_IMPORT_PORTS = []
    box.vm(name="running")
    box.vm(name="stopped", stopped=True)
    fund(tenant, cash="100000")
    order = DiskOrder(
        region=box.platform.region, disk_type=box.platform.disk_type, size_gib=20, name="data"
    )
    disk = create_disk(
        actor=actor, order=order, quote_token=quote_disk(actor=actor, order=order).token
    )
    box.run()
    create_snapshot(actor=actor, disk=Disk.objects.get(pk=disk.pk), name="before")
    box.run()
    return program_of(user).secret


@pytest.mark.parametrize(
    ("phases", "share"),
    [(("examples", "coverage", "fuzzing"), 0.6), (("stateful",), 0.4)],
    ids=["each by itself", "one after the other"],
)
def test_no_answer_is_other_than_the_schema_tells(
    secret: str, box: Box, phases: tuple[str, ...], share: float
) -> None:
    """What was asked for is carried out in between: VMs start and stop, disks are attached."""
    with fuzz.served(box.run) as product:
        found = fuzz.run(
            product,
            secret,
            seed=SEED,
            max_time_s=int(SECONDS * share),
            examples=EXAMPLES,
            phases=phases,
        )
    print(found.summary())
    assert found.failures == {}, str(found)
    assert found.errors == []
    assert set(found.phases) <= set(phases)
    assert found.requests > 0


def test_an_answer_that_the_schema_does_not_tell_is_found(
    secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: a status code, a field of another type, and a value that is not checked."""
    told = iter([Response({"code": "teapot"}, status=418), Response({"count": "many"})])

    def surprising(self: Any, request: Any, *args: Any, **kwargs: Any) -> Response:
        return next(told, Response({"count": "many"}))

    monkeypatch.setattr(RegionViewSet, "list", surprising)
    monkeypatch.setattr("scloud.rest.queries.check", lambda view, request: None)
    with fuzz.served() as product:
        found = fuzz.run(product, secret, seed=1, max_time_s=5, examples=2, only="/api/v1/regions")
    checks = {name.split()[0] for name in found.failures}
    assert checks >= {
        "status_code_conformance",
        "response_schema_conformance",
        "negative_data_rejection",
    }, str(found)

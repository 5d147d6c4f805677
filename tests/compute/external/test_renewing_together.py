"""One dialog renews what is chosen in the lists of resources, also expired and in the bin."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from django.test import Client

from billing.models import Subscription
from compute.actions import disks
from compute.actions.vms import lifecycle
from compute.tasks import external_target
from network.models import ExternalSegment, Subnet
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant, User
from tests.compute.box import Box
from tests.compute.console import HTMX, page, token_in
from tests.compute.disks.test_tasks import ready
from tests.compute.external.test_enis import inner, outer
from tests.compute.test_truth_of_landings import expire
from tests.compute.things import fresh
from tests.outside import buy_ip

pytestmark = pytest.mark.django_db
URL = "/billing/renew/"


@pytest.fixture(autouse=True)
def _obedient_guests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Guests do what they are told."""
    monkeypatch.setattr(external_target, "apply_guest_network", lambda vm_id: True)


def query(rows: Iterable[Any]) -> str:
    return "?" + "&".join(f"ids={row.pk}" for row in rows)


def paid_until(row: Any) -> Any:
    return Subscription.objects.get(resource_id=row.pk).paid_until


def test_what_is_chosen_in_any_list_is_renewed_and_the_rest_is_named(
    box: Box,
    actor: Actor,
    console: Client,
    segment: ExternalSegment,
    other_tenant: Tenant,
    make_user: Callable[..., User],
) -> None:
    vm = box.vm(method="month")
    address = buy_ip(actor, segment, method="month")
    eni = outer(actor, segment, method="month")
    expired, binned = ready(box, method="month"), ready(box, method="month")
    hourly = ready(box)
    system = box.system_disk(vm)
    free = inner(actor, Subnet.objects.get(nics__vm_id=vm.pk))
    lifecycle.rename_vm(actor=actor, vm=vm, name="renamed")
    disks.delete_disk(actor=actor, disk=binned)
    box.run()
    expire(box, expired)
    expire(box, binned)
    assert (fresh(expired).status, fresh(binned).status) == ("expired", "binned")

    for name, *kind in (
        ("vm-list",),
        ("disk-list",),
        ("external-ip-list",),
        ("eni-list",),
        ("bin-kind", "disk"),
    ):
        assert f'hx-get="{URL}"' in page(console, name, *kind), name

    renewed = [vm, address, eni, expired, binned]
    left_out = {hourly: "billed by the hour", system: "not billed", free: "not billed"}
    chosen = [*renewed, *left_out]
    dialog = page(console, "billing-renew-together", query=query(chosen))
    assert "3 resources are not renewed" in dialog
    # Under its present name, among the chosen and beside its price.
    assert dialog.count("renamed") == 2
    for row, words in left_out.items():
        assert words in dialog[dialog.index(f'ident">{row.pk}') :][:200]
    before = {row: paid_until(row) for row in renewed}
    sent = {"ids": [row.pk for row in chosen], "extent": "2", "quote_token": token_in(dialog)}
    # The price of the dialog is that of one month.
    assert console.post(URL, sent, headers=HTMX).status_code == 422
    stranger = Client()
    stranger.force_login(make_user(other_tenant))
    for row in (vm, system, free):
        assert stranger.get(URL + query([row]), headers=HTMX).status_code == 404
    quoted = page(console, "billing-renew-together", query=f"{query(chosen)}&quote=1&extent=2")
    answer = console.post(URL, {**sent, "quote_token": token_in(quoted)}, headers=HTMX)
    assert answer.status_code == 200
    told = answer.content.decode()
    assert "5 of 8 accepted" in told
    assert told.count("Refused") == 3
    changed = {one["id"] for one in json.loads(answer["HX-Trigger"])["resource-changed"]}
    assert {row.pk for row in renewed} <= changed
    assert all(paid_until(row) > until for row, until in before.items())
    assert set(Subscription.objects.values_list("status", flat=True)) == {"active"}
    # It is usable again, and what lies in the bin can be restored.
    assert fresh(expired).status == "unbound"
    disks.restore_disk(actor=actor, disk=fresh(binned))
    assert fresh(binned).status == "unbound"

    # By themselves, hours are renewed for a number of hours.
    assert '<option value="24">' in page(console, "billing-renew-together", query=query([hourly]))
    nothing = page(console, "billing-renew-together", query=query([system]))
    assert "Pay and renew" not in nothing
    refused = console.post(URL, {"ids": [system.pk]}, headers=HTMX)
    assert refused.status_code == 422
    assert "None of the selected resources" in refused.content.decode()

"""The last hour in the list of VMs, and the busiest VMs on the front page."""

from __future__ import annotations

import re

import pytest
from django.test import Client
from django.urls import reverse

from alarms import catalogue as c
from alarms.queries import metrics
from alarms.store.base import Sample, SeriesKey
from alarms.store.fake import FakeStore
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scope
from tests.alarms.measured import measure
from tests.compute.factories import Platform, make_vm
from tests.fixtures import new_user


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> FakeStore:
    made = FakeStore()
    monkeypatch.setattr(metrics, "metrics_store", lambda: made)
    return made


def test_the_list_and_the_dashboard_show_what_vms_use(
    platform: Platform,
    actor: Actor,
    tenant: Tenant,
    other_tenant: Tenant,
    console: Client,
    store: FakeStore,
) -> None:
    busy, calm, silent = (
        make_vm(platform, actor, name=name) for name in ("busy", "calm", "silent")
    )
    cpu, memory = SeriesKey(c.CPU_USAGE.name), SeriesKey(c.MEMORY_USAGE.name)
    with scope(tenant=tenant):
        newest = measure(store, calm, hours=0.1)
    store.samples.clear()
    store.write([Sample(tenant.pk, busy.pk, newest, {cpu: 0.91, memory: 0.5})])
    store.write([Sample(tenant.pk, calm.pk, newest, {cpu: 0.02})])

    page = console.get(reverse("vm-list")).content.decode()
    assert page.count(f'data-recent="{silent.pk}"') == 1
    assert "js/alarms/recent" in page
    url, ids = reverse("recent-usage"), ",".join((busy.pk, calm.pk, silent.pk, "vm-\x01", ""))
    lines = console.get(url, {"ids": ids}).content.decode()
    shown = {
        part[:12]: re.findall(r'spark-value">([^<]+)<', part)
        for part in lines.split('data-recent-of="')[1:]
    }
    assert shown == {busy.pk: ["91 %", "50 %"], calm.pk: ["2 %"]}
    assert console.get(url).content == b""

    assert reverse("busiest-vms") in console.get("/").content.decode()
    card = console.get(reverse("busiest-vms")).content.decode()
    assert re.findall(r"<a [^>]*>(\w+)</a>", card) == ["busy", "calm"]
    assert "91 %" in card

    stranger = Client()
    stranger.force_login(new_user(other_tenant))
    assert stranger.get(url, {"ids": ids}).content == b""
    assert busy.pk not in stranger.get(reverse("busiest-vms")).content.decode()

    store.faults.away = True
    assert "cannot be read" in console.get(reverse("busiest-vms")).content.decode()
    assert console.get(url, {"ids": ids}).status_code == 503
    assert console.get(reverse("vm-list")).status_code == 200

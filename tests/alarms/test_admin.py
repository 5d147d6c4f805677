"""Operators see how far behind the collector is, and set how long measurements are kept."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from alarms.collecting.leases import take_share
from alarms.models import HostCollection, MetricSettings
from scloud.tenancy.models import User
from tests.compute.factories import Platform


@pytest.fixture
def operator(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("ops@scloud.test", "correct horse 9"))
    return client


def test_the_lag_of_each_host(operator: Client, platform: Platform) -> None:
    take_share("collector-a")
    late, fresh = platform.hosts
    HostCollection.objects.filter(host=late).update(
        stored_at=timezone.now() - timedelta(seconds=400), last_error="The host does not answer."
    )
    HostCollection.objects.filter(host=fresh).update(
        stored_at=timezone.now() - timedelta(seconds=10), vms=7, silent_agents=2
    )
    page = operator.get(reverse("admin:alarms_hostcollection_changelist")).content.decode()
    assert re.search(r'"field-lag[^"]*">6 min 4\d s \(late\)<', page)
    assert re.search(r'"field-lag[^"]*">1\d s<', page)
    assert "The host does not answer." in page
    assert "collector-a" in page


def test_a_host_of_which_nothing_is_stored_says_so(operator: Client, platform: Platform) -> None:
    take_share("collector-a")
    page = operator.get(reverse("admin:alarms_hostcollection_changelist")).content.decode()
    assert page.count("Nothing stored yet") == 2


def test_the_collectors_and_their_hosts(operator: Client, platform: Platform) -> None:
    take_share("collector-a")
    page = operator.get(reverse("admin:alarms_collector_changelist")).content.decode()
    assert "collector-a" in page
    assert '<td class="field-hosts">2</td>' in page


def test_the_settings_are_one_row(operator: Client) -> None:
    page = operator.get(reverse("admin:alarms_metricsettings_changelist"), follow=True)
    assert page.status_code == 200
    url = reverse("admin:alarms_metricsettings_change", args=[1])
    fields = {"samples_keep_h": 23, "five_minutes_keep_days": 30, "hours_keep_days": 400}
    refused = operator.post(url, fields)
    assert "greater than or equal to 24" in refused.content.decode()
    assert MetricSettings.load().samples_keep_h == 48
    assert operator.post(url, {**fields, "samples_keep_h": 72}).status_code == 302
    assert MetricSettings.load().samples_keep_h == 72

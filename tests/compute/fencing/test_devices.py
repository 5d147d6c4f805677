"""Fence devices in the administration: entered, tested, used by hand; the password stays sealed."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core import serializers
from django.test import Client
from django.urls import reverse

from compute.fencing.base import Power
from compute.fencing.fake import FakeMachine, fake_machine, forget_fake_machines
from compute.models import VM, FenceDevice, Host
from compute.tasks.fencing import fence_of
from scloud.audit.models import Event, Operation
from scloud.jobs import runner
from scloud.jobs.models import Job, JobStatus
from scloud.lib import keys
from scloud.tenancy import sealed
from scloud.tenancy.models import User
from scloud.tenancy.scoping import scopes_disabled
from tests.compute.factories import Platform

SECRET = "fence 9 'secret' "


@pytest.fixture
def operator(db: None) -> Client:
    """A browser in which a platform administrator is signed in."""
    client = Client()
    client.force_login(User.objects.create_superuser("root@scloud.test", "a long secret 9"))
    return client


@pytest.fixture
def machine() -> Iterator[FakeMachine]:
    """The host behind the device."""
    found = fake_machine("bmc-1")
    found.user, found.password = "fencer", SECRET
    yield found
    forget_fake_machines()


def entered(host: Host, **changes: object) -> dict[str, Any]:
    """What the form sends."""
    values = {
        "host": host.pk,
        "agent": "fake",
        "address": "bmc-1",
        "port": "",
        "user": "fencer",
        "new_password": SECRET,
        "system": "",
        "verify_certificate": "on",
        "certificate": "",
        **changes,
    }
    return {name: value for name, value in values.items() if value is not None}


def page(device: FenceDevice) -> str:
    return reverse("admin:compute_fencedevice_change", args=[device.pk])


def press(operator: Client, device: FenceDevice, button: str) -> str:
    url = reverse("admin:compute_fencedevice_do", args=[device.pk, button])
    return operator.post(url, follow=True).content.decode()


def last_job() -> Job:
    """Run the job that was queued last."""
    with scopes_disabled():
        job: Job = Job.objects.filter(target_kind=FenceDevice.KIND).latest("created_at")
        runner.run(job.pk)
        job.refresh_from_db()
    return job


def logged(verb: str) -> Operation:
    with scopes_disabled():
        found: Operation = Operation.objects.filter(verb=verb).latest("id")
    return found


def made(operator: Client, host: Host) -> FenceDevice:
    operator.post(reverse("admin:compute_fencedevice_add"), entered(host))
    return FenceDevice.objects.get(host=host)


def test_a_device_is_entered_tested_and_its_password_is_nowhere(
    operator: Client,
    platform: Platform,
    machine: FakeMachine,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    host = platform.hosts[0]
    add = reverse("admin:compute_fencedevice_add")
    refused = operator.post(add, entered(host, new_password="")).content.decode()
    assert "Enter the password." in refused
    device = made(operator, host)
    shown = [operator.get(page(device)).content.decode()]
    assert "The host is on." not in shown[0]

    shown.append(press(operator, device, "test"))
    assert last_job().status == JobStatus.SUCCEEDED
    assert "The host is on." in operator.get(page(device)).content.decode()
    assert (logged("platform.record_fencing").after or {})["power"] == "on"

    machine.unreachable = True
    press(operator, device, "test")
    job = last_job()
    assert (job.status, job.error_code) == (JobStatus.FAILED, "fence_unreachable")
    shown.append(operator.get(page(device)).content.decode())
    assert "does not answer" in shown[-1]
    assert (logged("platform.record_fencing").after or {})["error"] == "fence_unreachable"
    assert machine.asked == []

    with scopes_disabled():
        rows = [
            *Operation.objects.all(), *Job.objects.all(), *Event.objects.all(),
            *LogEntry.objects.all(), *FenceDevice.objects.all(),
        ]  # fmt: skip
        kept = json.dumps(json.loads(serializers.serialize("json", rows)), ensure_ascii=False)
    for text in (*shown, kept, caplog.text):
        assert SECRET.strip() not in text


def test_a_password_is_sent_to_nobody_else_than_it_was_entered_for(
    operator: Client, platform: Platform, machine: FakeMachine
) -> None:
    device = made(operator, platform.hosts[0])
    moved = operator.post(page(device), entered(device.host, new_password="", address="bmc-2"))
    assert "Enter the password." in moved.content.decode()
    bare = operator.post(
        page(device), entered(device.host, new_password="", verify_certificate=None)
    )
    assert "Enter the password." in bare.content.decode()
    operator.post(page(device), entered(device.host, new_password="", system="node-1"))
    device.refresh_from_db()
    assert (device.address, device.system, device.verify_certificate) == ("bmc-1", "node-1", True)
    assert fence_of(device).status().power is Power.ON


def test_what_an_agent_would_misread_is_refused_and_a_risk_is_told(
    operator: Client, platform: Platform
) -> None:
    host = platform.hosts[0]
    add = reverse("admin:compute_fencedevice_add")
    for wrong, said in (
        ({"agent": "redfish"}, "Enter the path of the system."),
        ({"agent": "virsh"}, "Enter the name of the domain."),
        ({"address": "192.0.2.7:443"}, "Enter an IP address or a host name."),
        ({"agent": "virsh", "system": "a", "user": "-oProxyCommand=x"}, "are allowed here"),
        ({"certificate": "-----BEGIN"}, "not a certificate in PEM form"),
        ({"new_password": "a\nb"}, "This password cannot be used."),
        ({"user": "a\u0007b"}, "Control characters"),
    ):
        assert said in operator.post(add, entered(host, **wrong)).content.decode(), wrong
    assert not FenceDevice.objects.exists()
    risky = entered(host, agent="redfish", system="/redfish/v1/Systems/1", verify_certificate=None)
    assert "can be forged" in operator.post(add, risky, follow=True).content.decode()


def test_a_new_key_reaches_the_password(
    operator: Client, platform: Platform, machine: FakeMachine, settings: Any
) -> None:
    settings.SCLOUD_KEYS = {"sealing": ["old key"]}
    device = made(operator, platform.hosts[0])
    settings.SCLOUD_KEYS = {"sealing": ["new key", "old key"]}
    assert sealed.reseal().resealed == 1
    settings.SCLOUD_KEYS = {"sealing": ["new key"]}
    device.refresh_from_db()
    assert keys.box().decrypt(device.sealed_password.encode()).decode() == SECRET
    assert fence_of(device).status().power is Power.ON


def test_a_host_is_switched_off_by_its_typed_name_and_on_again(
    operator: Client, vm: VM, machine: FakeMachine
) -> None:
    assert vm.host is not None
    device = made(operator, vm.host)
    url = reverse("admin:compute_fencedevice_power_off", args=[device.pk])
    assert "1 VM runs on the host." in operator.get(url).content.decode()
    wrong = operator.post(url, {"typed": "another"}).content.decode()
    assert "not the name of the host" in wrong
    assert not logged("platform.power_off_host").succeeded
    with scopes_disabled():
        assert not Job.objects.filter(target_kind=FenceDevice.KIND).exists()

    operator.post(url, {"typed": vm.host.name})
    # One thing at a time: a test now would see neither state.
    assert "still running" in press(operator, device, "test")
    assert last_job().status == JobStatus.SUCCEEDED
    assert (machine.power, machine.asked) == (Power.OFF, [Power.OFF])
    assert "The host is off." in operator.get(page(device)).content.decode()
    with scopes_disabled():
        fresh = VM.objects.get(pk=vm.pk)
    assert (fresh.status, fresh.task, fresh.host_id) == (vm.status, vm.task, vm.host_id)

    press(operator, device, "power-on")
    assert last_job().status == JobStatus.SUCCEEDED
    assert machine.power is Power.ON


def test_a_host_that_was_not_seen_to_be_off_is_told_to_be_treated_as_running(
    operator: Client, platform: Platform, machine: FakeMachine
) -> None:
    device = made(operator, platform.hosts[0])
    machine.returns = True
    url = reverse("admin:compute_fencedevice_power_off", args=[device.pk])
    operator.post(url, {"typed": device.host.name})
    job = last_job()
    assert (job.status, job.error_code) == (JobStatus.FAILED, "fence_contradiction")
    device.refresh_from_db()
    assert device.tested_power == ""
    assert "Treat the host as running" in device.test_error

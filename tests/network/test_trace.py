"""An operator asks what the network does with a packet, and a worker asks the network."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

import pytest
from django.test import Client
from django.urls import reverse

from network.actions import Defaults, NicRequest, create_nics
from network.actions.operators import trace_packet
from network.fabric import fake
from network.fabric.base import FabricUnreachable, IpProtocol, TraceSpec, router_mac
from network.models import Nic
from network.tasks import fabrics
from scloud.jobs.models import Job
from scloud.lib.errors import Forbidden, InvalidInput
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import User
from scloud.tenancy.scoping import scopes_disabled

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("scoped")]
RunJobs = Callable[[], list[str]]


@pytest.fixture
def nics(defaults: Defaults) -> list[Nic]:
    assert defaults.subnet is not None
    requests = [NicRequest(vm_id="vm-a"), NicRequest(vm_id="vm-b")]
    return create_nics(subnet=defaults.subnet, requests=requests)


@pytest.fixture
def root() -> User:
    return User.objects.create_superuser("root@platform.test", "x")


@pytest.fixture
def administrator(root: User, nics: list[Nic]) -> Actor:
    return Actor.administrator(root, nics[0].tenant, None)


@pytest.fixture
def traced(
    world: fake.World, region: Region, monkeypatch: pytest.MonkeyPatch
) -> list[tuple[str, TraceSpec]]:
    """What the network was asked."""
    Region.objects.filter(pk=region.pk).update(ovn_sb="tcp:192.0.2.1:6642")
    asked: list[tuple[str, TraceSpec]] = []

    def trace(sb: str, spec: TraceSpec, *, timeout_s: float = 30.0) -> str:
        asked.append((sb, spec))
        return "ingress(dp=...)"

    monkeypatch.setattr(fabrics, "trace", trace)
    return asked


def test_a_packet_to_a_neighbour_is_asked_about_as_it_leaves_the_nic(
    administrator: Actor,
    nics: list[Nic],
    traced: list[tuple[str, TraceSpec]],
    run_jobs: RunJobs,
) -> None:
    job = trace_packet(
        actor=administrator, nic=nics[0], destination="vm-b", protocol="tcp", port=443
    )
    # Of the platform: no tenant sees it among its tasks.
    assert job.tenant_id is None
    run_jobs()
    with scopes_disabled():
        done = Job.objects.get(pk=job.pk)
    assert done.status == "succeeded", done.error_message
    assert done.result["trace"] == "ingress(dp=...)"
    expected = TraceSpec(
        switch_id=str(nics[0].subnet_id),
        port_name=str(nics[0].port_uuid),
        source_mac=nics[0].mac,
        destination_mac=nics[1].mac,
        source=ip_address("10.0.0.2"),
        destination=ip_address("10.0.0.3"),
        protocol=IpProtocol.TCP,
        port=443,
    )
    assert traced == [("tcp:192.0.2.1:6642", expected)]


def test_what_is_not_in_the_subnet_goes_to_its_gateway(
    administrator: Actor,
    nics: list[Nic],
    traced: list[tuple[str, TraceSpec]],
    run_jobs: RunJobs,
) -> None:
    trace_packet(actor=administrator, nic=nics[0], destination="192.0.2.9", protocol="icmp")
    run_jobs()
    ((_, spec),) = traced
    assert spec.destination_mac == router_mac(str(nics[0].subnet_id))
    assert (spec.protocol, spec.port) == (IpProtocol.ICMP, None)


def test_a_network_that_does_not_answer_and_a_region_without_an_address_fail_the_job(
    administrator: Actor,
    nics: list[Nic],
    traced: list[tuple[str, TraceSpec]],
    region: Region,
    run_jobs: RunJobs,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def silent(sb: str, spec: TraceSpec, *, timeout_s: float = 30.0) -> str:
        raise FabricUnreachable("tcp:192.0.2.1:6642 did not answer")

    monkeypatch.setattr(fabrics, "trace", silent)
    for code in ("fabric_unreachable", "trace_not_configured"):
        job = trace_packet(
            actor=administrator, nic=nics[0], destination="vm-b", protocol="tcp", port=1
        )
        run_jobs()
        with scopes_disabled():
            assert Job.objects.get(pk=job.pk).error_code == code
        Region.objects.filter(pk=region.pk).update(ovn_sb="")


def test_a_question_that_makes_no_sense_is_refused_and_a_tenant_may_not_ask(
    administrator: Actor, actor: Actor, nics: list[Nic]
) -> None:
    with pytest.raises(InvalidInput) as refused:
        trace_packet(actor=administrator, nic=nics[0], destination="vm-c", protocol="tcp", port=1)
    assert refused.value.code == "destination_unknown"
    with pytest.raises(InvalidInput) as refused:
        trace_packet(
            actor=administrator, nic=nics[0], destination="2001:db8::1", protocol="tcp", port=1
        )
    assert refused.value.code == "nic_without_address"
    with pytest.raises(Forbidden):
        trace_packet(actor=actor, nic=nics[0], destination="vm-b", protocol="tcp", port=1)


def test_the_page_of_the_admin_asks_and_shows_the_answers(
    root: User, nics: list[Nic], traced: list[tuple[str, TraceSpec]], run_jobs: RunJobs
) -> None:
    client = Client()
    client.force_login(root)
    here = reverse("admin:network_nic_trace", args=[nics[0].pk])
    assert (
        here in client.get(reverse("admin:network_nic_change", args=[nics[0].pk])).content.decode()
    )
    values = {"destination": "vm-b", "protocol": "tcp", "port": "80"}
    assert client.post(here, values).headers["Location"] == here
    run_jobs()
    assert "ingress(dp=...)" in client.get(here).content.decode()
    refused = client.post(here, {**values, "port": ""}).content.decode()
    assert "A port is needed for TCP and UDP." in refused
    unknown = reverse("admin:network_nic_trace", args=["nic-nothing"])
    assert client.get(unknown).status_code == 404

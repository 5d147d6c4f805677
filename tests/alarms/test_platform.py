"""What operators and their Prometheus see of the platform."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from django.db import DatabaseError
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from alarms import registry
from alarms.collecting.leases import take_share
from alarms.exposition import platform as families
from alarms.models import HostCollection
from alarms.queries import capacity, guests, metrics
from alarms.queries import platform as figures
from alarms.store.base import PLATFORM, Sample, SeriesKey, StoreUnavailable
from alarms.store.fake import FakeStore
from alarms.sweeps import keeping
from alarms.views import exposition
from compute.models import VM, Drift, StoragePool
from scloud.jobs.models import Heartbeat, Job
from scloud.lib.exposition import document
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import User
from scloud.tenancy.scoping import scopes_disabled
from tests.compute.factories import Platform, make_vm
from tests.prometheus import parse
from tests.web.conftest import make_job

__all__ = ["make_job"]

NOW = datetime.now(UTC)
MakeJob = Callable[..., Job]


@pytest.fixture
def operator(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("ops@scloud.test", "correct horse 9"))
    return client


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> FakeStore:
    made = FakeStore()
    for module in (capacity, metrics, figures, keeping):
        monkeypatch.setattr(module, "metrics_store", lambda: made)
    return made


def fill_queue(make_job: MakeJob) -> None:
    """Four that ended (one failed, one gave its slot back), one that runs, two that wait."""
    with scopes_disabled():
        Job.objects.all().delete()

    def ago(seconds: float) -> datetime:
        return timezone.now() - timedelta(seconds=seconds)

    def make(status: str, waited_s: float, took_s: float, **more: Any) -> None:
        times = {
            "created_at": ago(300),
            "not_before": ago(300),
            "started_at": ago(300 - waited_s),
            "finished_at": ago(300 - waited_s - took_s),
        }
        make_job(status=status, **{**times, **more})

    make("succeeded", 10, 20)
    make("succeeded", 20, 40)
    make("failed", 30, 60, kind="vm.migrate")
    make("succeeded", 0, 80, not_before=ago(10))
    make("succeeded", 1, 1, finished_at=ago(90_000))
    make_job(status="running", lease_until=timezone.now() + timedelta(seconds=9))
    make_job(not_before=ago(50))
    make_job(not_before=ago(-50))


def test_the_platform_for_prometheus(
    platform: Platform, actor: Actor, store: FakeStore, make_job: MakeJob
) -> None:
    vm = make_vm(platform, actor, name="web")
    fill_queue(make_job)
    first, second = platform.hosts
    second.unreachable_since = timezone.now()
    second.save()
    take_share("collector-a")
    stored_at = timezone.now() - timedelta(seconds=20)
    HostCollection.objects.filter(host=first).update(stored_at=stored_at)
    key = SeriesKey("host_cpu_usage_ratio")
    store.write([Sample(PLATFORM, first.pk, timezone.now(), {key: 0.25})])
    StoragePool.objects.update(total_bytes=4000, available_bytes=1000, observed_at=timezone.now())
    Drift.objects.create(kind="unknown_domain", place="h1", resource_id="x")
    Heartbeat.objects.create(name="sweeper/wake-ups", machine="m", seen_at=stored_at)
    with scopes_disabled():
        found = parse(document(families.families()))

    def value(name: str, **labels: str) -> float:
        return found[name].samples[tuple(labels.items())][0]

    assert value("scloud_jobs_active", status="queued") == 2
    assert value("scloud_jobs_due") == 1
    assert value("scloud_jobs_oldest_due_seconds") == pytest.approx(50, abs=10)
    assert value("scloud_jobs_ended_last_hour", status="failed") == 1
    assert value("scloud_jobs_ended_last_hour", status="succeeded") == 3
    assert value("scloud_job_wait_median_seconds") == pytest.approx(20, abs=0.5)
    assert value("scloud_job_duration_p95_seconds") == pytest.approx(77, abs=0.5)
    h1 = {"host": first.name, "cluster": platform.cluster.pk}
    h2 = {**h1, "host": second.name}
    assert value("scloud_host_cpu_usage_ratio", **h1) == 0.25
    assert (value("scloud_host_unreachable", **h1), value("scloud_host_unreachable", **h2)) == (
        0,
        1,
    )
    assert value("scloud_host_vcpus", **h1) == 64
    allocated = value("scloud_host_memory_allocated_bytes", **h1) + value(
        "scloud_host_memory_allocated_bytes", **h2
    )
    assert allocated == vm.memory_mib * 1024 * 1024
    assert value("scloud_host_stored_timestamp_seconds", **h1) == pytest.approx(
        stored_at.timestamp(), abs=0.01
    )
    pool = {"pool": platform.pool.pk, "region": platform.region.pk}
    assert value("scloud_pool_available_bytes", **pool) == 1000
    assert value("scloud_vms", status=vm.status) == 1
    ((version, _at),) = (key for key in found["scloud_build_info"].samples.items())
    assert re.fullmatch(r"[0-9]+\.[0-9]+\.[0-9]+.*", version[0][1])
    assert value("scloud_drift_open", kind="unknown_domain") == 1
    seen = found["scloud_process_last_seen_timestamp_seconds"].samples
    assert {labels[0][1] for labels in seen} == {"sweeper", "collector"}
    for name, family in found.items():
        assert name.startswith("scloud_")
        assert family.help.endswith(".")


def test_who_may_read_the_metrics(
    client: Client, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exposition._document, "get", lambda: "scloud_x 1\n")
    token = "a" * 30
    settings.SCLOUD_METRICS_TOKEN = token

    def status(address: str, **headers: str) -> int:
        answer = client.get("/metrics", REMOTE_ADDR=address, headers=headers)
        if answer.status_code == 200:
            assert answer["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
            assert answer.content == b"scloud_x 1\n"
        else:
            assert answer["WWW-Authenticate"].startswith("Bearer")
            assert b"scloud_x" not in answer.content
        return answer.status_code

    assert status("127.0.0.1") == 200
    assert status("::ffff:127.0.0.1") == 200
    assert status("192.0.2.1") == 401
    assert status("192.0.2.1", Authorization=f"Bearer {token}") == 200
    assert status("127.0.0.1", Authorization="Bearer wrong") == 401
    # A proxy on this machine passes on what comes from anywhere.
    forwarded = {"X-Forwarded-For": "192.0.2.1"}
    assert status("127.0.0.1", **forwarded) == 401
    settings.SCLOUD_TRUSTED_PROXIES = ["127.0.0.1"]
    assert status("127.0.0.1", **forwarded) == 401
    assert status("127.0.0.1", **{"X-Forwarded-For": "127.0.0.9"}) == 200
    settings.SCLOUD_METRICS_TOKEN = ""
    assert status("192.0.2.1", Authorization="Bearer ") == 401

    def away() -> str:
        raise DatabaseError("postgres://secret")

    monkeypatch.setattr(exposition._document, "get", away)
    answer = client.get("/metrics", REMOTE_ADDR="127.0.0.1")
    assert (answer.status_code, answer.content) == (503, b"The database did not answer.\n")


def test_bad_settings_are_found_before_the_start(settings: Any) -> None:
    settings.SCLOUD_METRICS_TOKEN = "short"
    settings.SCLOUD_METRICS_NETWORKS = ["10.0.0.1/8"]
    settings.SCLOUD_OPERATOR_ALARMS = {"pool_percent": 3}
    settings.SCLOUD_DATES = {"Licence": "soon"}
    found = [*exposition.check_settings(), *registry.check_operator_alarms()]
    assert [one.id for one in found] == [f"alarms.E00{number}" for number in (2, 3, 4, 5)]


def test_the_operators_page(
    operator: Client,
    platform: Platform,
    actor: Actor,
    store: FakeStore,
    settings: Any,
    make_job: MakeJob,
) -> None:
    url = reverse("admin:alarms_overview")
    make_vm(platform, actor, name="web")
    fill_queue(make_job)
    take_share("collector-a")
    first, second = platform.hosts
    now = timezone.now()
    HostCollection.objects.filter(host=first).update(stored_at=now, vms=1, silent_agents=1)
    HostCollection.objects.filter(host=second).update(stored_at=now - timedelta(seconds=900))
    StoragePool.objects.update(total_bytes=4000, available_bytes=1000, observed_at=now)
    Drift.objects.create(kind="unknown_domain", place="h1", resource_id="x")
    settings.SCLOUD_DATES = {
        "Licence of the guests": (date.today() + timedelta(days=3)).isoformat()
    }

    def page() -> str:
        answer = operator.get(url)
        assert answer.status_code == 200
        return re.sub(r"\s+", " ", answer.content.decode())

    assert page().count("Too few measurements") == 3
    # Ten days in which the pool was filled by 100 bytes a day.
    for hour in range(240):
        at = now - timedelta(hours=240 - hour)
        numbers = {capacity.USED: 2000 + hour / 24 * 100, capacity.TOTAL: 4000.0}
        store.write([Sample(PLATFORM, f"pool.{platform.pool.pk}", at, numbers)])
    assert keeping.note_capacity() == 3
    for minutes in range(0, 600, 15):
        at = now - timedelta(minutes=minutes)
        values = {"host_cpu_usage_ratio": 0.5, "host_memory_usage_ratio": 0.25}
        kept = {SeriesKey(name): value for name, value in values.items()}
        store.write([Sample(PLATFORM, first.pk, at, kept)])
    text = page()
    assert "10 days" in text or "9 days" in text
    assert "+100 B" in text
    assert text.count("Too few measurements") == 2
    assert f"{platform.pool.pk} will be full on" in text
    assert "The newest measurement of host" in text
    assert "Licence of the guests ends on" in text
    assert "lowest 50 %, highest 50 %" in text
    assert "900 s (late)" in text or "901 s (late)" in text
    assert "unknown_domain" in text
    assert "Acme" in text
    assert "vm.migrate" in text
    assert " style=" not in text

    store.faults.away = True
    assert "The metrics store did not answer" in page()
    assert keeping.note_capacity() == 0
    assert Client().get(url).status_code == 302


def test_a_certificate_and_its_last_day(settings: Any, tmp_path: Any) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "console.example")])
    ends_at = datetime(2027, 1, 31, 12, tzinfo=UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
        .not_valid_after(ends_at)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path / "console.pem"
    file.write_bytes(made.public_bytes(Encoding.PEM))
    settings.SCLOUD_CERTIFICATES = [str(file), str(tmp_path / "missing.pem")]
    assert figures.dates() == [(f"The certificate {file}", ends_at)]


def test_a_store_that_is_away_hides_only_what_it_has(store: FakeStore, db: None) -> None:
    store.faults.away = True
    with pytest.raises(StoreUnavailable):
        capacity._history(["pool.fast"], NOW)
    assert figures.host_samples([]) == {}


def test_the_busiest_vms_and_silent_agents(
    operator: Client, platform: Platform, actor: Actor, store: FakeStore
) -> None:
    web, idle, deaf = (make_vm(platform, actor, name=name) for name in ("web", "idle", "deaf"))
    now = timezone.now()

    def say(vm: VM, hours: float, **values: float) -> None:
        kept = {
            SeriesKey(*name.split("__")): value  # the part after it is the device
            for name, value in values.items()
        }
        store.write([Sample(vm.tenant_id, vm.pk, now - timedelta(hours=hours), kept)])

    say(web, 0, cpu_usage_ratio=0.9, guest_agent_up=1, disk_read_bytes_per_second__a=1024.0)
    say(idle, 0, cpu_usage_ratio=0.1, guest_agent_up=0, disk_read_bytes_per_second__a=512.0,
        disk_written_bytes_per_second__b=1024.0)  # fmt: skip
    say(deaf, 0, guest_agent_up=0)
    say(idle, 20, guest_agent_up=1)
    found = guests.guests(now)
    assert [one.vm for one in found.busiest["cpu"]] == [web, idle]
    assert [(one.vm, one.value) for one in found.busiest["disk"]] == [(idle, 1536), (web, 1024)]
    assert (found.vms, found.is_all, found.busiest["network"]) == (3, True, [])
    text = operator.get(reverse("admin:alarms_guests")).content.decode()
    assert text.index("90 %") < text.index("10 %")
    assert "1.5 KB/s" in text
    assert "2 running VMs whose guest agents do not answer." in text
    # The one that has been silent for longest comes first.
    silent = text[text.index("Silent for") :]
    assert silent.index(">deaf<") < silent.index(">idle<")
    assert "More than 30 d" in silent
    assert "6 h to 1 d" in silent
    assert " style=" not in text
    store.faults.away = True
    text = operator.get(reverse("admin:alarms_guests")).content.decode()
    assert "The metrics store did not answer" in text
    assert Client().get(reverse("admin:alarms_guests")).status_code == 302

"""3,000 VMs on 60 simulated hosts: collected, stored, drawn; both engines in turns."""

from __future__ import annotations

import math
import resource
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from alarms.catalogue import METRICS, Device, Metric, Subject
from alarms.store.base import (
    FIVE_MINUTES_S,
    HOUR_S,
    MetricsStore,
    RangeQuery,
    Sample,
    SeriesKey,
    floor,
)
from alarms.store.victoria import VictoriaStore
from tests.bench import installation
from tests.bench.rows import Row, milliseconds, p50, p95, seconds

ROUND_GOAL_S = 15.0
MEMORY_GOAL_MIB = 300
DAY_GOAL_S = 0.050
MONTH_GOAL_S = 0.100
EVERY_S = 30
PORT = 18428


def _is_plain(metric: Metric) -> bool:
    return metric.subject is Subject.VM and metric.device is Device.NONE


def keys() -> list[SeriesKey]:
    """What a VM with a disk, a data disk, two NICs and two file systems tells."""
    plain = [name for name, metric in METRICS.items() if _is_plain(metric)]
    found = [SeriesKey(name) for name in plain]
    disks = ("disk_read_bytes", "disk_written_bytes", "disk_reads", "disk_writes")
    for device in ("disk-a", "disk-b"):
        found += [SeriesKey(f"{name}_per_second", device) for name in disks]
    nics = ("receive_bytes", "transmit_bytes", "receive_packets", "transmit_packets")
    drops = ("receive_drops", "transmit_drops")
    for device in ("nic-a", "nic-b"):
        found += [SeriesKey(f"nic_{name}_per_second", device) for name in (*nics, *drops)]
    spaces = ("size_bytes", "used_bytes", "usage_ratio")
    for device in ("/", "/data"):
        found += [SeriesKey(f"filesystem_{name}", device) for name in spaces]
    return found


KEYS = keys()


def batch(at: datetime, vms: int) -> list[Sample]:
    """One round; numbers wander as those of guests do."""
    turn = at.timestamp() / 600
    made = []
    for number in range(vms):
        values = {
            key: 1000 * (1.5 + math.sin(turn + number + place)) + (number * 7919 + place) % 97
            for place, key in enumerate(KEYS)
        }
        made.append(Sample(f"tenant-{number % 100}", f"vm-{number}", at, values))
    return made


@dataclass
class Engine:
    """A store, and how many bytes it takes on disk."""

    name: str
    store: MetricsStore
    size: Callable[[], int]
    settle: Callable[[], None]


def run(quick: bool) -> list[Row]:
    """Measure, and say which goals are met."""
    installation.database()
    vms, rounds = (300, 20) if quick else (3000, 120)
    rows = collected(vms, 60)
    with tempfile.TemporaryDirectory() as folder, victoria(Path(folder)) as second:
        engines = [postgres(), second]
        rows += written(engines, vms, rounds)
        rows += drawn(engines, 30)
    return rows + requested(5 if quick else 30, days=2 if quick else 30)


# -- the collector ---------------------------------------------------------------------------------


def collected(vms: int, hosts: int) -> list[Row]:
    """Rounds of a collector over hosts in memory, each of which has its share of the VMs."""
    from alarms.collecting.guests import Guests
    from alarms.collecting.rounds import Collecting
    from alarms.collecting.targets import Target
    from alarms.queries.engine import metrics_store
    from compute.hypervisor.base import (
        CommandResult,
        DiskAttachment,
        DomainSpec,
        HostRef,
        NicSpec,
        PowerState,
    )
    from compute.hypervisor.fake import FakeDomain, fake_host, open_fake
    from compute.models import Host
    from compute.storage.base import FileSource

    installation.say(f"collecting from {vms} VMs on {hosts} hosts")
    answer = CommandResult(
        0,
        b"== loadavg\n0.5 0.4 0.3 1/2 3\n== meminfo\nMemTotal: 100 kB\nMemAvailable: 50 kB\n"
        b"== stat\nprocs_blocked 0\n== snmp\nTcp: CurrEstab\nTcp: 4\n"
        b"== df\n/dev/vda1 100 50 50 50% /\n/dev/vdb1 100 50 50 50% /data\n",
        b"",
    )
    rows = [Host(pk=f"host-{n}", name=f"h{n}", uri=f"fake:bench-{n}") for n in range(hosts)]
    targets: dict[str, Target] = {}
    for host in rows:
        fake_host(host.uri).guest_command = lambda uuid, argv, stdin: answer
    for number in range(vms):
        uuid, disks = f"00000000-0000-4000-8000-{number:012d}", ("a", "b")
        spec = DomainSpec(
            uuid=uuid,
            name=f"vm-{number}",
            vcpus=2,
            memory_mib=4096,
            disks=tuple(
                DiskAttachment(f"disk-{one}{number}", f"vd{one}", FileSource("/nowhere"))
                for one in disks
            ),
            nics=tuple(NicSpec(f"nic-{one}{number}", f"{uuid}-{one}", "x") for one in disks),
        )
        domain = FakeDomain(spec, running=spec, power_state=PowerState.RUNNING, starts=1)
        domain.started_at = time.monotonic() - 1000
        fake_host(rows[number % hosts].uri).domains[uuid] = domain
        targets[uuid] = Target(
            f"vm-{number}",
            uuid,
            f"tenant-{number % 100}",
            "linux",
            frozenset(disk.id for disk in spec.disks),
            {nic.port_uuid: nic.id for nic in spec.nics},
        )
    collecting = Collecting(
        "bench",
        metrics_store(),
        guests=Guests(patience_s=20.0),
        driver_of=lambda host: open_fake(HostRef(host.name, host.uri, "127.0.0.1")),
    )
    collecting._hosts, collecting._targets = tuple(rows), targets
    times, samples = [], 0
    for _ in range(4):
        began = time.monotonic()
        samples = collecting.round()
        times.append(time.monotonic() - began)
        # Rates need some time between their readings.
        time.sleep(2)
    collecting.close()
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return [
        Row(
            f"a round of {vms} VMs on {hosts} hosts with their guests, {samples} samples stored",
            f"<= {seconds(ROUND_GOAL_S)}, <= {MEMORY_GOAL_MIB} MiB",
            f"{seconds(max(times[1:]))}, {peak_mib:.0f} MiB",
            max(times[1:]) <= ROUND_GOAL_S and peak_mib <= MEMORY_GOAL_MIB,
        )
    ]


# -- the engines -----------------------------------------------------------------------------------


def postgres() -> Engine:
    """The store on the installation's own database."""
    from django.db import connection

    from alarms.queries.engine import metrics_store

    tables = ("alarms_points_raw", "alarms_points_5m", "alarms_points_1h")

    def size() -> int:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits"
                " WHERE inhparent::regclass::text = ANY(%s)",
                [list(tables)],
            )
            return int(cursor.fetchone()[0] or 0)

    return Engine("PostgreSQL", metrics_store(), size, lambda: None)


@contextmanager
def victoria(folder: Path) -> Iterator[Engine]:
    """A VictoriaMetrics of its own."""
    program = shutil.which("victoria-metrics")
    if program is None:
        raise FileNotFoundError("victoria-metrics is not installed (see tests/packages.txt)")
    url = f"http://127.0.0.1:{PORT}"
    process = subprocess.Popen(
        [
            program,
            f"-storageDataPath={folder}",
            f"-httpListenAddr=127.0.0.1:{PORT}",
            "-dedup.minScrapeInterval=1ms",
            "-search.latencyOffset=0s",
            "-retentionPeriod=12",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def settle() -> None:
        urllib.request.urlopen(f"{url}/internal/force_flush", timeout=60).close()

    def size() -> int:
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())

    try:
        end = time.monotonic() + 60
        while True:
            try:
                settle()
                break
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.2)
        yield Engine("VictoriaMetrics", VictoriaStore(url), size, settle)
    finally:
        process.terminate()
        process.wait(30)


def written(engines: Sequence[Engine], vms: int, rounds: int) -> list[Row]:
    """The same rounds into each engine, in turns."""
    installation.say(f"writing {rounds} rounds of {vms} VMs into each engine")
    end = floor(datetime.now(UTC), HOUR_S)
    taken: dict[str, list[float]] = {engine.name: [] for engine in engines}
    before = {engine.name: engine.size() for engine in engines}
    for number in range(rounds):
        samples = batch(end - timedelta(seconds=EVERY_S * (rounds - number)), vms)
        for engine in engines:
            began = time.monotonic()
            for first in range(0, len(samples), 1000):
                engine.store.write(samples[first : first + 1000])
            taken[engine.name].append(time.monotonic() - began)
    numbers = rounds * vms * len(KEYS)
    rows = []
    for engine in engines:
        engine.settle()
        size = engine.size() - before[engine.name]
        speed = numbers / sum(taken[engine.name])
        rows.append(
            Row(
                f"{engine.name}: {rounds} rounds of {vms} VMs with {len(KEYS)} numbers",
                "none set",
                f"{speed:,.0f} numbers/s, {size / numbers:.1f} bytes per number, "
                f"a round p95 {seconds(p95(taken[engine.name]))}",
                None,
            )
        )
        began = time.monotonic()
        while engine.store.roll_up(datetime.now(UTC)):
            pass
        if engine.name == "PostgreSQL":
            rows.append(
                Row(
                    f"{engine.name}: rolling up {rounds * EVERY_S / 60:.0f} minutes of them",
                    "none set",
                    seconds(time.monotonic() - began),
                    None,
                )
            )
    return rows


def drawn(engines: Sequence[Engine], days: int) -> list[Row]:
    """Charts of one VM: a day of five-minute steps, a month of two-hour steps."""
    installation.say(f"writing {days} days of one VM into each engine")
    end = floor(datetime.now(UTC), HOUR_S)
    for engine in engines:
        for day in range(days, 0, -1):
            begin = end - timedelta(days=day)
            engine.store.write(
                [
                    Sample("tenant-c", "vm-chart", begin + timedelta(seconds=EVERY_S * n), sample)
                    for n, sample in enumerate([dict.fromkeys(KEYS, float(day))] * 2880)
                ]
            )
        engine.settle()
        while engine.store.roll_up(datetime.now(UTC)):
            pass
    rows = []
    for what, length, step_s, goal_s in (
        ("24 h", timedelta(days=1), FIVE_MINUTES_S, DAY_GOAL_S),
        ("30 d", timedelta(days=days), 2 * HOUR_S, MONTH_GOAL_S),
    ):
        query = RangeQuery.around(
            "tenant-c", ("vm-chart",), "cpu_usage_ratio", start=end - length, end=end, step_s=step_s
        )
        for engine in engines:
            times = asked(engine.store, query)
            rows.append(
                Row(
                    f"{engine.name}: a line of {what}, {query.points} steps",
                    f"p95 <= {milliseconds(goal_s)}",
                    f"p50 {milliseconds(p50(times))}, p95 {milliseconds(p95(times))}",
                    p95(times) <= goal_s,
                )
            )
    return rows


def asked(store: Any, query: RangeQuery) -> list[float]:
    """Ask a few times; the first, which fills caches, counts as well."""
    times = []
    for _ in range(20):
        began = time.monotonic()
        (line,) = store.query(query)
        times.append(time.monotonic() - began)
        assert any(point is not None for point in line.points)
    return times


# -- charts ----------------------------------------------------------------------------------------


def requested(rounds: int, days: int) -> list[Row]:
    """Charts as requests: the whole answer of the API and of the page, but for the network."""
    from django.test import Client
    from django.urls import reverse

    from alarms.queries.engine import metrics_store
    from compute.models import VM
    from scloud.tenancy import apikeys
    from scloud.tenancy.scoping import scope
    from tests.alarms.measured import measure
    from tests.bench import bulk

    installation.say(f"writing {days} days of a VM with its disks and network interfaces")
    crowd = bulk.crowd(2)
    with scope(tenant=crowd.tenant):
        vm = VM.objects.get(name="node-0")
        _, secret = apikeys.issue(user=crowd.user, name="bench")
        for day in range(days, 0, -1):
            until = datetime.now(UTC) - timedelta(days=day - 1)
            measure(metrics_store(), vm, hours=24, until=until)
    while metrics_store().roll_up(datetime.now(UTC)):
        pass
    browser = Client(SERVER_NAME="localhost")
    browser.force_login(crowd.user)
    program = Client(SERVER_NAME="localhost", headers={"Authorization": f"Bearer {secret}"})
    one = f"/api/v1/vms/{vm.pk}/metrics?metrics=cpu_usage_ratio&range="
    page = reverse("vm-charts", args=[vm.pk])
    rows = []
    for what, client, url, goal_s in (
        ("a chart of 24 h by API", program, f"{one}1d", DAY_GOAL_S),
        ("a chart of 30 d by API", program, f"{one}30d", MONTH_GOAL_S),
        ("the ten charts of a VM, 1 h", browser, f"{page}?range=1h", None),
        ("the ten charts of a VM, 24 h", browser, f"{page}?range=1d", None),
    ):
        times = []
        for _ in range(rounds):
            began = time.monotonic()
            answer = client.get(url)
            times.append(time.monotonic() - began)
            assert answer.status_code == 200, (url, answer.content)
        rows.append(
            Row(
                what,
                "none set" if goal_s is None else f"p95 <= {milliseconds(goal_s)}",
                f"p50 {milliseconds(p50(times))}, p95 {milliseconds(p95(times))}",
                None if goal_s is None else p95(times) <= goal_s,
            )
        )
    return rows

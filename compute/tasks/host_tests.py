"""Testing the connection to a host: what is asked, and what becomes of the answers.

Nothing is changed on the host. Each question is bounded by its driver, so that a silent host, pool
or network ends the test with a finding.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Final

from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from compute.hypervisor.base import HostCpu, Hypervisor, HypervisorError
from compute.models import Host, HostTest, StoragePool
from compute.rules.host_tests import TEST, acceptance_problem
from compute.states.hosts import FindingLevel, HostState
from compute.storage.base import StorageError
from compute.tasks.drivers import hypervisor_of, storage_of
from compute.tasks.host_findings import Beat, Finding, Peer, Seen, findings_of, plain
from compute.transitions import hosts as transitions
from network.fabric.base import Fabric, FabricError
from network.tasks.fabrics import chassis_of
from scloud.audit import action as audit
from scloud.audit.action import action
from scloud.jobs.handlers import Context, Handler, Step, register
from scloud.jobs.models import Job
from scloud.lib import libvirt_uris as uris
from scloud.lib.errors import ScloudError
from scloud.tenancy.actor import Actor

#: A host writes its heartbeat every two seconds, and a chassis answers within moments.
WATCHED_S: Final = 6.0
POLL_S: Final = 0.5
MOST_PEERS: Final = 3
MOST_POOLS: Final = 20
MOST_VERSIONS: Final = 100


class TestHost(Handler):
    """One test. What is wrong with the host is a finding: the job succeeds and the page says it."""

    # pytest takes the name for a test otherwise.
    __test__ = False
    max_attempts = 3
    watched_s = WATCHED_S

    def steps(self, job: Job) -> Sequence[Step]:
        return (Step("test", _("Testing the connection"), self.ensure_tested),)

    def ensure_tested(self, context: Context) -> None:
        """Ask the host and what belongs to it, and keep the findings for the end."""
        host = (
            Host.objects.select_related("cluster__region").filter(pk=context.job.target_id).first()
        )
        if host is None:
            raise ScloudError(_("The host was removed."), code="host_gone")
        seen = look(host, context.check, watched_s=self.watched_s)
        context.result.update(
            uri=host.uri,
            address=host.address,
            cluster=host.cluster_id,
            findings=[one.as_dict() for one in findings_of(seen)],
        )

    def on_success(self, context: Context) -> None:
        self._record(context.job, context.result)

    def on_failure(self, context: Context, error: ScloudError) -> None:
        host = Host.objects.filter(pk=context.job.target_id).first()
        if host is not None:
            finding = Finding(
                "test",
                FindingLevel.ERROR,
                _("The test did not finish: %(reason)s") % {"reason": error.for_operators()},
                _("Test the connection again."),
            )
            result = {
                "uri": host.uri,
                "address": host.address,
                "cluster": host.cluster_id,
                "findings": [finding.as_dict()],
            }
            self._record(context.job, result)

    @staticmethod
    def _record(job: Job, result: dict[str, Any]) -> None:
        host = Host.objects.filter(pk=job.target_id).first()
        if host is not None:
            record_host_test(actor=Actor.system(None), host=host, result=result)


@action("platform.record_host_test")
def record_host_test(*, actor: Actor, host: Host, result: dict[str, Any]) -> None:
    """Write down what a test found; an added host without any trouble is put into service.

    One that is not locked at the moment waits for an operator, or another test.
    """
    # Nobody changes where it is reached, nor removes it, before the end of this.
    current = Host.objects.select_for_update().filter(pk=host.pk).first()
    if current is None:
        return
    test, _made = HostTest.objects.get_or_create(host=current)
    test.tested_at = timezone.now()
    test.tested_uri, test.tested_address = result["uri"], result["address"]
    test.tested_cluster, test.findings = result["cluster"], result["findings"]
    test.save(
        update_fields=["tested_at", "tested_uri", "tested_address", "tested_cluster", "findings"]
    )
    audit.note(current, after=dict(Counter(one["level"] for one in test.findings)))
    if test.worst is FindingLevel.OK and not acceptance_problem(current, test):
        reason = _("It has passed its connection test.")
        transitions.admit(current, test, actor=actor, reason=reason)


def look(host: Host, check: Callable[[], None], *, watched_s: float = WATCHED_S) -> Seen:
    """Ask a host, its peers, pools and chassis. ``check`` raises when this worker is to stop."""
    region, cluster = host.cluster.region, host.cluster
    driver = hypervisor_of(host)
    facts: dict[str, Any] = {
        "now": timezone.now(),
        "architecture": cluster.architecture,
        "reserved_memory_mib": host.reserved_memory_mib,
        "encrypted": uris.names_certificates(host.uri),
        "certificates": driver.certificates(),
        "has_chassis": bool(region.ovn_nb and region.ovn_sb),
    }
    pools = _Pools(StoragePool.objects.filter(region=region).order_by("pk"), check)
    try:
        capacity = driver.capacity()
    except HypervisorError as error:
        return Seen(**facts, error=error.message, pools=pools.problems())
    check()
    facts.update(
        capacity=capacity,
        cpu=_cpu_of(driver),
        same_name=_same_name(host, capacity.hostname),
        peers=_peers_of(host, check),
        pools=pools.problems(),
    )
    check()
    if not facts["has_chassis"]:
        facts["beats"] = pools.watch(capacity.hostname, watched_s)
        return Seen(**facts)
    try:
        with chassis_of(region) as fabric:
            asked = fabric.ask_chassis()
            facts["beats"] = pools.watch(capacity.hostname, watched_s)
            facts["chassis"] = _answers(fabric, capacity.hostname, asked)
    except FabricError as error:
        facts["chassis_error"] = str(error)
        facts.setdefault("beats", pools.watch(capacity.hostname, watched_s))
    return Seen(**facts)


def _cpu_of(driver: Hypervisor) -> HostCpu | None:
    try:
        return driver.cpu()
    except HypervisorError:
        return None


def _same_name(host: Host, hostname: str) -> str:
    others = Host.objects.exclude(pk=host.pk).filter(hostname=hostname)
    return str(others.values_list("name", flat=True).first() or "")


def _peers_of(host: Host, check: Callable[[], None]) -> tuple[Peer, ...]:
    """Return the hosts in service of its cluster; some of them are asked for their CPU."""
    rows = list(
        Host.objects.filter(
            cluster=host.cluster_id, state=HostState.AVAILABLE, unreachable_since=None
        )
        .exclude(pk=host.pk)
        .order_by("name")[:MOST_VERSIONS]
    )
    found = []
    for number, row in enumerate(rows):
        cpu = None
        if number < MOST_PEERS:
            check()
            cpu = _cpu_of(hypervisor_of(row))
        found.append(Peer(row.name, row.version, cpu))
    return tuple(found)


def _answers(fabric: Fabric, hostname: str, asked: int) -> tuple[bool, ...]:
    """Return of each chassis with that host name whether it has answered the question."""
    return tuple(
        one.number >= asked for one in fabric.chassis_answers() if one.hostname == hostname
    )


class _Pools:
    """The storage pools of a region, as this worker sees them."""

    def __init__(self, rows: QuerySet[StoragePool], check: Callable[[], None]) -> None:
        self._rows = list(rows[:MOST_POOLS])
        self._check = check
        self._problems: dict[str, str] | None = None

    def problems(self) -> dict[str, str]:
        """Return why each pool cannot be used; empty where it can."""
        if self._problems is None:
            self._problems = {}
            for pool in self._rows:
                self._check()
                try:
                    storage_of(pool).capacity()
                except StorageError as error:
                    self._problems[pool.pk] = plain(error.message)
                else:
                    self._problems[pool.pk] = ""
        return self._problems

    def watch(self, hostname: str, watched_s: float) -> dict[str, Beat]:
        """Return what the host writes to those that can be used, until each has changed."""
        usable = [pool for pool in self._rows if not self.problems()[pool.pk]]
        first: dict[str, str] = {}
        found: dict[str, Beat] = {}
        until = time.monotonic() + watched_s
        while True:
            for pool in usable:
                if pool.pk in found and found[pool.pk].fresh:
                    continue
                self._check()
                text = _beat_of(pool, hostname)
                if text is None:
                    continue
                fresh = first.setdefault(pool.pk, text) != text
                found[pool.pk] = Beat(fresh, _ahead_s(text) if fresh else None)
            if time.monotonic() >= until:
                return found
            wait(min(POLL_S, watched_s))


def wait(seconds: float) -> None:
    """Let time pass; tests let hosts write meanwhile."""
    time.sleep(seconds)


def _beat_of(pool: StoragePool, hostname: str) -> str | None:
    try:
        return storage_of(pool).heartbeats().get(hostname)
    except StorageError:
        return None


def _ahead_s(text: str) -> float | None:
    """How far the clock of who has just written is ahead; None where the heartbeat has no time."""
    word = text.split(" ")[0].strip()
    if not (word.isascii() and word.isdigit() and len(word) <= 12):
        return None
    return float(word) - time.time()


def register_all() -> None:
    """Make the handler known to the runner."""
    register(TEST, TestHost())

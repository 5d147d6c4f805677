"""The story of a VM told by a client that a generator made from the installation's own document."""

from __future__ import annotations

import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from scloud.lab.plan import Lab
from scloud.lab.stack import Stack
from tests.api import generated
from tests.e2e import outside
from tests.e2e.client import Api

pytestmark = [pytest.mark.lab, pytest.mark.timeout(1500)]

MARK = "/root/mark"


@pytest.fixture(scope="module")
def package(
    stack: Stack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[generated.Generated]:
    """The client, made from the document that the installation serves."""
    folder = tmp_path_factory.mktemp("client")
    with urllib.request.urlopen(f"{stack.url}/api/v1/openapi.json", timeout=120) as answer:
        generated.generate(answer.read(), folder)
    with generated.imported(folder) as found:
        yield found


@dataclass(frozen=True)
class Program:
    """A tenant's program: it knows nothing but the generated package and a key."""

    package: generated.Generated
    call: generated.Caller

    @property
    def models(self) -> Any:
        """The generated models."""
        return self.package.models

    def got(self, kind: str, operation: str, *ids: str, **values: Any) -> Any:
        """Call an operation; its answer is a model of this kind."""
        found = self.call(operation, *ids, **values)
        assert isinstance(found, getattr(self.models, kind)), (operation, found)
        return found

    def begun(self, operation: str, *ids: str, **values: Any) -> Any:
        """Ask for a verb, wait for its job, and return the job that succeeded."""
        accepted = self.got(
            "JobAccepted", operation, *ids, idempotency_key=str(uuid.uuid4()), **values
        )
        ended = {self.models.JobStatusEnum.SUCCEEDED, self.models.JobStatusEnum.FAILED}
        job = self.until(
            lambda: self.got("Job", "get_job", accepted.job_id), lambda job: job.status in ended
        )
        assert (job.status, job.error_code) == (self.models.JobStatusEnum.SUCCEEDED, None), job
        return job

    def until(
        self, ask: Callable[[], Any], holds: Callable[[Any], bool], timeout_s: float = 240
    ) -> Any:
        """Ask until an answer is as it should be; return it."""
        end = time.monotonic() + timeout_s
        while not holds(found := ask()):
            assert time.monotonic() < end, found
            time.sleep(0.5)
        return found

    def idle(self, vm_id: str) -> Any:
        """Wait until nothing is being done to a VM; return it."""
        return self.until(lambda: self.got("Vm", "get_vm", vm_id), lambda vm: vm.task is None)


@pytest.fixture
def program(package: generated.Generated, stack: Stack, api: Api) -> Iterator[Program]:
    """The client with a key of the demo tenant."""
    made = package.client(stack.url, api.secret)
    with made.client:
        yield Program(package, made)


def test_a_vm_is_bought_stopped_rolled_back_deleted_and_restored(
    program: Program, facts: dict[str, Any], lab: Lab
) -> None:
    models = program.models
    ports_before = outside.ports(lab)

    # Buy, at the quoted price.
    images = program.got("PaginatedImageList", "list_images").results
    image = next(one for one in images if one.distribution == "mini")
    subnet = program.got("PaginatedSubnetList", "list_subnets").results[0]
    order = {
        "region": image.region_id,
        "cluster": program.call("list_models", region=image.region_id)[0].id,
        "image": image.id,
        "vcpus": 1,
        "memory_mib": 256,
        "system_disk_type": program.call("list_disk_types", region=image.region_id)[0].id,
        "subnet": subnet.id,
        "name": "generated",
        "password": "Passw0rd!x",
    }
    quote = program.got("Quote", "quote_vms", body=models.VmOrderRequest(**order))
    purchase = models.VmPurchaseRequest(**order, quote_token=quote.token)
    once = str(uuid.uuid4())
    [bought] = program.call("create_vms", body=purchase, idempotency_key=once)
    assert bought.task is models.VmTaskEnum.CREATING
    # A repeated request buys nothing twice.
    [again] = program.call("create_vms", body=purchase, idempotency_key=once)
    vm_id = bought.id
    assert again.id == vm_id

    # Wait; an idle VM has no task, in the list too.
    vm = program.idle(vm_id)
    assert (vm.status, vm.failure) == (models.VmStatusEnum.RUNNING, None)
    assert len(outside.running(facts, vm_id)) == 1
    [listed] = program.got("PaginatedVmList", "list_vms", search=vm_id).results
    assert (listed.id, listed.task, listed.job_id) == (vm_id, None, None)
    refused = program.got("Error", "start_vm", vm_id)
    assert refused.code == "vm_state"

    # A snapshot of the running VM keeps what the guest had written.
    outside.await_agent(facts, vm_id, timeout_s=420)
    write(facts, vm_id, "first")
    [disk] = program.got("PaginatedDiskList", "list_disks", vm=vm_id).results
    taken = program.got(
        "Snapshot", "create_snapshot", body=models.SnapshotRequest(disk=disk.id, name="before")
    )
    snapshot = program.until(
        lambda: program.got("Snapshot", "get_snapshot", taken.id),
        lambda one: one.status is not models.SnapshotStatusEnum.CREATING,
    )
    assert (snapshot.status, snapshot.failure) == (models.SnapshotStatusEnum.AVAILABLE, None)
    program.idle(vm_id)
    write(facts, vm_id, "second")

    # Stop, roll back, start: the guest is what it was.
    program.begun("shut_down_vm", vm_id)
    assert program.idle(vm_id).status is models.VmStatusEnum.STOPPED
    assert outside.running(facts, vm_id) == []
    program.begun("roll_back_snapshot", snapshot.id)
    program.begun("start_vm", vm_id)
    assert program.idle(vm_id).status is models.VmStatusEnum.RUNNING
    outside.await_agent(facts, vm_id, timeout_s=420)
    assert outside.guest_run(facts, vm_id, "cat", MARK) == "first"

    # Delete, with its disk, and restore from the recycle bin.
    program.begun("power_off_vm", vm_id)
    program.begun("delete_vm", vm_id, delete_disks=True)
    binned = program.idle(vm_id)
    assert binned.status is models.VmStatusEnum.BINNED
    assert binned.destroy_at is not None
    assert vm_id not in outside.domains(facts)
    program.begun("restore_vm", vm_id)
    assert program.idle(vm_id).status is models.VmStatusEnum.STOPPED
    program.begun("start_vm", vm_id)
    assert program.idle(vm_id).status is models.VmStatusEnum.RUNNING
    assert len(outside.running(facts, vm_id)) == 1
    outside.await_agent(facts, vm_id, timeout_s=420)
    assert outside.guest_run(facts, vm_id, "cat", MARK) == "first"

    # Destroy: then it is nowhere, and says so in the form of an error.
    program.begun("power_off_vm", vm_id)
    program.begun("delete_vm", vm_id)
    program.begun("destroy_vm", vm_id, body=models.DestroyRequest(confirm_name="generated"))
    gone = program.got("Error", "get_vm", vm_id)
    assert gone.code == "not_found"
    assert vm_id not in outside.domains(facts)
    assert outside.ports(lab) == ports_before
    assert disk.id not in outside.volumes(facts)


def write(facts: dict[str, Any], vm_id: str, text: str) -> None:
    """Write a mark to the guest's own disk."""
    outside.guest_run(facts, vm_id, "sh", "-c", f"echo {text} > {MARK} && sync")

"""Random verbs and faults, and the comparison of everything with everything afterwards.

``make test`` walks a short way, ``make soak`` a long one: ``STEPS=2000 SEED=7 make soak``. A walk
that fails tells its steps in the words of the verbs; the same STEPS and SEED walk them again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from copy import copy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from billing import services
from billing.models import Account, QuotaClaim
from compute.actions.vms import lifecycle
from compute.hypervisor.fake import fake_host
from compute.models import VM, Disk
from compute.storage.fake import FakeStorage
from compute.verbs.disks import DISK_RULES
from compute.verbs.images import IMAGE_RULES
from compute.verbs.snapshots import SNAPSHOT_RULES
from compute.verbs.vms import VM_RULES
from network.verbs.enis import ENIS
from network.verbs.external_ips import EXTERNAL_IPS
from scloud.tenancy.scoping import scopes_disabled
from tests.model.machine import (
    DISK_VERBS,
    IMAGE_VERBS,
    SNAPSHOT_VERBS,
    VM_VERBS,
    CloudMachine,
)
from tests.model.outside import ENI_VERBS, EXTERNAL_IP_VERBS, OF_A_VM
from tests.model.truth import broken, differences

STEPS = int(os.environ.get("SCLOUD_MODEL_STEPS", "160"))
SEED = int(os.environ.get("SCLOUD_MODEL_SEED", "1"))
# After so many steps everything comes to rest, is compared, and a new world begins.
STEPS_OF_A_WALK = 80

# What it walks through is tested piece by piece elsewhere, and measured there.
pytestmark = [pytest.mark.django_db, pytest.mark.timeout(0), pytest.mark.unmeasured]


@pytest.fixture(autouse=True)
def _media(settings: Any, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path / "media"


def walk(steps: int, seed_of_walk: int) -> type[CloudMachine]:
    """Walk so many steps; a failure tells them in the words of the verbs."""

    class Walk(CloudMachine):
        """A class of its own: what a walk counts and keeps begins anew."""

    machine: type[CloudMachine] = seed(seed_of_walk)(Walk)
    try:
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=-(-steps // STEPS_OF_A_WALK),
                # The first one begins it.
                stateful_step_count=min(steps, STEPS_OF_A_WALK) + 1,
                phases=[Phase.generate],
                deadline=None,
                database=None,
                report_multiple_bugs=False,
                suppress_health_check=list(HealthCheck),
            ),
        )
    except BaseException as error:
        if machine.last is not None:
            error.add_note("\n".join([f"SEED={seed_of_walk}, the steps:", *machine.last.journal]))
        raise
    return machine


def test_whatever_happens_rows_machines_network_ledger_and_quotas_agree() -> None:
    assert walk(STEPS, SEED).steps_done >= STEPS


def test_every_verb_of_the_tables_is_walked() -> None:
    # The screen has no job; disks are attached and detached as disks.
    elsewhere = {"open_vnc", "get_vnc_information", "attach_disk", "detach_disk", *OF_A_VM}
    assert set(VM_VERBS) | elsewhere == set(VM_RULES)
    assert set(EXTERNAL_IP_VERBS) == {*EXTERNAL_IPS.public, "create_external_ip"}
    assert set(ENI_VERBS) == {*ENIS.public, "create_eni"}
    assert {*DISK_VERBS, *SNAPSHOT_VERBS} >= set(DISK_RULES) | set(SNAPSHOT_RULES)
    assert set(IMAGE_VERBS) - {"import_image"} == set(IMAGE_RULES)


# -- the comparison can fail, and names what is wrong


@pytest.fixture
def machine() -> Iterator[CloudMachine]:
    """A world with one running VM of Acme, vm1, at rest."""
    machine = CloudMachine()
    try:
        machine._buy_vms("Acme", 1)
        machine.come_to_rest()
        yield machine
    finally:
        machine.stack.close()


def only_vm() -> VM:
    with scopes_disabled():
        found: VM = VM.objects.get()
        return found


def test_a_volume_that_the_pool_forgot_is_named(machine: CloudMachine) -> None:
    with scopes_disabled():
        disk = Disk.objects.get()
    del machine.world.pool(0).volumes[disk.pk]
    assert "the volume of vm1-system (bound) is missing in x86-pool" in differences(machine.world)


def test_a_volume_that_the_pool_keeps_is_named(
    machine: CloudMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeStorage, "delete_volume", lambda self, volume_id: None)
    with scopes_disabled():
        disk = Disk.objects.get()
    owner = machine.actor("Acme")
    machine.invoke("Acme", "delete_vm", lambda: lifecycle.delete_vm(actor=owner, vm=only_vm()))
    machine.world.settle()
    machine.invoke("Acme", "destroy_vm", lambda: lifecycle.destroy_vm(actor=owner, vm=only_vm()))
    machine.world.settle()
    assert f"volume {disk.pk} in x86-pool is nobody's" in differences(machine.world)


def test_money_that_is_not_given_back_is_named(
    machine: CloudMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(services, "refund_failed", lambda resource_id, reason: None)
    machine.world.pool(0).faults.full = True
    machine._buy_vms("Acme", 1)
    machine.world.work_on(1)
    for _attempt in range(5):
        machine.world.work_on(1)
    machine.world.settle()
    found = differences(machine.world)
    assert any(words.startswith("vm2 never was and has cost") for words in found), found
    assert "vm2 is failed and its subscription active" in found


def test_a_second_copy_of_a_vm_is_named(machine: CloudMachine) -> None:
    vm = only_vm()
    homes = [fake_host(host.uri) for host in machine.world.hosts]
    (home,) = [one for one in homes if str(vm.uuid) in one.domains]
    (other,) = [one for one in homes if one is not home]
    other.domains[str(vm.uuid)] = copy(home.domains[str(vm.uuid)])
    assert f"{vm.pk} runs 2 times" in broken(machine.world)


def test_a_balance_that_is_not_its_ledger_is_named(machine: CloudMachine) -> None:
    with scopes_disabled():
        Account.objects.filter(tenant__name="Acme").update(cash_minor=5)
    (words,) = broken(machine.world)
    assert words.startswith("the cash of Acme is 5, and its entries are ")


def test_quota_that_is_not_given_back_is_named(machine: CloudMachine) -> None:
    vm = only_vm()
    QuotaClaim.objects.create(
        tenant=vm.tenant, region=vm.region, item="snapshots", amount=1, resource_id="snap-gone"
    )
    assert "snap-gone claims 1 snapshots, not 0" in differences(machine.world)


def test_a_walk_that_fails_tells_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    real = FakeStorage.create_volume

    def larger(self: FakeStorage, volume_id: str, *, size_gib: int, **more: Any) -> None:
        real(self, volume_id, size_gib=size_gib + 1, **more)

    monkeypatch.setattr(FakeStorage, "create_volume", larger)
    with pytest.raises(AssertionError, match="GB and its volume") as failure:
        walk(10, 1)
    (told, *_rest) = [note for note in failure.value.__notes__ if "SEED=1" in note]
    assert "create_vm vm" in told
    assert "all faults end" in told

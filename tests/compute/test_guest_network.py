"""The platform and the guests: what a guest is told, when, and what is done about a silent one."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from django.utils import timezone

from compute.actions.vms import lifecycle
from compute.hypervisor.base import CommandResult, HostUnreachable, OperationTimeout
from compute.hypervisor.cloudinit import files
from compute.hypervisor.guestnet import scripts
from compute.hypervisor.guestnet.scripts import LINUX_SHELL, WINDOWS_SHELL, Renderer
from compute.models import VM, GuestNetwork, Image
from compute.rules.guests import reads_tables
from compute.sweeps import guest_networks
from compute.tasks.base import guest_plan
from compute.tasks.build import seed_spec
from compute.tasks.guest_network import ROUNDS, apply_guest_network
from network.models import ExternalIp, ExternalSegment, Nic
from network.models.nic import EXTERNAL_INDEX
from network.tasks import plumbing
from scloud.lib.errors import HostError
from tests.compute.box import Box

OFFICE = "203.0.113.{}"


@dataclass
class Guest:
    """The inside of a VM: a shell that does what it is told and notes it."""

    renderer: str = Renderer.NETPLAN
    digest: str = ""
    code: int | None = 0
    stderr: bytes = b""
    told: list[str] = field(default_factory=list)
    asked: int = 0
    meanwhile: Callable[[], None] | None = None

    def __call__(self, uuid: str, argv: Sequence[str], stdin: bytes) -> CommandResult:
        text = stdin.decode()
        if text == scripts.DETECT:
            assert tuple(argv) == LINUX_SHELL
            self.asked += 1
            return CommandResult(0, f"{self.renderer} {self.digest}\n".encode(), b"")
        assert tuple(argv) in (LINUX_SHELL, WINDOWS_SHELL)
        self.told.append(text)
        if self.meanwhile is not None:
            self.meanwhile()
        if self.code == 0:
            self.digest = next(
                word for word in reversed(text.split()) if len(word.strip("'")) == 16
            ).strip("'")
        return CommandResult(self.code, b"", self.stderr)


def bind(
    vm: VM, number: int, *, egress: bool = False, segment: ExternalSegment | None = None
) -> ExternalIp:
    """An address on the external NIC, as the job of a binding leaves it."""
    nic = Nic.objects.get(vm_id=vm.pk, index=EXTERNAL_INDEX)
    segment = (
        segment
        or ExternalSegment.objects.get_or_create(
            region=vm.region,
            name="office",
            cidr="203.0.113.0/24",
            gateway="203.0.113.1",
            physical_network="ext",
        )[0]
    )
    return ExternalIp.objects.create(
        tenant=vm.tenant,
        region=vm.region,
        name=f"ip{number}",
        segment=segment,
        ip_version=4,
        address=OFFICE.format(number),
        bandwidth_mbps=5,
        status="bound",
        target_kind="vm",
        target_id=vm.pk,
        nic=nic,
        bound_at=timezone.now(),
        egress=egress,
    )


@pytest.fixture
def vm(box: Box) -> VM:
    found = box.vm()
    guest_networks._guests._last = None
    return found


@pytest.fixture
def guest(box: Box, vm: VM) -> Guest:
    found = Guest()
    box.host_of(vm).guest_command = found
    return found


def test_a_guest_is_told_once(vm: VM, guest: Guest) -> None:
    bind(vm, 11, egress=True)
    assert apply_guest_network(vm.pk)
    assert apply_guest_network(vm.pk)
    assert len(guest.told) == 1
    assert "203.0.113.11/24" in guest.told[0]
    row = GuestNetwork.objects.get()
    assert (row.renderer, row.digest, row.tries) == ("netplan", guest.digest, 0)
    assert guest.digest == scripts.digest_of(guest_plan(vm.pk))


@pytest.mark.parametrize(
    ("renderer", "word"),
    [
        (Renderer.NETPLAN, "netplan generate"),
        (Renderer.NETWORK_MANAGER, "nmcli device reapply"),
        (Renderer.IFUPDOWN, "/etc/network/interfaces.d"),
        (Renderer.IPROUTE, "address replace 203.0.113.11/24"),
    ],
)
def test_each_kind_of_guest_is_told_in_its_way(
    vm: VM, guest: Guest, renderer: Renderer, word: str
) -> None:
    guest.renderer = renderer
    bind(vm, 11, egress=True)
    assert apply_guest_network(vm.pk)
    assert word in guest.told[0]


def test_a_windows_guest_is_told_by_powershell(vm: VM, guest: Guest) -> None:
    Image.objects.filter(pk=vm.image_id).update(os_family="windows")
    bind(vm, 11, egress=True)
    assert apply_guest_network(vm.pk)
    assert guest.asked == 0
    assert "Set-Nic" in guest.told[0]


def test_without_an_agent_the_next_boot_does_it(box: Box, vm: VM, guest: Guest) -> None:
    row = bind(vm, 11, egress=True)
    box.host_of(vm).faults.agent_missing = True
    assert not apply_guest_network(vm.pk)
    assert GuestNetwork.objects.get().failure_code == "agent_unavailable"
    ExternalIp.objects.filter(pk=row.pk).update(at_next_boot=True)
    box.host_of(vm).faults.agent_missing = False
    assert guest_networks.configure_guests() == 0, "it was asked a moment ago"
    GuestNetwork.objects.update(due_at=timezone.now())
    assert guest_networks.configure_guests() == 1
    row.refresh_from_db()
    assert not row.at_next_boot


def test_waits_between_tries_become_longer(box: Box, vm: VM, guest: Guest) -> None:
    bind(vm, 11, egress=True)
    box.host_of(vm).faults.agent_missing = True
    waits = []
    for _ in range(4):
        apply_guest_network(vm.pk)
        waits.append((GuestNetwork.objects.get().due_at - timezone.now()).total_seconds())
    assert 5 < waits[0] < 15
    assert waits == sorted(waits)
    assert waits[-1] > 40


def test_an_agent_that_may_run_nothing_is_no_agent(box: Box, vm: VM) -> None:
    bind(vm, 11, egress=True)
    # The host in memory has no shell: it answers as an agent does whose list forbids guest-exec.
    assert not apply_guest_network(vm.pk)
    assert GuestNetwork.objects.get().failure_code == "agent_unavailable"


def test_a_script_that_fails_is_told_to_operators_and_repeated(vm: VM, guest: Guest) -> None:
    bind(vm, 11, egress=True)
    guest.code, guest.stderr = 1, b"netplan: no such thing"
    assert not apply_guest_network(vm.pk)
    row = GuestNetwork.objects.get()
    assert (row.failure_code, row.failure_detail) == (
        "guest_network_failed", "netplan: no such thing",
    )  # fmt: skip
    assert row.digest == ""
    guest.code = 0
    GuestNetwork.objects.update(due_at=timezone.now())
    assert guest_networks.configure_guests() == 1
    row.refresh_from_db()
    assert (row.failure_code, row.tries) == ("", 0)


def test_what_a_hostile_guest_says_is_cut_to_what_can_be_kept(vm: VM, guest: Guest) -> None:
    bind(vm, 11, egress=True)
    guest.code, guest.stderr = 1, b"\0\xff" * 5000 + b"end"
    assert not apply_guest_network(vm.pk)
    detail = GuestNetwork.objects.get().failure_detail
    assert (len(detail), detail[-3:]) == (1000, "end")
    guest.renderer = "\0" + "x" * 5000
    assert not apply_guest_network(vm.pk)
    assert GuestNetwork.objects.get().failure_code == "guest_network_failed"


def test_a_script_that_hangs_is_a_failure_of_the_guest_alone(
    box: Box, vm: VM, guest: Guest
) -> None:
    bind(vm, 11, egress=True)
    box.host_of(vm).faults.fail_next["run"] = OperationTimeout("not within 20 s")
    assert not apply_guest_network(vm.pk)
    assert GuestNetwork.objects.get().failure_code == "operation_timeout"


def test_a_host_that_does_not_answer_is_an_error_that_is_tried_again(
    box: Box, vm: VM, guest: Guest
) -> None:
    bind(vm, 11, egress=True)
    box.host_of(vm).faults.fail_next["agent_ready"] = HostUnreachable("nobody there")
    with pytest.raises(HostError) as failed:
        apply_guest_network(vm.pk)
    assert failed.value.retryable
    box.host_of(vm).faults.fail_next["agent_ready"] = HostUnreachable("nobody there")
    assert guest_networks.configure_guests() == 0
    assert not GuestNetwork.objects.exists()
    assert guest_networks.configure_guests() == 1


def test_what_changes_while_the_guest_is_told_is_told_as_well(vm: VM, guest: Guest) -> None:
    bind(vm, 11, egress=True)

    def another() -> None:
        guest.meanwhile = None
        bind(vm, 12)

    guest.meanwhile = another
    assert apply_guest_network(vm.pk)
    assert len(guest.told) == 2
    assert "203.0.113.12/24" in guest.told[-1]
    assert guest.digest == scripts.digest_of(guest_plan(vm.pk))


def test_rows_that_never_rest_do_not_hold_the_job(vm: VM, guest: Guest) -> None:
    numbers = iter(range(11, 99))
    bind(vm, next(numbers), egress=True)

    def another() -> None:
        bind(vm, next(numbers))

    guest.meanwhile = another
    apply_guest_network(vm.pk)
    assert len(guest.told) == ROUNDS


def test_a_nic_that_the_guest_does_not_see_yet_is_waited_for(
    vm: VM, guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    bind(vm, 11, egress=True)
    guest.code = 3
    monkeypatch.setattr(
        "compute.tasks.guest_network.time.sleep", lambda _seconds: setattr(guest, "code", 0)
    )
    assert apply_guest_network(vm.pk)
    assert len(guest.told) == 2


def test_the_sweep_asks_nobody_who_has_but_a_private_address(vm: VM, guest: Guest) -> None:
    assert guest_networks.configure_guests() == 0
    assert (guest.asked, guest.told) == (0, [])


def test_the_sweep_tells_what_no_job_has_told_and_then_leaves_the_guest_alone(
    vm: VM, guest: Guest
) -> None:
    bind(vm, 11, egress=True)
    assert guest_networks.configure_guests() == 1
    assert guest_networks.configure_guests() == 0
    assert len(guest.told) == 1
    # Its time has come: it is asked and has all.
    GuestNetwork.objects.update(due_at=timezone.now() - timedelta(seconds=1))
    assert guest_networks.configure_guests() == 1
    assert (len(guest.told), guest.asked) == (1, 2)


def test_the_last_address_is_taken_away_too(vm: VM, guest: Guest) -> None:
    row = bind(vm, 11, egress=True)
    apply_guest_network(vm.pk)
    row.delete()
    GuestNetwork.objects.update(due_at=timezone.now())
    assert guest_networks.configure_guests() == 1
    assert "203.0.113.11" not in guest.told[-1]


def test_a_guest_that_was_started_is_asked_at_once(box: Box, vm: VM, guest: Guest) -> None:
    bind(vm, 11, egress=True)
    apply_guest_network(vm.pk)
    lifecycle.power_off_vm(actor=box.actor, vm=vm)
    box.run()
    assert guest_networks.configure_guests() == 0, "it is off"
    vm.refresh_from_db()
    lifecycle.start_vm(actor=box.actor, vm=vm)
    box.run()
    # Its memory is gone, and with it the mark of what it had.
    guest.digest = ""
    box.host_of(vm).guest_command = guest
    assert guest_networks.configure_guests() == 1
    assert len(guest.told) == 2
    assert guest_networks.configure_guests() == 0


def test_a_vm_that_is_off_is_not_told(box: Box, guest: Guest) -> None:
    off = box.vm(stopped=True, name="off")
    bind(off, 21, egress=True)
    assert not apply_guest_network(off.pk)
    assert not apply_guest_network("vm-gone00000")
    assert guest.asked == 0


def test_the_seed_says_all_that_the_guest_is_told(vm: VM) -> None:
    bind(vm, 11, egress=True)
    written = files(seed_spec(vm, [], guest_plan(vm.pk)))
    network = json.loads(written["network-config"])
    assert network["ethernets"]["eth1"]["addresses"] == ["203.0.113.11/24"]
    assert '"boot-new-instance"' in written["user-data"]
    assert '"boot"' in written["user-data"]


@pytest.mark.parametrize(
    ("distribution", "version", "expected"),
    [
        ("ubuntu", "22.04", True),
        ("ubuntu", "16.04", False),
        ("Debian", "12", True),
        ("debian", "11.4", False),
        ("debian", "", False),
        ("mini", "", True),
        ("rocky", "9", False),
    ],
)
def test_only_guests_with_netplan_read_tables_from_a_seed(
    vm: VM, distribution: str, version: str, expected: bool
) -> None:
    Image.objects.filter(pk=vm.image_id).update(distribution=distribution, version=version)
    image = Image.objects.get(pk=vm.image_id)
    assert reads_tables(image) is expected
    vm.image = image
    bind(vm, 11, egress=True)
    eth1 = json.loads(files(seed_spec(vm, [], guest_plan(vm.pk)))["network-config"])["ethernets"][
        "eth1"
    ]
    assert ("routing-policy" in eth1) is expected
    defaults = [route for route in eth1["routes"] if route["to"] == "0.0.0.0/0"]
    assert len([route for route in defaults if "table" not in route]) == 1


def test_the_external_device_carries_what_any_segment_of_the_region_needs(vm: VM) -> None:
    internal, external = plumbing.nic_specs(vm.pk)
    assert (internal.mtu_bytes, external.mtu_bytes) == (1442, 1500)
    ExternalSegment.objects.create(
        region=vm.region,
        name="jumbo",
        cidr="198.51.100.0/24",
        gateway="198.51.100.1",
        physical_network="ext",
        mtu_bytes=9000,
    )
    bind(vm, 11, egress=True)
    # What the machine can carry is settled at its start, what the guest uses by its addresses.
    assert plumbing.nic_specs(vm.pk)[1].mtu_bytes == 9000
    assert guest_plan(vm.pk)[1].mtu_bytes == 1500


def test_the_notes_of_a_guest_go_with_its_vm(box: Box, vm: VM, guest: Guest) -> None:
    bind(vm, 11, egress=True)
    apply_guest_network(vm.pk)
    ExternalIp.objects.all().delete()
    lifecycle.delete_vm(actor=box.actor, vm=vm)
    box.run()
    vm.refresh_from_db()
    assert GuestNetwork.objects.filter(vm=vm).exists()
    lifecycle.destroy_vm(actor=box.actor, vm=vm)
    box.run()
    assert not GuestNetwork.objects.filter(vm=vm).exists()

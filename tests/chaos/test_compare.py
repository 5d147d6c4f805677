"""The comparison finds each kind of difference, and none where all say the same."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.chaos.compare import (
    Account,
    Book,
    DiskRow,
    Domain,
    OutsideRow,
    Seen,
    VmRow,
    differences,
)

VM = VmRow(
    status="running",
    host="h1",
    vcpus=1,
    memory_mib=256,
    disks=frozenset({"disk-s", "disk-d"}),
    ports=frozenset({"port-1"}),
)
DOMAIN = Domain(host="h1", active=True, vcpus=1, memory_mib=256, disks=VM.disks, ports=VM.ports)
SYSTEM = DiskRow(status="bound", size_gib=40, vm="vm-1", is_system=True)
DATA = DiskRow(status="bound", size_gib=10, vm="vm-1", snapshots=frozenset({"snap-1"}))
BOOK = Book(
    vms={"vm-1": VM},
    disks={"disk-s": SYSTEM, "disk-d": DATA},
    images={"image-1": "available", "image-f": "failed"},
    counted_images={"image-1"},
    claims={
        "vm-1": {"vms": 1, "vcpu": 1, "memory_gib": 1, "disks": 1, "disk_gib": 40, "gpus": 0},
        "disk-d": {"disks": 1, "disk_gib": 10},
        "snap-1": {"snapshots": 1},
        "image-1": {"images": 1},
        "sg-1": {"security_groups": 1},
        "eip-1": {"eips": 1, "bandwidth_mbps": 5},
        "eni-1": {"enis": 1, "bandwidth_mbps": 0},
    },
    external_ips={"eip-1": OutsideRow(status="bound", bandwidth_mbps=5)},
    enis={"eni-1": OutsideRow(status="free")},
    switched={"port-1": frozenset({"10.0.0.2", "203.0.113.2"})},
    network={"sg-1": "security_groups"},
    subscriptions={
        "vm-1": ("active", False),
        "disk-d": ("active", False),
        "eip-1": ("active", False),
    },
    accounts={"t": Account(balance_minor=5, entries_minor=5)},
)
SEEN = Seen(
    domains={"vm-1": (DOMAIN,)},
    volumes={"disk-s": (40, frozenset()), "disk-d": (10, frozenset({"snap-1"}))},
    images={"image-1"},
    seeds={"vm-1"},
    ports={"port-1": frozenset({"10.0.0.2", "203.0.113.2"})},
)


def test_what_is_equal_has_no_difference() -> None:
    assert differences(BOOK, SEEN) == []


def vm(**changes: Any) -> Book:
    return replace(BOOK, vms={"vm-1": replace(VM, **changes)})


def disk(**changes: Any) -> Book:
    return replace(BOOK, disks={"disk-s": SYSTEM, "disk-d": replace(DATA, **changes)})


def outside_row(**changes: Any) -> Book:
    return replace(BOOK, external_ips={"eip-1": replace(BOOK.external_ips["eip-1"], **changes)})


def domains(*found: Domain, name: str = "vm-1") -> Seen:
    return replace(SEEN, domains={"vm-1": (DOMAIN,), name: found})


def claims(**changes: Any) -> Book:
    return replace(BOOK, claims={**BOOK.claims, **changes})


def volumes(**changes: Any) -> Seen:
    return replace(SEEN, volumes={**SEEN.volumes, **changes})


CASES: list[tuple[str, Book, Seen]] = [
    ("vm-1 is running and runs on 0 hosts", BOOK, domains(replace(DOMAIN, active=False))),
    ("vm-1 is running and runs on 0 hosts", BOOK, domains()),
    ("vm-1 is running and runs on 2 hosts", BOOK, domains(DOMAIN, replace(DOMAIN, host="h2"))),
    ("vm-1 is on h1 and there is a domain on h2", BOOK, domains(replace(DOMAIN, host="h2"))),
    ("vm-1 is stopped and runs on h1", vm(status="stopped"), SEEN),
    ("vm-1 is binned and there is a domain on h1", vm(status="binned"), SEEN),
    ("vm-2 is no VM and there is a domain on h1", BOOK, domains(DOMAIN, name="vm-2")),
    ("vm-1 has vCPUs 1 and runs with 2", BOOK, domains(replace(DOMAIN, vcpus=2))),
    (
        "vm-1 has MiB of memory 256 and runs with 512",
        BOOK,
        domains(replace(DOMAIN, memory_mib=512)),
    ),
    ("vm-1 has disks", BOOK, domains(replace(DOMAIN, disks=frozenset({"disk-s"})))),
    ("vm-1 has ports", BOOK, domains(replace(DOMAIN, ports=frozenset()))),
    ("disk-d is destroyed and has a volume", disk(status="destroyed"), SEEN),
    ("disk-x is no disk and has a volume", BOOK, volumes(**{"disk-x": (1, frozenset())})),
    (
        "disk-s is bound and has no volume",
        BOOK,
        replace(SEEN, volumes={"disk-d": SEEN.volumes["disk-d"]}),
    ),
    (
        "disk-d has 10 GiB and its volume 20",
        BOOK,
        volumes(**{"disk-d": (20, frozenset({"snap-1"}))}),
    ),
    ("disk-d has snapshot snap-1 only in rows", BOOK, volumes(**{"disk-d": (10, frozenset())})),
    (
        "disk-d has snapshot snap-2 only in its volume",
        BOOK,
        volumes(**{"disk-d": (10, frozenset({"snap-1", "snap-2"}))}),
    ),
    ("disk-d hangs on vm-9", disk(vm="vm-9"), SEEN),
    ("image-1 is available and has no file", BOOK, replace(SEEN, images=set())),
    ("image-f is failed and has a file", BOOK, replace(SEEN, images={"image-1", "image-f"})),
    ("vm-0 is gone and has a seed", BOOK, replace(SEEN, seeds={"vm-1", "vm-0"})),
    ("port port-1 is only in rows", BOOK, replace(SEEN, ports={})),
    (
        "port port-2 is only in OVN",
        BOOK,
        replace(SEEN, ports={**SEEN.ports, "port-2": frozenset()}),
    ),
    (
        "port port-1 has ['10.0.0.2', '203.0.113.2'] and ['10.0.0.2'] in OVN",
        BOOK,
        replace(SEEN, ports={"port-1": frozenset({"10.0.0.2"})}),
    ),
    ("eip-1 counts", outside_row(status="binned"), SEEN),
    ("eip-1 counts", outside_row(status="bound", bandwidth_mbps=9), SEEN),
    ("eip-1 is expired and its subscription is active", outside_row(status="expired"), SEEN),
    ("eip-1 is destroyed and its subscription is active", outside_row(status="destroyed"), SEEN),
    ("eni-1 counts", replace(BOOK, enis={"eni-1": OutsideRow(status="destroyed")}), SEEN),
    (
        "eni-1 is free and its subscription is ended",
        replace(BOOK, enis={"eni-1": OutsideRow(status="free", bandwidth_mbps=5)}),
        SEEN,
    ),
    ("disk-d counts {} against quota", claims(**{"disk-d": {}}), SEEN),
    ("vm-9 counts {'vms': 1} against quota", claims(**{"vm-9": {"vms": 1}}), SEEN),
    ("sg-1 counts {'security_groups': 2}", claims(**{"sg-1": {"security_groups": 2}}), SEEN),
    (
        "t has 5 and entries of 6",
        replace(BOOK, accounts={"t": Account(balance_minor=5, entries_minor=6)}),
        SEEN,
    ),
    (
        "vm-1 is running and its subscription is ended",
        replace(BOOK, subscriptions={"disk-d": ("active", False)}),
        SEEN,
    ),
    ("vm-1 is expired and its subscription is active", vm(status="expired"), SEEN),
    ("disk-d is destroyed and its subscription is active", disk(status="destroyed"), SEEN),
    ("disk-d is binned and its subscription says not binned", disk(status="binned"), SEEN),
    (
        "disk-d is bound and its subscription says binned",
        replace(BOOK, subscriptions={**BOOK.subscriptions, "disk-d": ("active", True)}),
        SEEN,
    ),
    (
        "disk-z is destroyed and its subscription is active",
        replace(BOOK, subscriptions={**BOOK.subscriptions, "disk-z": ("active", False)}),
        SEEN,
    ),
    ("still going on: job-1", replace(BOOK, in_flight=("job-1",)), SEEN),
    ("lease: one", replace(BOOK, leases=("one",)), SEEN),
    ("computed anew: x", replace(BOOK, recomputed=("x",)), SEEN),
]


@pytest.mark.parametrize(("sentence", "book", "seen"), CASES)
def test_a_difference_is_found(sentence: str, book: Book, seen: Seen) -> None:
    found = differences(book, seen)
    assert any(one.startswith(sentence) for one in found), found

"""What guests say: real answers, old systems, and texts that are meant to do harm."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alarms.readings.guest import (
    LINUX_COMMAND,
    LINUX_FILES,
    MAX_FILESYSTEMS,
    WINDOWS_COMMAND,
    Filesystem,
    GuestReading,
    from_agent,
    parse_linux,
    parse_linux_files,
    parse_windows,
)

DEBIAN = """\
== loadavg
0.52 0.58 0.59 2/389 12345
== meminfo
MemTotal:        2030416 kB
MemFree:          120000 kB
MemAvailable:    1522812 kB
Buffers:           50000 kB
Cached:           900000 kB
== stat
procs_blocked 3
== snmp
Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets CurrEstab
Tcp: 1 200 120000 -1 4512 311 22 14 17
== df
/dev/vda1           41151808   5242880  33780736      14% /
/dev/vda15            126678     10922    115756       9% /boot/efi
/dev/mapper/vg-data  1000000   1000000       -40     100% /srv/my data
"""

WINDOWS = """\
memory_total_kib=4193776\r
memory_available_kib=2097152\r
tcp_connections=42\r
filesystem=53687091200 21474836480 C:\r
filesystem=107374182400 107374182400 D:\r
filesystem=  E:\r
"""


def test_a_linux_guest() -> None:
    assert parse_linux(DEBIAN) == GuestReading(
        memory_total_bytes=2030416 * 1024,
        memory_available_bytes=1522812 * 1024,
        load=(0.52, 0.58, 0.59),
        tcp_connections=17,
        processes_blocked=3,
        filesystems=(
            Filesystem("/", 41151808 * 1024, 5242880 * 1024, 33780736 * 1024),
            Filesystem("/boot/efi", 126678 * 1024, 10922 * 1024, 115756 * 1024),
            Filesystem("/srv/my data", 1000000 * 1024, 1000000 * 1024, 0),
        ),
    )


def test_usage_is_what_df_says() -> None:
    root, _boot, full = parse_linux(DEBIAN).filesystems
    assert root.usage_ratio == pytest.approx(0.1343, abs=1e-4)
    assert full.usage_ratio == 1.0
    assert Filesystem("/", 1, 0, 0).usage_ratio == 0.0


def test_what_reserved_blocks_leave_is_nothing_and_not_less() -> None:
    (full,) = parse_linux("== df\n/dev/vdb 100 95 -5 106% /x\n").filesystems
    assert full.available_bytes == 0
    assert full.usage_ratio == 1.0


def test_kernels_before_3_14_do_not_say_what_is_available() -> None:
    text = "== meminfo\nMemTotal: 1000 kB\nMemFree: 100 kB\nBuffers: 50 kB\nCached: 250 kB\n"
    reading = parse_linux(text)
    assert (reading.memory_total_bytes, reading.memory_available_bytes) == (1024000, 409600)


def test_a_windows_guest() -> None:
    assert parse_windows(WINDOWS) == GuestReading(
        memory_total_bytes=4193776 * 1024,
        memory_available_bytes=2097152 * 1024,
        tcp_connections=42,
        filesystems=(
            Filesystem("C:", 53687091200, 32212254720, 21474836480),
            Filesystem("D:", 107374182400, 0, 107374182400),
        ),
    )
    assert parse_windows("\ufeff" + WINDOWS) == parse_windows(WINDOWS)


def test_an_agent_that_may_run_nothing_tells_its_space() -> None:
    reading = from_agent([("/", 1000, 250), ("/proc", None, None), ("/odd", 10, 20)])
    assert reading == GuestReading(filesystems=(Filesystem("/", 1000, 250, 750),))


def test_files_of_a_guest_that_may_be_read() -> None:
    contents = [
        b"0.00 0.01 0.05 1/80 99\n",
        b"MemTotal: 1000 kB\nMemAvailable: 400 kB\n",
        b"cpu 1 2 3\nintr 5 0 0\nprocs_running 1\nprocs_blocked 2\n",
        b"Ip: Forwarding\nIp: 1\nTcp: MaxConn CurrEstab\nTcp: -1 5\n",
    ]
    assert len(contents) == len(LINUX_FILES)
    assert parse_linux_files(contents) == GuestReading(
        memory_total_bytes=1024000,
        memory_available_bytes=409600,
        load=(0.0, 0.01, 0.05),
        tcp_connections=5,
        processes_blocked=2,
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "== loadavg\nnan inf -1 1/2 3\n== stat\nprocs_blocked -5\n",
        "== loadavg\n1e400 1 1\n== snmp\nTcp: CurrEstab\nTcp: 9999999999999999999999\n",
        "== meminfo\nMemTotal: 0 kB\nMemAvailable: 0 kB\n",
        "== meminfo\nMemTotal: 100 kB\nMemAvailable: 200 kB\n",
        "== meminfo\nMemTotal: lots kB\nMemAvailable:\n",
        "== snmp\nTcp: A CurrEstab\nTcp: 1\n",
        "== df\nFilesystem 1024-blocks Used Available Capacity Mounted on\n",
        "== df\n/dev/vda1 0 0 0 - /empty\n",
        "== df\n/dev/vda1 9 1 8 11% " + "/" + "x" * 64 + "\n",
        "== df\n/dev/vda1 9 1 8 11% /a\x07b\n",
        "== df\n/dev/vda1 99999999999999999999999 1 8 11% /a\n",
        "sh: cat: not found\n",
    ],
)
def test_what_is_absurd_is_left_out(text: str) -> None:
    assert parse_linux(text).is_empty


def test_a_guest_brings_up_so_many_file_systems_and_no_more() -> None:
    lines = [f"/dev/vd{number} 9 1 8 11% /deep/er/{number:03d}" for number in range(100)]
    text = "\n".join(["== df", *lines, "/dev/vda1 9 1 8 11% /", "/dev/vda2 9 2 7 22% /"])
    found = parse_linux(text).filesystems
    assert len(found) == MAX_FILESYSTEMS
    # The one that matters is kept, and the first that bears a name.
    assert found[0] == Filesystem("/", 9 * 1024, 1024, 8 * 1024)


def test_a_device_that_is_mounted_often_is_one_file_system() -> None:
    places = ["/var/lib/docker", "/", "/home", "/run/netns"]
    text = "\n".join(["== df", *(f"/dev/vda1 9 1 8 11% {place}" for place in places)])
    assert [one.mount_point for one in parse_linux(text).filesystems] == ["/"]


def test_a_text_made_to_be_slow_is_read_at_once() -> None:
    text = "== df\n" + "\n".join(["x" + " 1" * 30_000, "x" + " " * 60_000, "1 " * 30_000])
    assert parse_linux(text).is_empty


@given(st.text())
def test_no_text_breaks_the_reading(text: str) -> None:
    for reading in (parse_linux(text), parse_windows(text), parse_linux(f"== df\n{text}")):
        for one in reading.filesystems:
            assert 0 <= one.usage_ratio <= 1


@given(st.binary())
def test_no_file_breaks_the_reading(content: bytes) -> None:
    parse_linux_files([content] * len(LINUX_FILES))


def test_the_linux_command_is_understood_here() -> None:
    done = subprocess.run(LINUX_COMMAND, capture_output=True, text=True, timeout=60, check=False)
    reading = parse_linux(done.stdout)
    total = Path("/proc/meminfo").read_text().split()[1]
    assert reading.memory_total_bytes == int(total) * 1024
    assert reading.load is not None
    assert reading.processes_blocked is not None
    assert reading.tcp_connections is not None


def test_the_windows_command_is_one_text_without_a_shell() -> None:
    assert WINDOWS_COMMAND[0].endswith("powershell.exe")
    assert WINDOWS_COMMAND[-2] == "-EncodedCommand"
    script = base64.b64decode(WINDOWS_COMMAND[-1]).decode("utf-16-le")
    for name in ("memory_total_kib", "memory_available_kib", "tcp_connections", "filesystem"):
        assert f'"{name}=' in script
    # Where Windows does not answer it is not known how many there are: none is a number.
    assert "if ($null -ne $tcp.ConnectionsEstablished) {" in script
    assert script.count('"') % 2 == 0
    assert script.count("{") == script.count("}")
    assert script.count("(") == script.count(")")


@pytest.mark.parametrize(
    ("mount", "asked"),
    [
        ("/dev/vda1 / ext4 rw 0 0", True),
        ("/dev/vdb1 / fuseblk rw 0 0", True),
        ("/dev/sr0 / iso9660 ro 0 0", False),
        ("/dev/vdb / squashfs ro 0 0", False),
        ("/dev/loop3 / ext4 ro 0 0", False),
        ("/dev/fuse / fuse rw 0 0", False),
        ("server:/export / nfs4 rw 0 0", False),
    ],
)
def test_only_space_that_can_fill_up_is_asked_for(tmp_path: Path, mount: str, asked: bool) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(mount + "\n")
    script = LINUX_COMMAND[2].replace("/proc/mounts", str(mounts))
    done = subprocess.run(
        ["/bin/sh", "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    _before, _heading, spaces = done.stdout.partition("== df\n")
    assert bool(spaces.strip()) == asked

"""What guests say of themselves: the commands that ask them, and what the answers mean.

Guests belong to tenants: an answer is a text by a stranger. What is not understood, absurd or too
much of is left out, and nothing in it can do more than that.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from alarms.store.base import MAX_DEVICE_LENGTH

MAX_ANSWER_BYTES: Final = 64 * 1024
MAX_FILESYSTEMS: Final = 16
_MAX_BYTES = 2**60
_MAX_COUNT = 10**9
_MAX_LOAD = 10.0**6


@dataclass(frozen=True, slots=True)
class Filesystem:
    """Space of a mounted file system, in bytes; `available_bytes` is what users may still take."""

    mount_point: str
    size_bytes: int
    used_bytes: int
    available_bytes: int

    @property
    def usage_ratio(self) -> float:
        """The part in use of what users can have, as ``df`` says it."""
        total = self.used_bytes + self.available_bytes
        return self.used_bytes / total if total else 0.0


@dataclass(frozen=True, slots=True)
class GuestReading:
    """What a guest said; None and () where it said nothing that could be understood."""

    memory_total_bytes: int | None = None
    memory_available_bytes: int | None = None
    load: tuple[float, float, float] | None = None
    tcp_connections: int | None = None
    processes_blocked: int | None = None
    filesystems: tuple[Filesystem, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing at all was understood."""
        return self == GuestReading()


# -- Linux -------------------------------------------------------------------------------------

# Only file systems of block devices are measured: to ask for the space of a network file system
# whose server is gone would hang, as would one of a program (FUSE) that hangs. What can only be
# read, such as a CD, is always full and nobody's concern.
_LINUX = """\
PATH=/usr/sbin:/usr/bin:/sbin:/bin; export PATH; LC_ALL=C; export LC_ALL
echo '== loadavg'; cat /proc/loadavg
echo '== meminfo'; grep -E '^(MemTotal|MemAvailable|MemFree|Buffers|Cached):' /proc/meminfo
echo '== stat'; grep '^procs_blocked ' /proc/stat
echo '== snmp'; grep '^Tcp:' /proc/net/snmp
echo '== df'
while read -r device place kind rest; do
  case $kind:$device in
    iso9660:*|udf:*|squashfs:*|erofs:*|fuse:*|*:/dev/loop*|*:/dev/fuse) ;;
    *:/dev/*) df -kP "$(printf %b "$place")" 2>/dev/null | tail -n 1 ;;
  esac
done </proc/mounts | sort -u | head -n 64
"""

LINUX_COMMAND: Final = ("/bin/sh", "-c", _LINUX)

LINUX_FILES: Final = ("/proc/loadavg", "/proc/meminfo", "/proc/stat", "/proc/net/snmp")
"""What is read where the agent may not run programs; see `parse_linux_files`."""

_LOAD = re.compile(r"[0-9]{1,7}(\.[0-9]{1,6})?")
_SECTION = re.compile(r"== ([a-z]+)")
_DF_LINE = re.compile(r"(\S.*?) +([0-9]+) +([0-9]+) +(-?[0-9]+) +(?:[0-9]+%|-) +(/.*)")
_LONGEST_LINE = 500


def parse_linux(text: str) -> GuestReading:
    """The answer to `LINUX_COMMAND`."""
    sections: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in text.splitlines():
        heading = _SECTION.fullmatch(line)
        if heading:
            lines = sections.setdefault(heading[1], [])
        else:
            lines.append(line)
    return _linux(
        load=sections.get("loadavg", ()),
        memory=sections.get("meminfo", ()),
        stat=sections.get("stat", ()),
        snmp=sections.get("snmp", ()),
        df=sections.get("df", ()),
    )


def parse_linux_files(contents: Iterable[bytes]) -> GuestReading:
    """The contents of `LINUX_FILES`, in their order."""
    load, memory, stat, snmp = (one.decode(errors="replace").splitlines() for one in contents)
    return _linux(load=load, memory=memory, stat=stat, snmp=snmp, df=())


def _linux(
    *,
    load: Iterable[str],
    memory: Iterable[str],
    stat: Iterable[str],
    snmp: Iterable[str],
    df: Iterable[str],
) -> GuestReading:
    total, available = _memory(memory)
    return GuestReading(
        memory_total_bytes=total,
        memory_available_bytes=available,
        load=_load(load),
        tcp_connections=_established(snmp),
        processes_blocked=_blocked(stat),
        filesystems=_filesystems(_spaces(df)),
    )


def _load(lines: Iterable[str]) -> tuple[float, float, float] | None:
    for line in lines:
        words = line.split()[:3]
        if len(words) == 3 and all(
            re.fullmatch(r"[0-9]{1,7}(\.[0-9]{1,6})?", word) for word in words
        ):
            one, five, fifteen = (float(word) for word in words)
            if max(one, five, fifteen) <= _MAX_LOAD:
                return one, five, fifteen
    return None


def _memory(lines: Iterable[str]) -> tuple[int | None, int | None]:
    """Total and available memory in bytes."""
    found: dict[str, int] = {}
    for line in lines:
        name, _, rest = line.partition(":")
        number = _number(rest.split()[0] if rest.split() else "", _MAX_BYTES // 1024)
        if number is not None:
            found.setdefault(name, number * 1024)
    total, available = found.get("MemTotal"), found.get("MemAvailable")
    if available is None and {"MemFree", "Buffers", "Cached"} <= found.keys():
        # Kernels before 3.14 leave it to the reader.
        available = found["MemFree"] + found["Buffers"] + found["Cached"]
    if not total or available is None or available > total:
        return None, None
    return total, available


def _blocked(lines: Iterable[str]) -> int | None:
    for line in lines:
        words = line.split()
        if len(words) == 2 and words[0] == "procs_blocked":
            return _number(words[1], _MAX_COUNT)
    return None


def _established(lines: Iterable[str]) -> int | None:
    """Established connections of IPv4 and IPv6, by the names in the line before the numbers."""
    names: list[str] | None = None
    for line in lines:
        words = line.split()
        if not words or words[0] != "Tcp:":
            continue
        if names is None:
            names = words
        elif "CurrEstab" in names and len(words) == len(names):
            return _number(words[names.index("CurrEstab")], _MAX_COUNT)
    return None


def _spaces(lines: Iterable[str]) -> Iterator[Filesystem]:
    """Each device once, by the mount point nearest to the root: others show the same space."""
    found: dict[str, Filesystem] = {}
    for line in lines:
        parts = _DF_LINE.fullmatch(line) if len(line) <= _LONGEST_LINE else None
        if not parts:
            continue
        device, place = parts[1], parts[5]
        size, used, left = (
            _number(parts[number].removeprefix("-"), _MAX_BYTES // 1024) for number in (2, 3, 4)
        )
        if size is None or used is None or left is None:
            continue
        # Less than nothing is left where root has taken what is reserved.
        available = 0 if parts[4].startswith("-") else left
        if device not in found or _nearest(place) < _nearest(found[device].mount_point):
            found[device] = Filesystem(place, size * 1024, used * 1024, available * 1024)
    yield from found.values()


# -- Windows -----------------------------------------------------------------------------------

_WINDOWS = """\
$ErrorActionPreference = 'SilentlyContinue'
[Console]::OutputEncoding = [Text.Encoding]::UTF8
$os = Get-CimInstance Win32_OperatingSystem
"memory_total_kib=$($os.TotalVisibleMemorySize)"
"memory_available_kib=$($os.FreePhysicalMemory)"
$tcp = Get-CimInstance Win32_PerfRawData_Tcpip_TCPv4
$tcp6 = Get-CimInstance Win32_PerfRawData_Tcpip_TCPv6
if ($null -ne $tcp.ConnectionsEstablished) {
  $both = [uint64]$tcp.ConnectionsEstablished + [uint64]$tcp6.ConnectionsEstablished
  "tcp_connections=$both"
}
foreach ($disk in Get-CimInstance Win32_LogicalDisk -Filter 'DriveType=3') {
  "filesystem=$($disk.Size) $($disk.FreeSpace) $($disk.DeviceID)"
}
"""

WINDOWS_COMMAND: Final = (
    r"C:\Windows\System32\WindowsPowerShell\v1.0\powershell.exe",
    "-NoLogo",
    "-NoProfile",
    "-NonInteractive",
    # As a whole, so that no quoting on the way can change it.
    "-EncodedCommand",
    base64.b64encode(_WINDOWS.encode("utf-16-le")).decode(),
)
"""Windows knows neither load averages nor processes that wait for disks: those stay gaps."""

_WINDOWS_DISK = re.compile(r"([0-9]+) ([0-9]+) ([A-Z]:)")


def parse_windows(text: str) -> GuestReading:
    """The answer to `WINDOWS_COMMAND`."""
    found: dict[str, str] = {}
    spaces = []
    for line in text.splitlines():
        name, _, value = line.strip().lstrip("\ufeff").partition("=")
        disk = _WINDOWS_DISK.fullmatch(value)
        if name == "filesystem" and disk:
            size, free = _number(disk[1], _MAX_BYTES), _number(disk[2], _MAX_BYTES)
            if size is not None and free is not None and free <= size:
                spaces.append(Filesystem(disk[3], size, size - free, free))
        else:
            found.setdefault(name, value)
    total = _number(found.get("memory_total_kib", ""), _MAX_BYTES // 1024)
    available = _number(found.get("memory_available_kib", ""), _MAX_BYTES // 1024)
    understood = total is not None and available is not None and 0 < total >= available
    return GuestReading(
        memory_total_bytes=total * 1024 if understood and total is not None else None,
        memory_available_bytes=(available * 1024 if understood and available is not None else None),
        tcp_connections=_number(found.get("tcp_connections", ""), _MAX_COUNT),
        filesystems=_filesystems(spaces),
    )


# -- both --------------------------------------------------------------------------------------


#: Always full, and nobody's concern.
READ_ONLY: Final = frozenset({"iso9660", "udf", "cdfs", "squashfs", "erofs"})


def from_agent(spaces: Iterable[tuple[str, int | None, int | None]]) -> GuestReading:
    """Mount points with size and used bytes, as agents tell them that may do nothing else."""
    return GuestReading(
        filesystems=_filesystems(
            Filesystem(place, size, used, size - used)
            for place, size, used in spaces
            if size is not None and used is not None and 0 <= used <= size <= _MAX_BYTES
        )
    )


def _filesystems(spaces: Iterable[Filesystem]) -> tuple[Filesystem, ...]:
    """The file systems by name, each once, without what has no size or no decent name."""
    found: dict[str, Filesystem] = {}
    for one in spaces:
        name = one.mount_point
        if one.size_bytes and 0 < len(name) <= MAX_DEVICE_LENGTH and name.isprintable():
            found.setdefault(name, one)
    return tuple(found[name] for name in sorted(found, key=_nearest)[:MAX_FILESYSTEMS])


def _nearest(name: str) -> tuple[int, str]:
    """Those near the root first: they are the ones that are kept of too many."""
    return name.rstrip("/").count("/"), name


def _number(text: str, most: int) -> int | None:
    """The whole number of a text; None for anything else, and for more than there can be."""
    if not re.fullmatch(r"[0-9]{1,20}", text):
        return None
    number = int(text)
    return number if number <= most else None

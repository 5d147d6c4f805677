"""What the machine is, as far as it tells itself; no names and no places."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path


def facts(emulation: str) -> list[tuple[str, str]]:
    """Return what the figures depend on: (what, value)."""
    return [
        ("processor", f"{_cpu_model()}, {os.cpu_count()} cores"),
        ("memory", f"{_memory_gib():.0f} GiB"),
        ("kernel", f"{platform.system()} {platform.release()}"),
        ("Python", platform.python_version()),
        ("QEMU", _first_line("qemu-system-x86_64", "--version").removeprefix("QEMU emulator ")),
        ("libvirt", _first_line("libvirtd", "--version")),
        ("PostgreSQL", _first_line("psql", "--version")),
        ("guests run under", emulation),
    ]


def load() -> str:
    """Return the load averages of one and five minutes: what else the machine had to do."""
    one, five, _ = os.getloadavg()
    return f"{one:.1f} / {five:.1f}"


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def _first_line(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "not installed"
    return (done.stdout or done.stderr).strip().splitlines()[0]

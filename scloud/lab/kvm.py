"""Whether guests run under KVM here: found out by booting one."""

from __future__ import annotations

import os
import platform
import subprocess
import tempfile
from pathlib import Path

from scloud.lab.plan import cache_root

# A boot sector that writes 'K' to the first serial port and leaves through the exit device:
# mov dx,0x3f8; mov al,'K'; out dx,al; mov dx,0xf4; mov al,0x10; out dx,al; hlt
BOOT_SECTOR = bytes.fromhex("baf803b04bee ba f400 b010 ee f4".replace(" ", ""))
EXIT_STATUS = (0x10 << 1) | 1


def _boots(disk: Path, *extra: str, timeout_s: float) -> tuple[int, str]:
    command = [
        "qemu-system-x86_64", "-accel", "kvm", "-machine", "pc", "-cpu", "qemu64", "-m", "256",
        "-display", "none", "-nodefaults", "-serial", "stdio", "-no-reboot", "-snapshot",
        "-device", "isa-debug-exit,iobase=0xf4,iosize=0x01", *extra,
    ]  # fmt: skip
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        output = error.stdout or b""
        text = output.decode(errors="replace") if isinstance(output, bytes) else output
        return -1, text
    except FileNotFoundError:
        return -1, ""
    return done.returncode, done.stdout


def _try() -> bool:
    with tempfile.TemporaryDirectory() as directory:
        disk = Path(directory) / "boot.img"
        disk.write_bytes(BOOT_SECTOR.ljust(510, b"\0") + b"\x55\xaa" + bytes(512 * 100))
        drive = f"file={disk},format=raw,if=ide"
        code, output = _boots(disk, "-drive", drive, timeout_s=10)
    if code != EXIT_STATUS or "K" not in output:
        return False
    # Real mode works; now a whole kernel, which asks for much more of the processor.
    from scloud.lab import images

    mini = images.ensure("mini")
    code, output = _boots(mini, "-drive", f"file={mini},format=qcow2,if=virtio", timeout_s=15)
    return "scloud-mini is up" in output


def works() -> bool:
    """Whether an ordinary guest boots under KVM on this machine.

    The device node alone says nothing (nested machines have one that does not work), so one
    is booted; the answer is kept per boot of the machine.
    """
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    answer = cache_root() / f"kvm-{platform.release()}-{boot}"
    if not answer.exists():
        answer.parent.mkdir(parents=True, exist_ok=True)
        answer.write_text("yes" if _try() else "no")
    return answer.read_text() == "yes"

"""Helper programs (`qemu-img`, `genisoimage`), always with bounds and explicit formats."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from compute.storage.base import (
    ImageRefused,
    StorageError,
    StorageFull,
    StorageTimeout,
    VolumeBusy,
)

QUICK_TIMEOUT_S = 30.0
MEMORY_BYTES = 4 * 1024**3
"""Address space of a helper. QEMU maps generously; a hostile file must not take the machine."""

INSPECT_MEMORY_BYTES = 1024**3
INSPECT_CPU_S = 20


class HelperFailed(StorageError):
    """A helper program ended with an error that has no better name."""

    code = "storage_helper_failed"


def run(
    argv: Sequence[str],
    *,
    timeout_s: float = QUICK_TIMEOUT_S,
    memory_bytes: int = MEMORY_BYTES,
    cpu_s: int | None = None,
    max_file_bytes: int | None = None,
) -> bytes:
    """Run a helper and return its output; it dies with us, at its bound, or at its limits.

    The death signal matters: a helper that outlives a killed worker would write into files that
    another worker believes to own.
    """
    limits = [f"--as={memory_bytes}", "--core=0"]
    if cpu_s is not None:
        limits.append(f"--cpu={cpu_s}")
    if max_file_bytes is not None:
        limits.append(f"--fsize={max_file_bytes}")
    command = ["setpriv", "--pdeathsig", "KILL", "--", "prlimit", *limits, "--", *argv]
    try:
        result = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"},
        )
    except subprocess.TimeoutExpired as error:
        raise StorageTimeout(f"{argv[0]} did not finish within {timeout_s:g} seconds.") from error
    if result.returncode == 0:
        return result.stdout
    text = result.stderr.decode("utf-8", "replace").strip()
    if "No space left on device" in text or "Disk quota exceeded" in text:
        raise StorageFull("The storage pool is full.")
    if "lock" in text and "Failed to get" in text:
        raise VolumeBusy("The volume is in use by a running VM.")
    raise HelperFailed(f"{Path(argv[0]).name} failed ({result.returncode}): {text[-500:]}")


def inspect(argv: Sequence[str]) -> bytes:
    """Run a helper on a file that nobody vouches for: little memory, little time."""
    try:
        return run(
            argv,
            timeout_s=INSPECT_CPU_S + 10,
            memory_bytes=INSPECT_MEMORY_BYTES,
            cpu_s=INSPECT_CPU_S,
        )
    except StorageTimeout as error:
        raise ImageRefused("The image takes too long to inspect.", reason="bomb") from error
    except HelperFailed as error:
        raise ImageRefused(
            f"The image cannot be read: {error.message}", reason="corrupt"
        ) from error

"""Helper programs (`qemu-img`, `genisoimage`), always with bounds and explicit formats."""

import contextlib
import io
import os
import select
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from compute.storage import sandbox
from compute.storage.base import (
    ImageRefused,
    StorageError,
    StorageFull,
    StorageReadOnly,
    StorageStale,
    StorageTimeout,
    VolumeBusy,
)
from scloud.lib import lease

QUICK_STALL_S = 30.0
COPY_STALL_S = 900.0
"""A copy's last act is to bring it to the medium: the kernel writes then and the helper waits."""

_POLL_S = 0.25
_DEATH_S = 10.0
"""Dying takes a moment; longer only while the kernel waits for a medium that does not answer."""

MEMORY_BYTES = 4 * 1024**3
"""Address space of a helper. QEMU maps generously; a hostile file must not take the machine."""

INSPECT_MEMORY_BYTES = 1024**3
INSPECT_CPU_S = 20
INSPECT_BYTES_PER_S = 200 * 1024**2
"""Looking at a file takes longer the larger it is: so much at least is read in a second."""


class HelperFailed(StorageError):
    """A helper program ended with an error that has no better name.

    ``exit_code`` is its own, or the number of the signal that ended it: negative, or above 128.
    ``output`` is what it said before.
    """

    code = "storage_helper_failed"

    def __init__(self, message: str, *, exit_code: int = 1, output: bytes = b"") -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.output = output


class HelperInterrupted(StorageError):
    """A helper program was ended from outside or could not begin: it says nothing of its files."""

    code = "storage_helper_failed"
    retryable = True


def run(
    argv: Sequence[str],
    *,
    stall_s: float = QUICK_STALL_S,
    timeout_s: float | None = None,
    growing: Path | None = None,
    total_bytes: int | None = None,
    memory_bytes: int = MEMORY_BYTES,
    cpu_s: int | None = None,
    max_file_bytes: int | None = None,
    files: Sequence[sandbox.Seen] = (),
    accept: Sequence[int] = (0,),
    unless: Path | None = None,
) -> bytes:
    """Run a helper and return its output; it dies with us, when it stalls, or at its limits.

    It stalls when for ``stall_s`` seconds neither it nor a child of it reads, writes or computes,
    so that a large file on a slow disk has the time that it needs; ``timeout_s`` bounds the whole
    for files that nobody vouches for. ``growing`` is the file that it writes, which tells how far
    it is of ``total_bytes``. ``unless`` is a file whose appearance ends the helper (VolumeBusy):
    somebody needs what it works on. What an error of the caller's runner (a job that was taken
    over) leaves running is ended here.

    With ``files`` it is shut in (see :mod:`compute.storage.sandbox`) and sees nothing else; so must
    run whatever opens what a tenant made. ``accept`` are the exit codes of a success. Raises
    SandboxMissing, StorageTimeout, StorageFull, StorageReadOnly, StorageStale, VolumeBusy,
    HelperFailed.

    The death signal matters: a helper that outlives a killed worker would write into files that
    another worker believes to own. For the same reason one that is ended here has ended, with all
    its children, when this raises: each of them holds a pipe open that is waited for.
    """
    limits = [f"--as={memory_bytes}", "--core=0"]
    if cpu_s is not None:
        limits.append(f"--cpu={cpu_s}")
    if max_file_bytes is not None:
        limits.append(f"--fsize={max_file_bytes}")
    shut_in = list(argv)
    if files:
        limits += [f"--nofile={sandbox.OPEN_FILES}", f"--nproc={sandbox.TASKS}"]
        shut_in = sandbox.wrapped(argv, files)
    command = ["setpriv", "--pdeathsig", "KILL", "--", "prlimit", *limits, "--", *shut_in]
    alive, held = os.pipe()
    with (
        os.fdopen(alive, "rb", buffering=0) as pipe,
        os.fdopen(held, "wb", buffering=0) as given,
        tempfile.TemporaryFile() as output,
        tempfile.TemporaryFile() as errors,
    ):
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"},
            pass_fds=(held,),
        )
        given.close()
        try:
            _watch(process, argv[0], stall_s, timeout_s, growing, total_bytes, unless)
        finally:
            if process.poll() is None:
                process.kill()
                _await_death(pipe)
                # Whom the kernel keeps waiting for a medium is not waited for as well.
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(1.0)
        output.seek(0)
        errors.seek(0)
        said = output.read()
        if process.returncode in accept:
            return said
        text = errors.read().decode("utf-8", "replace").strip()
    if files and text.startswith("bwrap: "):
        raise sandbox.SandboxMissing(text.removeprefix("bwrap: ")[:200])
    if "No space left on device" in text or "Disk quota exceeded" in text:
        raise StorageFull("The storage pool is full.")
    if "Read-only file system" in text:
        raise StorageReadOnly("The storage pool is read-only.")
    if "Stale file handle" in text:
        raise StorageStale("The storage pool has to be mounted anew (stale file handle).")
    if "lock" in text and "Failed to get" in text:
        raise VolumeBusy("The volume is in use by a running VM.")
    raise HelperFailed(
        f"{Path(argv[0]).name} failed ({process.returncode}): {text[-500:]}",
        exit_code=process.returncode,
        output=said,
    )


def _await_death(pipe: io.RawIOBase) -> None:
    """Wait until nobody holds the other end of the pipe, for ``_DEATH_S`` seconds at most."""
    until = time.monotonic() + _DEATH_S
    while (left_s := until - time.monotonic()) > 0:
        readable, _, _ = select.select([pipe], [], [], left_s)
        if readable and not pipe.read(1024):
            return


def _watch(
    process: subprocess.Popen[bytes],
    name: str,
    stall_s: float,
    timeout_s: float | None,
    growing: Path | None,
    total_bytes: int | None,
    unless: Path | None,
) -> None:
    """Wait for the end.

    Raises StorageTimeout when the process stalls or takes too long, VolumeBusy when ``unless``
    appears.
    """
    began = moved_at = time.monotonic()
    seen = 0
    pause_s = 0.005
    while True:
        try:
            process.wait(pause_s)
        except subprocess.TimeoutExpired:
            pass
        else:
            return
        # Most helpers end in a few milliseconds; those that do not are looked at now and then.
        pause_s = min(_POLL_S, pause_s * 2)
        now = time.monotonic()
        if timeout_s is not None and now - began > timeout_s:
            raise StorageTimeout(f"{name} did not finish within {timeout_s:g} seconds.")
        if pause_s < _POLL_S:
            continue
        if unless is not None and unless.exists():
            raise VolumeBusy(f"{name} was ended: somebody needs the volume.")
        work = work_of(process.pid)
        if work != seen:
            seen, moved_at = work, now
            lease.moving(_size(growing), total_bytes)
        elif now - moved_at > stall_s:
            raise StorageTimeout(f"{name} made no progress for {stall_s:g} seconds.")


def _size(path: Path | None) -> int:
    """Return how much of the file is there, in bytes; a sparse one may be less than its length."""
    try:
        return 0 if path is None else path.stat().st_blocks * 512
    except OSError:
        return 0


def work_of(pid: int) -> int:
    """Return a figure that grows while the process or a descendant of it does anything.

    The sum of what they have read and written, in bytes, and of their processor time, in ticks.
    """
    done = 0
    pids = [pid]
    while pids:
        one = Path(f"/proc/{pids.pop()}")
        try:
            for line in (one / "io").read_text().splitlines():
                done += int(line.partition(":")[2])
            # The name, in brackets, may hold anything: the figures are behind it.
            figures = (one / "stat").read_text().rpartition(")")[2].split()
            done += int(figures[11]) + int(figures[12])
            for task in (one / "task").iterdir():
                pids += [int(child) for child in (task / "children").read_text().split()]
        except (OSError, ValueError):
            continue
    return done


def inspect(
    argv: Sequence[str],
    files: Sequence[sandbox.Seen],
    *,
    file_bytes: int,
    accept: Sequence[int] = (0,),
) -> bytes:
    """Run a helper on files that nobody vouches for: little memory, little time.

    Raises ImageRefused (``bomb``, ``corrupt``), SandboxMissing.
    """
    cpu_s = INSPECT_CPU_S + file_bytes // INSPECT_BYTES_PER_S
    try:
        return run(
            argv,
            timeout_s=cpu_s + 10.0,
            memory_bytes=INSPECT_MEMORY_BYTES,
            cpu_s=cpu_s,
            files=files,
            accept=accept,
        )
    except StorageTimeout as error:
        raise ImageRefused("The image takes too long to inspect.", reason="bomb") from error
    except HelperFailed as error:
        raise ImageRefused(
            f"The image cannot be read: {error.message}", reason="corrupt"
        ) from error

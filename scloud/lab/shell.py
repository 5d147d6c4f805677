"""Running commands, and waiting for things to become true."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from scloud.lab.plan import LabError


def run(
    *command: str | Path, timeout_s: float = 30, check: bool = True, stdin: str | None = None
) -> str:
    """Run a command and return its standard output.

    LabError, with what the command wrote, when it fails (unless ``check`` is false) or
    does not end within ``timeout_s``.
    """
    words = [str(word) for word in command]
    try:
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=timeout_s, input=stdin, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{' '.join(words)}: no end after {timeout_s:g} s") from error
    except FileNotFoundError as error:
        raise LabError(f"{words[0]} is not installed (see scloud/lab/packages.txt)") from error
    if check and done.returncode != 0:
        raise LabError(f"{' '.join(words)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def succeeds(*command: str | Path, timeout_s: float = 30) -> bool:
    """Whether a command ends well."""
    try:
        run(*command, timeout_s=timeout_s)
    except LabError:
        return False
    return True


def wait_for(
    what: str, true: Callable[[], bool], *, timeout_s: float, every_s: float = 0.05
) -> None:
    """Wait until ``true()``; LabError naming ``what`` when it takes too long."""
    end = time.monotonic() + timeout_s
    while not true():
        if time.monotonic() > end:
            raise LabError(f"{what}: not within {timeout_s:g} s")
        time.sleep(every_s)


def say(text: str) -> None:
    """A line of progress for whoever watches (standard error)."""
    print(text, file=sys.stderr, flush=True)


def daemon(command: Sequence[str | Path], *, log: Path, env: dict[str, str]) -> int:
    """Start a process that outlives this one; returns its pid."""
    with log.open("ab") as output:
        child = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            cwd="/",
            env={**os.environ, **env},
        )
    # The child is left to itself; its status will be collected by init once we are gone.
    child.returncode = 0
    return child.pid


def marked_processes(marker: str) -> list[int]:
    """Pids whose environment holds ``marker`` exactly, this process excepted."""
    wanted = marker.encode()
    found: list[int] = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            environment = (entry / "environ").read_bytes()
        except OSError:
            continue  # ended, or a kernel thread
        if wanted in environment.split(b"\0"):
            found.append(int(entry.name))
    return found


def alive(pid: int) -> bool:
    """Whether a process exists and is not a zombie.

    One whose first thread has ended still holds its sockets while others are ending.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
        threads = len(list(Path(f"/proc/{pid}/task").iterdir()))
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z" or threads > 1


def kill_all(pids: Sequence[int], *, timeout_s: float = 15) -> None:
    """SIGKILL the processes and wait for them; LabError when one does not go."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    wait_for(
        f"end of processes {list(pids)}",
        lambda: not any(alive(pid) for pid in pids),
        timeout_s=timeout_s,
    )

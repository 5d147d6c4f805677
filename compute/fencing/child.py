"""A fence agent as a child process: a time that it may take, and a size that it may say."""

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

OUTPUT_BYTES = 64 * 1024
"""What is kept of each of the two outputs; the rest is read and thrown away."""

_READ_BYTES = 16 * 1024
_POLL_S = 0.01


@dataclass(frozen=True)
class Ended:
    """How the child ended. `code` is None for one that was ended at its limit."""

    code: int | None
    output: str
    errors: str


def run(
    argv: Sequence[str], given: str, *, limit_s: float, environment: Mapping[str, str]
) -> Ended:
    """Run a program with `given` on its standard input, for `limit_s` seconds at most.

    It has the environment that is named, no other, and dies with us. At the limit it is killed with
    all that it has started. Raises OSError when it cannot be started.
    """
    until = time.monotonic() + limit_s
    with subprocess.Popen(
        ["setpriv", "--pdeathsig", "KILL", "--", *argv],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(environment),
        cwd="/",
        start_new_session=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            # Less than the pipe holds, so this waits for nobody.
            with suppress(BrokenPipeError):
                process.stdin.write(given.encode())
                process.stdin.flush()
            with suppress(BrokenPipeError):
                process.stdin.close()
            heard = {process.stdout: bytearray(), process.stderr: bytearray()}
            with selectors.DefaultSelector() as selector:
                for pipe in heard:
                    selector.register(pipe, selectors.EVENT_READ)
                while selector.get_map() and (left_s := until - time.monotonic()) > 0:
                    for key, _events in selector.select(left_s):
                        pipe = process.stdout if key.fileobj is process.stdout else process.stderr
                        chunk = os.read(pipe.fileno(), _READ_BYTES)
                        if not chunk:
                            selector.unregister(pipe)
                        heard[pipe] += chunk[: OUTPUT_BYTES - len(heard[pipe])]
            while not (in_time := _has_ended(process.pid)) and time.monotonic() < until:
                time.sleep(_POLL_S)
        finally:
            _kill_all(process.pid)
        code = process.wait()
        output, errors = (bytes(heard[pipe]).decode(errors="replace") for pipe in heard)
    return Ended(code if in_time else None, output, errors)


def _has_ended(pid: int) -> bool:
    """Whether the child has ended. It is not waited for: its number stays its own until then."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _kill_all(pid: int) -> None:
    """Kill the child's group, and what it has started in sessions of its own (ssh has one)."""
    others = descendants(pid)
    for call, number in [(os.killpg, pid), *((os.kill, other) for other in others)]:
        with suppress(ProcessLookupError):
            call(number, signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    """The pids of what a process has started, and what those have."""
    found: list[int] = []
    waiting = [pid]
    while waiting:
        try:
            tasks = list(Path(f"/proc/{waiting.pop()}/task").iterdir())
            children = [
                int(child) for task in tasks for child in (task / "children").read_text().split()
            ]
        except (OSError, ValueError):
            continue
        found += children
        waiting += children
    return found

"""Looks at the directories of pools from processes of their own, which may hang in our place.

Whoever asks a file system whose server is gone waits in the kernel, for hours, and cannot be
ended. So each process that works with pools has a child for each, which stays and looks
(`compute.storage.marker`) before the process touches the pool itself. One that does not answer in
time is killed. While it cannot even die, or was killed a moment ago, nobody else is sent.
"""

import atexit
import contextlib
import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compute.storage import base, marker
from compute.storage.base import StorageError, StorageHanging, StorageUnavailable
from compute.storage.marker import Look

LIMIT_S = 10.0
"""How long a look may take, the start of the child included."""

PAUSE_S = 10.0
"""For how long nobody asks again after a look that took too long."""

IDLE_S = 300.0
"""A child that nobody asks ends after so long."""

_ERRORS: Mapping[str, type[StorageError]] = {
    kind.code: kind
    for kind in (
        base.StorageFaulty,
        base.StorageForeign,
        base.StorageReadOnly,
        base.StorageStale,
        base.StorageUnavailable,
    )
}


class Lookout:
    """The child that looks at one directory, started when it is needed."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._child: subprocess.Popen[bytes] | None = None
        self._again_at = 0.0
        # Callers stand in line here, for no longer than one look takes.
        self._lock = threading.Lock()

    def look(self, digest: str) -> Look:
        """As `marker.look`. Raises StorageHanging when there is no answer in time."""
        until = time.monotonic() + LIMIT_S
        if not self._lock.acquire(timeout=LIMIT_S):
            raise self._hangs()
        try:
            if time.monotonic() < self._again_at:
                raise self._hangs()
            # A child that was idle for long has ended, perhaps at this moment.
            answer = self._ask(digest, until) or self._ask(digest, until)
        finally:
            self._lock.release()
        if answer is None:
            raise StorageUnavailable("The process that looks at the storage directory died.")
        if "error" in answer:
            kind = _ERRORS.get(str(answer["error"]), StorageUnavailable)
            raise kind(str(answer["message"]))
        return Look(
            int(answer["total_bytes"]), int(answer["available_bytes"]), bool(answer["read_only"])
        )

    def end(self) -> None:
        """End the child."""
        with self._lock:
            self._kill()

    def _ask(self, digest: str, until: float) -> dict[str, Any] | None:
        """Return the child's answer; None when it has ended. Raises StorageHanging."""
        child = self._running()
        assert child.stdin is not None
        assert child.stdout is not None
        request = json.dumps({"root": str(self._root), "marker": digest}) + "\n"
        try:
            child.stdin.write(request.encode())
            child.stdin.flush()
        except OSError:
            self._kill()
            return None
        waiting = select.poll()
        waiting.register(child.stdout, select.POLLIN)
        if not waiting.poll(max(0.0, until - time.monotonic()) * 1000):
            self._kill()
            self._again_at = time.monotonic() + PAUSE_S
            raise self._hangs()
        # An answer is one line, written at once.
        line = child.stdout.readline()
        if not line:
            self._kill()
            return None
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _running(self) -> subprocess.Popen[bytes]:
        child = self._child
        if child is not None and child.stdin is not None and not child.stdin.closed:
            return child
        if child is not None and child.poll() is None:
            # It was killed and cannot die: the kernel still waits for the file system.
            raise self._hangs()
        self._child = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", sys.executable, "-s", "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd="/",
            env={
                "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                "LC_ALL": "C.UTF-8",
                "PYTHONPATH": str(Path(__file__).parents[2]),
            },
        )
        return self._child

    def _kill(self) -> None:
        child = self._child
        if child is None:
            return
        child.kill()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(0.2)

    @staticmethod
    def _hangs() -> StorageHanging:
        return StorageHanging("The storage's file system does not answer.")


_lookouts: dict[tuple[int, Path], Lookout] = {}
_lookouts_lock = threading.Lock()


def lookout(root: Path) -> Lookout:
    """Return this process's lookout for a directory; one of before a fork is the parent's."""
    with _lookouts_lock:
        return _lookouts.setdefault((os.getpid(), root), Lookout(root))


@atexit.register
def _end_all() -> None:
    for (pid, _root), one in _lookouts.items():
        if pid == os.getpid():
            one.end()


def main() -> None:
    """Answer each line of the standard input, as the child."""
    requests = sys.stdin.buffer
    while select.select([requests], [], [], IDLE_S)[0]:
        line = requests.readline()
        if not line:
            return
        asked = json.loads(line)
        try:
            seen = marker.look(Path(asked["root"]), asked["marker"])
        except StorageError as error:
            answer = {"error": error.code, "message": error.message}
        except OSError as error:
            answer = {"error": StorageUnavailable.code, "message": f"{error.strerror}."}
        else:
            answer = {name: getattr(seen, name) for name in seen.__slots__}
        os.write(1, json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    main()

"""Calls of a Ceph pool, each in a process of its own that is ended when it does not move."""

import contextlib
import json
import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from compute.storage import base
from compute.storage.base import (
    StorageError,
    StorageHanging,
    StorageTimeout,
    StorageUnavailable,
)
from scloud.lib import lease

PYTHON = "/usr/bin/python3"
"""The distribution's own: its packages hold the libraries of Ceph, for no other Python."""

MODULE = "compute.storage.rbd.child"

QUICK_S = 60.0
"""For a call that copies nothing. The client itself gives up a request after half of it."""

STALL_S = 900.0
"""For how long one that does may say nothing: a rollback says nothing until it is done."""

_CLOSING_S = 5.0
_ABORTED = (-signal.SIGABRT, -signal.SIGSEGV)
_ANSWER_BYTES = 64 * 1024**2


def _kinds(kind: type[StorageError]) -> Iterator[type[StorageError]]:
    yield kind
    for one in kind.__subclasses__():
        yield from _kinds(one)


# Those of the port: others have meanings, or fields, of their own.
_ERRORS = {one.code: one for one in _kinds(StorageError) if one.__module__ == base.__name__}


@dataclass(frozen=True, slots=True)
class Cluster:
    """Whom to ask as whom about which pool; `key` is shown to nobody."""

    monitors: str
    user: str
    key: str = field(repr=False)
    pool: str = ""

    def call(
        self, call: str, words: Mapping[str, Any], *, marker: str, copies: bool = False
    ) -> Any:
        """Make a call of `compute.storage.rbd.child`, of the pool with that marker.

        One that copies may take as long as it moves. One in which Ceph's library aborts before
        anything was published is made once more. Raises what the call raises, StorageHanging when
        it says nothing in time; its process is dead by then.
        """
        asked = {
            "monitors": self.monitors,
            "user": self.user,
            "key": self.key,
            "pool": self.pool,
            "marker": marker,
            "call": call,
            "words": words,
        }
        for is_last in (False, True):
            try:
                return _ask(call, asked, STALL_S if copies else QUICK_S)
            except _Silent as error:
                if is_last or not error.aborted:
                    raise StorageUnavailable(
                        f"The process that asks Ceph ended without an answer: {error}"
                    ) from error
        raise AssertionError("the loop returns or raises")


class _Silent(Exception):
    """The process ended before it had answered.

    ``aborted`` tells that the library ended it, and that nothing was published by then: seen on a
    busy machine while it connected (``std::system_error``).
    """

    def __init__(self, said: str, *, aborted: bool) -> None:
        super().__init__(said)
        self.aborted = aborted


def _ask(call: str, asked: Mapping[str, Any], stall_s: float) -> Any:
    """Make a call once. Raises _Silent when its process ends without an answer."""
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", "--", PYTHON, "-s", "-m", MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd="/",
            env={
                "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
                "LC_ALL": "C.UTF-8",
                "PYTHONPATH": str(Path(__file__).parents[3]),
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            # The command that it may run ends with it.
            start_new_session=True,
        )
        try:
            return _answer(child, call, asked, stall_s)
        except _Ended as error:
            errors.seek(0)
            said = errors.read()[-500:].decode("utf-8", "replace").strip()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(_CLOSING_S)
            aborted = child.returncode in _ABORTED and not error.published
            raise _Silent(said, aborted=aborted) from error
        finally:
            _end(child)


class _Ended(Exception):
    """The process says no more; ``published`` when it had leave to publish something."""

    def __init__(self, *, published: bool) -> None:
        super().__init__()
        self.published = published


def _answer(
    child: subprocess.Popen[bytes], call: str, asked: Mapping[str, Any], stall_s: float
) -> Any:
    """Return what a child answers. Raises what it raises, and _Ended."""
    assert child.stdin is not None
    published = False
    with contextlib.suppress(BrokenPipeError):
        child.stdin.write(json.dumps(asked).encode() + b"\n")
        child.stdin.flush()
    for line in _lines(child, call, stall_s):
        said = json.loads(line)
        if "moving" in said:
            done, total = said["moving"]
            lease.moving(done, total or None)
        elif "confirm" in said:
            try:
                lease.confirm()
            except BaseException:
                _let_go(child)
                raise
            published = True
            with contextlib.suppress(BrokenPipeError):
                child.stdin.write(b"\n")
                child.stdin.flush()
        elif "error" in said:
            raise _ERRORS.get(said["error"], StorageError)(said["message"])
        else:
            return said["ok"]
    raise _Ended(published=published)


def _let_go(child: subprocess.Popen[bytes]) -> None:
    """Let a child that waits for leave close what it has open: nobody waits for it then."""
    assert child.stdin is not None
    with contextlib.suppress(OSError):
        child.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(_CLOSING_S)


def _lines(child: subprocess.Popen[bytes], call: str, stall_s: float) -> Iterator[bytes]:
    """Yield what the child says, line by line. Raises StorageHanging when it says nothing."""
    assert child.stdout is not None
    waiting = select.poll()
    waiting.register(child.stdout, select.POLLIN)
    rest = b""
    until = time.monotonic() + stall_s
    while True:
        if not waiting.poll(max(0.0, until - time.monotonic()) * 1000):
            raise StorageHanging(f"Ceph did not answer within {stall_s:g} seconds ({call}).")
        part = os.read(child.stdout.fileno(), 65536)
        if not part:
            return
        until = time.monotonic() + stall_s
        rest += part
        *lines, rest = rest.split(b"\n")
        yield from lines
        if len(rest) > _ANSWER_BYTES:
            raise StorageTimeout(f"Ceph's answer is too long ({call}).")


def _end(child: subprocess.Popen[bytes]) -> None:
    """End the child, with what it started, unless it has ended."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, 9)
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()
    child.wait()

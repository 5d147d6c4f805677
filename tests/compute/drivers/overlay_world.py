"""A volume with overlays beside a model of what it holds, and workers that die at a chosen step."""

import contextlib
import json
import os
import random
import signal
import struct
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from compute.storage import helper
from compute.storage.base import GIB, FileSource, SnapshotLimit, VolumeBusy
from compute.storage.dir import DirectoryStorage
from compute.storage.overlays import VolumeFiles

SLOTS = tuple(number * 3 * 1024**2 for number in range(12))
SLOT_BYTES = 128 * 1024
State = dict[int, int]
"""What a guest would read: the byte that fills each slot, 0 where nothing was written."""


def qemu_io(path: Path, commands: Sequence[str], *options: str) -> str:
    """Run commands on a QCOW2 file."""
    words = [word for command in commands for word in ("-c", command)]
    done = subprocess.run(
        ["qemu-io", *options, "-f", "qcow2", *words, path], capture_output=True, text=True
    )
    assert done.returncode == 0 or "erification failed" in done.stdout, done.stderr + done.stdout
    return done.stdout


def holds(path: Path, state: State) -> bool:
    """Tell whether all slots of a file and what it rests on are as the state says."""
    reads = [f"read -P {state.get(slot, 0)} {slot} {SLOT_BYTES}" for slot in SLOTS]
    return "erification failed" not in qemu_io(path, reads, "-r", "-U")


def forget_what_is_used(path: Path) -> None:
    """Let the first table of reference counts of a QCOW2 file forget what the file uses."""
    with path.open("rb+") as file:
        file.seek(48)
        (table,) = struct.unpack(">Q", file.read(8))
        file.seek(table)
        (block,) = struct.unpack(">Q", file.read(8))
        file.seek(block)
        file.write(bytes(64))


@contextlib.contextmanager
def opened_by_qemu(path: Path, *, alone: bool = False) -> Iterator[None]:
    """The file in the hands of QEMU, as when a domain runs with it.

    ``alone`` without what it rests on, which may be missing.
    """
    words = ["-f", "qcow2", str(path)]
    if alone:
        node = {"driver": "file", "filename": str(path)}
        words = ["json:" + json.dumps({"driver": "qcow2", "backing": None, "file": node})]
    process = subprocess.Popen(["qemu-io", *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(b"read 0 512\n")
        process.stdin.flush()
        process.stdout.readline()
        yield
    finally:
        process.communicate(b"quit\n")


def dies_at(call: Callable[[], object], step: int, *, within_s: float | None = None) -> bool:
    """Do the call in a process that kills itself before its ``step``-th act; whether it did so.

    An act is a helper program, a rename or a removal. With ``within_s`` it is killed by us, that
    many seconds after the act began.
    """
    told, tells = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(told)
        _be_killed(call, step, tells, waits=within_s is not None)
    os.close(tells)
    with os.fdopen(told, "rb") as pipe:
        reached = pipe.read(1) == b"x"
        if reached and within_s is not None:
            time.sleep(within_s)
        if reached:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert reached or os.waitstatus_to_exitcode(status) == 0, "the call failed"
    return reached


def _be_killed(call: Callable[[], object], step: int, tells: int, *, waits: bool) -> NoReturn:
    left = step

    def counted(real: Callable[..., Any]) -> Callable[..., Any]:
        def act(*args: Any, **options: Any) -> Any:
            nonlocal left
            if left == 0:
                os.write(tells, b"x")
                if not waits:
                    time.sleep(60)
            left -= 1
            return real(*args, **options)

        return act

    code = 1
    try:
        for module, name in ((os, "rename"), (os, "unlink"), (helper, "run")):
            setattr(module, name, counted(getattr(module, name)))
        call()
        code = 0
    finally:
        os._exit(code)


def await_end_of_helpers(root: Path) -> None:
    """Wait until the death signal has ended what a killed worker ran in the pool."""
    until = time.monotonic() + 60
    while _runs_in(root):
        assert time.monotonic() < until
        time.sleep(0.01)


def _runs_in(root: Path) -> bool:
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes() if entry.name.isdigit() else b""
            if b"qemu-img" in words and str(root).encode() in words:
                return True
    return False


@dataclass
class World:
    """One volume, ``disk-1``, and what it and its snapshots must hold."""

    root: Path
    chance: random.Random
    state: State = field(default_factory=dict)
    kept: dict[str, State] = field(default_factory=dict)
    size_gib: int = 1
    names: int = 0
    log: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.pool.create_volume("disk-1", size_gib=1)

    @property
    def pool(self) -> DirectoryStorage:
        """The pool as a new process sees it."""
        return DirectoryStorage(self.root, overlays=True)

    @property
    def files(self) -> VolumeFiles:
        """The volume's files."""
        return VolumeFiles(self.root, "disk-1")

    @property
    def active(self) -> Path:
        """The file that a domain would open."""
        source = self.pool.disk_source("disk-1")
        assert isinstance(source, FileSource)
        return Path(source.path)

    # -- what a guest and its owner do -----------------------------------------------------------

    def write(self) -> None:
        """Write to some slots."""
        self.pool.prepare_volume("disk-1")
        slots = self.chance.sample(SLOTS, k=self.chance.randint(1, 5))
        byte = self.chance.randint(1, 255)
        qemu_io(self.active, [f"write -P {byte} {slot} {SLOT_BYTES}" for slot in slots])
        self.state = {**self.state, **dict.fromkeys(slots, byte)}

    def take(self, **how: Any) -> None:
        """Take a snapshot; one that was interrupted is there or not."""
        self.names += 1
        name = f"s{self.names}"
        try:
            self.do(lambda: self.pool.create_snapshot("disk-1", name), **how)
        except SnapshotLimit:
            self.forget()
            return
        if name in {one.name for one in self.pool.list_snapshots("disk-1")}:
            self.kept[name] = dict(self.state)

    def roll_back(self, **how: Any) -> None:
        """Go back to a snapshot; after an interruption the job runs again."""
        if not self.kept:
            return
        name = self.chance.choice(sorted(self.kept))

        def call() -> None:
            self.pool.rollback_snapshot("disk-1", name)

        try:
            if self.do(call, **how):
                # Nothing in between: the content is the old or the snapshot's.
                self.pool.prepare_volume("disk-1")
                assert holds(self.active, self.state) or holds(self.active, self.kept[name])
                call()
        except SnapshotLimit:
            return
        self.state = dict(self.kept[name])

    def forget(self, **how: Any) -> None:
        """Delete a snapshot; after an interruption the job runs again."""
        if not self.kept:
            return
        name = self.chance.choice(sorted(self.kept))
        del self.kept[name]

        def call() -> None:
            self.pool.delete_snapshot("disk-1", name)

        if self.do(call, **how):
            call()

    def tidy(self, **how: Any) -> None:
        """Clear away, perhaps not to the end."""
        self.do(lambda: self.pool.tidy_volume("disk-1"), **how)

    def resize(self, **how: Any) -> None:
        """Enlarge the volume."""
        self.size_gib += 1

        def call() -> None:
            self.pool.resize_volume("disk-1", size_gib=self.size_gib)

        if self.do(call, **how):
            call()

    def clone(self, **how: Any) -> None:
        """Copy the volume or one of its snapshots, and look at the copy."""
        name = self.chance.choice([None, *sorted(self.kept)])
        wanted = self.state if name is None else self.kept[name]

        def call() -> None:
            if name is None:
                self.pool.clone_volume("disk-2", source_volume_id="disk-1")
            else:
                self.pool.volume_from_snapshot("disk-2", source_volume_id="disk-1", snapshot=name)

        if self.do(call, **how):
            call()
        assert holds(self.root / "volumes/disk-2.qcow2", wanted), (name, self.log)
        self.pool.delete_volume("disk-2")

    def in_use(self, **how: Any) -> None:
        """Delete and clear away while a domain has the volume: it keeps all that it has open."""
        self.pool.prepare_volume("disk-1")
        with opened_by_qemu(self.active):
            self.forget(**how)
            self.tidy(**how)
            for refused in (self.take, self.roll_back):
                with contextlib.suppress(VolumeBusy):
                    before = dict(self.kept)
                    refused()
                    assert self.kept == before
        self.look()

    def lead_past(self, **_how: Any) -> None:
        """Let a header lead past a file, as QEMU's live merge leaves it when it is killed."""
        tree = self.files.tree()
        chain = tree.chain(tree.active)
        if len(chain) < 3:
            return
        at = self.chance.randrange(len(chain) - 2)
        name = os.path.relpath(self.files.path(chain[at + 2]), self.files.path(chain[at]).parent)
        lies = ["qemu-img", "rebase", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b"]
        subprocess.run([*lies, name, self.files.path(chain[at])], check=True)

    def do(self, call: Callable[[], object], *, step: int = -1, within_s: float = -1.0) -> bool:
        """Do a call, in a worker that is killed if ``step`` says so; whether it was killed."""
        if step < 0:
            call()
            return False
        killed = dies_at(call, step, within_s=within_s if within_s >= 0 else None)
        await_end_of_helpers(self.root)
        return killed

    # -- what must be true -----------------------------------------------------------------------

    def look(self) -> None:
        """Compare all content with the model."""
        self.pool.prepare_volume("disk-1")
        tree = self.files.tree()
        assert holds(self.active, self.state), self.log
        assert {one.name for one in tree.snapshots} == set(self.kept), self.log
        for one in tree.snapshots:
            if not one.inside:
                assert holds(self.files.path(one.file), self.kept[one.name]), (one, self.log)
        info = self.pool.volume_info("disk-1")
        assert info.size_bytes == self.size_gib * GIB, self.log
        assert [one.volume_id for one in self.pool.list_volumes()] == ["disk-1"], self.log

    def settle(self) -> None:
        """Clear everything away: no file without a name, every file sound."""
        self.look()
        assert self.pool.tidy_volume("disk-1"), self.log
        self.look()
        tree = self.files.tree()
        assert tree.tidying() == ()
        there = {path.name for path in (self.root / "overlays/disk-1").glob("*.qcow2")}
        assert there == {f"{number}.qcow2" for number in tree.files if number}, self.log
        for number in tree.files:
            done = subprocess.run(
                ["qemu-img", "check", "-q", "-f", "qcow2", self.files.path(number)]
            )
            assert done.returncode in (0, 3), (number, self.log)  # 3: clusters that nothing uses

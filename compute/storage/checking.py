"""Whether the files of a volume are sound: notes of what did not end, looks at tables, repairs.

What is said of a file here keeps its disk from every use, so only QEMU's own word about the file
counts. A look that did not come to its end says nothing.
"""

import contextlib
import errno
import json
import os
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from compute.storage import files, helper
from compute.storage.base import (
    CheckReport,
    ImageRefused,
    StorageFaulty,
    VolumeBusy,
    VolumeDamaged,
)
from compute.storage.sandbox import Seen
from compute.storage.tree import Tree
from scloud.lib import lease

_ALL = "all"
# Exit codes of qemu-img check: sound, errors, leaks alone; and of what could not be done.
_CHECKED, _FAILED = (0, 2, 3), 1
# With these QEMU could not look, as distinct from having found something.
_NOT_LOOKED = tuple(
    os.strerror(code)
    for code in (
        errno.EACCES,
        errno.EAGAIN,
        errno.EBUSY,
        errno.ECONNABORTED,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.EINTR,
        errno.EIO,
        errno.EMFILE,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENFILE,
        errno.ENODEV,
        errno.ENOENT,
        errno.ENOMEM,
        errno.ENOTCONN,
        errno.ENXIO,
        errno.EPERM,
        errno.EREMOTEIO,
        errno.ESTALE,
        errno.ETIMEDOUT,
    )
)


class Volume(Protocol):
    """A volume that is looked at; see `compute.storage.overlays.VolumeFiles`."""

    volume_id: str
    root: Path

    def path(self, number: int) -> Path:
        """Return where a file of the tree lies."""
        ...

    def tree(self) -> Tree:
        """Return the tree. Raises VolumeMissing, VolumeDamaged."""
        ...

    def copying(self) -> AbstractContextManager[None]:
        """Let nothing be merged meanwhile. Raises VolumeBusy."""
        ...


class Checks:
    """What is known of one volume. Cheap; touches nothing until it is asked."""

    def __init__(self, volume: Volume) -> None:
        self._volume = volume
        self._folder = volume.root / "overlays" / volume.volume_id

    # -- doubt ---------------------------------------------------------------------------------

    @contextlib.contextmanager
    def doubted(self, number: int, how: str) -> Iterator[None]:
        """Change a file in place. Nobody uses the volume when it is not known whether this ended.

        A note is made before and removed after; what finds it (`settle`) has QEMU check the file.
        So does the end of a change that was begun in doubt. ``how`` may be empty.
        """
        before = self.doubts()
        self._doubt(f"{number} {how}".rstrip())
        try:
            yield
        except VolumeBusy:
            # QEMU's lock refused it: nothing was changed.
            if before is None:
                self.trust()
            else:
                self._doubt(before)
            raise
        except helper.HelperFailed:
            if before is not None:
                # What it was left with may be why.
                self.settle()
            raise
        if before is None:
            self.trust()
        else:
            self.settle()

    def doubts(self) -> str | None:
        """Return what did not end: the file's number and how it was being changed, or `_ALL`."""
        try:
            return (self._folder / "doubt").read_text(errors="replace")
        except FileNotFoundError:
            return None

    def _doubt(self, what: str) -> None:
        note = self._folder / "doubt"
        with files.named_errors():
            self._folder.mkdir(mode=0o755, parents=True, exist_ok=True)
            note.write_text(what)
        files.sync_file(note)
        files.sync_folder(self._folder)

    def distrust(self) -> None:
        """Let nobody use the volume until it is found sound: something is wrong with it."""
        lease.confirm()
        self._doubt(_ALL)

    def trust(self) -> None:
        """Doubt no file any more: it was checked, or it was replaced."""
        note = self._folder / "doubt"
        if not note.exists():
            return
        # Who took the job over may be changing the volume by now.
        lease.confirm()
        note.unlink(missing_ok=True)
        files.sync_folder(self._folder)
        with contextlib.suppress(OSError):  # one with overlays keeps its folder
            self._folder.rmdir()

    def settle(self) -> None:
        """Check a file of which it is not known whether its last change ended.

        Raises VolumeDamaged unless QEMU finds it sound, VolumeBusy while somebody has it open.
        """
        said = self.doubts()
        if said is None:
            return
        tree = self._volume.tree()
        number = said.partition(" ")[0]
        # A note that was cut off while it was written tells of no single file.
        doubtful = {int(number)} if number.isdecimal() else set(tree.files)
        report = self._look(tree, doubtful & set(tree.files))
        if not report.sound:
            raise VolumeDamaged(
                f"An operation on the volume {self._volume.volume_id} did not end ({said}): "
                f"{_words(report)}."
            )
        self.trust()

    # -- checking ------------------------------------------------------------------------------

    def check(self) -> CheckReport:
        """Look at every file of the tree, whoever rests on it; one that is sound is trusted.

        Raises VolumeBusy, VolumeMissing, VolumeDamaged.
        """
        with self._volume.copying():
            tree = self._volume.tree()
            report = self._look(tree, tree.files)
            if report.sound:
                self.trust()
            return report

    def repair(self, *, everything: bool) -> CheckReport:
        """Give back what leaks, with ``everything`` correct errors too, and look again.

        Raises VolumeBusy, VolumeMissing, VolumeDamaged.
        """
        with self._volume.copying():
            tree = self._volume.tree()
            for number in tree.files:
                self._require_closed(number)
            if self._missing(tree):
                return self._look(tree, tree.files)
            self._doubt(_ALL)
            for number in sorted(tree.files):
                lease.confirm()
                # Where not everything could be repaired the look afterwards says so.
                self._check_file(number, repair="all" if everything else "leaks")
                files.sync_file(self._volume.path(number))
            report = self._look(tree, tree.files)
            if report.sound:
                self.trust()
            return report

    def require_readable(self, tree: Tree, number: int) -> None:
        """Look at the tables of each file that a read of this one may pass.

        QEMU reads zeros where a file was cut off, and a copy is sound whatever it was made of. What
        a domain writes to changes while one looks, and is left out. Raises VolumeDamaged.
        """
        frozen = [one for one in tree.chain(number) if not self._is_written(one)]
        report = self._look(tree, frozen, beside_readers=True)
        if not report.sound:
            raise VolumeDamaged(
                f"The volume {self._volume.volume_id} cannot be copied: {_words(report)}."
            )

    def _is_written(self, number: int) -> bool:
        try:
            return files.is_written(self._volume.path(number))
        except FileNotFoundError:
            return False

    def _look(
        self, tree: Tree, numbers: Collection[int], *, beside_readers: bool = False
    ) -> CheckReport:
        errors = leaks = done = 0
        missing = self._missing(tree)
        there = [one for one in sorted(numbers) if self._volume.path(one) not in missing]
        sizes = {one: self._volume.path(one).stat().st_size for one in there}
        # A copy that follows has the same bytes to count.
        total = None if beside_readers else sum(sizes.values())
        for number in there:
            if not beside_readers:
                self._require_closed(number)
            found = self._check_file(number)
            errors += found.errors
            leaks += found.leaks
            done += sizes[number]
            lease.moving(done, total)
        return CheckReport(errors, leaks, len(missing))

    def _missing(self, tree: Tree) -> set[Path]:
        """Return the files of the tree that are not there, and the images."""
        images = self._volume.root / "images"
        wanted = {self._volume.path(one) for one in tree.files}
        wanted |= {images / f"{files.checked(one)}.qcow2" for one in tree.images()}
        return {path for path in wanted if not path.exists()}

    def _require_closed(self, number: int) -> None:
        with contextlib.suppress(FileNotFoundError):
            if files.is_open(self._volume.path(number)):
                raise VolumeBusy(files.BUSY)

    def _check_file(self, number: int, *, repair: str = "") -> CheckReport:
        path = self._volume.path(number)
        seen = Seen(path, f"/pool/{path.relative_to(self._volume.root)}", writable=bool(repair))
        return check_file(seen, repair=repair)


def _words(report: CheckReport) -> str:
    return f"{report.errors} errors in its tables, {report.missing} files are missing"


def check_file(seen: Seen, *, repair: str = "") -> CheckReport:
    """Let QEMU look at the tables of one file, without what it rests on, or repair them.

    It takes as long as it makes progress: the tables of large volumes are large. What it cannot
    open at all counts as one error. ``repair`` is ``leaks`` or ``all``, empty for none; whether it
    helped is for another look to say. Raises StorageFaulty, HelperInterrupted, StorageTimeout,
    VolumeBusy where it could not look.
    """
    # The header may name a file that is gone; what this one says of itself is asked for.
    node = {"driver": "file", "filename": seen.name}
    name = "json:" + json.dumps({"driver": "qcow2", "backing": None, "file": node})
    how = ["-r", repair] if repair else []
    argv = ["qemu-img", "check", "--output=json", *how, name]
    try:
        output = helper.run(argv, files=(seen,), stall_s=helper.COPY_STALL_S, accept=_CHECKED)
    except helper.HelperFailed as error:
        return _found_before(error, repairing=bool(repair))
    report, _wrong = _report(output)
    if _is_marked_corrupt(seen.path):
        report = replace(report, errors=report.errors + 1)
    return report


def _is_marked_corrupt(path: Path) -> bool:
    """Tell whether QEMU marked a file as damaged while it used it: it does not write there then.

    A check does not count that, and a repair takes it away.
    """
    try:
        return files.header_of(path).corrupt
    except ImageRefused:
        return True


def _report(output: bytes) -> tuple[CheckReport, bool]:
    """Return what a check wrote, and whether it saw wrong entries itself.

    The other errors are what it could not read. Where it wrote nothing of use that is one.
    """
    try:
        said = json.loads(output)
        wrong, unread = int(said.get("corruptions", 0)), int(said["check-errors"])
        return CheckReport(wrong + unread, int(said.get("leaks", 0))), wrong > 0
    except (AttributeError, KeyError, TypeError, ValueError):
        return CheckReport(errors=1), False


def _found_before(error: helper.HelperFailed, *, repairing: bool) -> CheckReport:
    """Return what a check had found when it failed. Raises where that was nothing of the file."""
    if error.exit_code != _FAILED or "qemu-img: " not in error.message:
        # Killed, perhaps for want of memory, or what shuts it in did not come to run it.
        raise helper.HelperInterrupted(error.message) from error
    report, wrong = _report(error.output)
    # Wrong entries keep it from reading what they lead to: that sounds like a medium's error too.
    # So does the end of a repair that was not allowed to do what it would have to.
    if wrong or repairing or not any(words in error.message for words in _NOT_LOOKED):
        return report
    raise StorageFaulty(error.message) from error

"""Looking at the tables of the QCOW2 files of volumes, and repairing them.

What is said of a file here keeps its disk from every use, so only QEMU's own word about the file
counts. A look that did not come to its end says nothing.
"""

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

from compute.storage import files, helper
from compute.storage.base import CheckReport, ImageRefused, StorageFaulty
from compute.storage.sandbox import Seen

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

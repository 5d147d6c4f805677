"""Saying what an offered image file is, without being fooled by it."""

import io
import json
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from oslo_utils.imageutils import format_inspector

from compute.storage import helper, partitions, qcow2
from compute.storage.base import GIB, ImageProbe, ImageRefused
from compute.storage.sandbox import Seen

MAX_EXPANSION = 64
"""A sound image hardly holds more than a few times its file's size; a bomb holds thousands."""

EXPANSION_FLOOR_BYTES = 1 * GIB
IMAGE_NAME = "/image"
"""What helpers call the file: their messages do not reveal where it is."""

_HEAD_BYTES = 65536
_INSPECTOR_BYTES = 4096
_INSPECTED_HEAD_BYTES = 4 * 1024**2
_INSPECTED_TAIL_BYTES = 65536
# What the inspector calls disks that we take as raw: bytes, with partitions, of an optical medium.
_RAW_KINDS = frozenset({"raw", "gpt", "iso"})
# Exit codes of qemu-img check.
_CHECK_CORRUPT, _CHECK_LEAKS = 2, 3

_FOREIGN = (
    (0, b"KDMV", "VMDK"),
    (0, b"COWD", "VMDK"),
    (0, b"# Disk DescriptorFile", "VMDK descriptor"),
    (0, b"vhdxfile", "VHDX"),
    (0, b"conectix", "VHD"),
    (0x40, b"\x7f\x10\xda\xbe", "VDI"),
    (0, b"QED\0", "QED"),
    (0, b"OOOM", "COW"),
    (0, b"LUKS\xba\xbe", "LUKS"),
    (0, b"WithoutFreeSpace", "Parallels"),
    (0, b"WithouFreSpacExt", "Parallels"),
    (0, b"\x1f\x8b\x08", "gzip"),
    (0, b"\xfd7zXZ\0", "xz"),
    (0, b"BZh", "bzip2"),
    (0, b"\x28\xb5\x2f\xfd", "zstd"),
    (0, b"PK\x03\x04", "zip"),
    (0, b"7z\xbc\xaf\x27\x1c", "7z"),
    (257, b"ustar", "tar"),
    (0, b"\x7fELF", "ELF program"),
    (0, b"%PDF", "PDF"),
)
# A first byte alone would refuse one in 256 disks that begin with any data.
_MARKUP = (b"<!doctype", b"<!--", b"<?xml", b"<html", b"<head", b"<body", b"<svg")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def probe(path: Path, *, max_virtual_gib: int) -> ImageProbe:
    """See `Storage.probe_image`."""
    try:
        # A symbolic link could be exchanged between this look and the copy.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ImageRefused(
            f"The file cannot be opened: {error.strerror}.", reason="missing"
        ) from error
    seen = Seen(path, IMAGE_NAME)
    with os.fdopen(descriptor, "rb") as file:
        facts = os.fstat(file.fileno())
        if not stat.S_ISREG(facts.st_mode):
            raise ImageRefused("Not a regular file.", reason="unknown_format")
        head = file.read(_HEAD_BYTES)
        if head.startswith(qcow2.MAGIC):
            header = qcow2.read_header(file)
            _check_qcow2(header, facts.st_size, max_virtual_gib)
            virtual_bytes = header.virtual_bytes
        else:
            file.seek(max(0, facts.st_size - 512))
            _check_raw(head, file.read(512), facts.st_size)
            _check_size(facts.st_size, max_virtual_gib)
            _cross_check(file, facts.st_size, "raw", facts.st_size)
            partitions.check_end(file, facts.st_size)
            return ImageProbe(format="raw", virtual_bytes=facts.st_size, file_bytes=facts.st_size)
        _cross_check(file, facts.st_size, "qcow2", virtual_bytes)
    _check_expansion(seen, facts.st_size, virtual_bytes)
    check_metadata((seen,))
    return ImageProbe(format="qcow2", virtual_bytes=virtual_bytes, file_bytes=facts.st_size)


def _check_size(virtual_bytes: int, max_virtual_gib: int) -> None:
    if virtual_bytes > max_virtual_gib * GIB:
        raise ImageRefused(
            f"The image's disk is larger than the {max_virtual_gib} GB allowed.",
            reason="too_large",
        )


def _check_qcow2(header: qcow2.Qcow2Header, file_bytes: int, max_virtual_gib: int) -> None:
    if header.backing_file is not None:
        raise ImageRefused(
            "The image needs another file (backing file); flatten it first.",
            reason="backing_file",
        )
    if header.external_data:
        raise ImageRefused(
            "The image keeps its data in another file; convert it first.", reason="external_data"
        )
    if header.encrypted:
        raise ImageRefused("The image is encrypted; decrypt it first.", reason="encrypted")
    if header.corrupt:
        raise ImageRefused("The image is marked as damaged.", reason="corrupt")
    if header.unknown_features:
        raise ImageRefused("The image uses unknown features.", reason="corrupt")
    if header.virtual_bytes == 0:
        raise ImageRefused("The image's disk is empty.", reason="corrupt")
    _check_size(header.virtual_bytes, max_virtual_gib)
    qcow2.check_tables(header, file_bytes)


def _check_raw(head: bytes, tail: bytes, file_bytes: int) -> None:
    if file_bytes == 0:
        raise ImageRefused("The file is empty.", reason="corrupt")
    if name := _foreign(head, tail):
        raise ImageRefused(
            f"This is {name}, not a QCOW2 or raw disk image.", reason="unknown_format", found=name
        )
    if file_bytes % 512:
        raise ImageRefused(
            "Not a disk image: the size is not a multiple of 512 bytes.", reason="unknown_format"
        )


def _foreign(head: bytes, tail: bytes) -> str:
    """Return what a file is that is no disk image; empty if it may be one."""
    for offset, magic, name in _FOREIGN:
        if head[offset : offset + len(magic)] == magic:
            return name
    if head.removeprefix(_BYTE_ORDER_MARK).lstrip().lower().startswith(_MARKUP):
        return "HTML or XML"
    # One of a fixed size says what it is in its last sector only.
    return "VHD" if tail.startswith(b"conectix") else ""


def _check_expansion(seen: Seen, file_bytes: int, virtual_bytes: int) -> None:
    """Compressed clusters may be shared by many entries: a small file then fills any disk."""
    # The size of a fully mapped copy is what a measurement could say at most.
    allowed = max(EXPANSION_FLOOR_BYTES, file_bytes * MAX_EXPANSION)
    if virtual_bytes <= allowed:
        return
    argv = ["qemu-img", "measure", "--output=json", "-f", "qcow2", "-O", "qcow2", seen.name]
    measured = json.loads(helper.inspect(argv, (seen,), file_bytes=file_bytes))
    if measured["required"] > allowed:
        raise ImageRefused("The file holds far more data than its size allows for.", reason="bomb")


def check_metadata(files: Sequence[Seen]) -> None:
    """Let QEMU look at all tables of a QCOW2 file. Raises ImageRefused (``corrupt``, ``bomb``).

    The file is the first of ``files``, the others are what it rests on.

    Finds entries that lead outside of the file, as in one that was cut off. Clusters that nothing
    uses (leaks) are no damage.
    """
    argv = ["qemu-img", "check", "--output=json", "-f", "qcow2", files[0].name]
    output = helper.inspect(
        argv,
        files,
        file_bytes=files[0].path.stat().st_size,
        accept=(0, _CHECK_CORRUPT, _CHECK_LEAKS),
    )
    try:
        report = json.loads(output)
    except ValueError as error:
        raise ImageRefused("The image's tables cannot be read.", reason="corrupt") from error
    errors = report.get("corruptions", 0) + report["check-errors"]
    if errors:
        raise ImageRefused(
            f"The image is damaged or was cut off: {errors} errors in its tables.",
            reason="corrupt",
        )


def _cross_check(file: BinaryIO, file_bytes: int, found: str, virtual_bytes: int) -> None:
    """Refuse a file in which a second, independent inspector sees something else than we do."""
    inspector = format_inspector.InspectWrapper(_Ends(file, file_bytes))
    while inspector.read(_INSPECTOR_BYTES):
        pass
    inspector.close()
    seen = {str(one): one for one in inspector.formats or ()}
    if found == "raw":
        foreign = sorted(set(seen) - _RAW_KINDS)
        if foreign:
            raise ImageRefused(
                f"This is {', '.join(foreign).upper()}, not a QCOW2 or raw disk image.",
                reason="unknown_format",
                found=", ".join(foreign).upper(),
            )
        return
    if set(seen) != {found}:
        raise ImageRefused(
            f"The file can be taken for several formats: {', '.join(sorted(seen))}.",
            reason="unknown_format",
        )
    try:
        seen[found].safety_check()
    except format_inspector.SafetyCheckFailed as error:
        raise ImageRefused(f"The image is not safe: {error}.", reason="corrupt") from error
    if seen[found].virtual_size != virtual_bytes:
        raise ImageRefused("The image's size is ambiguous.", reason="corrupt")


class _Ends(io.BytesIO):
    """The beginning and the end of a file: no format says what it is in between."""

    def __init__(self, file: BinaryIO, file_bytes: int) -> None:
        file.seek(0)
        head = file.read(_INSPECTED_HEAD_BYTES)
        file.seek(max(len(head), file_bytes - _INSPECTED_TAIL_BYTES))
        super().__init__(head + file.read(_INSPECTED_TAIL_BYTES))

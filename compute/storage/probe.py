"""Saying what an offered image file is, without being fooled by it."""

import json
import os
import stat
from pathlib import Path

from compute.storage import helper, qcow2
from compute.storage.base import GIB, ImageProbe, ImageRefused

MAX_EXPANSION = 64
"""A sound image hardly holds more than a few times its file's size; a bomb holds thousands."""

EXPANSION_FLOOR_BYTES = 1 * GIB
_HEAD_BYTES = 65536

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
    (0, b"\x1f\x8b", "gzip"),
    (0, b"\xfd7zXZ\0", "xz"),
    (0, b"BZh", "bzip2"),
    (0, b"\x28\xb5\x2f\xfd", "zstd"),
    (0, b"PK\x03\x04", "zip"),
    (0, b"7z\xbc\xaf\x27\x1c", "7z"),
    (257, b"ustar", "tar"),
    (0, b"<", "HTML or XML"),
    (0, b"\x7fELF", "ELF program"),
    (0, b"%PDF", "PDF"),
)


def probe(path: Path, *, max_virtual_gib: int) -> ImageProbe:
    """See `Storage.probe_image`."""
    try:
        # A symbolic link could be exchanged between this look and the copy.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ImageRefused(
            f"The file cannot be opened: {error.strerror}.", reason="missing"
        ) from error
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
            _check_raw(head, facts.st_size)
            _check_size(facts.st_size, max_virtual_gib)
            return ImageProbe(format="raw", virtual_bytes=facts.st_size, file_bytes=facts.st_size)
    _check_expansion(path, facts.st_size, virtual_bytes)
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


def _check_raw(head: bytes, file_bytes: int) -> None:
    if file_bytes == 0:
        raise ImageRefused("The file is empty.", reason="corrupt")
    for offset, magic, name in _FOREIGN:
        if head[offset : offset + len(magic)] == magic:
            raise ImageRefused(
                f"This is {name}, not a QCOW2 or raw disk image.", reason="unknown_format"
            )
    if file_bytes % 512:
        raise ImageRefused(
            "Not a disk image: the size is not a multiple of 512 bytes.", reason="unknown_format"
        )


def _check_expansion(path: Path, file_bytes: int, virtual_bytes: int) -> None:
    """Compressed clusters may be shared by many entries: a small file then fills any disk."""
    # The size of a fully mapped copy is what a measurement could say at most.
    allowed = max(EXPANSION_FLOOR_BYTES, file_bytes * MAX_EXPANSION)
    if virtual_bytes <= allowed:
        helper.inspect(_qemu_img("info", path))
        return
    measured = json.loads(helper.inspect(_qemu_img("measure", path)))
    if measured["required"] > allowed:
        raise ImageRefused("The file holds far more data than its size allows for.", reason="bomb")


def _qemu_img(command: str, path: Path) -> list[str]:
    target = ["-O", "qcow2"] if command == "measure" else []
    return ["qemu-img", command, "--output=json", "-f", "qcow2", *target, str(path.absolute())]

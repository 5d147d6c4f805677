"""Partition tables of raw disks: what they say about where the disk ends.

A raw file carries no length of its own. One that was cut off is found by its partition table,
which names sectors that the file does not have.
"""

import struct
from typing import BinaryIO

from compute.storage.base import ImageRefused

SECTOR = 512
_MBR_SIGNATURE = b"\x55\xaa"
_PROTECTIVE = 0xEE
_ENTRY = struct.Struct("<B3sB3sII")
_GPT = struct.Struct("<8s4sIII QQQQ")


def check_end(file: BinaryIO, file_bytes: int) -> None:
    """Refuse a raw disk (``corrupt``) whose partition table reaches behind the end of the file."""
    needed = max(_mbr_end(file), _gpt_end(file)) * SECTOR
    if needed > file_bytes:
        raise ImageRefused(
            f"The disk image ends early: its partition table needs {needed} bytes, the file has "
            f"{file_bytes}.",
            reason="corrupt",
        )


def _mbr_end(file: BinaryIO) -> int:
    """Return the first sector behind all partitions of an MBR, 0 if there is none."""
    file.seek(0)
    sector = file.read(SECTOR)
    if len(sector) < SECTOR or sector[510:] != _MBR_SIGNATURE:
        return 0
    end = 0
    for number in range(4):
        status, _, kind, _, start, count = _ENTRY.unpack_from(sector, 446 + number * _ENTRY.size)
        if status not in (0x00, 0x80):
            # The boot sector of a file system ends in the same way but holds code here.
            return 0
        if kind not in (0, _PROTECTIVE) and start and count:
            end = max(end, start + count)
    return end


def _gpt_end(file: BinaryIO) -> int:
    """Return the first sector behind the second header of a GPT, 0 if there is none."""
    file.seek(SECTOR)
    header = file.read(SECTOR)
    if len(header) < SECTOR:
        return 0
    magic, _, _, _, _, own, other, _, _ = _GPT.unpack_from(header)
    if magic != b"EFI PART" or own != 1:
        return 0
    return int(other) + 1

"""Reading QCOW2 headers without trusting them, and without a helper process.

Only what is needed: size, backing file, features, snapshot table. Every number is checked before
it is used, so that a hostile file costs no more than a few kilobytes of reading.
"""

import struct
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import BinaryIO

from compute.storage.base import ImageRefused, SnapshotInfo

MAGIC = b"QFI\xfb"
MAX_SNAPSHOTS = 1024
MAX_L1_BYTES = 32 * 1024**2
MAX_SNAPSHOT_TABLE_BYTES = 1024**2

_DIRTY, _CORRUPT, _EXTERNAL_DATA, _COMPRESSION, _EXTENDED_L2 = (1 << bit for bit in range(5))
_KNOWN_INCOMPATIBLE = _DIRTY | _CORRUPT | _EXTERNAL_DATA | _COMPRESSION | _EXTENDED_L2
_EXTENSION_END = 0
_EXTENSION_EXTERNAL_DATA = 0x44415441
_EXTENSION_ENCRYPTION = 0x0537BE77
_HEADER = struct.Struct(">4sIQIIQIIQQIIQ")
_SNAPSHOT = struct.Struct(">QIHHIIQII")


@dataclass(frozen=True, slots=True)
class Qcow2Header:
    """The facts of a header; offsets in bytes."""

    version: int
    virtual_bytes: int
    backing_file: str | None
    encrypted: bool
    external_data: bool
    corrupt: bool
    unknown_features: bool
    cluster_bits: int
    l1_entries: int
    l1_offset: int
    refcount_table_offset: int
    refcount_table_clusters: int
    snapshot_count: int
    snapshots_offset: int


def read_header(file: BinaryIO) -> Qcow2Header:
    """Header of an open QCOW2 file; raises `ImageRefused` if it is none or damaged."""
    file.seek(0)
    raw = file.read(4096)
    if len(raw) < _HEADER.size or raw[:4] != MAGIC:
        raise _damaged("it has no QCOW2 header")
    (
        _,
        version,
        backing_offset,
        backing_length,
        cluster_bits,
        virtual_bytes,
        crypt_method,
        l1_entries,
        l1_offset,
        refcount_offset,
        refcount_clusters,
        snapshot_count,
        snapshots_offset,
    ) = _HEADER.unpack_from(raw)
    if version not in (2, 3):
        raise _damaged(f"version {version} of the format is not known")
    if not 9 <= cluster_bits <= 21:
        raise _damaged("its cluster size is impossible")
    incompatible, header_bytes = 0, _HEADER.size
    if version == 3:
        if len(raw) < 104:
            raise _damaged("its header is cut off")
        (incompatible,) = struct.unpack_from(">Q", raw, 72)
        (header_bytes,) = struct.unpack_from(">I", raw, 100)
    extensions = _extensions(file, header_bytes, 1 << cluster_bits)
    return Qcow2Header(
        version=version,
        virtual_bytes=virtual_bytes,
        backing_file=_backing_file(file, backing_offset, backing_length),
        encrypted=crypt_method != 0 or _EXTENSION_ENCRYPTION in extensions,
        external_data=bool(incompatible & _EXTERNAL_DATA) or _EXTENSION_EXTERNAL_DATA in extensions,
        corrupt=bool(incompatible & _CORRUPT),
        unknown_features=bool(incompatible & ~_KNOWN_INCOMPATIBLE),
        cluster_bits=cluster_bits,
        l1_entries=l1_entries,
        l1_offset=l1_offset,
        refcount_table_offset=refcount_offset,
        refcount_table_clusters=refcount_clusters,
        snapshot_count=snapshot_count,
        snapshots_offset=snapshots_offset,
    )


def _damaged(what: str) -> ImageRefused:
    return ImageRefused(f"The file is not a sound QCOW2 image: {what}.", reason="corrupt")


def _backing_file(file: BinaryIO, offset: int, length: int) -> str | None:
    if offset == 0:
        return None
    if not 0 < length <= 1023 or offset > 1 << 21:
        raise _damaged("its backing file's name is out of bounds")
    file.seek(offset)
    return file.read(length).decode("utf-8", "surrogateescape")


def _extensions(file: BinaryIO, offset: int, end: int) -> set[int]:
    """Types of the header's extensions."""
    found: set[int] = set()
    while offset + 8 <= end and len(found) < 64:
        file.seek(offset)
        raw = file.read(8)
        if len(raw) < 8:
            break
        kind, length = struct.unpack(">II", raw)
        if kind == _EXTENSION_END:
            break
        found.add(kind)
        if length > end:
            raise _damaged("a header extension is out of bounds")
        offset += 8 + (length + 7) // 8 * 8
    return found


def check_tables(header: Qcow2Header, file_bytes: int) -> None:
    """Refuse tables that lie outside the file or are larger than the disk could need."""
    cluster = 1 << header.cluster_bits
    # One L1 entry covers a table of L2 entries, 8 bytes each (16 with extended L2).
    covered = cluster * (cluster // 16)
    needed = -(-header.virtual_bytes // covered) * 2 + 1
    l1_bytes = header.l1_entries * 8
    if l1_bytes > MAX_L1_BYTES or header.l1_entries > needed + cluster // 8:
        raise ImageRefused("The image's tables are far larger than its size.", reason="bomb")
    if header.l1_offset + l1_bytes > file_bytes:
        raise _damaged("its tables lie outside the file")
    if header.refcount_table_clusters * cluster > MAX_L1_BYTES:
        raise ImageRefused("The image's tables are far larger than its size.", reason="bomb")
    refcount_end = header.refcount_table_offset + header.refcount_table_clusters * cluster
    if header.refcount_table_offset == 0 or refcount_end > file_bytes + cluster:
        raise _damaged("its reference counts lie outside the file")
    if header.snapshot_count > MAX_SNAPSHOTS:
        raise ImageRefused("The image holds too many snapshots.", reason="bomb")


def read_snapshots(file: BinaryIO, header: Qcow2Header) -> tuple[SnapshotInfo, ...]:
    """The snapshot table, in the order of the file: oldest first."""
    if not header.snapshot_count:
        return ()
    file.seek(header.snapshots_offset)
    raw = file.read(MAX_SNAPSHOT_TABLE_BYTES)
    found = []
    offset = 0
    try:
        for _ in range(min(header.snapshot_count, MAX_SNAPSHOTS)):
            entry = _SNAPSHOT.unpack_from(raw, offset)
            id_bytes, name_bytes, seconds, nanoseconds, extra_bytes = (
                entry[2],
                entry[3],
                entry[4],
                entry[5],
                entry[8],
            )
            extra = offset + _SNAPSHOT.size
            size_bytes = header.virtual_bytes
            if extra_bytes >= 16:
                (size_bytes,) = struct.unpack_from(">Q", raw, extra + 8)
            name_at = extra + extra_bytes + id_bytes
            name = raw[name_at : name_at + name_bytes].decode("utf-8", "replace")
            moment = datetime.fromtimestamp(seconds + nanoseconds / 1e9, UTC)
            found.append(SnapshotInfo(name=name, size_bytes=size_bytes, created_at=moment))
            offset = (name_at + name_bytes + 7) // 8 * 8
    except struct.error as error:
        raise _damaged("its snapshot table is cut off") from error
    return tuple(found)

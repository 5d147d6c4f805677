"""Writing a QCOW2 file whose bytes depend on its content alone.

An image's checksum is of the file that people download, and a pool of RBD images keeps no such
file. So it is made anew for each download, the same to the last bit.

    header | reference counts: table, blocks | L1 table | L2 tables | clusters that hold data
"""

import struct
from collections.abc import Callable, Iterator, Sequence

CLUSTER = 64 * 1024
_PER_L2 = CLUSTER // 8
_PER_BLOCK = CLUSTER // 2
_USED = 1 << 63
_HEADER = struct.Struct(">4sIQIIQIIQQIIQQQQII")


def emit(size_bytes: int, clusters: Sequence[int], read: Callable[[int], bytes]) -> Iterator[bytes]:
    """Yield the file of a disk of ``size_bytes``, a part at a time.

    ``clusters`` are the numbers, ascending, of those that hold data; ``read`` returns one of them,
    which may be shorter at the end of the disk.
    """
    tables = sorted({number // _PER_L2 for number in clusters})
    l1_entries = -(-size_bytes // (_PER_L2 * CLUSTER))
    l1 = max(1, -(-l1_entries * 8 // CLUSTER))
    table, blocks = _counts(1 + l1 + len(tables) + len(clusters))
    l1_at = 1 + table + blocks
    l2_at = l1_at + l1
    data_at = l2_at + len(tables)
    total = data_at + len(clusters)
    header = _HEADER.pack(
        b"QFI\xfb", 3, 0, 0, 16, size_bytes, 0, l1_entries, l1_at * CLUSTER,
        CLUSTER, table, 0, 0, 0, 0, 0, 4, _HEADER.size,
    )  # fmt: skip
    yield header.ljust(CLUSTER, b"\0")
    yield _numbers([(1 + table + one) * CLUSTER for one in range(blocks)], table)
    for one in range(blocks):
        counted = min(_PER_BLOCK, total - one * _PER_BLOCK)
        yield (b"\0\1" * counted).ljust(CLUSTER, b"\0")
    places = {number: (l2_at + place) * CLUSTER | _USED for place, number in enumerate(tables)}
    yield _numbers([places.get(one, 0) for one in range(l1_entries)], l1)
    place = 0
    for number in tables:
        entries = [0] * _PER_L2
        while place < len(clusters) and clusters[place] // _PER_L2 == number:
            entries[clusters[place] % _PER_L2] = (data_at + place) * CLUSTER | _USED
            place += 1
        yield _numbers(entries, 1)
    for number in clusters:
        yield read(number).ljust(CLUSTER, b"\0")


def _counts(others: int) -> tuple[int, int]:
    """Return how many clusters the table and the blocks of reference counts take."""
    table = blocks = 1
    while True:
        needed = -(-(others + table + blocks) // _PER_BLOCK)
        wanted = max(1, -(-needed * 8 // CLUSTER))
        if (wanted, needed) == (table, blocks):
            return table, blocks
        table, blocks = wanted, max(blocks, needed)


def _numbers(numbers: Sequence[int], clusters: int) -> bytes:
    return struct.pack(f">{len(numbers)}Q", *numbers).ljust(clusters * CLUSTER, b"\0")

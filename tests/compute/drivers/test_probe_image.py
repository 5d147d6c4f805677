"""Image files that lie about themselves are refused with a reason."""

import os
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from oslo_utils.imageutils import format_inspector

from compute.storage import qcow2
from compute.storage.base import ImageRefused, StorageRef, VolumeDamaged
from compute.storage.dir import DirectoryStorage
from compute.storage.opening import open_storage

MIB = 1024**2
CLUSTER = 65536


def qemu_img(*words: str | Path) -> None:
    """Run qemu-img, which must succeed."""
    subprocess.run(["qemu-img", *words], check=True, capture_output=True)


def create(path: Path, size: str = "10M", *options: str | Path) -> Path:
    """A QCOW2 file."""
    qemu_img("create", "-q", "-f", "qcow2", *options, path, size)
    return path


def patch(path: Path, offset: int, data: bytes) -> Path:
    """Overwrite a few bytes of a file."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)
    return path


@pytest.fixture
def pool(tmp_path: Path) -> DirectoryStorage:
    """An empty pool."""
    root = tmp_path / "pool"
    root.mkdir()
    storage = open_storage(StorageRef("dir", str(root)))
    assert isinstance(storage, DirectoryStorage)
    return storage


# -- how the hostile files are made ---------------------------------------------------------------


def backing_file(folder: Path) -> Path:
    """Would show a file of the host to the tenant."""
    return create(folder / "x.qcow2", "10M", "-u", "-F", "raw", "-b", "/etc/passwd")


def backing_protocol(folder: Path) -> Path:
    """Would make the host open a network connection."""
    name = 'json:{"driver":"nbd","host":"127.0.0.1"}'
    return create(folder / "x.qcow2", "10M", "-u", "-F", "raw", "-b", name)


def external_data(folder: Path) -> Path:
    """Keeps its data in a file of its choice."""
    return create(folder / "x.qcow2", "10M", "-o", f"data_file={folder / 'data.raw'}")


def encrypted(folder: Path) -> Path:
    """Needs a key that we do not have."""
    options = [
        "--object",
        "secret,id=s0,data=abc",
        "-o",
        "encrypt.format=luks,encrypt.key-secret=s0,encrypt.iter-time=10",
    ]
    for _attempt in range(60):
        try:
            return create(folder / "x.qcow2", "10M", *options)
        except subprocess.CalledProcessError as error:
            # qemu-img measures how fast the processor is, and gives up where the kernel counts
            # the time of a process too coarsely for it.
            if b"accurate CPU usage" not in error.stderr:
                raise
    pytest.fail("qemu-img could not measure the processor")


def huge(folder: Path) -> Path:
    """Small file, disk of an exabyte."""
    return create(folder / "x.qcow2", "1E", "-o", "cluster_size=2M")


def huge_sparse_raw(folder: Path) -> Path:
    """Takes no room, is larger than allowed."""
    path = folder / "x.raw"
    with path.open("wb") as file:
        file.truncate(600 * 1024**3)
    return path


def tables_bomb(folder: Path) -> Path:
    """Says that it has four thousand million table entries."""
    return patch(create(folder / "x.qcow2"), 36, struct.pack(">I", 0xFFFFFFFF))


def refcount_bomb(folder: Path) -> Path:
    """Says that its reference counts take a terabyte."""
    return patch(create(folder / "x.qcow2"), 56, struct.pack(">I", 0x00FFFFFF))


def snapshot_bomb(folder: Path) -> Path:
    """Says that it has a million snapshots."""
    return patch(create(folder / "x.qcow2"), 60, struct.pack(">I", 1_000_000))


def shared_cluster_bomb(folder: Path) -> Path:
    """A megabyte that unpacks to 64 GiB: all entries point at the same compressed cluster."""
    path = create(folder / "x.qcow2", "64G")
    raw = folder / "x.raw"
    raw.write_bytes(b"A" * CLUSTER)
    packed = folder / "packed.qcow2"
    qemu_img("convert", "-c", "-f", "raw", "-O", "qcow2", raw, packed)
    data = packed.read_bytes()
    (l1_offset,) = struct.unpack_from(">Q", data, 40)
    (l2_offset,) = struct.unpack_from(">Q", data, l1_offset)
    l2_offset &= 0x00FFFFFFFFFFFE00
    (entry,) = struct.unpack_from(">Q", data, l2_offset)
    shift = 62 - (16 - 8)
    host = entry & ((1 << shift) - 1)
    cluster = data[host : host + 2048]
    # In the bomb: one cluster with the compressed data, one table, both behind the file's end.
    size = -(-path.stat().st_size // CLUSTER) * CLUSTER
    table = struct.pack(">Q", (1 << 62) | size) * (CLUSTER // 8)
    with path.open("r+b") as file:
        file.seek(40)
        (bomb_l1,) = struct.unpack(">Q", file.read(8))
        file.seek(size)
        file.write(cluster.ljust(CLUSTER, b"\0") + table)
        file.seek(bomb_l1)
        file.write(struct.pack(">Q", (1 << 63) | (size + CLUSTER)) * 128)
    return path


def cut_off(folder: Path) -> Path:
    """The header and nothing behind it."""
    path = create(folder / "x.qcow2")
    os.truncate(path, 112)
    return path


def filled(path: Path) -> Path:
    """A QCOW2 file with 8 MiB of data in a disk of 10."""
    raw = path.with_suffix(".source")
    raw.write_bytes(os.urandom(8 * MIB) + bytes(2 * MIB))
    qemu_img("convert", "-f", "raw", "-O", "qcow2", raw, path)
    return path


def cut_in_half(folder: Path) -> Path:
    """All tables are there, half of the data is not."""
    path = filled(folder / "x.qcow2")
    os.truncate(path, path.stat().st_size // 2)
    return path


def cut_at_the_end(folder: Path) -> Path:
    """Two of a hundred clusters are missing."""
    path = filled(folder / "x.qcow2")
    os.truncate(path, path.stat().st_size - 2 * CLUSTER)
    return path


def damaged_table(folder: Path) -> Path:
    """An entry leads to where another cluster is counted as its own."""
    path = filled(folder / "x.qcow2")
    data = path.read_bytes()
    (l1_offset,) = struct.unpack_from(">Q", data, 40)
    (l2_offset,) = struct.unpack_from(">Q", data, l1_offset)
    l2_offset &= 0x00FFFFFFFFFFFE00
    return patch(path, l2_offset + 8, data[l2_offset : l2_offset + 8])


def wild_table(folder: Path) -> Path:
    """The table of tables points far behind the end of the file."""
    path = filled(folder / "x.qcow2")
    (l1_offset,) = struct.unpack_from(">Q", path.read_bytes(), 40)
    return patch(path, l1_offset, struct.pack(">Q", (1 << 63) | (1 << 40)))


def partitioned(folder: Path, label: str) -> Path:
    """A raw disk of 16 MiB with a partition that fills it."""
    path, sectors = folder / "x.raw", 16 * MIB // 512
    path.write_bytes(bytes(16 * MIB))
    kind = 0xEE if label == "gpt" else 0x83
    first = 1 if label == "gpt" else 2048
    entry = struct.pack("<B3sB3sII", 0x80, bytes(3), kind, bytes(3), first, sectors - first)
    patch(path, 446, entry + bytes(48) + b"\x55\xaa")
    if label == "gpt":
        header = struct.pack("<8sIIIIQQ", b"EFI PART", 0x10000, 92, 0, 0, 1, sectors - 1)
        patch(path, 512, header)
    return path


def cut_mbr_disk(folder: Path) -> Path:
    """The last sector of the partition is missing."""
    path = partitioned(folder, "dos")
    os.truncate(path, 16 * MIB - 512)
    return path


def cut_gpt_disk(folder: Path) -> Path:
    """The second header of the partition table is missing."""
    path = partitioned(folder, "gpt")
    os.truncate(path, 16 * MIB - 512)
    return path


def fixed_vhd(folder: Path) -> Path:
    """Looks like a raw disk up to its last sector."""
    qemu_img("create", "-q", "-f", "vpc", "-o", "subformat=fixed", folder / "x.vhd", "10M")
    return folder / "x.vhd"


def data_file_without_its_bit(folder: Path) -> Path:
    """Names a data file in an extension, but does not say so in its features."""
    path = create(folder / "x.qcow2")
    name = b"/etc/passwd"
    extension = struct.pack(">II", 0x44415441, len(name)) + name.ljust(16, b"\0")
    (header_bytes,) = struct.unpack_from(">I", path.read_bytes(), 100)
    return patch(path, header_bytes, extension + bytes(8))


def l1_table_behind_the_end(folder: Path) -> Path:
    """The first table begins where the file ends."""
    path = create(folder / "x.qcow2")
    end = -(-path.stat().st_size // CLUSTER) * CLUSTER
    return patch(path, 40, struct.pack(">Q", end))


def marked_corrupt(folder: Path) -> Path:
    """QEMU itself has found it damaged."""
    return patch(create(folder / "x.qcow2"), 72, struct.pack(">Q", 2))


def unknown_feature(folder: Path) -> Path:
    """From a future that we do not know."""
    return patch(create(folder / "x.qcow2"), 72, struct.pack(">Q", 1 << 40))


def unknown_version(folder: Path) -> Path:
    """Version 9 of the format."""
    return patch(create(folder / "x.qcow2"), 4, struct.pack(">I", 9))


def vmdk(folder: Path) -> Path:
    """Another format under our name."""
    qemu_img("create", "-q", "-f", "vmdk", folder / "x.qcow2", "10M")
    return folder / "x.qcow2"


def vmdk_descriptor(folder: Path) -> Path:
    """A text that names files of the host as its extents."""
    path = folder / "x.raw"
    path.write_text('# Disk DescriptorFile\nRW 2048 FLAT "/etc/passwd" 0\n'.ljust(1024))
    return path


def vdi(folder: Path) -> Path:
    """Another format."""
    qemu_img("create", "-q", "-f", "vdi", folder / "x.vdi", "10M")
    return folder / "x.vdi"


def gzip_file(folder: Path) -> Path:
    """Must be unpacked first."""
    (folder / "x.gz").write_bytes(b"\x1f\x8b\x08\0" + bytes(508))
    return folder / "x.gz"


def web_page(folder: Path) -> Path:
    """What a wrong URL gives."""
    (folder / "x.qcow2").write_bytes(b"<!DOCTYPE html>".ljust(512))
    return folder / "x.qcow2"


def odd_size(folder: Path) -> Path:
    """Not made of sectors."""
    (folder / "x.raw").write_bytes(b"A" * 1000)
    return folder / "x.raw"


def empty(folder: Path) -> Path:
    """Nothing."""
    (folder / "x.raw").touch()
    return folder / "x.raw"


def missing(folder: Path) -> Path:
    """Not there."""
    return folder / "none"


def link(folder: Path) -> Path:
    """Points somewhere else, now or later."""
    (folder / "x.raw").symlink_to("/etc/passwd")
    return folder / "x.raw"


def pipe(folder: Path) -> Path:
    """Would block the reader for ever."""
    os.mkfifo(folder / "x.raw")
    return folder / "x.raw"


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (backing_file, "backing_file"),
        (backing_protocol, "backing_file"),
        (external_data, "external_data"),
        (encrypted, "encrypted"),
        (huge, "too_large"),
        (huge_sparse_raw, "too_large"),
        (tables_bomb, "bomb"),
        (refcount_bomb, "bomb"),
        (snapshot_bomb, "bomb"),
        (shared_cluster_bomb, "bomb"),
        (cut_off, "corrupt"),
        (cut_in_half, "corrupt"),
        (cut_at_the_end, "corrupt"),
        (damaged_table, "corrupt"),
        (wild_table, "corrupt"),
        (cut_mbr_disk, "corrupt"),
        (cut_gpt_disk, "corrupt"),
        (fixed_vhd, "unknown_format"),
        (data_file_without_its_bit, "external_data"),
        (l1_table_behind_the_end, "corrupt"),
        (marked_corrupt, "corrupt"),
        (unknown_feature, "corrupt"),
        (unknown_version, "corrupt"),
        (vmdk, "unknown_format"),
        (vmdk_descriptor, "unknown_format"),
        (vdi, "unknown_format"),
        (gzip_file, "unknown_format"),
        (web_page, "unknown_format"),
        (odd_size, "unknown_format"),
        (empty, "corrupt"),
        (missing, "missing"),
        (link, "missing"),
        (pipe, "unknown_format"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_hostile_file_is_refused_and_leaves_nothing(
    pool: DirectoryStorage, tmp_path: Path, make: Callable[[Path], Path], reason: str
) -> None:
    path = make(tmp_path)
    with pytest.raises(ImageRefused) as refusal:
        pool.import_image("image-1", path)
    assert refusal.value.reason == reason
    assert refusal.value.message
    assert pool.list_images() == ()
    assert list((tmp_path / "pool").rglob("*.qcow2")) == []


def test_the_bomb_is_one_that_qemu_would_unpack(tmp_path: Path) -> None:
    path = shared_cluster_bomb(tmp_path)
    assert path.stat().st_size < MIB
    output = subprocess.run(
        ["qemu-io", "-f", "qcow2", "-c", "read -P 65 63G 64k", path],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert "verification failed" not in output
    assert "read 65536/65536" in output


@pytest.mark.parametrize("compat", ["0.10", "1.1"])
def test_a_sound_qcow2_is_told_by_its_magic_not_its_name(
    pool: DirectoryStorage, tmp_path: Path, compat: str
) -> None:
    path = create(tmp_path / "picture.jpg", "20G", "-o", f"compat={compat}")
    found = pool.probe_image(path)
    assert (found.format, found.virtual_bytes) == ("qcow2", 20 * 1024**3)


def test_a_compressed_image_with_snapshots_is_taken(pool: DirectoryStorage, tmp_path: Path) -> None:
    raw, path = tmp_path / "x.raw", tmp_path / "x.qcow2"
    raw.write_bytes(os.urandom(MIB) + bytes(63 * MIB))
    qemu_img("convert", "-c", "-f", "raw", "-O", "qcow2", raw, path)
    qemu_img("snapshot", "-c", "inner", path)
    info = pool.import_image("image-1", path)
    assert info.virtual_bytes == 64 * MIB
    exported = tmp_path / "exported"
    pool.export_image("image-1", exported)
    assert b"inner" not in exported.read_bytes()
    qemu_img("compare", "-f", "raw", "-F", "qcow2", raw, exported)


def test_a_raw_disk_is_whatever_has_no_other_magic(pool: DirectoryStorage, tmp_path: Path) -> None:
    path = tmp_path / "x.qcow2"
    path.write_bytes(bytes(510) + b"\x55\xaa" + bytes(MIB))
    found = pool.probe_image(path)
    assert (found.format, found.virtual_bytes) == ("raw", MIB + 512)


def test_a_raw_disk_that_holds_a_qcow2_inside_is_not_opened_as_one(
    pool: DirectoryStorage, tmp_path: Path
) -> None:
    """The guest of a raw image may write a QCOW2 header into its first sector later."""
    outer = tmp_path / "x.raw"
    outer.write_bytes(bytes(512) + backing_file(tmp_path).read_bytes()[: MIB - 512])
    os.truncate(outer, MIB)
    assert pool.probe_image(outer).format == "raw"
    pool.import_image("image-1", outer)
    pool.export_image("image-1", tmp_path / "exported")
    qemu_img("compare", "-f", "raw", "-F", "qcow2", outer, tmp_path / "exported")


@pytest.mark.parametrize("label", ["dos", "gpt"])
def test_a_whole_disk_with_partitions_is_taken(
    pool: DirectoryStorage, tmp_path: Path, label: str
) -> None:
    path = partitioned(tmp_path, label)
    assert pool.import_image("image-1", path).virtual_bytes == 16 * MIB


def test_the_boot_sector_of_a_file_system_is_no_partition_table(
    pool: DirectoryStorage, tmp_path: Path
) -> None:
    path = tmp_path / "x.raw"
    path.write_bytes(b"\xeb\x3c\x90" + b"\xaa" * 507 + b"\x55\xaa" + bytes(MIB))
    assert pool.probe_image(path).format == "raw"


@pytest.mark.parametrize("first", [b"<", b"<H\xe3\x18", b"\x1f\x8b", b"BZ", b"PK"])
def test_data_that_happens_to_begin_like_another_format_is_a_raw_disk(
    pool: DirectoryStorage, tmp_path: Path, first: bytes
) -> None:
    path = tmp_path / "x.raw"
    path.write_bytes(first + b"\xf4" * (MIB - len(first)))
    assert pool.probe_image(path).format == "raw"


@pytest.mark.parametrize(
    "page",
    [
        b"<!DOCTYPE html><title>Not found</title>",
        b"\xef\xbb\xbf\n  <HTML><body>",
        b'<?xml version="1.0"?><Error><Code>NoSuchKey</Code></Error>',
        b"<!-- a comment first -->\n<html>",
    ],
)
def test_a_page_of_a_server_that_was_downloaded_instead_is_refused(
    pool: DirectoryStorage, tmp_path: Path, page: bytes
) -> None:
    path = tmp_path / "x.qcow2"
    path.write_bytes(page.ljust(MIB, b" "))
    with pytest.raises(ImageRefused, match="This is HTML or XML"):
        pool.probe_image(path)


def test_an_l1_table_may_end_with_the_file_but_not_a_byte_later(tmp_path: Path) -> None:
    with create(tmp_path / "x.qcow2").open("rb") as file:
        header = qcow2.read_header(file)
    end = header.l1_offset + header.l1_entries * 8
    assert header.refcount_table_offset < header.l1_offset
    qcow2.check_tables(header, end)
    with pytest.raises(ImageRefused, match="tables lie outside"):
        qcow2.check_tables(header, end - 1)


def test_a_data_file_is_found_by_its_extension_alone(tmp_path: Path) -> None:
    with data_file_without_its_bit(tmp_path).open("rb") as file:
        assert qcow2.read_header(file).external_data


def test_encryption_is_found_by_its_extension_alone(tmp_path: Path) -> None:
    path = create(tmp_path / "x.qcow2")
    (header_bytes,) = struct.unpack_from(">I", path.read_bytes(), 100)
    patch(path, header_bytes, struct.pack(">IIQQ", 0x0537BE77, 16, 0, 0) + bytes(8))
    with path.open("rb") as file:
        header = qcow2.read_header(file)
    assert (header.encrypted, header.external_data) == (True, False)


def test_clusters_that_nothing_uses_are_no_damage(pool: DirectoryStorage, tmp_path: Path) -> None:
    path = filled(tmp_path / "x.qcow2")
    data = path.read_bytes()
    (l1_offset,) = struct.unpack_from(">Q", data, 40)
    (l2_offset,) = struct.unpack_from(">Q", data, l1_offset)
    patch(path, l2_offset & 0x00FFFFFFFFFFFE00, bytes(8))
    done = subprocess.run(
        ["qemu-img", "check", "-f", "qcow2", path], check=False, capture_output=True
    )
    assert done.returncode == 3
    assert pool.import_image("image-1", path).virtual_bytes == 10 * MIB


def test_two_inspectors_must_agree(
    pool: DirectoryStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = create(tmp_path / "x.qcow2")
    monkeypatch.setattr(format_inspector.QcowInspector, "virtual_size", 1)
    with pytest.raises(ImageRefused, match="ambiguous"):
        pool.probe_image(path)
    monkeypatch.setattr(format_inspector.VHDInspector, "format_match", True)
    with pytest.raises(ImageRefused, match="qcow2, vhd") as refused:
        pool.probe_image(path)
    assert refused.value.reason == "unknown_format"


def test_a_copy_that_came_out_damaged_is_no_image(
    pool: DirectoryStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    convert = DirectoryStorage._convert

    def cut(self: DirectoryStorage, sources: Any, target: Path, *given: Any, **named: Any) -> None:
        convert(self, sources, target, *given, **named)
        os.truncate(target, target.stat().st_size // 2)

    monkeypatch.setattr(DirectoryStorage, "_convert", cut)
    with pytest.raises(ImageRefused) as refused:
        pool.import_image("image-1", filled(tmp_path / "x.qcow2"))
    assert refused.value.reason == "corrupt"
    assert pool.list_images() == ()


def test_an_image_is_not_made_of_a_damaged_volume(pool: DirectoryStorage, tmp_path: Path) -> None:
    pool.import_image("image-1", filled(tmp_path / "x.qcow2"))
    pool.create_volume("disk-1", size_gib=1, image_id="image-1")
    pool.image_from_volume("image-2", "disk-1")
    cut = cut_in_half(tmp_path)
    (tmp_path / "pool" / "volumes" / "disk-1.qcow2").write_bytes(cut.read_bytes())
    with pytest.raises(VolumeDamaged):
        pool.image_from_volume("image-3", "disk-1")
    assert [one.image_id for one in pool.list_images()] == ["image-1", "image-2"]

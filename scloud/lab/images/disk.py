"""What both recipes share: packages, partition, file system, boot loader, hash."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

from scloud.lab.images import sources
from scloud.lab.plan import LabError
from scloud.lab.shell import run

SECTOR = 512
PARTITION_START = 2048  # sectors: 1 MiB, room for the boot loader before it
GRUB = Path("/usr/lib/grub/i386-pc")
# Nothing that GRUB 2.06 cannot read.
EXT4_FEATURES = (
    "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,flex_bg,sparse_super,"
    "large_file,huge_file,dir_nlink,extra_isize,uninit_bg,64bit"
)


def hash_of(*paths: Path) -> str:
    """Twelve hexadecimal digits over names and contents of files and directories."""
    digest = hashlib.sha256(os_release().get("VERSION_CODENAME", "").encode())
    for path in paths:
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file() and file.suffix != ".pyc":
                digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


def os_release() -> dict[str, str]:
    """The machine's ``/etc/os-release``."""
    pairs = (
        line.partition("=")
        for line in Path("/etc/os-release").read_text().splitlines()
        if "=" in line
    )
    return {key: value.strip('"') for key, _, value in pairs}


def extract(codename: str, packages: list[str], target: Path) -> None:
    """Unpack packages of the machine's own release and all they depend on, without installing.

    LabError when the machine has no sources for ``codename``.
    """
    found = sources.of_release(sources.of_machine(), codename)
    if not found:
        raise LabError(f"no package source for {codename} in {sources.APT}")
    run(
        "mmdebstrap", "--quiet", "--mode=root", "--variant=extract",
        "--aptopt=Apt::Install-Recommends false",
        f"--include={','.join(packages)}",
        codename, target, sources.write(found, target.with_suffix(".sources")),
        timeout_s=900,
    )  # fmt: skip


def write_disk(raw: Path, tree: Path, *, size_mib: int, label: str, grub_config: str) -> None:
    """A disk that boots by BIOS: MBR, GRUB in the gap, one ext4 partition holding ``tree``.

    Made without mounting or loop devices.
    """
    size = size_mib * 1024 * 1024
    partition = raw.with_suffix(".part")
    blocks = (size - PARTITION_START * SECTOR) // 4096
    run(
        "mke2fs", "-q", "-F", "-t", "ext4", "-O", EXT4_FEATURES, "-b", "4096", "-I", "256",
        "-i", "16384", "-m", "1", "-L", label,
        # Room in the group descriptors to grow online to 512 GiB.
        "-E", f"resize={512 * 1024**3 // 4096},lazy_itable_init=1",
        "-d", tree, partition, str(blocks),
        timeout_s=600,
    )  # fmt: skip
    config = raw.with_suffix(".cfg")
    config.write_text(grub_config)
    core = raw.with_suffix(".core")
    run(
        "grub-mkimage", "-O", "i386-pc", "-p", "/boot/grub", "-c", config, "-o", core,
        "biosdisk", "part_msdos", "ext2", "linux", "normal", "search", "search_label", "test",
        "configfile", "echo", "sleep",
    )  # fmt: skip
    loader = core.read_bytes()
    if len(loader) > (PARTITION_START - 1) * SECTOR:
        raise LabError("the boot loader does not fit before the partition")
    entry = struct.pack(
        "<B3sB3sII",
        0x80,
        b"\xfe\xff\xff",
        0x83,
        b"\xfe\xff\xff",
        PARTITION_START,
        size // SECTOR - PARTITION_START,
    )
    boot = (GRUB / "boot.img").read_bytes()[:440].ljust(446, b"\0")
    with raw.open("wb") as disk:
        disk.write(boot + entry + bytes(48) + b"\x55\xaa")
        disk.write(loader)
        disk.truncate(size)
    run(
        "dd", f"if={partition}", f"of={raw}", "bs=1M", "seek=1",
        "conv=notrunc,sparse", "status=none",
        timeout_s=300,
    )  # fmt: skip
    partition.unlink()

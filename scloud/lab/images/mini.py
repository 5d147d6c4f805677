"""The mini guest: a Debian kernel, busybox, the QEMU guest agent and dropbear."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from scloud.lab.images import disk
from scloud.lab.plan import LabError
from scloud.lab.shell import run

DURATION = "about 20 s"
SIZE_MIB = 112
FILES = Path(__file__).parents[1] / "files" / "mini"
PACKAGES = [
    "busybox-static",
    "dash",
    "dropbear-bin",
    "e2fsprogs",
    "fdisk",
    "iproute2",
    "openssh-sftp-server",
    "qemu-guest-agent",
    "tzdata",
    "util-linux",
]
KERNELS = {"debian": "linux-image-cloud-amd64", "ubuntu": "linux-image-virtual"}
# Real programs where busybox has none or a lesser one; the rest are its links.
PROGRAMS = [
    "blkid",
    "blockdev",
    "dash",
    "dropbear",
    "dropbearkey",
    "e2fsck",
    "findfs",
    "fsfreeze",
    "ip",
    "lsblk",
    "mke2fs",
    "qemu-ga",
    "resize2fs",
    "resizepart",
    "sfdisk",
]
MODULES = [
    "virtio_pci",
    "virtio_blk",
    "virtio_scsi",
    "sd_mod",
    "sr_mod",
    "virtio_net",
    "virtio_console",
    "virtio_balloon",
    "virtio_mem",
    "virtio_input",
    "virtio-rng",
    "button",
    "evdev",
    "isofs",
    "vfat",
    "nls_ascii",
    "nls_cp437",
    "fat",
]
ROOT_MODULES = ["virtio_pci", "virtio_blk", "virtio_scsi", "sd_mod"]
ZONES = ["Asia/Shanghai", "Asia/Tokyo", "Europe/Berlin", "America/New_York", "Etc/UTC"]
KERNEL_ARGUMENTS = (
    "root=/dev/vda1 console=ttyS0 console=tty0 quiet mitigations=off no_timer_check "
    "tsc=reliable net.ifnames=0 panic=10"
)
ETC = {
    "hostname": "localhost\n",
    "hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "passwd": "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "group": "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n",
    "shadow": "root:*:19000:0:99999:7:::\nnobody:*:19000:0:99999:7:::\n",
    "shells": "/bin/sh\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n",
    "timezone": "Asia/Shanghai\n",
    "profile": "export PATH=/usr/bin\nexport PS1='\\u@\\h:\\w\\$ '\n",
    "issue": "SCloud mini guest \\n \\l\n\n",
    "os-release": (
        'ID=scloud-mini\nNAME="SCloud mini"\nVERSION_ID=1\nPRETTY_NAME="SCloud mini guest 1"\n'
    ),
}
SCRIPTS = ["agent", "serial-login", "chpasswd", "shutdown"]
RC_SCRIPTS = ["rc", "rc.late", "rc.down", "devices", "hotplug", "grow-root", "seed"]
RC_FILES = ["inittab", "flatten.awk", "parts.awk"]


def recipe_hash() -> str:
    """Changes whenever the image would be built differently."""
    return disk.hash_of(Path(__file__), Path(disk.__file__), FILES)


def build(work: Path, raw: Path) -> None:
    """Build the image in ``work`` and leave the raw disk at ``raw``."""
    release = disk.os_release()
    packages = work / "packages"
    kernel = KERNELS.get(release["ID"])
    if kernel is None:
        raise LabError(f"the mini image is built on Debian or Ubuntu, not on {release['ID']}")
    disk.extract(release["VERSION_CODENAME"], [*PACKAGES, kernel], packages)
    version = max((packages / "lib/modules").iterdir()).name
    root = work / "root"
    _skeleton(root, packages)
    _copy_modules(packages, version, root, MODULES)
    for name, content in ETC.items():
        (root / "etc" / name).write_text(content)
    (root / "etc/shadow").chmod(0o600)
    for name in RC_SCRIPTS:
        _install(FILES / name, root / "etc" / name, 0o755)
    for name in RC_FILES:
        _install(FILES / name, root / "etc" / name, 0o644)
    for name in SCRIPTS:
        _install(FILES / name, root / "usr/bin" / name, 0o755)
    _install(FILES / "udhcpc.script", root / "etc/udhcpc.script", 0o755)
    power = root / "etc/acpi/PWRF"
    power.mkdir(parents=True)
    (power / "00000080").write_text("#!/bin/sh\nexec /usr/bin/poweroff\n")
    (power / "00000080").chmod(0o755)
    boot = root / "boot"
    boot.mkdir()
    shutil.copy(packages / "boot" / f"vmlinuz-{version}", boot / "vmlinuz")
    _initramfs(packages, version, work, boot / "initrd")
    disk.write_disk(
        raw,
        root,
        size_mib=SIZE_MIB,
        label="scloud-mini",
        grub_config=(
            "set root=(hd0,msdos1)\n"
            f"linux /boot/vmlinuz {KERNEL_ARGUMENTS}\ninitrd /boot/initrd\nboot\n"
        ),
    )


def _install(source: Path, target: Path, mode: int) -> None:
    target.unlink(missing_ok=True)  # never write through a link to busybox
    shutil.copyfile(source, target)
    target.chmod(mode)


def _skeleton(root: Path, packages: Path) -> None:
    for directory in (
        "usr/bin", "usr/lib/openssh", "etc/dropbear", "proc", "sys", "dev", "run",
        "tmp", "root", "home", "mnt", "var/lib", "var/log",
    ):  # fmt: skip
        (root / directory).mkdir(parents=True)
    (root / "root").chmod(0o700)
    # Relative links only: an absolute one would point into the machine that builds.
    for link, target in {
        "bin": "usr/bin",
        "sbin": "usr/bin",
        "lib": "usr/lib",
        "lib64": "usr/lib",
        "usr/sbin": "bin",
        "usr/lib64": "lib",
        "var/run": "../run",
        "var/tmp": "../tmp",
        "etc/mtab": "../proc/self/mounts",
    }.items():
        (root / link).symlink_to(target)
    _busybox(packages, root / "usr/bin")
    for name in PROGRAMS:
        _copy_program(packages, _find(packages, name), root, root / "usr/bin" / name)
    sftp = packages / "usr/lib/openssh/sftp-server"
    _copy_program(packages, sftp, root, root / "usr/lib/openssh/sftp-server")
    # Where Debian's dropbear looks for it.
    (root / "usr/lib/sftp-server").symlink_to("openssh/sftp-server")
    # busybox's shell prefers what it has built in over the real programs: another one is used.
    for name, target in {"mkfs.ext4": "mke2fs", "fsck.ext4": "e2fsck", "sh": "dash"}.items():
        path = root / "usr/bin" / name
        path.unlink(missing_ok=True)
        path.symlink_to(target)
    shutil.copy(packages / "etc/mke2fs.conf", root / "etc/mke2fs.conf")
    for zone in ZONES:
        copy = root / "usr/share/zoneinfo" / zone
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(packages / "usr/share/zoneinfo" / zone, copy)
    shutil.copyfile(packages / "usr/share/zoneinfo/Asia/Shanghai", root / "etc/localtime")


def _busybox(packages: Path, binaries: Path) -> None:
    program = binaries / "busybox"
    shutil.copy(_find(packages, "busybox"), program)
    applets = subprocess.run(
        [program, "--list"], capture_output=True, text=True, check=True, timeout=10
    ).stdout.split()
    for applet in applets:
        if applet != "busybox":
            (binaries / applet).symlink_to("busybox")
    (binaries / "init").unlink(missing_ok=True)
    (binaries / "init").symlink_to("busybox")


def _find(packages: Path, name: str) -> Path:
    for directory in ("usr/sbin", "usr/bin", "sbin", "bin"):
        path = packages / directory / name
        if path.is_file() and not path.is_symlink():
            return path
    raise LabError(f"none of the packages holds the program {name}")


def _copy_program(packages: Path, program: Path, root: Path, target: Path) -> None:
    """Copy a program and the libraries that its loader names."""
    target.unlink(missing_ok=True)
    shutil.copy(program, target)
    libraries = ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "usr/lib"]
    loader = (packages / "lib64/ld-linux-x86-64.so.2").resolve()
    if not loader.is_relative_to(packages):  # an absolute link, meant for inside the tree
        loader = packages / "lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
    found = run(
        loader, "--library-path", ":".join(str(packages / path) for path in libraries),
        "--list", program,
    )  # fmt: skip
    if "not found" in found:
        raise LabError(f"{program.name} needs libraries that no package brought:\n{found}")
    for source in re.findall(r"=> (/\S+)", found):
        _copy_library(Path(source), root)
    _copy_library(loader, root, name="ld-linux-x86-64.so.2")


def _copy_library(source: Path, root: Path, name: str | None = None) -> None:
    target = root / "usr/lib" / (name or source.name)
    if not target.exists():
        shutil.copyfile(source.resolve(), target)
        target.chmod(0o755)


def _copy_modules(packages: Path, version: str, root: Path, names: list[str]) -> None:
    """Copy kernel modules with those they need, unpacked, and index them."""
    top = packages / "lib/modules" / version
    if not (top / "modules.dep").exists():
        run("depmod", "-b", packages, version)
    needs: dict[str, list[str]] = {}
    by_name: dict[str, str] = {}
    for line in (top / "modules.dep").read_text().splitlines():
        path, _, rest = line.partition(":")
        needs[path] = rest.split()
        by_name[Path(path).name.partition(".ko")[0].replace("-", "_")] = path
    target = root / "lib/modules" / version
    wanted = [
        by_name[name.replace("-", "_")] for name in names if name.replace("-", "_") in by_name
    ]
    built_in = (top / "modules.builtin").read_text()
    for name in names:
        if name.replace("-", "_") not in by_name and f"/{name}.ko" not in built_in:
            raise LabError(f"kernel {version} has no module {name}")
    for path in {each for first in wanted for each in [first, *needs[first]]}:
        _unpack_module(top / path, target / path)
    for index in ("modules.builtin", "modules.order", "modules.builtin.modinfo"):
        if (top / index).exists():
            shutil.copy(top / index, target / index)
    run("depmod", "-b", root, version)


def _unpack_module(source: Path, target: Path) -> None:
    tools = {".xz": ["xz", "-dc"], ".zst": ["zstd", "-qdc"], ".gz": ["gzip", "-dc"]}
    tool = tools.get(source.suffix)
    plain = target.with_suffix("") if tool else target
    plain.parent.mkdir(parents=True, exist_ok=True)
    if tool is None:
        shutil.copyfile(source, plain)
    else:
        with plain.open("wb") as output:
            subprocess.run([*tool, source], stdout=output, check=True, timeout=120)


def _initramfs(packages: Path, version: str, work: Path, target: Path) -> None:
    tree = work / "initramfs"
    for directory in ("bin", "dev", "proc", "sys", "root"):
        (tree / directory).mkdir(parents=True)
    shutil.copy(_find(packages, "busybox"), tree / "bin/busybox")
    for applet in ("sh", "mount", "modprobe", "sleep", "switch_root"):
        (tree / "bin" / applet).symlink_to("busybox")
    _copy_modules(packages, version, tree, ROOT_MODULES)
    _install(FILES / "initramfs-init", tree / "init", 0o755)
    names = "\n".join(str(path.relative_to(tree)) for path in [tree, *sorted(tree.rglob("*"))])
    with target.open("wb") as output:
        archive = subprocess.run(
            ["cpio", "-o", "-H", "newc", "--quiet", "-R", "0:0"],
            input=names.encode(), cwd=tree, capture_output=True, check=True, timeout=120,
        ).stdout  # fmt: skip
        subprocess.run(
            ["gzip", "-9", "-n"], input=archive, stdout=output, check=True, timeout=120,
            env={**os.environ, "LC_ALL": "C"},
        )  # fmt: skip

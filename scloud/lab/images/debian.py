"""A real Debian 12 with cloud-init, the guest agent and OpenSSH."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from scloud.lab.images import disk, sources
from scloud.lab.plan import LabError
from scloud.lab.shell import run

DURATION = "about 2 minutes"
CODENAME = "bookworm"
SIZE_MIB = 2048
FILES = Path(__file__).parents[1] / "files" / "debian"
PACKAGES = [
    "cloud-guest-utils",
    "cloud-init",
    "dbus",
    "e2fsprogs",
    "fdisk",
    "iproute2",
    "iputils-ping",
    "kmod",
    "less",
    "linux-image-cloud-amd64",
    "netplan.io",
    "openssh-server",
    "procps",
    "qemu-guest-agent",
    "sudo",
    "systemd-resolved",
    "systemd-sysv",
    "tzdata",
    "udev",
]
RENDERER = "netplan"
KERNEL_ARGUMENTS = (
    "root=/dev/vda1 ro console=tty0 console=ttyS0 quiet net.ifnames=0 mitigations=off "
    "no_timer_check"
)
ETC = {
    "fstab": "/dev/vda1 / ext4 defaults,errors=remount-ro 0 1\n",
    "hostname": "localhost\n",
    "timezone": "Asia/Shanghai\n",
    "machine-id": "",
}


def recipe_hash() -> str:
    """Changes whenever the image would be built differently."""
    return disk.hash_of(Path(__file__), Path(disk.__file__), FILES)


def _mirror(work: Path) -> list[Path]:
    """The machine's own sources of Debian, whichever release it runs itself.

    Empty where apt knows none (on Ubuntu): mmdebstrap then takes the servers that it knows itself.
    """
    release = disk.os_release()
    here = []
    if release.get("ID") == "debian":
        here = [release.get("VERSION_CODENAME", CODENAME), *sources.ALIASES]
    found = sources.of_release(sources.of_machine(), CODENAME, here=here)
    return [sources.write(found, work / "debian.sources")] if found else []


def build(
    work: Path, raw: Path, *, packages: Sequence[str] = PACKAGES, renderer: str = RENDERER
) -> None:
    """Build the image in ``work`` and leave the raw disk at ``raw``.

    ``renderer`` is what cloud-init hands the seed's network to, one of its own names.
    """
    root = work / "root"
    run(
        "mmdebstrap", "--quiet", "--mode=root", "--variant=minbase",
        "--aptopt=Apt::Install-Recommends false",
        "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/locale/*",
        f"--include={','.join(packages)}",
        CODENAME, root, *_mirror(work),
        timeout_s=1800,
    )  # fmt: skip
    for name, content in ETC.items():
        (root / "etc" / name).write_text(content)
    zone = root / "etc/localtime"
    zone.unlink(missing_ok=True)
    zone.symlink_to("../usr/share/zoneinfo/Asia/Shanghai")
    for source in sorted(path for path in FILES.rglob("*") if path.is_file()):
        target = root / source.relative_to(FILES)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(source.read_bytes())
    settings = root / "etc/cloud/cloud.cfg.d/90_scloud.cfg"
    text = settings.read_text()
    if f"renderers: [{RENDERER}]" not in text:
        raise LabError(f"{settings.name} names no renderer")
    settings.write_text(text.replace(f"[{RENDERER}]", f"[{renderer}]"))
    for key in (root / "etc/ssh").glob("ssh_host_*"):
        key.unlink()  # every guest makes its own
    (root / "etc/systemd/system/default.target.wants/e2scrub_reap.service").unlink(missing_ok=True)
    for unit in ("apt-daily.timer", "apt-daily-upgrade.timer", "fstrim.timer"):
        wants = root / "etc/systemd/system/timers.target.wants" / unit
        wants.unlink(missing_ok=True)
    disk.write_disk(
        raw,
        root,
        size_mib=SIZE_MIB,
        label="scloud-debian",
        # The links in / follow kernel updates.
        grub_config=(
            f"set root=(hd0,msdos1)\nlinux /vmlinuz {KERNEL_ARGUMENTS}\ninitrd /initrd.img\nboot\n"
        ),
    )

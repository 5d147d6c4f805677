"""What a host does with its certificates, in namespaces that stand for one."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from scloud.lab.certificates import INSTALL
from scloud.pki import Holder, Kind, Pki

pytestmark = pytest.mark.lab

# A host called h1 with the address 192.0.2.11, and an /etc/pki that lasts as long as it.
HOST = """
set -eu
hostname h1
ip address add 192.0.2.11/24 dev lo
mount -t tmpfs etc "$2"
cp -a /etc/. "$2"
rm -rf "$2/pki"
mount --bind "$2" /etc
mount -t tmpfs run /run
eval "$1"
"""
ROOT = "/etc/pki/scloud"


def on_host(tmp_path: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Run a script there; ``$INSTALL`` is the command."""
    mount = tmp_path / "etc"
    mount.mkdir(exist_ok=True)
    return subprocess.run(
        ["unshare", "-m", "-n", "-u", "sh", "-c", HOST, "sh", script, mount],
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "INSTALL": str(INSTALL)},
        timeout=60,
    )


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    found = Pki(tmp_path / "pki")
    found.issue(Holder(Kind.HOST, "h1", ("192.0.2.11",), ("h1.example",)))
    found.issue(Holder(Kind.HOST, "h2", ("192.0.2.12",), ("h2.example",)))
    return found


def test_everything_is_where_libvirt_looks_for_it_and_keys_are_nobody_elses(
    tmp_path: Path, pki: Pki
) -> None:
    ours = pki.directory(Kind.HOST, "h1")
    done = on_host(
        tmp_path,
        f"""
        "$INSTALL" {ours}
        cmp /etc/pki/CA/cacert.pem {ours}/libvirt/cacert.pem
        cmp /etc/pki/CA/cacrl.pem {ours}/libvirt/cacrl.pem
        for one in cert key; do
            place=$([ $one = key ] && echo private/ || :)
            cmp /etc/pki/libvirt/${{place}}server$one.pem {ours}/libvirt/server$one.pem
            cmp /etc/pki/libvirt/${{place}}client$one.pem {ours}/libvirt/client$one.pem
        done
        cmp {ROOT}/current/qemu/server-key.pem {ours}/qemu/server-key.pem
        cmp {ROOT}/current/ovn/key.pem {ours}/ovn/key.pem
        find {ROOT}/ -name '*key.pem' -perm /0007 >&2
        find {ROOT}/ -name '*key.pem' -path '*/libvirt/*' -perm /0077 >&2
        find {ROOT}/ -name '*key.pem' -path '*/ovn/*' -perm /0077 >&2
        """,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_again_replaces_all_and_leaves_nothing_of_the_former(tmp_path: Path, pki: Pki) -> None:
    old = tmp_path / "old"
    shutil.copytree(pki.directory(Kind.HOST, "h1"), old)
    pki.renew(Kind.HOST, "h1")
    new = pki.directory(Kind.HOST, "h1")
    done = on_host(
        tmp_path,
        f"""
        mkdir -p /etc/pki/CA && echo theirs >/etc/pki/CA/cacert.pem
        "$INSTALL" {old}
        cat /etc/pki/CA/cacert.pem.before-scloud
        "$INSTALL" {new}
        cmp /etc/pki/libvirt/servercert.pem {new}/libvirt/servercert.pem
        cat /etc/pki/CA/cacert.pem.before-scloud
        ls {ROOT} | wc -l
        """,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split() == ["theirs", "theirs", "2"], "one version and the link to it"


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        ("rm -rf $given; cp -rL $other $given", "for another host"),
        # One of four is enough to be refused.
        ("cp $other/vnc/* $given/vnc/", "for another host"),
        ("cp $other/libvirt/serverkey.pem $given/libvirt/", "not the key of"),
        ("cp $other/ovn/key.pem $given/ovn/", "not the key of"),
        ("rm $given/qemu/client-key.pem", "missing"),
        ("cp $given/vnc/server-*.pem $given/qemu/", "is not valid"),
        ("echo junk >$given/libvirt/serverkey.pem", "is no key"),
    ],
)
def test_what_is_not_the_hosts_own_changes_nothing(
    tmp_path: Path, pki: Pki, spoil: str, reason: str
) -> None:
    ours, other = (pki.directory(Kind.HOST, name) for name in ("h1", "h2"))
    done = on_host(
        tmp_path,
        f"""
        "$INSTALL" {ours}
        given={tmp_path}/given other={other}
        cp -rL {ours} $given
        {spoil}
        ! "$INSTALL" $given || exit 9
        cmp /etc/pki/libvirt/servercert.pem {ours}/libvirt/servercert.pem
        diff -r {ROOT}/current {ours}/ >&2
        """,
    )
    assert done.returncode == 0, done.stderr
    assert reason in done.stderr
    assert "nothing was changed" in done.stderr


def test_one_that_was_revoked_is_not_installed(tmp_path: Path, pki: Pki) -> None:
    kept = tmp_path / "kept"
    shutil.copytree(pki.directory(Kind.HOST, "h1"), kept)
    pki.revoke(Kind.HOST, "h1")
    shutil.copy(pki.directory(Kind.HOST, "h2") / "libvirt/cacrl.pem", kept / "libvirt")
    done = on_host(tmp_path, f'"$INSTALL" {kept}; ls {ROOT}')
    assert done.returncode == 1
    assert "revoked" in done.stderr

"""Helpers that open tenants' files are shut in, or do not run at all."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from compute.storage import helper, probe, sandbox
from compute.storage.base import (
    FileSource,
    ImageRefused,
    Merging,
    Storage,
    StorageRef,
    StorageTimeout,
)
from compute.storage.opening import open_storage
from compute.storage.sandbox import Seen

GIB = 1024**3


@pytest.fixture
def given(tmp_path: Path) -> Seen:
    """A file that only its owner may read."""
    path = tmp_path / "given"
    path.write_text("content")
    path.chmod(0o600)
    return Seen(path, "/image")


def shell(script: str, *files: Seen) -> str:
    """Run a script shut in; its output."""
    return helper.run(["/bin/sh", "-c", script], files=files).decode()


def test_the_helper_is_another_user_and_sees_the_file_alone(given: Seen) -> None:
    (given.path.parent / "neighbour").write_text("secret")
    assert shell("id -u; id -g", given).split() == ["65534", "65534"]
    assert shell("cat /image", given) == "content"
    seen = shell("ls /", given).split()
    assert set(seen) <= {"bin", "dev", "image", "lib", "lib32", "lib64", "sbin", "usr"}
    assert shell(f"ls {given.path.parent} 2>/dev/null || echo none", given) == "none\n"
    assert "sda" not in shell("ls /dev", given)
    assert shell("env", given).split("PWD")[0].count("=") <= 4


def test_the_helper_has_no_network(given: Seen) -> None:
    listing = shell("ip -o link", given).splitlines()
    assert [line.split(":")[1].strip() for line in listing] == ["lo"]


def test_the_helper_has_no_right_but_to_open_what_it_is_given(given: Seen) -> None:
    rights = shell("setpriv --dump", given)
    assert "no_new_privs: 1" in rights
    for kind in ("Inheritable capabilities", "Ambient capabilities", "Capability bounding set"):
        assert f"{kind}: dac_read_search\n" in rights


def test_the_helper_writes_only_where_it_may(given: Seen, tmp_path: Path) -> None:
    assert shell("echo x 2>/dev/null > /image || echo refused", given) == "refused\n"
    assert shell("echo x 2>/dev/null > /new || echo refused", given) == "refused\n"
    target = tmp_path / "target"
    target.touch(mode=0o600)
    shell("echo written > /made", given, Seen(target, "/made", writable=True))
    assert target.read_text() == "written\n"
    assert target.stat().st_uid == os.geteuid()
    # The right that the writable file needs opens no other.
    made = Seen(target, "/made", writable=True)
    assert shell("echo x 2>/dev/null > /image || echo refused", given, made) == "refused\n"
    assert given.path.read_text() == "content"


def test_the_helper_has_limits(given: Seen, tmp_path: Path) -> None:
    limits = shell("ulimit -n; ulimit -p", given).split()
    assert limits == [str(sandbox.OPEN_FILES), str(sandbox.TASKS)]
    with pytest.raises(helper.HelperFailed, match="memory exhausted"):
        helper.run(
            ["dd", "if=/dev/zero", "of=/dev/null", "bs=3G", "count=1"],
            memory_bytes=GIB,
            files=[given],
        )
    with pytest.raises(helper.HelperFailed):
        helper.run(["/bin/sh", "-c", "while :; do :; done"], cpu_s=1, files=[given])
    target = tmp_path / "target"
    target.touch()
    with pytest.raises(helper.HelperFailed):
        helper.run(
            ["dd", "if=/dev/zero", "of=/made", "bs=1M", "count=10"],
            max_file_bytes=1024**2,
            files=[Seen(target, "/made", writable=True)],
        )
    assert target.stat().st_size <= 1024**2


@pytest.mark.parametrize("children", [0, 20])
def test_nothing_of_the_helper_outlives_its_time(tmp_path: Path, children: int) -> None:
    """Not even for the moment that it takes many processes to die."""
    target = tmp_path / "target"
    target.touch()
    write = "while :; do echo x >> /made; done"
    script = f"for one in $(seq {children}); do ({write}) & done; {write}"
    with pytest.raises(StorageTimeout):
        helper.run(
            ["/bin/sh", "-c", script], timeout_s=1.0, files=[Seen(target, "/made", writable=True)]
        )
    size = target.stat().st_size
    assert size > 0
    time.sleep(0.3)
    assert target.stat().st_size == size


def test_without_root_the_helper_is_shut_in_as_well(
    given: Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller's own files, in a user namespace of the kernel."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    given.path.parent.chmod(0o711)
    for folder in given.path.parents:
        if folder.stat().st_uid == 0 and folder.stat().st_mode & 0o001 == 0:
            folder.chmod(folder.stat().st_mode | 0o011)
    os.chown(given.path, 65534, 65534)
    argv = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--"]
    command = sandbox.wrapped(["/bin/sh", "-c", "cat /image; ls -d /tmp || ip -o link"], [given])
    done = subprocess.run([*argv, *command], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("content")
    assert done.stdout.count(": lo:") == 1
    assert len(done.stdout.splitlines()) == 1


def test_the_helper_runs_where_few_processes_are(given: Seen) -> None:
    """As in a container: the numbers that a new process space begins with are free outside."""
    script = f"""
import os
from pathlib import Path
from compute.storage import helper
from compute.storage.sandbox import Seen
assert not Path("/proc/2").exists(), os.listdir("/proc")
files = [Seen(Path({str(given.path)!r}), "/image")]
print(helper.run(["/bin/cat", "/image"], files=files).decode())
"""
    # The second process of this process space has ended when the script begins.
    first = 'read x; "$@"'
    space = ["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", f"/bin/true; {first}", "sh"]
    done = subprocess.run(
        [*space, sys.executable, "-c", script],
        input="\n",
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.strip()) == (0, "content"), done.stderr


def test_without_a_sandbox_nothing_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: Seen
) -> None:
    monkeypatch.setattr(sandbox, "PATH", str(tmp_path))
    with pytest.raises(sandbox.SandboxMissing, match="Install bubblewrap"):
        helper.run(["/bin/sh", "-c", "echo ran"], files=[given])
    root = tmp_path / "pool"
    root.mkdir()
    image = tmp_path / "x.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", image, "10M"], check=True)
    pool = open_storage(StorageRef("dir", str(root)))
    with pytest.raises(sandbox.SandboxMissing):
        pool.import_image("image-1", image)
    assert pool.list_images() == ()


def test_a_sandbox_that_the_kernel_refuses_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: Seen
) -> None:
    broken = tmp_path / "bwrap"
    broken.write_text(
        "#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2; exit 1\n"
    )
    broken.chmod(0o755)
    monkeypatch.setattr(sandbox, "PATH", str(tmp_path))
    with pytest.raises(sandbox.SandboxMissing, match="No permissions to create new namespace"):
        helper.run(["/bin/true"], files=[given])


def test_messages_of_helpers_name_no_place_of_the_platform(tmp_path: Path) -> None:
    root = tmp_path / "pool"
    root.mkdir()
    image = tmp_path / "x.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", image, "10M"], check=True)
    with image.open("r+b") as file:
        # A refcount order that QEMU refuses and the header's reader does not look at.
        file.seek(96)
        file.write(b"\0\0\0\x1f")
    with pytest.raises(ImageRefused) as refused:
        open_storage(StorageRef("dir", str(root))).import_image("image-1", image)
    assert str(tmp_path) not in refused.value.message
    assert "/image" in refused.value.message


def test_several_helpers_run_side_by_side(given: Seen) -> None:
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(shell("cat /image", given))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["content"] * 8


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The programs that this process starts from now on, with their words, whoever starts them."""
    found: list[list[str]] = []
    start = subprocess.Popen.__init__

    def noted(self: Any, args: Any, *more: Any, **options: Any) -> None:
        found.append([args] if isinstance(args, str) else [str(word) for word in args])
        start(self, args, *more, **options)

    monkeypatch.setattr(subprocess.Popen, "__init__", noted)
    return found


@pytest.mark.parametrize(
    ("options", "own"),
    [((), {"snapshot"}), ((("snapshots", "overlays"),), {"commit", "rebase"})],
    ids=["inside", "overlays"],
)
def test_whatever_opens_a_file_of_a_tenant_is_shut_in(
    tmp_path: Path,
    started: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
    options: tuple[tuple[str, str], ...],
    own: set[str],
) -> None:
    """Every verb of the storage; each call of qemu-img sees its files by names of the sandbox."""
    root = tmp_path / "pool"
    root.mkdir()
    pool = open_storage(StorageRef("dir", str(root), options))
    source = tmp_path / "x.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", source, "10M"], check=True)
    # A small file that says that it holds more is measured.
    monkeypatch.setattr(probe, "EXPANSION_FLOOR_BYTES", 0)
    monkeypatch.setattr(probe, "MAX_EXPANSION", 10)
    nothing = Merging(FileSource("/none"), FileSource("/none"))
    staged = ("stage_snapshot", lambda: pool.stage_snapshot("one", "snap-3"))
    verbs: list[tuple[str, Callable[[], object]]] = [
        ("capacity", pool.capacity),
        ("mark", lambda: pool.mark("token")),
        ("try_write", pool.try_write),
        ("probe_image", lambda: pool.probe_image(source)),
        ("import_image", lambda: pool.import_image("image-1", source)),
        ("image_info", lambda: pool.image_info("image-1")),
        ("list_images", pool.list_images),
        ("export_image", lambda: pool.export_image("image-1", tmp_path / "exported")),
        ("create_volume", lambda: pool.create_volume("one", size_gib=1, image_id="image-1")),
        # Again, and larger than it is.
        ("create_volume", lambda: pool.create_volume("one", size_gib=2, image_id="image-1")),
        ("resize_volume", lambda: pool.resize_volume("one", size_gib=3)),
        ("create_snapshot", lambda: pool.create_snapshot("one", "snap-1")),
        ("list_snapshots", lambda: pool.list_snapshots("one")),
        ("prepare_volume", lambda: pool.prepare_volume("one")),
        ("in_doubt", lambda: pool.in_doubt("one")),
        ("check_volume", lambda: pool.check_volume("one")),
        ("repair_volume", lambda: pool.repair_volume("one", everything=True)),
        ("clone_volume", lambda: pool.clone_volume("two", source_volume_id="one")),
        (
            "volume_from_snapshot",
            lambda: pool.volume_from_snapshot("three", source_volume_id="one", snapshot="snap-1"),
        ),
        ("resize_volume", lambda: pool.resize_volume("one", size_gib=4)),
        ("rollback_snapshot", lambda: pool.rollback_snapshot("one", "snap-1")),
        ("image_from_volume", lambda: pool.image_from_volume("image-2", "one")),
        (
            "image_from_volume",
            lambda: pool.image_from_volume("image-3", "one", snapshot="snap-1"),
        ),
        ("create_snapshot", lambda: pool.create_snapshot("one", "snap-2")),
        ("delete_snapshot", lambda: pool.delete_snapshot("one", "snap-1")),
        ("is_tidy", lambda: pool.is_tidy("one")),
        ("tidy_volume", lambda: pool.tidy_volume("one")),
        ("uses_overlays", lambda: pool.uses_overlays("one")),
        *((staged,) if options else ()),
        ("next_merge", lambda: pool.next_merge("one")),
        ("end_merge", lambda: pool.end_merge("one", nothing)),
        ("rebuild_volume", lambda: pool.rebuild_volume("one", size_gib=4, image_id="image-2")),
        ("volume_info", lambda: pool.volume_info("one")),
        ("list_volumes", pool.list_volumes),
        ("disk_source", lambda: pool.disk_source("one")),
        ("write_seed", lambda: pool.write_seed("vm-1", {"meta-data": "x"})),
        ("delete_seed", lambda: pool.delete_seed("vm-1")),
        ("heartbeats", pool.heartbeats),
        ("sweep_temporary", lambda: pool.sweep_temporary(older_than_s=0.0)),
        ("shut_out", lambda: pool.shut_out("two")),
        ("delete_volume", lambda: pool.delete_volume("two")),
        ("delete_image", lambda: pool.delete_image("image-3")),
    ]
    port = {name for name in vars(Storage) if not name.startswith("_")}
    # The last one is for pools of overlays alone.
    elsewhere = {"snapshots_need_hypervisor"} | (set() if options else {"stage_snapshot"})
    assert {name for name, _ in verbs} == port - elsewhere
    seen: set[str] = set()
    for name, call in verbs:
        started.clear()
        call()
        for words in started:
            if "qemu-img" not in (Path(word).name for word in words):
                # These open what we wrote ourselves, or copy bytes without looking at them.
                assert {Path(word).name for word in words} & {"genisoimage", "cp"}, (name, words)
                continue
            at = next(n for n, word in enumerate(words) if Path(word).name == "qemu-img")
            what = words[at + 1]
            seen.add(what)
            if what == "create":
                # It writes a file of its own and opens no other: that is what -u says.
                assert "-b" not in words or "-u" in words, (name, words)
                continue
            assert any(Path(word).name == "bwrap" for word in words[:at]), (name, words)
            assert not any(str(tmp_path) in word for word in words[at:]), (name, words)
    assert seen == {"create", "measure", "check", "convert", "resize"} | own

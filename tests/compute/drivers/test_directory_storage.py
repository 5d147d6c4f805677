"""What only the directory has: files, killed workers, full media, hostile names."""

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from compute.storage import helper
from compute.storage.base import (
    FileSource,
    ImageRefused,
    StorageFull,
    StorageTimeout,
    StorageUnavailable,
    VolumeBusy,
    VolumeDamaged,
)
from compute.storage.dir import DirectoryStorage
from scloud.lib import lease

MIB = 1024**2
Again = Callable[[DirectoryStorage, Path], object]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The pool's directory."""
    path = tmp_path / "pool"
    path.mkdir()
    return path


@pytest.fixture
def pool(root: Path) -> DirectoryStorage:
    """An empty pool."""
    return DirectoryStorage(root)


def _random_file(path: Path, size_mib: int) -> Path:
    with path.open("wb") as file:
        for _ in range(size_mib):
            file.write(os.urandom(MIB))
    return path


def _check(path: Path) -> None:
    subprocess.run(["qemu-img", "check", "-q", "-f", "qcow2", path], check=True)


@contextlib.contextmanager
def _opened_by_qemu(path: Path) -> Iterator[None]:
    """The file in the hands of QEMU, as when a domain runs with it."""
    process = subprocess.Popen(
        ["qemu-io", "-f", "qcow2", path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(b"read 0 512\n")
        process.stdin.flush()
        process.stdout.readline()
        yield
    finally:
        process.communicate(b"quit\n")


def test_a_volume_rests_on_its_image_by_a_relative_path(
    pool: DirectoryStorage, root: Path, tmp_path: Path
) -> None:
    pool.import_image("image-1", _random_file(tmp_path / "source", 1))
    pool.create_volume("disk-1", size_gib=1, image_id="image-1")
    facts = subprocess.run(
        ["qemu-img", "info", "--backing-chain", "--output=json", root / "volumes/disk-1.qcow2"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert '"backing-filename": "../images/image-1.qcow2"' in facts
    assert '"backing-filename-format": "qcow2"' in facts
    assert (root / "images/image-1.qcow2").stat().st_mode & 0o777 == 0o444
    assert (root / "volumes/disk-1.qcow2").stat().st_mode & 0o777 == 0o600
    moved = root.with_name("moved")
    root.rename(moved)
    _check(moved / "volumes/disk-1.qcow2")


def test_a_volume_in_qemus_hands_is_left_alone(pool: DirectoryStorage, root: Path) -> None:
    pool.create_volume("disk-1", size_gib=1)
    pool.create_snapshot("disk-1", "snap-1")
    with _opened_by_qemu(root / "volumes/disk-1.qcow2"):
        for call in (
            lambda: pool.delete_volume("disk-1"),
            lambda: pool.resize_volume("disk-1", size_gib=2),
            lambda: pool.clone_volume("disk-2", source_volume_id="disk-1"),
            lambda: pool.image_from_volume("image-1", "disk-1"),
            lambda: pool.create_snapshot("disk-1", "snap-2"),
            lambda: pool.delete_snapshot("disk-1", "snap-1"),
            lambda: pool.rollback_snapshot("disk-1", "snap-1"),
        ):
            with pytest.raises(VolumeBusy):
                call()
        assert pool.volume_info("disk-1").size_gib == 1
        assert [one.name for one in pool.list_snapshots("disk-1")] == ["snap-1"]
        pool.volume_from_snapshot("disk-3", source_volume_id="disk-1", snapshot="snap-1")
    assert [one.volume_id for one in pool.list_volumes()] == ["disk-1", "disk-3"]
    pool.delete_volume("disk-1")


def test_a_seed_is_a_nocloud_disk_that_only_its_owner_reads(pool: DirectoryStorage) -> None:
    files = {
        "meta-data": "instance-id: vm-1\n",
        "user-data": "#cloud-config\n",
        "network-config": "",
    }
    source = pool.write_seed("vm-1", files)
    assert isinstance(source, FileSource)
    assert source.format == "raw"
    path = Path(source.path)
    assert path.stat().st_mode & 0o777 == 0o600
    content = path.read_bytes()
    assert content[32808:32840].strip() == b"CIDATA"
    for name, text in files.items():
        assert name.encode("utf-16-be") in content
        assert text.encode() in content


@pytest.mark.parametrize("name", ["", "../x", "a/b", "A", "x.qcow2", "-x", "x\n", "a" * 65, "x,y"])
def test_names_that_are_no_ids_reach_no_file(pool: DirectoryStorage, name: str) -> None:
    for call in (
        lambda: pool.create_volume(name, size_gib=1),
        lambda: pool.delete_volume(name),
        lambda: pool.create_volume("disk-1", size_gib=1, image_id=name),
        lambda: pool.write_seed(name, {}),
        lambda: pool.delete_image(name),
    ):
        with pytest.raises(ValueError, match="not an id"):
            call()
    with pytest.raises(ValueError, match="seed file"):
        pool.write_seed("vm-1", {"../x": ""})


def test_a_pool_that_is_not_mounted_is_not_made(tmp_path: Path) -> None:
    pool = DirectoryStorage(tmp_path / "none")
    with pytest.raises(StorageUnavailable):
        pool.capacity()
    with pytest.raises(StorageUnavailable):
        pool.create_volume("disk-1", size_gib=1)
    assert not (tmp_path / "none").exists()


def test_a_damaged_volume_hides_no_others_and_can_be_deleted(
    pool: DirectoryStorage, root: Path
) -> None:
    for volume_id in ("disk-1", "disk-2", "disk-3"):
        pool.create_volume(volume_id, size_gib=1)
    (root / "volumes/disk-2.qcow2").write_bytes(b"not what it was")
    found = [(one.volume_id, one.size_gib) for one in pool.list_volumes()]
    assert found == [("disk-1", 1), ("disk-2", 0), ("disk-3", 1)]
    with pytest.raises(VolumeDamaged):
        pool.resize_volume("disk-2", size_gib=2)
    pool.delete_volume("disk-2")
    assert [one.volume_id for one in pool.list_volumes()] == ["disk-1", "disk-3"]


def test_a_helper_that_hangs_is_stopped_at_its_bound() -> None:
    started = time.monotonic()
    with pytest.raises(StorageTimeout):
        helper.run(["sleep", "60"], timeout_s=0.2)
    assert time.monotonic() - started < 5
    with pytest.raises(ImageRefused) as refusal:
        helper.inspect(["qemu-img", "info", "/none"], (), file_bytes=0)
    assert refusal.value.reason == "corrupt"


def test_a_helper_that_cannot_even_die_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As one whom the kernel keeps waiting for a medium."""
    started: list[subprocess.Popen[bytes]] = []

    class Immortal(subprocess.Popen[bytes]):
        def kill(self) -> None:
            started.append(self)

    monkeypatch.setattr(subprocess, "Popen", Immortal)
    monkeypatch.setattr(helper, "_DEATH_S", 0.1)
    began = time.monotonic()
    try:
        with pytest.raises(StorageTimeout):
            helper.run(["sleep", "20"], timeout_s=0.3)
        assert time.monotonic() - began < 5
    finally:
        for one in started:
            one.send_signal(signal.SIGKILL)
            one.wait()
    assert len(started) == 1


def test_a_helper_that_does_nothing_stalls_and_one_that_works_has_its_time(
    tmp_path: Path,
) -> None:
    started = time.monotonic()
    with pytest.raises(StorageTimeout) as stalled:
        helper.run(["sleep", "60"], stall_s=0.5)
    assert "made no progress" in stalled.value.message
    assert time.monotonic() - started < 10
    # Twice as long as the stall: by a child, a little at a time, and nothing for a while.
    target = tmp_path / "out"
    script = f"for i in 1 2 3 4 5 6; do sleep 0.7; echo x >> {target}; done"
    helper.run(["sh", "-c", script], stall_s=2.0)
    assert target.read_text().count("x") == 6


Runs = list[tuple[tuple[str, ...], dict[str, Any]]]


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    """The helpers that ran, with their limits."""
    found: Runs = []
    run = helper.run

    def noted(argv: Sequence[str], **limits: Any) -> bytes:
        found.append((tuple(argv[:2]), limits))
        return run(argv, **limits)

    monkeypatch.setattr(helper, "run", noted)
    return found


def test_what_copies_ends_by_a_stall_alone(pool: DirectoryStorage, runs: Runs) -> None:
    """None of them has a limit of its duration, and their last act may take long."""
    pool.create_volume("one", size_gib=1)
    pool.create_snapshot("one", "s")
    runs.clear()
    pool.clone_volume("two", source_volume_id="one")
    pool.volume_from_snapshot("three", source_volume_id="one", snapshot="s")
    pool.image_from_volume("image", "one")
    pool.rollback_snapshot("one", "s")
    copies = [one for one in runs if one[0][1] in ("convert", "snapshot")]
    assert [one[0][1] for one in copies] == ["convert", "convert", "convert", "snapshot"]
    for argv, limits in copies:
        assert limits["stall_s"] == helper.COPY_STALL_S, argv
        assert limits.get("timeout_s") is None, argv
    for argv, limits in copies[:3]:
        assert (limits["growing"].suffix, limits["total_bytes"]) == (".qcow2", 1024**3), argv


def test_the_time_for_a_look_follows_the_bytes(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    for size in (0, 100 * 1024**3):
        helper.inspect(["true"], (), file_bytes=size)
    small, large = (limits for _argv, limits in runs)
    assert small["cpu_s"] == helper.INSPECT_CPU_S
    assert large["cpu_s"] == helper.INSPECT_CPU_S + 100 * 1024**3 // helper.INSPECT_BYTES_PER_S
    assert large["timeout_s"] > large["cpu_s"] > 500


def test_a_copy_tells_how_far_it_is_and_stops_when_the_job_is_lost(tmp_path: Path) -> None:
    class Lost(Exception):
        pass

    told: list[tuple[int, int | None]] = []
    pid = tmp_path / "pid"
    target = tmp_path / "out"

    def moving(done: int, total: int | None) -> None:
        told.append((done, total))
        if done:
            raise Lost

    script = f"echo $$ > {pid}; while :; do head -c 65536 /dev/zero >> {target}; sleep 0.05; done"
    with lease.held(moving=moving), pytest.raises(Lost):
        helper.run(["sh", "-c", script], stall_s=20, growing=target, total_bytes=10**9)
    assert told[-1][0] >= 65536
    assert told[-1][1] == 10**9
    assert not Path(f"/proc/{pid.read_text().strip()}").exists()


def test_nothing_takes_its_place_when_the_job_was_lost_while_it_was_made(
    pool: DirectoryStorage, root: Path
) -> None:
    class Lost(Exception):
        pass

    asked: list[int] = []

    def confirm() -> None:
        asked.append(len(list((root / "work").glob("*/volume.qcow2"))))
        if asked[-1]:
            raise Lost

    with lease.held(confirm), pytest.raises(Lost):
        pool.create_volume("disk-1", size_gib=1)
    # Once before it began, and once when the file was ready to be renamed.
    assert asked == [0, 1]
    assert pool.list_volumes() == ()


# -- killed workers --------------------------------------------------------------------------------

_WORKER = """
import sys
from pathlib import Path
from compute.storage.dir import DirectoryStorage
pool = DirectoryStorage(Path(sys.argv[1]))
print("go", flush=True)
{call}
"""


def _killed_in(root: Path, call: str, after_s: float) -> bool:
    """Run a call in a process of its own, kill -9 it; whether it was still at work."""
    worker = subprocess.Popen(
        [sys.executable, "-c", _WORKER.format(call=call), str(root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert worker.stdout is not None
    worker.stdout.readline()
    time.sleep(after_s)
    was_running = worker.poll() is None
    worker.send_signal(signal.SIGKILL)
    worker.communicate()
    return was_running


def _helpers_of(root: Path) -> list[str]:
    """Command lines of helper programs at work in the pool."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().decode("utf-8", "replace")
            if entry.name.isdigit() and "qemu-img" in words and str(root) in words:
                found.append(words)
    return found


def _await_end_of_helpers(root: Path) -> None:
    """Wait until the death signal has ended the helpers, however busy the machine is."""
    until = time.monotonic() + 60
    while helpers := _helpers_of(root):
        assert time.monotonic() < until, helpers
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("call", "again"),
    [
        (
            "pool.import_image('image-2', Path(sys.argv[1]) / '../source')",
            lambda pool, source: pool.import_image("image-2", source),
        ),
        (
            "pool.clone_volume('disk-2', source_volume_id='disk-1')",
            lambda pool, source: pool.clone_volume("disk-2", source_volume_id="disk-1"),
        ),
        (
            "pool.image_from_volume('image-2', 'disk-1')",
            lambda pool, source: pool.image_from_volume("image-2", "disk-1"),
        ),
        (
            "pool.volume_from_snapshot('disk-2', source_volume_id='disk-1', snapshot='snap-1')",
            lambda pool, source: pool.volume_from_snapshot(
                "disk-2", source_volume_id="disk-1", snapshot="snap-1"
            ),
        ),
    ],
    ids=["import", "clone", "image from volume", "volume from snapshot"],
)
def test_a_worker_killed_at_any_moment_leaves_all_or_nothing(
    pool: DirectoryStorage, root: Path, tmp_path: Path, call: str, again: Again
) -> None:
    source = _random_file(tmp_path / "source", 64)
    pool.import_image("image-1", source)
    pool.create_volume("disk-1", size_gib=1, image_id="image-1")
    pool.create_snapshot("disk-1", "snap-1")
    killed = 0
    for after_s in (0.0, 0.03, 0.08, 0.15, 0.25):
        killed += _killed_in(root, call, after_s)
        _await_end_of_helpers(root)
        made = {one.image_id for one in pool.list_images()}
        made |= {one.volume_id for one in pool.list_volumes()}
        for path in (*root.glob("images/*.qcow2"), *root.glob("volumes/*.qcow2")):
            assert path.stem in made
            _check(path)
        pool.delete_volume("disk-2")
        pool.delete_image("image-2")
    assert killed > 0
    again(pool, source)
    pool.sweep_temporary(older_than_s=0)
    assert list((root / "work").iterdir()) == []
    assert pool.sweep_temporary(older_than_s=0) == ()
    made_path = next(
        path
        for path in (root / "images/image-2.qcow2", root / "volumes/disk-2.qcow2")
        if path.exists()
    )
    subprocess.run(
        [
            "qemu-img",
            "dd",
            "-f",
            "qcow2",
            "-O",
            "raw",
            "bs=1M",
            "count=64",
            f"if={made_path}",
            f"of={tmp_path / 'copy'}",
        ],
        check=True,
        capture_output=True,
    )
    assert (tmp_path / "copy").read_bytes() == source.read_bytes()


def test_the_sweep_spares_calls_that_still_run(pool: DirectoryStorage, root: Path) -> None:
    pool.capacity()
    alive, dead, young = (root / "work" / name for name in ("alive.1", "dead.1", "young.1"))
    for folder in (alive, dead, young):
        folder.mkdir()
        (folder / "lock").touch()
    for folder in (alive, dead):
        os.utime(folder, (0, 0))
    with (alive / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert pool.sweep_temporary() == ("dead.1",)
    assert alive.exists()
    assert young.exists()


def test_deleting_takes_what_a_killed_call_left(pool: DirectoryStorage, root: Path) -> None:
    pool.capacity()
    left = [
        root / "work" / name
        for name in ("seed-vm-000000001.x1", "volume-disk-000000001.x2", "seed-vm-000000002.x3")
    ]
    for folder in left:
        folder.mkdir()
        (folder / "lock").touch()
        os.utime(folder, (0, 0))
    pool.delete_seed("vm-000000001")
    pool.delete_volume("disk-000000001")
    assert [folder.exists() for folder in left] == [False, False, True]


def test_a_rollback_that_was_killed_half_way_still_gives_the_size_back(
    pool: DirectoryStorage, root: Path
) -> None:
    pool.create_volume("disk-1", size_gib=1)
    pool.create_snapshot("disk-1", "snap-1")
    pool.resize_volume("disk-1", size_gib=3)
    # What a worker leaves that dies between QEMU's rollback and the resize after it.
    (root / "volumes/disk-1.size").write_text(str(3 * 1024**3))
    subprocess.run(
        ["qemu-img", "snapshot", "-a", "snap-1", root / "volumes/disk-1.qcow2"], check=True
    )
    assert pool.volume_info("disk-1").size_gib == 1
    pool.rollback_snapshot("disk-1", "snap-1")
    assert pool.volume_info("disk-1").size_gib == 3
    assert not (root / "volumes/disk-1.size").exists()


# -- full media ------------------------------------------------------------------------------------


@pytest.fixture
def small_root(tmp_path: Path) -> Iterator[Path]:
    """A medium of 8 MiB of its own."""
    if os.geteuid() != 0:
        pytest.fail("mounting a small medium needs root, as the lab does")
    path = tmp_path / "small"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", path], check=True)
    yield path
    subprocess.run(["umount", path], check=True)


@pytest.mark.lab
def test_a_full_medium_is_named_and_nothing_half_made_stays(
    small_root: Path, tmp_path: Path
) -> None:
    pool = DirectoryStorage(small_root)
    small, large = _random_file(tmp_path / "small.raw", 2), _random_file(tmp_path / "large.raw", 16)
    pool.import_image("image-1", small)
    with pytest.raises(StorageFull):
        pool.import_image("image-2", large)
    assert [one.image_id for one in pool.list_images()] == ["image-1"]
    assert list((small_root / "work").iterdir()) == []
    (small_root / "filler").write_bytes(bytes(pool.capacity().available_bytes))
    with pytest.raises(StorageFull):
        pool.create_volume("disk-1", size_gib=1, image_id="image-1")
    with pytest.raises(StorageFull):
        pool.write_seed("vm-1", {"meta-data": ""})
    (small_root / "filler").unlink()
    pool.create_volume("disk-1", size_gib=1, image_id="image-1")
    assert [one.volume_id for one in pool.list_volumes()] == ["disk-1"]


def test_the_hosts_script_writes_what_is_read_and_nothing_else_is(
    pool: DirectoryStorage, root: Path
) -> None:
    script = Path(helper.__file__).with_name("heartbeat.sh")
    with subprocess.Popen([script, root], start_new_session=True) as writer:
        try:
            end = time.monotonic() + 10
            while not (seen := pool.heartbeats()):
                assert time.monotonic() < end
                time.sleep(0.01)
        finally:
            os.killpg(writer.pid, signal.SIGKILL)
    assert list(seen) == [socket.gethostname()]
    folder = root / "heartbeats"
    (folder / "long").write_text("x" * 500)
    (folder / ".half").write_text("1")
    (folder / "link").symlink_to("/etc/hostname")
    (folder / "folder").mkdir()
    (folder / "binary").write_bytes(b"\xff")
    os.mkfifo(folder / "pipe")
    assert pool.heartbeats() == {**seen, "long": "x" * 100}

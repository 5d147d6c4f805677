"""The files of one volume in a directory pool, with snapshots as overlays.

    volumes/<volume>.qcow2                  the first file, number 0
    overlays/<volume>/<number>.qcow2        the others
    overlays/<volume>/manifest.json         the tree; a volume without one has its first file only
    overlays/<volume>/changing              lock of a change: short
    overlays/<volume>/tidying               lock of merges (exclusive), of copies (shared): long
    overlays/<volume>/wanted                ends a merge: somebody needs the volume
    overlays/<volume>/doubt                 a file was being changed in place: see `checking`. Which
                                            file, and how; "all" while a volume is repaired, and
                                            after a check that found something wrong

A change makes the file that it needs, publishes the new tree by a rename, and then removes what
the tree no longer has. A caller that dies before the rename has changed nothing; one that dies
after it leaves files without a name, which the next change or `tidy` removes.

QEMU's own commands may leave a header that leads past a file whose content has not been moved yet
(`qemu-img rebase`, `block-commit` without a flush). So headers are set to what the manifest says
before anybody opens the volume (`prepare`), and content is moved by `qemu-img commit` alone, which
may be killed at any moment and repeated.
"""

import contextlib
import os
import re
import time
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path

from compute.storage import files, helper, qcow2
from compute.storage.base import (
    ImageRefused,
    SnapshotLimit,
    SnapshotMissing,
    StorageTimeout,
    VolumeBusy,
    VolumeDamaged,
    VolumeMissing,
)
from compute.storage.checking import Checks
from compute.storage.sandbox import Seen
from compute.storage.tree import Drop, Kept, Merge, Node, TooDeep, Tree, TreeDamaged
from scloud.lib import lease

_OVERLAY = re.compile(r"([1-9][0-9]{0,17})\.qcow2")
_IMAGE = re.compile(r"(?:\.\./){1,2}images/([a-z0-9-]+)\.qcow2")
_DELETED = "deleted\n"
"""A manifest that says so stands until the last file is gone: no half of a volume is ever seen."""

_READS = 3
"""How often a manifest is read anew whose files were tidied away while one looked at them."""


class VolumeFiles:
    """See the module's docstring. Cheap; touches nothing until it is asked."""

    def __init__(self, root: Path, volume_id: str) -> None:
        self.volume_id = files.checked(volume_id)
        self.root = root
        self._folder = root / "overlays" / volume_id
        self._manifest = self._folder / "manifest.json"
        self.checks = Checks(self)

    # -- names ---------------------------------------------------------------------------------

    def path(self, number: int) -> Path:
        """Return where a file of the tree lies."""
        if number == 0:
            return self.root / "volumes" / f"{self.volume_id}.qcow2"
        return self._folder / f"{number}.qcow2"

    def backing_name(self, tree: Tree, number: int) -> str | None:
        """Return what a file's header has to say it rests on; relative, so that pools may move."""
        node, up = tree.files[number], "../" if number == 0 else "../../"
        if node.image_id is not None:
            return f"{up}images/{files.checked(node.image_id)}.qcow2"
        if node.parent is None:
            return None
        if node.parent == 0:
            return f"{up}volumes/{self.volume_id}.qcow2"
        return f"{node.parent}.qcow2"

    def seen(self, tree: Tree, number: int, *, writable: Collection[int] = ()) -> list[Seen]:
        """Return what a helper needs to open a file: first itself, then what it rests on."""
        seen = [
            Seen(path, f"/pool/{path.relative_to(self.root)}", one in writable)
            for one in tree.chain(number)
            for path in (self.path(one),)
        ]
        image_id = tree.image_of(number)
        if image_id is not None:
            image = self.root / "images" / f"{files.checked(image_id)}.qcow2"
            seen.append(Seen(image, f"/pool/images/{image.name}"))
        return seen

    # -- the manifest --------------------------------------------------------------------------

    def exists(self) -> bool:
        """Tell whether there is a volume, whole or damaged."""
        text = self._text()
        return self.path(0).exists() if text is None else text != _DELETED

    def has_manifest(self) -> bool:
        """Tell whether the volume has a manifest, whatever that says."""
        return self._manifest.exists()

    def branched(self) -> Tree | None:
        """Return the tree of a volume that has a manifest. Raises VolumeMissing, VolumeDamaged."""
        text = self._text()
        if text is None:
            return None
        if text == _DELETED:
            raise VolumeMissing(f"The storage has no volume {self.volume_id}.")
        try:
            return Tree.from_json(text)
        except TreeDamaged as error:
            raise VolumeDamaged(f"The volume {self.volume_id} cannot be read: {error}.") from error

    def tree(self) -> Tree:
        """Return the tree; without a manifest, what the first file says of itself.

        Raises VolumeMissing, VolumeDamaged.
        """
        tree = self.branched()
        if tree is not None:
            return tree
        path = self.path(0)
        try:
            header = files.header_of(path)
            with path.open("rb") as file:
                inside = qcow2.read_snapshots(file, header)
        except FileNotFoundError as error:
            raise VolumeMissing(f"The storage has no volume {self.volume_id}.") from error
        except ImageRefused as error:
            raise VolumeDamaged(f"The volume {self.volume_id} cannot be read.") from error
        found = _IMAGE.fullmatch(header.backing_file or "")
        kept = (Kept(one.name, 0, one.size_bytes, one.created_at, inside=True) for one in inside)
        return Tree(0, {0: Node(image_id=found.group(1) if found else None)}, tuple(kept))

    def facts(self) -> tuple[Tree, int, int]:
        """Return the tree, the volume's size and what its files take, both in bytes.

        Raises VolumeMissing, VolumeDamaged: also for one that lacks a file of its tree.
        """
        for _ in range(_READS):
            tree = self.tree()
            try:
                stored = sum(self.path(one).stat().st_blocks for one in tree.files) * 512
                return tree, self._size(tree), stored
            except FileNotFoundError:
                continue
            except ImageRefused as error:
                raise VolumeDamaged(f"The volume {self.volume_id} cannot be read.") from error
        raise VolumeDamaged(f"A file of the volume {self.volume_id} is missing.")

    def _size(self, tree: Tree) -> int:
        """Return the volume's size in bytes; see `prepare` for why its parent may tell it."""
        return max(
            files.header_of(self.path(one)).virtual_bytes for one in tree.chain(tree.active)[:2]
        )

    def _text(self) -> str | None:
        try:
            return self._manifest.read_text()
        except FileNotFoundError:
            return None
        except UnicodeDecodeError:
            return ""  # as little a tree as any other text of which nothing can be made

    def _publish(self, text: str) -> None:
        made = self._folder / "manifest.new"
        with files.named_errors():
            made.write_text(text)
        files.publish(made, self._manifest)

    # -- who is at it --------------------------------------------------------------------------

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Change the tree of a volume that nobody may have open; a merge is ended for it.

        Raises StorageTimeout, VolumeBusy, VolumeMissing, VolumeDamaged.
        """
        if self.branched() is not None:
            self.stop_tidying()
        else:
            self.tree()  # no folder is made for a volume that is not there
        self.checks.settle()
        with self.changing():
            yield

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Change the tree, beside a merge if there is one. Raises StorageTimeout."""
        with files.named_errors():
            self._folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        with files.locked(self._folder / "changing", exclusive=True, what="The volume"):
            yield

    @contextlib.contextmanager
    def copying(self) -> Iterator[None]:
        """Let nothing be merged while somebody reads a frozen file. Raises VolumeBusy."""
        if self.branched() is None:
            yield
            return
        self.stop_tidying()
        with self._tidying(exclusive=False):
            yield

    def stop_tidying(self) -> None:
        """End a merge that is under way; it begins anew another time. Raises VolumeBusy."""
        with contextlib.suppress(VolumeBusy), self._tidying(exclusive=False):
            return
        wanted = self._folder / "wanted"
        wanted.touch()
        try:
            with self._tidying(exclusive=False, wait_s=files.LOCK_TIMEOUT_S):
                return
        finally:
            wanted.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _tidying(self, *, exclusive: bool, wait_s: float = 0.0) -> Iterator[None]:
        path = self._folder / "tidying"
        with contextlib.ExitStack() as stack:
            try:
                lock = files.locked(path, exclusive=exclusive, what="The volume", wait_s=wait_s)
                stack.enter_context(lock)
            except StorageTimeout as error:
                raise VolumeBusy("The volume's files are being copied or merged.") from error
            yield

    def require_unused(self) -> None:
        """Raise VolumeBusy while a domain has the volume; a merge is ended for it.

        Raises StorageTimeout, VolumeMissing, VolumeDamaged too.
        """
        if self.branched() is None:
            self.require_idle(None)
            return
        self.stop_tidying()
        with self.changing():
            self.require_idle(self.branched())

    def require_idle(self, tree: Tree | None) -> None:
        """Raise VolumeBusy while a domain has the volume. Within a change, so that the tree holds.

        Without a tree the first file is all there is. Raises VolumeMissing, VolumeDamaged.

        QEMU may still write to a file that the manifest calls frozen: a worker died between the
        publication of a snapshot and QEMU's change to the new file.
        """
        active = 0 if tree is None else tree.active
        for number in (0,) if tree is None else tuple(tree.files):
            path = self.path(number)
            try:
                busy = files.is_open(path) if number == active else files.is_written(path)
            except FileNotFoundError as error:
                raise self._incomplete() from error
            if busy:
                raise VolumeBusy(files.BUSY)

    def require_closed(self) -> None:
        """Raise VolumeBusy while anybody has any file of the volume open, whatever its tree says.

        It may be damaged, or missing.
        """
        for path in (self.path(0), *self._folder.glob("*.qcow2")):
            with contextlib.suppress(FileNotFoundError):
                if files.is_open(path):
                    raise VolumeBusy(files.BUSY)

    def _incomplete(self) -> VolumeMissing | VolumeDamaged:
        """Return the error of a volume that lacks a file: all it has, or one of several."""
        if self._manifest.exists():
            return VolumeDamaged(f"A file of the volume {self.volume_id} is missing.")
        return VolumeMissing(f"The storage has no volume {self.volume_id}.")

    # -- headers -------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Make the files agree with the manifest. Raises VolumeBusy, VolumeDamaged, VolumeMissing.

        Where they agree nothing is opened for writing, so that this may be called at any time.
        """
        if self.branched() is None:
            self.tree()
            self.checks.settle()
            return
        self.stop_tidying()
        self.checks.settle()
        with self.changing():
            # Read now: a merge that has just ended took a file away.
            tree = self.tree()
            self._agree(tree, tree.files)

    def _differs(self, tree: Tree, number: int) -> bool:
        try:
            said = files.header_of(self.path(number)).backing_file
        except FileNotFoundError as error:
            raise self._incomplete() from error
        except ImageRefused as error:
            raise VolumeDamaged(f"The volume {self.volume_id} cannot be read.") from error
        return said != self.backing_name(tree, number)

    def _lags(self, tree: Tree) -> bool:
        """Tell whether the active file is smaller than the volume.

        A domain that was enlarged before QEMU changed over to its new file enlarged the old one.
        """
        return files.header_of(self.path(tree.active)).virtual_bytes < self._size(tree)

    def _agree(self, tree: Tree, numbers: Collection[int]) -> None:
        for number in sorted(numbers):
            if self._differs(tree, number):
                self._set_header(tree, number)
        if tree.active in numbers and self._lags(tree):
            self.resize(tree, self._size(tree))

    def _set_header(self, tree: Tree, number: int) -> None:
        path, name = self.path(number), self.backing_name(tree, number)
        seen = Seen(path, f"/pool/{path.relative_to(self.root)}", writable=True)
        # -u changes the name alone; the safe mode moves content and is not safe when killed.
        rests = ["-F", "qcow2", "-b", name] if name is not None else ["-b", ""]
        helper.run(
            ["qemu-img", "rebase", "-q", "-u", "-f", "qcow2", *rests, seen.name], files=(seen,)
        )
        files.sync_file(path)

    # -- changes -------------------------------------------------------------------------------

    def snapshot(self, name: str, *, live: bool = False) -> None:
        """Keep the present content under a name; nothing happens if it exists.

        ``live`` publishes the new file while a domain still writes to the old one; the caller
        brings the domain over. Raises VolumeBusy, VolumeDamaged, VolumeMissing, SnapshotLimit.
        """
        with self.alone():
            tree = self.tree()
            if tree.snapshot(name) is not None:
                return
            if not live:
                self.require_idle(tree)
                self._agree(tree, tree.files)
            size = self._size(tree)
            now = datetime.now(UTC)
            self._grow(
                lambda: tree.with_snapshot(name, size_bytes=size, created_at=now), size_bytes=size
            )

    def roll_back(self, name: str) -> None:
        """Set the content back to an overlay's snapshot; the size stays, as all snapshots do.

        Raises VolumeBusy, VolumeDamaged, VolumeMissing, SnapshotMissing, SnapshotLimit.
        """
        with self.alone():
            tree = self.tree()
            if tree.snapshot(name) is None:
                raise SnapshotMissing(f"Volume {self.volume_id} has no snapshot {name}.")
            self.require_idle(tree)
            self._agree(tree, tree.files)
            self._grow(lambda: tree.rolled_back(name), size_bytes=self._size(tree))
            self._drop()

    def _grow(self, change: Callable[[], Tree], *, size_bytes: int) -> None:
        """Make the new active file of a change, then publish the change."""
        try:
            tree = change()
        except TooDeep as error:
            raise SnapshotLimit(
                "The disk has too many snapshots that rest on each other."
            ) from error
        name = self.backing_name(tree, tree.active)
        assert name is not None
        made = self._folder / "new.qcow2"
        made.unlink(missing_ok=True)
        # -u: nothing is opened, neither what the file rests on nor what a guest wrote there.
        argv = ["qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", "qcow2", "-b", name]
        helper.run([*argv, str(made), str(size_bytes)])
        made.chmod(0o600)
        files.publish(made, self.path(tree.active))
        self._publish(tree.to_json())

    def replace(self, made: Path) -> None:
        """Make a finished file the active one, which rests on nothing; snapshots stay.

        Raises VolumeBusy.
        """
        with self.alone():
            before = self.tree()
            self.require_idle(before)
            tree = before.with_root()
            files.publish(made, self.path(tree.active))
            self._publish(tree.to_json())
            self._drop()

    def start_over(self, made: Path, *, image_id: str | None) -> None:
        """Make a finished file, on an image or on nothing, all there is of the volume.

        For one that has a manifest; what that says does not matter any more, nor which files are
        there. Raises StorageTimeout, VolumeBusy.
        """
        self.stop_tidying()
        with self.changing():
            self.require_closed()
            tree = Tree(0, next_file=self._next_number()).with_root(image_id)
            files.publish(made, self.path(tree.active))
            self._publish(tree.to_json())
            self._drop()
            self.checks.trust()

    def _next_number(self) -> int:
        """Return a number that was not given yet, as far as anything still tells."""
        with contextlib.suppress(VolumeDamaged, VolumeMissing):
            tree = self.branched()
            if tree is not None:
                return tree.next_file
        return max(self._numbers(), default=0) + 1

    def _numbers(self) -> list[int]:
        """Return the numbers of the files that are there, without the first one."""
        return [
            int(found.group(1))
            for path in self._folder.iterdir()
            if (found := _OVERLAY.fullmatch(path.name))
        ]

    def forget(self, name: str) -> None:
        """Delete a snapshot, also while a domain has the volume; may be missing.

        It is gone for good when the tree without it is published. Its files are tidied later.
        """
        if self.tree().snapshot(name) is None:
            return
        with self.changing():
            tree = self.tree()
            self._publish(tree.without_snapshot(name).to_json())
            self._drop()

    def resize(self, tree: Tree, size_bytes: int) -> None:
        """Grow the active file. Raises VolumeBusy, StorageFull."""
        seen = self.seen(tree, tree.active, writable={tree.active})
        with self.checks.doubted(tree.active, "resize"):
            helper.run(
                ["qemu-img", "resize", "-q", "-f", "qcow2", seen[0].name, str(size_bytes)],
                files=seen,
            )
            files.sync_file(self.path(tree.active))

    def delete(self) -> None:
        """Remove the volume with all its files; may be missing. Raises VolumeBusy."""
        if self._text() is None:
            self._delete_plain()
            return
        self.stop_tidying()
        with self.changing():
            # A damaged volume is deleted like any other, but not from under a domain.
            self.require_closed()
            self._publish(_DELETED)
            self.path(0).unlink(missing_ok=True)
            files.sync_folder(self.path(0).parent)
            for path in self._folder.glob("*.qcow2"):
                path.unlink(missing_ok=True)
            for name in ("new.qcow2", "manifest.new", "doubt", "wanted", "tidying", "changing"):
                (self._folder / name).unlink(missing_ok=True)
            self._manifest.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # what is not ours stays
            self._folder.rmdir()
        files.sync_folder(self._folder.parent)

    def _delete_plain(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            if files.is_open(self.path(0)):
                raise VolumeBusy(files.BUSY)
            self.path(0).unlink(missing_ok=True)
        files.sync_folder(self.path(0).parent)
        with contextlib.suppress(OSError):
            for name in ("doubt", "changing"):
                (self._folder / name).unlink(missing_ok=True)
            self._folder.rmdir()

    def snapshot_inside(self, verb: str, tree: Tree, name: str) -> None:
        """Run ``qemu-img snapshot`` on the first file. Raises VolumeBusy."""
        seen = self.seen(tree, 0, writable={0})
        # 7.2's `snapshot` takes no -f; --image-opts says the format instead.
        options = f"driver=qcow2,file.driver=file,file.filename={seen[0].name}"
        # Processes of the last release read more than a number as a note on the active file.
        with self.checks.doubted(0, f"{verb} {name}" if tree.active == 0 else ""):
            helper.run(
                ["qemu-img", "snapshot", "-q", verb, files.checked(name), "--image-opts", options],
                stall_s=helper.COPY_STALL_S,
                files=seen,
            )
            files.sync_file(self.path(0))

    # -- tidying -------------------------------------------------------------------------------

    def tidy(self) -> bool:
        """Remove files that nothing names and merge hidden ones; True when nothing is left to do.

        What a domain or a copy has open is left for another time. Raises VolumeDamaged,
        VolumeMissing, StorageFull.
        """
        if self.branched() is None:
            return True
        if self._is_wanted() or self.checks.doubts() is not None:
            # Nothing is merged into a file, or out of one, of which nobody knows what it holds.
            return False
        try:
            with self._tidying(exclusive=True):
                return self._tidy()
        except VolumeBusy:
            return False

    def _is_wanted(self) -> bool:
        """Tell whether somebody waits for a merge to end; who died while waiting does not."""
        wanted = self._folder / "wanted"
        try:
            age_s = time.time() - wanted.stat().st_mtime
        except FileNotFoundError:
            return False
        if age_s > 2 * files.LOCK_TIMEOUT_S:
            wanted.unlink(missing_ok=True)
            return False
        return True

    def _tidy(self) -> bool:
        while True:
            with self.changing():
                self._drop()
                tree = self.branched()
            if tree is None:
                return True
            merges = [step for step in tree.tidying() if isinstance(step, Merge)]
            if not merges:
                self._forget_inside(tree)
                return True
            if not any(self._merge(step) for step in merges):
                return False

    def _drop(self) -> None:
        """Publish the tree without the files that nothing needs, then remove those from the pool.

        Within a change.
        """
        tree = self.branched()
        if tree is None:
            return
        after = tree
        while drops := [step for step in after.tidying() if isinstance(step, Drop)]:
            for step in drops:
                after = after.tidied(step)
        if after != tree:
            self._publish(after.to_json())
        self._remove_strays(after)

    def _remove_strays(self, tree: Tree) -> None:
        """Remove files of ours that the tree does not have. What has a foreign name stays."""
        (self._folder / "new.qcow2").unlink(missing_ok=True)
        for number in (0, *self._numbers()):
            if number in tree.files:
                continue
            with (
                contextlib.suppress(FileNotFoundError),
                files.kept_from_qemu(self.path(number)) as free,
            ):
                if free:
                    self.path(number).unlink()

    def _merge(self, step: Merge) -> bool:
        """Move a child's content into its parent, publish, remove the child; False while busy."""
        tree = self.branched()
        if tree is None or step not in tree.tidying():
            return True
        child, into = self.path(step.child), self.path(step.into)
        if files.is_open(into) or files.is_open(child):
            return False
        with self.changing():
            self._agree(tree, tree.chain(step.child))
        seen = self.seen(tree, step.child, writable={step.child, step.into})
        # -d: the child is not emptied, so that nothing is lost when this is killed.
        argv = ["qemu-img", "commit", "-q", "-d", "-f", "qcow2", seen[0].name]
        helper.run(
            argv,
            files=seen,
            stall_s=helper.COPY_STALL_S,
            growing=into,
            unless=self._folder / "wanted",
        )
        return self._end(step)

    def _end(self, step: Merge) -> bool:
        """Publish a merge whose content has been moved; False while somebody has the child."""
        child = self.path(step.child)
        files.sync_file(self.path(step.into))
        # Started meanwhile, a domain would write to a file that is about to go.
        with self.changing(), files.kept_from_qemu(child) as free:
            tree = self.branched()
            if not free:
                return False
            if tree is None or step not in tree.tidying():
                return True
            moved = tree.children(step.child)
            tree = tree.tidied(step)
            self._publish(tree.to_json())
            with contextlib.suppress(VolumeBusy):  # the domain that merged has written it already
                self._agree(tree, (step.into, *moved))
            lease.confirm()
            child.unlink(missing_ok=True)
            files.sync_folder(self._folder)
        return True

    def is_tidy(self) -> bool:
        """Tell whether nothing waits for `tidy`, as far as the manifest says."""
        tree = self.branched()
        return tree is None or not tree.tidying()

    def mergeable(self) -> Merge | None:
        """Return a merge below the active file, which the domain that has it open can do.

        One into which the active file itself would go waits for a stop or another snapshot.
        """
        tree = self.branched()
        if tree is None:
            return None
        frozen = tree.chain(tree.active)[1:]
        steps = (step for step in tree.tidying() if isinstance(step, Merge))
        return next((step for step in steps if step.child in frozen), None)

    def end_merge(self, step: Merge) -> None:
        """Publish what a domain has merged. Raises VolumeBusy while it has the child open."""
        if not self._end(step):
            raise VolumeBusy(files.BUSY)

    def _forget_inside(self, tree: Tree) -> None:
        """Delete the snapshots inside the first file that the manifest has forgotten."""
        if 0 not in tree.files:
            return
        path = self.path(0)
        header = files.header_of(path)
        with path.open("rb") as file:
            there = {one.name for one in qcow2.read_snapshots(file, header)}
        gone = there - {one.name for one in tree.snapshots if one.inside}
        for name in sorted(gone):
            self.snapshot_inside("-d", tree, name)


def names_of(root: Path) -> set[str]:
    """Return the ids of all volumes that have a place in the pool, also of damaged ones."""
    names = {path.stem for path in (root / "volumes").glob("*.qcow2")}
    with contextlib.suppress(FileNotFoundError), os.scandir(root / "overlays") as entries:
        names |= {entry.name for entry in entries if entry.is_dir()}
    return {name for name in names if files.is_id(name)}

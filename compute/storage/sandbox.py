"""Programs on files that tenants made, shut in: a hostile image may take over qemu-img itself.

The program runs as another user, in a file system of its own that holds the programs of this
machine (read-only), a few harmless devices and the files that it is given, without network, in
process and IPC namespaces of its own and under limits. bubblewrap makes that. Started by root it
drops to ``nobody``, and keeps one right only: to open the given files whoever owns them. Without
root the kernel's user namespaces do the same for the caller's own files.
"""

import functools
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from compute.storage.base import StorageError

NOBODY = 65534
PATH = "/usr/bin:/bin:/usr/local/bin"
OPEN_FILES = 64
TASKS = 2048


class SandboxMissing(StorageError):
    """This machine cannot shut programs in, so that they are not run at all."""

    code = "sandbox_missing"

    def __init__(self, why: str) -> None:
        super().__init__(
            f"Image tools cannot be isolated on this machine ({why}). "
            "Install bubblewrap on the machine that runs the worker."
        )


@dataclass(frozen=True, slots=True)
class Seen:
    """A file that the program sees: where it is, under which absolute name, and how."""

    path: Path
    name: str
    writable: bool = False


@functools.cache
def _programs() -> tuple[str, ...]:
    """Return the options that show the machine's programs, wherever /lib and /bin lead."""
    options = ["--ro-bind", "/usr", "/usr"]
    for name in ("/lib", "/lib32", "/lib64", "/bin", "/sbin"):
        path = Path(name)
        if path.is_symlink():
            options += ["--symlink", str(path.readlink()), name]
        elif path.is_dir():
            options += ["--ro-bind", name, name]
    return tuple(options)


def wrapped(argv: Sequence[str], files: Sequence[Seen]) -> list[str]:
    """Return the command that runs ``argv`` shut in. Raises SandboxMissing."""
    bubblewrap = shutil.which("bwrap", path=PATH)
    if bubblewrap is None:
        raise SandboxMissing("bwrap was not found")
    root = os.geteuid() == 0
    command = [
        # Not bubblewrap's own: whose first process waits for ever for one that was killed early.
        # The first process of this namespace dies with its parent, and all others with it.
        "unshare",
        *(() if root else ("--user", "--map-current-user")),
        "--pid",
        "--fork",
        "--kill-child=KILL",
        # bubblewrap looks itself up by its number, which means nothing in the /proc outside.
        "--mount-proc",
        "--",
        bubblewrap,
        "--unshare-net",
        "--unshare-ipc",
        "--unshare-uts",
        "--unshare-cgroup-try",
        "--die-with-parent",
        "--new-session",
        "--clearenv",
        "--setenv",
        "PATH",
        "/usr/bin:/bin",
        "--setenv",
        "LC_ALL",
        "C.UTF-8",
        *_programs(),
        # No /proc: with the right to open any file it would give away the machine.
        "--dev",
        "/dev",
        "--chdir",
        "/",
    ]
    for file in files:
        option = "--bind" if file.writable else "--ro-bind"
        command += [option, str(file.path.absolute()), file.name]
    command += ["--remount-ro", "/", "--"]
    if root:
        right = "dac_override" if any(file.writable for file in files) else "dac_read_search"
        command += [
            "setpriv",
            f"--reuid={NOBODY}",
            f"--regid={NOBODY}",
            "--clear-groups",
            "--no-new-privs",
            f"--inh-caps=-all,+{right}",
            f"--ambient-caps=-all,+{right}",
            f"--bounding-set=-all,+{right}",
            "--",
        ]
    return [*command, *argv]

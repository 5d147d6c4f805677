"""Fault injection for tests: die at a named point of a job.

A real worker is told by the environment (``SCLOUD_FAULT=vm.create:define:after``) and kills itself
with SIGKILL there, once; tests in one process install a hook. Without either this does nothing.
"""

import os
import signal
from collections.abc import Callable
from pathlib import Path

_hook: Callable[[str], None] | None = None


def install(hook: Callable[[str], None] | None) -> None:
    """Set or remove the hook of the present process."""
    global _hook
    _hook = hook


def reach(point: str) -> None:
    """Pass a point ``<job kind>:<step>:<before|after>``."""
    if _hook is not None:
        _hook(point)
    wanted = os.environ.get("SCLOUD_FAULT")
    if wanted == point:
        marker = os.environ.get("SCLOUD_FAULT_ONCE", "")
        if marker:
            try:
                Path(marker).touch(exist_ok=False)
            except FileExistsError:
                return
        os.kill(os.getpid(), signal.SIGKILL)

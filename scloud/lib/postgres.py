"""How long each of our processes waits for PostgreSQL, as libpq's connection parameters.

A server that refuses is noticed at once. One whose packets are dropped is noticed by TCP alone:
what was sent and not acknowledged by ``tcp_user_timeout``, an answer that does not come by the
keepalives, a connection that is not made by ``connect_timeout``. Together they end every call
within :data:`GONE_AFTER_S`. A server that is there but slow is what the server's own timeouts are
for; they differ by process.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CONNECT_S = 4
UNACKNOWLEDGED_S = 6
KEEPALIVE_IDLE_S = 3
KEEPALIVE_INTERVAL_S = 1
KEEPALIVE_COUNT = 3
#: A call on a connection that went silent, and the attempt at a new one, in seconds.
GONE_AFTER_S = max(UNACKNOWLEDGED_S, KEEPALIVE_IDLE_S + KEEPALIVE_INTERVAL_S * KEEPALIVE_COUNT) + (
    CONNECT_S
)


@dataclass(frozen=True)
class Patience:
    """Seconds until the server gives up; 0 is for ever."""

    statement_s: float
    lock_s: float
    idle_in_transaction_s: float


# The profile of a process is named by SCLOUD_PROCESS, or told by its command line.
PROFILES: Mapping[str, Patience] = {
    # Somebody waits for the page.
    "console": Patience(statement_s=10, lock_s=5, idle_in_transaction_s=15),
    "vnc": Patience(statement_s=10, lock_s=5, idle_in_transaction_s=15),
    "gateway": Patience(statement_s=10, lock_s=5, idle_in_transaction_s=15),
    # A fabric is changed while an advisory lock is held, which others wait for.
    "worker": Patience(statement_s=60, lock_s=30, idle_in_transaction_s=60),
    "sweeper": Patience(statement_s=120, lock_s=10, idle_in_transaction_s=60),
    # A round of measurements that cannot be written waits in memory for the next one.
    "collector": Patience(statement_s=20, lock_s=5, idle_in_transaction_s=30),
    # Commands of operators: a migration takes the time that it takes, but waits for no lock long.
    "command": Patience(statement_s=0, lock_s=30, idle_in_transaction_s=600),
    # Runs that start together wait for the one that makes the template of their databases.
    "tests": Patience(statement_s=600, lock_s=0, idle_in_transaction_s=0),
}


def process_name(argv: Sequence[str], environment: Mapping[str, str]) -> str:
    """Return the profile of a process: the name that it was given, else what it was started as."""
    given = environment.get("SCLOUD_PROCESS", "")
    if given:
        return given
    program = Path(argv[0]).name if argv else ""
    path = argv[0] if argv else ""
    words = list(argv[1:2])
    if program in ("daphne", "uvicorn", "gunicorn", "hypercorn") or words == ["runserver"]:
        return "console"
    if path.endswith("scloud/serve.py"):
        return "console"
    if path.endswith("compute/vnc/__main__.py"):
        return "gateway" if words == ["gateway"] else "vnc"
    if words in (["worker"], ["qcluster"]):
        return "worker"
    if words in (["sweeper"], ["collector"]):
        return words[0]
    return "command"


def options(process: str) -> dict[str, Any]:
    """Return libpq's parameters for a process; ValueError for a name without a profile."""
    try:
        patience = PROFILES[process]
    except KeyError:
        raise ValueError(
            f"SCLOUD_PROCESS is {process!r}; it must be one of {', '.join(PROFILES)}."
        ) from None
    server = {
        # Compiling a query costs more than running it: ours are short, and the planner's guess is
        # far off where a row gathers arrays of others.
        "jit": "off",
        "statement_timeout": _milliseconds(patience.statement_s),
        "lock_timeout": _milliseconds(patience.lock_s),
        "idle_in_transaction_session_timeout": _milliseconds(patience.idle_in_transaction_s),
        # The same from the server's side: a client that vanished keeps no lock for long.
        "tcp_keepalives_idle": "10",
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "3",
        "tcp_user_timeout": _milliseconds(30),
    }
    return {
        **TRANSPORT,
        "application_name": f"scloud-{process}",
        "options": " ".join(f"-c {name}={value}" for name, value in server.items()),
    }


def _milliseconds(seconds: float) -> str:
    return str(int(seconds * 1000))


#: What a connection needs, whatever it is for, to notice a server that is gone.
TRANSPORT: Mapping[str, Any] = {
    "connect_timeout": CONNECT_S,
    "keepalives": 1,
    "keepalives_idle": KEEPALIVE_IDLE_S,
    "keepalives_interval": KEEPALIVE_INTERVAL_S,
    "keepalives_count": KEEPALIVE_COUNT,
    "tcp_user_timeout": UNACKNOWLEDGED_S * 1000,
}


def present_process() -> str:
    if "pytest" in sys.modules:
        return "tests"
    return process_name(sys.argv, os.environ)

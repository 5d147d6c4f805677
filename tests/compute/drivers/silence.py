"""``python -m tests.compute.drivers.silence URI THREADS``: ask a host from many threads for ever.

Prints "asking" when all of them have had an answer, then a line for each call that failed. A
process of its own, since the fault that is looked for is one that ends the process.
"""

from __future__ import annotations

import os
import sys
import threading

from compute.hypervisor.base import HypervisorError
from compute.hypervisor.libvirt import connection

# Gives up the host as soon as can be told.
connection.KEEPALIVE_INTERVAL_S, connection.KEEPALIVE_COUNT = 1, 2


def main(uri: str, threads: int) -> None:
    """Ask until somebody ends the process."""
    host = connection.connection_to(uri)
    answered = [threading.Event() for _number in range(threads)]

    def ask(first: threading.Event) -> None:
        while True:
            try:
                # Longer than the keep-alive, which is to end the call.
                host.call(lambda conn: conn.getAllDomainStats(0), timeout_s=60)
                first.set()
            except HypervisorError as error:
                # In one piece, which print() of several threads is not.
                os.write(1, f"failed: {type(error).__name__}\n".encode())

    for first in answered:
        threading.Thread(target=ask, args=(first,), daemon=True).start()
    for first in answered:
        first.wait()
    print("asking", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))

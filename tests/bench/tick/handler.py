"""Jobs that take no host: one that only begins, one that waits for ever, one that drips."""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from compute.transfer import download
from scloud.jobs.handlers import Context, Handler, Step
from scloud.jobs.lanes import Lane
from scloud.jobs.models import Job
from scloud.lib.destinations import Destinations, networks

KIND = "bench.tick"
STUCK = "bench.stuck"
DRIPPING = "bench.dripping"


class Tick(Handler):
    """Writes down the time at which its step began, in seconds since the epoch."""

    def steps(self, job: Job) -> Sequence[Step]:
        """Return the one step."""
        return (Step("tick", "Writing down the time", self.tick),)

    def tick(self, context: Context) -> None:
        """Write down the time."""
        context.result["began_at_s"] = time.time()


class Stuck(Handler):
    """Waits as a shutdown does that the guest ignores."""

    def steps(self, job: Job) -> Sequence[Step]:
        """Return the one step."""
        return (Step("wait", "Waiting for the guest to shut down", self.wait),)

    def wait(self, context: Context) -> None:
        """Wait for what does not come."""
        context.wait_until(lambda: False, timeout_s=3600)


class Dripping(Handler):
    """Downloads as an import does, from a server that sends a byte a second."""

    lane = Lane.LONG

    def steps(self, job: Job) -> Sequence[Step]:
        """Return the one step."""
        return (Step("fetch", "Downloading", self.fetch),)

    def fetch(self, context: Context) -> None:
        """Download."""
        with tempfile.TemporaryDirectory() as folder:
            download.fetch(
                context.payload["url"],
                Path(folder) / "image",
                max_bytes=1024**3,
                destinations=Destinations(
                    allowed=networks(["127.0.0.0/8"]), ports=frozenset(range(1, 65536))
                ),
                report=lambda done, total: context.check(),
            )


def handlers() -> dict[str, Any]:
    """Return the handlers by kind."""
    return {KIND: Tick(), STUCK: Stuck(), DRIPPING: Dripping()}

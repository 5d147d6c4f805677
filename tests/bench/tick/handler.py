"""A job whose only step writes down when it began."""

import time
from collections.abc import Sequence

from scloud.jobs.handlers import Context, Handler, Step
from scloud.jobs.models import Job

KIND = "bench.tick"


class Tick(Handler):
    """Writes down the time at which its step began, in seconds since the epoch."""

    def steps(self, job: Job) -> Sequence[Step]:
        """Return the one step."""
        return (Step("tick", "Writing down the time", self.tick),)

    def tick(self, context: Context) -> None:
        """Write down the time."""
        context.result["began_at_s"] = time.time()

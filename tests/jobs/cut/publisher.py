"""Run one job whose step publishes again and again, until its worker knows that it lost the job.

Prints ``published <asked> <done>`` and ``believed <asked> <done>`` lines, the times before and
after the question whether the job is still its own, and last the outcome of the run.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence


def main() -> None:
    """Run the job that is named."""
    import django

    django.setup()
    from scloud.jobs import runner
    from scloud.jobs.handlers import Context, Handler, LeaseLostError, Step, register
    from scloud.jobs.models import Job
    from scloud.lib import lease

    telling = threading.Lock()

    def tell(*words: object) -> None:
        # Two threads tell, and print writes a line in pieces.
        with telling:
            print(*words, flush=True)

    class Publisher(Handler):
        def steps(self, job: Job) -> Sequence[Step]:
            return (Step("publish", "Publishing", self.publish),)

        def publish(self, context: Context) -> None:
            def believe() -> None:
                while True:
                    asked = time.time()
                    try:
                        context.check()
                    except LeaseLostError:
                        return
                    tell("believed", asked, time.time())
                    time.sleep(0.05)

            watch = threading.Thread(target=believe)
            watch.start()
            try:
                while True:
                    asked = time.time()
                    lease.confirm()
                    tell("published", asked, time.time())
                    time.sleep(0.05)
            finally:
                watch.join()

    register("test.publish", Publisher())
    tell("outcome", runner.run(sys.argv[1]))


if __name__ == "__main__":
    main()

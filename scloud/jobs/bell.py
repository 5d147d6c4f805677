"""The one function that django-q2 calls: a wake-up.

Its name stands in the queue, where wake-ups of other releases may wait, so it stays.
"""

import logging
import time

from django.db import DatabaseError, InterfaceError, OperationalError, connection

from scloud.jobs import runner, workers
from scloud.lib.backoff import Said

said = Said(logging.getLogger(__name__))

# A database server is started anew within seconds. Who gives up before loses the wake-up, which the
# sweep repeats a minute later only.
AWAY_PATIENCE_S = 30.0
AWAY_AGAIN_S = 0.5


def ring(job_id: str) -> str:
    """Do what has its turn; the id only names the job that the wake-up was sent for.

    Waits for a database that does not answer. The answer is for the log: the Job row is
    authoritative.
    """
    end = time.monotonic() + AWAY_PATIENCE_S
    while True:
        try:
            workers.announce(called=job_id == workers.CALL)
            outcome = runner.serve()
        except (DatabaseError, InterfaceError) as error:
            said.say("database", "away", logging.ERROR, "the database did not answer: %s", error)
            connection.close()
            # Anything else is no better the next time.
            away = isinstance(error, OperationalError | InterfaceError)
            if not away or time.monotonic() > end:
                return "database away"
            time.sleep(AWAY_AGAIN_S)
        else:
            said.over("database")
            return outcome

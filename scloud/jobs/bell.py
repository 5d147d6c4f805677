"""The one function that django-q2 calls: a wake-up.

Its name stands in the queue, where wake-ups of other releases may wait, so it stays.
"""

import logging

from django.db import DatabaseError, InterfaceError, connection

from scloud.jobs import runner, workers
from scloud.lib.backoff import Said

said = Said(logging.getLogger(__name__))


def ring(job_id: str) -> str:
    """Do what has its turn; the id only names the job that the wake-up was sent for.

    The answer is for the log: the Job row is authoritative.
    """
    try:
        workers.announce()
        outcome = runner.serve()
    except (DatabaseError, InterfaceError) as error:
        said.say("database", "away", logging.ERROR, "the database did not answer: %s", error)
        connection.close()
        return "database away"
    said.over("database")
    return outcome

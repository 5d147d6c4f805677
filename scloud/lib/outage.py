"""Telling a database that is away, or busy for a moment, from a defect."""

import logging
from typing import Final

from django.db import InterfaceError, OperationalError
from django.utils.translation import gettext as _

from scloud.lib.errors import Unavailable

RETRY_AFTER_S: Final = 5
RETRY_BUSY_AFTER_S: Final = 1

# SQLSTATEs of a server that answers, but only that something took too long or met another
# transaction: serialization failure, deadlock, lock not available, statement timeout.
_BUSY: Final = frozenset({"40001", "40P01", "55P03", "57014"})


def outage_of(error: BaseException | None) -> Unavailable | None:
    """Return what to tell people when the error says that the database cannot serve; else None.

    The whole chain of causes is looked at: an error at commit may arrive wrapped.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, Unavailable):
            return error
        if isinstance(error, OperationalError | InterfaceError):
            busy = getattr(error.__cause__, "sqlstate", None) in _BUSY
            return _busy() if busy else _away()
        error = error.__cause__ or error.__context__
    return None


def _away() -> Unavailable:
    return Unavailable(
        _("The service is unavailable for a moment."),
        code="database_unavailable",
        remedy=_("Try again in a few seconds. No changes were made."),
        numbers={"retry_after_s": RETRY_AFTER_S},
    )


def _busy() -> Unavailable:
    return Unavailable(
        _("The request conflicted with another one."),
        code="database_busy",
        remedy=_("Try again. No changes were made."),
        numbers={"retry_after_s": RETRY_BUSY_AFTER_S},
    )


class OneLine(logging.Filter):
    """Shortens what is logged of each request during an outage: a line instead of a traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        if outage_of(error) is not None:
            words = str(error).strip().splitlines()
            record.msg = f"{record.getMessage()}: the database did not answer (%s)"
            record.args = (words[0] if words else type(error).__name__,)
            record.exc_info = None
            record.exc_text = None
        return True

"""Lists as workbooks: written by a worker thread into a spooled file, then sent.

The rows come from a server-side cursor and go to the file as they come, so memory does not depend
on their number. The worker thread has a database connection of its own. At most two of them run in
a process for tenants and one for administrators; a user may have two downloads at a time. The
workbook of a long list is written by a child process: that is half of the work, and this process
has pages to answer.

With ``progress`` the response is a stream of lines, each a JSON object: ``{"rows", "total"}``
while rows are written, at last ``{"file", "bytes"}``, after which that many bytes of the file
follow, or ``{"error": {code, message, …}}``. Without, it is the file alone.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import pickle
import subprocess
import sys
import tempfile
import threading
import weakref
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import islice
from pathlib import Path
from types import NoneType
from typing import IO, Any

from asgiref.sync import sync_to_async
from django.db import connection, transaction
from django.db.models import QuerySet
from django.http import StreamingHttpResponse
from django.utils import timezone, translation
from django.utils.html import strip_tags
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from scloud.lib.errors import InternalError, ScloudError, TooManyRequests
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import in_scope_of
from scloud.web import workbook

logger = logging.getLogger(__name__)

CHUNK_ROWS = 1000
# Shorter lists are written in this process.
ROWS_HERE = 3000
# A child that was told to end has so long to clear away.
END_S = 10.0
KEPT_BYTES = 2000
MAX_PER_USER = 2
PIECE_BYTES = 256 * 1024
IN_MEMORY_BYTES = 1024 * 1024
REPORT_EVERY_S = 0.3
CONTENT_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
PROGRESS_TYPE = "application/vnd.scloud.download"

_PROGRAM = Path(workbook.__file__)
_PLAIN = frozenset({str, bool, int, float, Decimal, NoneType})

# Writing is work for the processor: more threads would only slow the pages down.
_threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="download")
# Long lists of tenants do not hold up those who look after the platform, nor the other way round.
_threads_of_operators = ThreadPoolExecutor(
    max_workers=1, thread_name_prefix="download of an operator"
)
_running: Counter[str] = Counter()
_counting = threading.Lock()


@dataclass(frozen=True)
class ExportColumn:
    """A column of the workbook: its heading and how to get the value of a row."""

    label: str
    value: Callable[[Any], Any]


@dataclass
class Progress:
    """Rows written so far and rows in all; both are 0 while the download waits for its turn."""

    rows: int = 0
    total: int = 0


class Cancelled(Exception):
    """Nobody waits for the workbook any more."""


def plain(value: Any) -> workbook.Plain:
    """Return a value as a cell holds it: times in the current zone, lists and HTML as text."""
    if type(value) in _PLAIN:
        known: workbook.Plain = value
        return known
    for number in (int, float, Decimal):
        if isinstance(value, number):
            # An enumeration's member: the program that writes does not know its class.
            return number(value)
    if isinstance(value, datetime):
        return timezone.localtime(value).replace(tzinfo=None) if value.tzinfo else value
    if isinstance(value, date):
        return value
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(str(part) for part in value if part not in (None, ""))
    if isinstance(value, SafeString):
        return str(strip_tags(value))
    return str(value)


def write_workbook(
    rows: Iterator[Any],
    columns: Sequence[ExportColumn],
    sheet_name: str,
    target: IO[bytes],
    report: Callable[[int], None] = lambda written: None,
) -> None:
    """Write rows into ``target`` as a workbook, in this process.

    ``report`` gets the number of rows written, every CHUNK_ROWS. What it raises ends the writing.
    """
    workbook.write(_headings(columns), sheet_name, _chunks(rows, columns), target, report)


def write_by_child(
    rows: Iterator[Any],
    columns: Sequence[ExportColumn],
    sheet_name: str,
    target: IO[bytes],
    report: Callable[[int], None] = lambda written: None,
) -> None:
    """The same by a child process; ``target`` has a file descriptor.

    ``report`` is also called, with all rows, while the file is closed. Raises InternalError where
    the child fails.
    """
    # Without the environment of this process, which holds its secrets.
    environment = {"PATH": os.defpath, "LANG": "C.UTF-8"}
    if directory := os.environ.get("TMPDIR"):
        environment["TMPDIR"] = directory
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen(
            [sys.executable, "-I", str(_PROGRAM), str(target.fileno())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=said,
            pass_fds=[target.fileno()],
            env=environment,
            cwd="/",
        )
        assert child.stdin is not None
        written = 0
        try:
            with suppress(BrokenPipeError):
                pickle.dump((_headings(columns), sheet_name), child.stdin)
                for chunk in _chunks(rows, columns):
                    pickle.dump(chunk, child.stdin)
                    written += len(chunk)
                    report(written)
                pickle.dump(None, child.stdin)
                child.stdin.close()
            while _still_runs(child, REPORT_EVERY_S):
                report(written)
        finally:
            # It ends at the end of its input, and takes its temporary files with it.
            with suppress(BrokenPipeError):
                child.stdin.close()
            if _still_runs(child, END_S):
                child.kill()
                child.wait()
        if child.returncode:
            said.seek(0)
            words = said.read(KEPT_BYTES).decode(errors="replace")
            logger.error("a workbook could not be written, code %d: %s", child.returncode, words)
            raise _failed()


def _still_runs(child: subprocess.Popen[bytes], wait_s: float) -> bool:
    try:
        child.wait(wait_s)
    except subprocess.TimeoutExpired:
        return True
    return False


def _headings(columns: Sequence[ExportColumn]) -> list[str]:
    return [column.label for column in columns]


def _chunks(rows: Iterator[Any], columns: Sequence[ExportColumn]) -> Iterator[workbook.Chunk]:
    getters = [column.value for column in columns]
    while chunk := list(islice(rows, CHUNK_ROWS)):
        yield [[plain(get(obj)) for get in getters] for obj in chunk]


def _objects(queryset: QuerySet[Any]) -> Iterator[Any]:
    # Thousands of rows name the same few models and images: a join would send and build each of
    # them anew with every row.
    joined = queryset.query.select_related
    if isinstance(joined, dict):
        queryset = queryset.select_related(None).prefetch_related(*_paths(joined))
    yield from queryset.iterator(chunk_size=CHUNK_ROWS)


def _paths(joined: dict[str, Any]) -> list[str]:
    """Return what select_related was given, such as ``nic`` and ``nic__subnet``."""
    found = []
    for name, further in joined.items():
        found += [name, *(f"{name}__{path}" for path in _paths(further))]
    return found


class _Download:
    """One download: what is written, how far, and whether anybody still waits for it."""

    def __init__(
        self,
        queryset: QuerySet[Any],
        columns: Sequence[ExportColumn],
        name: str,
        tenant: Tenant | None,
    ) -> None:
        self._queryset, self._columns, self._name, self._tenant = queryset, columns, name, tenant
        # The middleware has closed all three by the time at which the rows are read.
        self._zone, self._language = timezone.get_current_timezone(), translation.get_language()
        self.threads = _threads_of_operators if tenant is None else _threads
        self.progress = Progress()
        self.cancelled = threading.Event()

    def write(self) -> IO[bytes]:
        """Return the finished file, at its beginning. Raises Cancelled."""
        self._go_on()
        file: IO[bytes] = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES)  # noqa: SIM115  (returned open)
        try:
            with (
                in_scope_of(self._tenant),
                timezone.override(self._zone),
                translation.override(self._language),
                # Inside a transaction the cursor reads on as rows are asked for; outside the
                # server would have to keep the whole result.
                transaction.atomic(),
            ):
                self.progress.total = self._queryset.count()
                # What starting a child costs is paid back by a few thousand rows.
                write = write_workbook if self.progress.total <= ROWS_HERE else write_by_child
                write(_objects(self._queryset), self._columns, self._name, file, self._report)
            file.seek(0)
        except BaseException:
            file.close()
            raise
        return file

    def write_in_thread(self) -> IO[bytes]:
        """Do :meth:`write` with a database connection that ends with it."""
        try:
            return self.write()
        finally:
            connection.close()

    def _report(self, written: int) -> None:
        self.progress.rows = written
        self._go_on()

    def _go_on(self) -> None:
        if self.cancelled.is_set():
            raise Cancelled


def _failed() -> InternalError:
    return InternalError(
        _("The file could not be created."),
        remedy=_("Try again. If it fails again, contact support."),
    )


def _line(**values: Any) -> bytes:
    return json.dumps(values).encode() + b"\n"


def _told(error: Exception) -> bytes:
    """Return the line that tells an error after the headers have gone out."""
    if not isinstance(error, ScloudError):
        logger.error("A list could not be written as a workbook.", exc_info=error)
        error = _failed()
    return _line(error=error.as_dict())


def _pieces(file: IO[bytes]) -> Iterator[bytes]:
    while piece := file.read(PIECE_BYTES):
        yield piece


def _size(file: IO[bytes]) -> int:
    size = file.seek(0, 2)
    file.seek(0)
    return size


def _stream(
    download: _Download, filename: str, progress: bool, ended: Callable[[], Any]
) -> Iterator[bytes]:
    try:
        try:
            file = download.write()
        except Exception as error:
            if not progress:
                raise
            yield _told(error)
            return
        with file:
            if progress:
                yield _line(rows=download.progress.rows, total=download.progress.total)
                yield _line(file=filename, bytes=_size(file))
            yield from _pieces(file)
    finally:
        ended()


async def _stream_async(
    download: _Download, filename: str, progress: bool, ended: Callable[[], Any]
) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    writing = loop.run_in_executor(download.threads, download.write_in_thread)
    try:
        while not (await asyncio.wait({writing}, timeout=REPORT_EVERY_S))[0]:
            if progress:
                yield _line(rows=download.progress.rows, total=download.progress.total)
        try:
            file = writing.result()
        except Exception as error:
            if not progress:
                raise
            yield await sync_to_async(_told)(error)
            return
        with file:
            if progress:
                yield _line(file=filename, bytes=_size(file))
            for piece in _pieces(file):
                yield piece
    finally:
        # Nobody is left to tell when the browser has gone.
        download.cancelled.set()
        writing.add_done_callback(_drop)
        ended()


def _drop(writing: asyncio.Future[IO[bytes]]) -> None:
    if not writing.cancelled() and writing.exception() is None:
        writing.result().close()


def _begin(user: str) -> None:
    with _counting:
        if _running[user] >= MAX_PER_USER:
            raise TooManyRequests(
                _("%(count)d of your downloads are being prepared.") % {"count": MAX_PER_USER},
                code="too_many_downloads",
                remedy=_("Wait until one of them has finished."),
                numbers={"limit": MAX_PER_USER},
            )
        _running[user] += 1


def _end(user: str) -> None:
    with _counting:
        _running[user] -= 1
        if not _running[user]:
            del _running[user]


def workbook_response(
    *,
    queryset: QuerySet[Any],
    columns: Sequence[ExportColumn],
    name: str,
    tenant: Tenant | None,
    user: str,
    progress: bool = False,
    asynchronous: bool = False,
) -> StreamingHttpResponse:
    """Return a download of all rows of a queryset; see the module for ``progress``.

    ``user`` identifies who asks; ``tenant`` is None for administrators. ``asynchronous`` says that
    the server is an ASGI one; only then a worker thread writes. Raises TooManyRequests
    (``too_many_downloads``).
    """
    _begin(user)
    try:
        download = _Download(queryset, columns, name, tenant)
        filename = f"scloud-{name}-{datetime.now(UTC).strftime('%Y%m%d-%H%M%S')}.xlsx"
        response = StreamingHttpResponse(content_type=PROGRESS_TYPE if progress else CONTENT_TYPE)
    except BaseException:
        _end(user)
        raise
    # The response of a browser that has gone may never be iterated.
    ended = weakref.finalize(response, _end, user)
    response.streaming_content = (
        _stream_async(download, filename, progress, ended)
        if asynchronous
        else _stream(download, filename, progress, ended)
    )
    response.headers["Content-Disposition"] = f'attachment; filename="{filename}"'
    response.headers["Cache-Control"] = "private, no-store"
    # A proxy that collects the answer first would hide the progress.
    response.headers["X-Accel-Buffering"] = "no"
    return response

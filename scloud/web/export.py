"""Lists as workbooks: written by a worker thread into a spooled file, then sent.

The rows come from a server-side cursor and go to the file as they come, so memory does not depend
on their number. The worker thread has a database connection of its own and at most two of them
run in a process; a user may have two downloads at a time.

With ``progress`` the response is a stream of lines, each a JSON object: ``{"rows", "total"}``
while rows are written, at last ``{"file", "bytes"}``, after which that many bytes of the file
follow, or ``{"error": {code, message, …}}``. Without, it is the file alone.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import re
import tempfile
import threading
import weakref
import zipfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import islice
from typing import IO, Any

from asgiref.sync import sync_to_async
from django.db import connection, transaction
from django.db.models import QuerySet
from django.http import StreamingHttpResponse
from django.utils import timezone, translation
from django.utils.html import strip_tags
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from openpyxl import Workbook
from openpyxl.cell import WriteOnlyCell
from openpyxl.cell.rich_text import CellRichText
from openpyxl.styles import Font
from openpyxl.utils import get_column_letter
from openpyxl.writer.excel import ExcelWriter

from scloud.lib.errors import InternalError, ScloudError, TooManyRequests
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import in_scope_of

logger = logging.getLogger(__name__)

CHUNK_ROWS = 1000
MAX_ROWS = 1_048_575  # of a sheet, less the heading
MAX_CELL_CHARACTERS = 32_767
MAX_TITLE_CHARACTERS = 31
MAX_PER_USER = 2
PIECE_BYTES = 256 * 1024
IN_MEMORY_BYTES = 1024 * 1024
REPORT_EVERY_S = 0.3
CONTENT_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
PROGRESS_TYPE = "application/vnd.scloud.download"

# Characters that XML 1.0 cannot hold at all.
_ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
# "_x0041_" is how the format writes a character by its number: readers would show "A".
_ESCAPE = re.compile("(?<=_)(?=x[0-9A-Fa-f]{4}_)")

# Writing is work for the processor: more threads would only slow the pages down.
_threads = ThreadPoolExecutor(max_workers=2, thread_name_prefix="download")
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


def _text(sheet: Any, text: str) -> Any:
    clean = _ILLEGAL.sub("", text)[:MAX_CELL_CHARACTERS]
    guarded = clean.startswith(_FORMULA_STARTS)
    if not guarded and clean[:1] != "#" and "_x" not in clean:
        # By far the most frequent, and the cheapest.
        return clean or None
    parts = _ESCAPE.split(clean)
    # In pieces of rich text no piece looks like an escape, and every reader joins them again.
    content: Any = CellRichText(*parts) if len(parts) > 1 else clean
    cell = WriteOnlyCell(sheet, content)
    # Never a formula or an error value, whatever it looks like.
    cell.data_type = "s"
    if guarded:
        # The quote prefix keeps it text even after somebody edits the cell or saves the sheet in
        # another format.
        cell.number_format = "@"
        cell.quotePrefix = True
    return cell


def cell(sheet: Any, value: Any) -> Any:
    """Return what openpyxl appends to a row. Numbers, dates and truth values keep their type."""
    if type(value) is str:
        return _text(sheet, value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float | Decimal):
        # NaN and infinities have no number in the format; integers lose digits above 2**53.
        if not math.isfinite(value) or abs(float(value)) > 2**53:
            return _text(sheet, str(value))
        return value
    if isinstance(value, datetime):
        return timezone.localtime(value).replace(tzinfo=None) if value.tzinfo else value
    if isinstance(value, date):
        return value
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, list | tuple | set | frozenset):
        return _text(sheet, ", ".join(str(part) for part in value if part not in (None, "")))
    if isinstance(value, SafeString):
        return _text(sheet, strip_tags(value))
    return _text(sheet, str(value))


def _new_sheet(book: Workbook, columns: Sequence[ExportColumn], name: str, number: int) -> Any:
    suffix = f" ({number})" if number > 1 else ""
    title = "".join(c for c in name if c not in "[]:*?/\\'")[: MAX_TITLE_CHARACTERS - len(suffix)]
    sheet: Any = book.create_sheet((title or "Sheet") + suffix)
    sheet.freeze_panes = "A2"
    heading = []
    for position, column in enumerate(columns, 1):
        width = max(12, min(40, len(column.label) + 8))
        sheet.column_dimensions[get_column_letter(position)].width = width
        head = WriteOnlyCell(sheet, _ILLEGAL.sub("", column.label))
        head.data_type = "s"
        head.font = Font(bold=True)
        heading.append(head)
    sheet.append(heading)
    return sheet


def write_workbook(
    rows: Iterator[Any],
    columns: Sequence[ExportColumn],
    sheet_name: str,
    target: IO[bytes],
    report: Callable[[int], None] = lambda written: None,
) -> None:
    """Write a workbook into ``target``; more rows than a sheet holds go to further sheets.

    ``report`` gets the number of rows written, every CHUNK_ROWS. What it raises ends the writing.
    """
    book = Workbook(write_only=True)
    getters = [column.value for column in columns]
    try:
        written, left, sheet = 0, 0, None
        while chunk := list(islice(rows, CHUNK_ROWS)):
            for obj in chunk:
                if not left:
                    sheet = _new_sheet(book, columns, sheet_name, len(book.worksheets) + 1)
                    left = MAX_ROWS
                assert sheet is not None
                sheet.append([cell(sheet, get(obj)) for get in getters])
                left -= 1
            written += len(chunk)
            report(written)
        if sheet is None:
            _new_sheet(book, columns, sheet_name, 1)
        # Level 1: a sheet is repetitive enough; more costs twice the time for a tenth of the size.
        archive = zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1)
        ExcelWriter(book, archive).save()
    except BaseException:
        _discard(book)
        raise


def _discard(book: Workbook) -> None:
    """Remove the temporary files of the sheets, which openpyxl only does when it saves."""
    for sheet in book.worksheets:
        sheet_writer: Any = sheet
        with suppress(Exception):
            if not sheet_writer.closed:
                sheet_writer.close()
        with suppress(OSError, ValueError):
            sheet_writer._writer.cleanup()


def _objects(queryset: QuerySet[Any]) -> Iterator[Any]:
    yield from queryset.iterator(chunk_size=CHUNK_ROWS)


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
                write_workbook(
                    _objects(self._queryset), self._columns, self._name, file, self._report
                )
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


def _line(**values: Any) -> bytes:
    return json.dumps(values).encode() + b"\n"


def _told(error: Exception) -> bytes:
    """Return the line that tells an error after the headers have gone out."""
    if not isinstance(error, ScloudError):
        logger.error("A list could not be written as a workbook.", exc_info=error)
        error = InternalError(
            _("The file could not be created."),
            remedy=_("Try again. If it fails again, contact support."),
        )
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
    writing = asyncio.get_running_loop().run_in_executor(_threads, download.write_in_thread)
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

    ``user`` identifies who asks. ``asynchronous`` says that the server is an ASGI one; only then
    a worker thread writes. Raises TooManyRequests (``too_many_downloads``).
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

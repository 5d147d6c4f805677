"""Lists as workbooks: .xlsx written straight into the response, row by row.

A workbook is a ZIP of XML parts. The sheet is written while the rows are read from a server-side
cursor, so neither time to the first byte nor memory depends on the number of rows.
"""

import io
import math
import re
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from asgiref.sync import sync_to_async
from django.db.models import QuerySet
from django.http import StreamingHttpResponse
from django.utils import timezone
from django.utils.html import strip_tags
from django.utils.safestring import SafeString

from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import in_scope_of

if TYPE_CHECKING:
    from typing_extensions import Buffer

CHUNK_ROWS = 1000
MAX_ROWS = 1_048_575  # of a sheet, less the heading
MAX_CELL_CHARACTERS = 32_767
CONTENT_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"

# Characters that XML 1.0 cannot hold at all.
_ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_EPOCH = datetime(1899, 12, 30)  # noqa: DTZ001 (day 0 of the format's calendar, which has no zone)

# Cell formats in the order of cellXfs in styles.xml.
_HEADING, _TEXT_GUARDED, _MOMENT, _DAY = 1, 2, 3, 4

_STYLES = """<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<styleSheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">
<numFmts count="2"><numFmt numFmtId="164" formatCode="yyyy\\-mm\\-dd\\ hh:mm:ss"/>
<numFmt numFmtId="165" formatCode="yyyy\\-mm\\-dd"/></numFmts>
<fonts count="2"><font><sz val="11"/><name val="Calibri"/></font>
<font><b/><sz val="11"/><name val="Calibri"/></font></fonts>
<fills count="2"><fill><patternFill patternType="none"/></fill>
<fill><patternFill patternType="gray125"/></fill></fills>
<borders count="1"><border><left/><right/><top/><bottom/><diagonal/></border></borders>
<cellStyleXfs count="1"><xf numFmtId="0" fontId="0" fillId="0" borderId="0"/></cellStyleXfs>
<cellXfs count="5">
<xf numFmtId="0" fontId="0" fillId="0" borderId="0" xfId="0"/>
<xf numFmtId="0" fontId="1" fillId="0" borderId="0" xfId="0" applyFont="1"/>
<xf numFmtId="49" fontId="0" fillId="0" borderId="0" xfId="0" quotePrefix="1"/>
<xf numFmtId="164" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"/>
<xf numFmtId="165" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"/>
</cellXfs>
<cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles>
</styleSheet>"""
_XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
_PACKAGE = "http://schemas.openxmlformats.org/package/2006"
_OFFICE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
_PART = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_RELS_TYPE = "application/vnd.openxmlformats-package.relationships+xml"
_CONTENT_TYPES = (
    f'{_XML}<Types xmlns="{_PACKAGE}/content-types">'
    f'<Default Extension="rels" ContentType="{_RELS_TYPE}"/>'
    '<Default Extension="xml" ContentType="application/xml"/>'
    f'<Override PartName="/xl/workbook.xml" ContentType="{_PART}.sheet.main+xml"/>'
    f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{_PART}.worksheet+xml"/>'
    f'<Override PartName="/xl/styles.xml" ContentType="{_PART}.styles+xml"/></Types>'
)
_ROOT_RELS = (
    f'{_XML}<Relationships xmlns="{_PACKAGE}/relationships">'
    f'<Relationship Id="rId1" Type="{_OFFICE}/officeDocument" Target="xl/workbook.xml"/>'
    "</Relationships>"
)
_BOOK_RELS = (
    f'{_XML}<Relationships xmlns="{_PACKAGE}/relationships">'
    f'<Relationship Id="rId1" Type="{_OFFICE}/worksheet" Target="worksheets/sheet1.xml"/>'
    f'<Relationship Id="rId2" Type="{_OFFICE}/styles" Target="styles.xml"/></Relationships>'
)
_SHEET_HEAD = (
    f'{_XML}<worksheet xmlns="{_MAIN}"><sheetViews><sheetView workbookViewId="0">'
    '<pane ySplit="1" topLeftCell="A2" activePane="bottomLeft" state="frozen"/>'
    '</sheetView></sheetViews><sheetFormatPr defaultRowHeight="15"/>'
)


@dataclass(frozen=True)
class ExportColumn:
    """A column of the workbook: its heading and how to get the value of a row."""

    label: str
    value: Callable[[Any], Any]


class _Sink(io.RawIOBase):
    """A file that can only be written to; what was written is taken out piece by piece."""

    def __init__(self) -> None:
        super().__init__()
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: "Buffer", /) -> int:
        piece = bytes(data)
        self._parts.append(piece)
        return len(piece)

    def take(self) -> bytes:
        """Return and forget what was written since the last call."""
        data = b"".join(self._parts)
        self._parts.clear()
        return data


def _text_cell(text: str) -> str:
    clean = escape(_ILLEGAL.sub("", text)[:MAX_CELL_CHARACTERS])
    # As inline text a formula is never evaluated here; the quote prefix keeps it text even after
    # somebody edits the cell or saves the sheet in another format.
    style = f' s="{_TEXT_GUARDED}"' if text.startswith(_FORMULA_STARTS) else ""
    return f'<c t="inlineStr"{style}><is><t xml:space="preserve">{clean}</t></is></c>'


def _serial(moment: datetime) -> str:
    span = moment - _EPOCH
    return f"{span.days + span.seconds / 86_400:.8f}"


def cell(value: Any) -> str:
    """Return the XML of one cell. Numbers, dates and truth values keep their type."""
    if value is None or value == "":
        return "<c/>"
    if type(value) is str:
        # By far the most frequent, so it is asked first.
        return _text_cell(value)
    if isinstance(value, bool):
        return f'<c t="b"><v>{int(value)}</v></c>'
    if isinstance(value, int | float | Decimal):
        # NaN and infinities have no number in the format; integers lose digits above 2**53.
        if not math.isfinite(value) or abs(float(value)) > 2**53:
            return _text_cell(str(value))
        return f"<c><v>{value}</v></c>"
    if isinstance(value, datetime):
        local = timezone.localtime(value).replace(tzinfo=None) if value.tzinfo else value
        return f'<c s="{_MOMENT}"><v>{_serial(local)}</v></c>'
    if isinstance(value, date):
        days = (value - _EPOCH.date()).days
        return f'<c s="{_DAY}"><v>{days}</v></c>'
    if isinstance(value, timedelta):
        return f"<c><v>{value.total_seconds()}</v></c>"
    if isinstance(value, list | tuple | set | frozenset):
        return _text_cell(", ".join(str(part) for part in value if part not in (None, "")))
    if isinstance(value, SafeString):
        return _text_cell(strip_tags(value))
    return _text_cell(str(value))


def _row(values: Sequence[Any]) -> str:
    return f"<row>{''.join(map(cell, values))}</row>"


def _heading(labels: Sequence[str]) -> str:
    cells = "".join(
        f'<c t="inlineStr" s="{_HEADING}"><is><t xml:space="preserve">'
        f"{escape(_ILLEGAL.sub('', label))}</t></is></c>"
        for label in labels
    )
    return f"<row>{cells}</row>"


def workbook(
    rows: Iterator[Any], columns: Sequence[ExportColumn], sheet_name: str
) -> Iterator[bytes]:
    """Yield the bytes of a workbook with one sheet."""
    sink = _Sink()
    title = escape(
        "".join(c for c in sheet_name if c not in "[]:*?/\\'")[:31] or "Sheet1", {'"': "&quot;"}
    )
    # Level 1: the sheet is repetitive enough; more costs twice the time for a tenth of the size.
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("[Content_Types].xml", _CONTENT_TYPES)
        archive.writestr("_rels/.rels", _ROOT_RELS)
        archive.writestr("xl/_rels/workbook.xml.rels", _BOOK_RELS)
        archive.writestr("xl/styles.xml", _STYLES)
        archive.writestr(
            "xl/workbook.xml",
            f'{_XML}<workbook xmlns="{_MAIN}" xmlns:r="{_OFFICE}">'
            f'<sheets><sheet name="{title}" sheetId="1" r:id="rId1"/></sheets></workbook>',
        )
        yield sink.take()
        with archive.open("xl/worksheets/sheet1.xml", "w", force_zip64=True) as sheet:
            widths = "".join(
                f'<col min="{n}" max="{n}" width="{max(12, min(40, len(c.label) + 8))}"'
                ' customWidth="1"/>'
                for n, c in enumerate(columns, 1)
            )
            sheet.write(f"{_SHEET_HEAD}<cols>{widths}</cols><sheetData>".encode())
            sheet.write(_heading([c.label for c in columns]).encode())
            getters = [c.value for c in columns]
            limited = islice(rows, MAX_ROWS)
            while chunk := list(islice(limited, CHUNK_ROWS)):
                sheet.write("".join(_row([get(obj) for get in getters]) for obj in chunk).encode())
                if data := sink.take():
                    yield data
            sheet.write(b"</sheetData></worksheet>")
    yield sink.take()


def workbook_response(
    *,
    queryset: QuerySet[Any],
    columns: Sequence[ExportColumn],
    name: str,
    tenant: Tenant | None,
    asynchronous: bool = False,
) -> StreamingHttpResponse:
    """Return a download of all rows of a queryset.

    The rows are read while the browser receives them, after the middleware has closed the tenant's
    scope and the user's time zone; both are opened again around every piece. ``asynchronous`` says
    that the server is an ASGI one, which would collect a plain iterator in memory.
    """
    zone = timezone.get_current_timezone()
    source = workbook(_objects(queryset), columns, name)

    def next_piece() -> bytes | None:
        with in_scope_of(tenant), timezone.override(zone):
            return next(source, None)

    def stream() -> Iterator[bytes]:
        while (piece := next_piece()) is not None:
            yield piece

    async def stream_async() -> AsyncIterator[bytes]:
        # Thread-sensitive, so that all pieces use the request's own database connection.
        while (piece := await sync_to_async(next_piece)()) is not None:
            yield piece

    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    content = stream_async() if asynchronous else stream()
    response = StreamingHttpResponse(content, content_type=CONTENT_TYPE)
    response.headers["Content-Disposition"] = f'attachment; filename="scloud-{name}-{stamp}.xlsx"'
    response.headers["Cache-Control"] = "private, no-store"
    return response


def _objects(queryset: QuerySet[Any]) -> Iterator[Any]:
    yield from queryset.iterator(chunk_size=CHUNK_ROWS)

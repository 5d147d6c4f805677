"""Workbooks from rows of plain values, by openpyxl. Also a program, which draws on its own core.

``python -I workbook.py FD`` reads pickles from its standard input: the headings and the name of
the sheet as a pair, chunks of rows, at last None. It writes the workbook into the open file FD.
The input comes from the process that started it. Where it ends too early, so does the program, and
leaves no file. It imports nothing of the product, which takes longer than a short list.
"""

from __future__ import annotations

import math
import os
import pickle
import re
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import date, datetime
from decimal import Decimal
from typing import IO, Any

from openpyxl import Workbook
from openpyxl.cell import WriteOnlyCell
from openpyxl.cell.rich_text import CellRichText
from openpyxl.styles import Font
from openpyxl.utils import get_column_letter
from openpyxl.writer.excel import ExcelWriter

MAX_ROWS = 1_048_575  # of a sheet, less the heading
MAX_CELL_CHARACTERS = 32_767
MAX_TITLE_CHARACTERS = 31

# What a cell can hold; times without a zone.
Plain = str | bool | int | float | Decimal | datetime | date | None
Chunk = Sequence[Sequence[Plain]]

# Characters that XML 1.0 cannot hold at all.
_ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
# "_x0041_" is how the format writes a character by its number: readers would show "A".
_ESCAPE = re.compile("(?<=_)(?=x[0-9A-Fa-f]{4}_)")


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


def _cell(sheet: Any, value: Plain) -> Any:
    """Return what openpyxl appends to a row. Numbers, dates and truth values keep their type."""
    if type(value) is str:
        return _text(sheet, value)
    if type(value) is datetime or value is None:
        return value
    # NaN and infinities have no number in the format; integers lose digits above 2**53.
    if isinstance(value, int | float | Decimal) and (
        not math.isfinite(value) or abs(float(value)) > 2**53
    ):
        return _text(sheet, str(value))
    return value


def _new_sheet(book: Workbook, headings: Sequence[str], name: str, number: int) -> Any:
    suffix = f" ({number})" if number > 1 else ""
    title = "".join(c for c in name if c not in "[]:*?/\\'")[: MAX_TITLE_CHARACTERS - len(suffix)]
    sheet: Any = book.create_sheet((title or "Sheet") + suffix)
    sheet.freeze_panes = "A2"
    heads = []
    for position, label in enumerate(headings, 1):
        width = max(12, min(40, len(label) + 8))
        sheet.column_dimensions[get_column_letter(position)].width = width
        head = WriteOnlyCell(sheet, _ILLEGAL.sub("", label))
        head.data_type = "s"
        head.font = Font(bold=True)
        heads.append(head)
    sheet.append(heads)
    return sheet


def write(
    headings: Sequence[str],
    name: str,
    chunks: Iterable[Chunk],
    target: IO[bytes],
    report: Callable[[int], None] = lambda written: None,
) -> None:
    """Write a workbook into ``target``; more rows than a sheet holds go to further sheets.

    ``report`` gets the number of rows written after each chunk. What it raises ends the writing.
    """
    book = Workbook(write_only=True)
    try:
        written, left, sheet = 0, 0, None
        for chunk in chunks:
            for row in chunk:
                if not left:
                    sheet = _new_sheet(book, headings, name, len(book.worksheets) + 1)
                    left = MAX_ROWS
                assert sheet is not None
                sheet.append([_cell(sheet, value) for value in row])
                left -= 1
            written += len(chunk)
            report(written)
        if sheet is None:
            _new_sheet(book, headings, name, 1)
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


def _received(source: IO[bytes]) -> Iterator[Chunk]:
    # Written by the process that started this one.
    while (chunk := pickle.load(source)) is not None:  # noqa: S301
        yield chunk


def main(descriptor: int) -> int:
    """Write what comes in; 1 where it ended before its end."""
    source = sys.stdin.buffer
    try:
        headings, name = pickle.load(source)  # noqa: S301  (as above)
        with os.fdopen(descriptor, "wb", closefd=False) as target:
            write(headings, name, _received(source), target)
    except EOFError:
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))

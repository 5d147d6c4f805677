"""The workbook of a list."""

import io
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import openpyxl
import pytest
from django.test import Client

from scloud.jobs.models import Job
from scloud.tenancy.models import Tenant
from scloud.web.export import ExportColumn, workbook


def read(content: bytes) -> list[tuple[Any, ...]]:
    book = openpyxl.load_workbook(io.BytesIO(content))
    return [tuple(cell.value for cell in row) for row in book.worksheets[0].iter_rows()]


def written(*values: Any) -> list[Any]:
    columns = [ExportColumn("Value", lambda value: value)]
    rows = read(b"".join(workbook(iter(values), columns, "test")))
    assert rows[0] == ("Value",)
    return [row[0] for row in rows[1:]]


def test_the_workbook_holds_exactly_what_the_filter_shows(
    console: Client, make_job: Callable[..., Job], other_tenant: Tenant
) -> None:
    for number in range(25):
        make_job(title=f"Job {number:02d}", status="failed" if number % 2 else "succeeded")
    make_job(title="Foreign", status="failed", tenant=other_tenant)
    response = console.get("/tasks/?status=failed&sort=-created&export=xlsx")
    assert response.status_code == 200
    assert response["Content-Type"].endswith("spreadsheetml.sheet")
    assert response["Content-Disposition"].startswith('attachment; filename="scloud-job-')
    rows = read(b"".join(response))
    assert rows[0][0] == "Task"
    titles = [row[0] for row in rows[1:]]
    assert titles == [f"Job {number:02d}" for number in range(23, 0, -2)]


def test_the_workbook_has_the_columns_that_the_user_chose(
    console: Client, make_job: Callable[..., Job]
) -> None:
    make_job()
    console.cookies["scloud_cols_job"] = "created_by.id"
    rows = read(b"".join(console.get("/tasks/?export=xlsx")))
    assert rows[0] == ("Task", "Started by", "ID")


def test_numbers_dates_and_truth_values_keep_their_type() -> None:
    moment = datetime(2026, 11, 22, 9, 30, 15, tzinfo=UTC)
    values = written(7, Decimal("1234.50"), 2.5, True, date(2026, 1, 2), moment, None, "")
    assert values[0] == 7
    assert values[1] == pytest.approx(1234.5)
    assert values[2] == 2.5
    assert values[3] is True
    assert values[4] == datetime(2026, 1, 2)
    assert abs(values[5] - datetime(2026, 11, 22, 9, 30, 15)) < timedelta(seconds=1)
    assert values[6] is None
    assert values[7] is None


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", '=HYPERLINK("http://x","y")', "=cmd|' /C calc'!A0"],
)
def test_text_that_looks_like_a_formula_stays_text(text: str) -> None:
    content = b"".join(workbook(iter([text]), [ExportColumn("V", lambda v: v)], "t"))
    cell = openpyxl.load_workbook(io.BytesIO(content)).worksheets[0]["A2"]
    assert cell.value == text
    # openpyxl reads inline text that begins with "=" as text as well: there is no <f> element.
    assert cell.quotePrefix is True
    assert b"<f>" not in content


def test_characters_that_xml_cannot_hold_are_left_out() -> None:
    assert written("a\x00b\x0bc\ufffe") == ["abc"]
    assert written("<b>&\"'") == ["<b>&\"'"]
    assert written("名字 😀") == ["名字 😀"]


def test_lists_and_very_long_or_large_values_are_written_as_text() -> None:
    assert written(["a", "", "b"]) == ["a, b"]
    assert len(written("x" * 40_000)[0]) == 32_767
    assert written(2**60) == [str(2**60)]
    assert written(float("nan")) == ["nan"]
    assert written(timedelta(minutes=2)) == [120]


def test_a_workbook_without_rows_has_its_heading() -> None:
    assert written() == []


def test_the_rows_are_written_piece_by_piece() -> None:
    columns = [ExportColumn("V", str)]
    pieces = workbook(iter(range(200_000)), columns, "t")
    largest = max(len(piece) for piece in pieces)
    assert largest < 1_000_000

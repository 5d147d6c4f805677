"""The workbook of a list."""

import asyncio
import contextlib
import gc
import io
import json
import re
import subprocess
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import IntEnum
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from django.test import Client

from scloud.jobs.models import Job
from scloud.lib.errors import InternalError
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scopes_disabled
from scloud.web import export, lists, workbook
from scloud.web.activity import TasksView
from scloud.web.export import ExportColumn, write_by_child, write_workbook


def read(content: bytes) -> list[tuple[Any, ...]]:
    book = openpyxl.load_workbook(io.BytesIO(content))
    return [tuple(cell.value for cell in row) for row in book.worksheets[0].iter_rows()]


def sheet_xml(content: bytes) -> str:
    with zipfile.ZipFile(io.BytesIO(content)) as book:
        return book.read("xl/worksheets/sheet1.xml").decode()


def made(values: Iterable[Any]) -> bytes:
    file = io.BytesIO()
    write_workbook(iter(values), [ExportColumn("Value", lambda value: value)], "test", file)
    return file.getvalue()


def written(*values: Any) -> list[Any]:
    rows = read(made(values))
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


def test_the_workbook_has_all_columns_whatever_the_user_chose_to_see(
    console: Client, make_job: Callable[..., Job]
) -> None:
    make_job()
    console.cookies["scloud_cols_job"] = "created_by.id"
    rows = read(b"".join(console.get("/tasks/?export=xlsx")))
    labels = tuple(str(column.label) for column in TasksView.columns if column.exported)
    assert len(labels) > 3
    assert rows[0] == labels


def test_numbers_dates_and_truth_values_keep_their_type() -> None:
    moment = datetime(2026, 11, 22, 9, 30, 15, tzinfo=UTC)
    values = written(7, Decimal("1234.50"), 2.5, True, date(2026, 1, 2), moment, None, "", "end")
    assert values[0] == 7
    assert values[1] == pytest.approx(1234.5)
    assert values[2] == 2.5
    assert values[3] is True
    assert values[4] == datetime(2026, 1, 2)
    assert abs(values[5] - datetime(2026, 11, 22, 9, 30, 15)) < timedelta(seconds=1)
    assert values[6] is None
    assert values[7] is None
    assert values[8] == "end"


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", '=HYPERLINK("http://x","y")', "=cmd|' /C calc'!A0"],
)
def test_text_that_looks_like_a_formula_stays_text(text: str) -> None:
    content = made([text])
    cell = openpyxl.load_workbook(io.BytesIO(content)).worksheets[0]["A2"]
    assert cell.value == text
    assert cell.data_type == "s"
    assert cell.quotePrefix
    assert cell.number_format == "@"
    assert "<f" not in sheet_xml(content)


@pytest.mark.parametrize("text", ["#N/A", "#REF!", "#DIV/0!"])
def test_text_that_looks_like_an_error_stays_text(text: str) -> None:
    content = made([text])
    cell = openpyxl.load_workbook(io.BytesIO(content)).worksheets[0]["A2"]
    assert (cell.value, cell.data_type) == (text, "s")


@pytest.mark.parametrize(
    "text", ["_x0041_", "a_x0041_x0042_b", "=_x003D_", "_x000D_\n_x000a_", "_x41_", "__x0041__"]
)
def test_text_that_looks_like_an_escape_comes_back_unchanged(text: str) -> None:
    content = made([text])
    assert read(content)[1:] == [(text,)]
    # What the format says of every piece of text: such an escape stands for the character.
    escapes = re.findall(r"<t[^>]*>[^<]*_x[0-9A-Fa-f]{4}_[^<]*</t>", sheet_xml(content))
    assert escapes == []


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


def test_more_rows_than_a_sheet_holds_go_to_further_sheets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workbook, "MAX_ROWS", 3)
    book = openpyxl.load_workbook(io.BytesIO(made(range(7))))
    assert book.sheetnames == ["test", "test (2)", "test (3)"]
    found = [[cell.value for cell in sheet["A"]] for sheet in book.worksheets]
    assert found == [["Value", 0, 1, 2], ["Value", 3, 4, 5], ["Value", 6]]


def test_a_writing_that_is_given_up_leaves_no_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def give_up(rows: int) -> None:
        assert list(tmp_path.iterdir())
        raise export.Cancelled

    with pytest.raises(export.Cancelled):
        write_workbook(iter(range(5)), [ExportColumn("V", str)], "t", io.BytesIO(), give_up)
    assert list(tmp_path.iterdir()) == []


class Size(IntEnum):
    """A class that the child does not know."""

    LARGE = 8


VALUES = [
    7, Size.LARGE, 1.5, Decimal("12.50"), True, None, "名字", "=1+1", "#N/A", "_x0041_", "a\x00b",
    ["a", "b"], 2**60,
    datetime(2026, 11, 22, 9, 30, 15, tzinfo=UTC), date(2026, 1, 2), timedelta(minutes=2),
]  # fmt: skip


def test_a_child_writes_the_same_workbook() -> None:
    here = made(VALUES * 3)
    with tempfile.TemporaryFile() as file:
        columns = [ExportColumn("Value", lambda value: value)]
        counts: list[int] = []
        write_by_child(iter(VALUES * 3), columns, "test", file, counts.append)
        file.seek(0)
        there = file.read()
    assert sheet_xml(there) == sheet_xml(here)
    assert counts[-1] == len(VALUES) * 3


def test_a_child_whose_work_is_given_up_ends_and_leaves_no_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(export, "CHUNK_ROWS", 1)

    children: list[subprocess.Popen[bytes]] = []
    start = subprocess.Popen

    def noted(*given: Any, **settings: Any) -> subprocess.Popen[bytes]:
        children.append(start(*given, **settings))
        return children[-1]

    def give_up(rows: int) -> None:
        if rows == 3:
            raise export.Cancelled

    monkeypatch.setattr(subprocess, "Popen", noted)
    with tempfile.TemporaryFile() as file, pytest.raises(export.Cancelled):
        write_by_child(iter(range(5)), [ExportColumn("V", str)], "t", file, give_up)
    assert list(tmp_path.iterdir()) == []
    assert [child.returncode is not None for child in children] == [True]


def test_a_child_that_dies_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("raise SystemExit('no room on the disk')")
    monkeypatch.setattr(export, "_PROGRAM", broken)
    with tempfile.TemporaryFile() as file, pytest.raises(InternalError):
        # More than the pipe holds.
        write_by_child(iter(["x" * 1000] * 3000), [ExportColumn("V", str)], "t", file)
    assert "no room on the disk" in caplog.text


def test_a_long_list_is_written_by_a_child(
    console: Client, make_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        make_job(title=f"Job {number}")
    used: list[str] = []

    def noted(*given: Any) -> None:
        used.append("child")
        write_by_child(*given)

    monkeypatch.setattr(export, "write_by_child", noted)
    assert len(read(b"".join(console.get("/tasks/?export=xlsx")))) == 5
    assert used == []
    monkeypatch.setattr(export, "ROWS_HERE", 3)
    assert len(read(b"".join(console.get("/tasks/?export=xlsx")))) == 5
    assert used == ["child"]


def framed(content: bytes) -> tuple[list[dict[str, Any]], bytes]:
    """The lines of progress, and the file behind them."""
    lines: list[dict[str, Any]] = []
    while not lines or not {"file", "error"} & set(lines[-1]):
        line, _, content = content.partition(b"\n")
        lines.append(json.loads(line))
    return lines, content


def test_with_progress_the_file_follows_the_figures(
    console: Client, make_job: Callable[..., Job]
) -> None:
    for _ in range(3):
        make_job()
    response = console.get("/tasks/?export=xlsx&progress=1")
    assert response["Content-Type"] == "application/vnd.scloud.download"
    lines, content = framed(b"".join(response))
    assert lines[-2] == {"rows": 3, "total": 3}
    assert lines[-1]["bytes"] == len(content)
    assert lines[-1]["file"].startswith("scloud-job-")
    assert len(read(content)) == 4


def test_with_progress_a_defect_is_told_behind_the_headers(
    console: Client, make_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_job()

    def broken(obj: Any) -> Any:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(lists.Column, "export_value", staticmethod(broken))
    content = b"".join(console.get("/tasks/?export=xlsx&progress=1"))
    lines, rest = framed(content)
    assert rest == b""
    assert lines[-1]["error"]["code"] == "internal_error"
    assert b"secret" not in content


def test_a_user_prepares_two_downloads_at_a_time(
    console: Client, make_job: Callable[..., Job]
) -> None:
    make_job()
    held = [console.get("/tasks/?export=xlsx") for _ in range(2)]
    refused = console.get("/tasks/?export=xlsx", headers={"HX-Request": "true"})
    assert refused.status_code == 429
    assert "2 of your downloads" in refused.headers["HX-Trigger"]
    # One that nobody reads any more does not count, nor does one that has been read.
    held.pop()
    # The test client makes a response refer to itself (`json`), so counting references is not
    # enough to end it.
    gc.collect()
    b"".join(held[0])
    again = [console.get("/tasks/?export=xlsx") for _ in range(2)]
    assert [one.status_code for one in again] == [200, 200]


@pytest.mark.django_db(transaction=True)
def test_the_console_process_tells_how_far_the_worker_thread_is(
    make_job: Callable[..., Job], tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_job(title="One")
    monkeypatch.setattr(export, "REPORT_EVERY_S", 0.01)
    go_on = threading.Event()
    names = []

    def title(job: Job) -> str:
        names.append(threading.current_thread().name)
        assert go_on.wait(30)
        return job.title

    async def take() -> list[bytes]:
        with scopes_disabled():
            response = export.workbook_response(
                queryset=Job.objects.all(), columns=[ExportColumn("Task", title)], name="job",
                tenant=tenant, user="1", progress=True, asynchronous=True,
            )  # fmt: skip
        pieces = []
        async for piece in response:
            pieces.append(piece)
            if json.loads(pieces[0]) and len(pieces) == 2:
                go_on.set()
        return pieces

    pieces = asyncio.run(take())
    lines, content = framed(b"".join(pieces))
    # Figures came while the first row was still being written.
    assert lines[1]["rows"] == 0
    assert names[0].startswith("download")
    assert read(content) == [("Task",), ("One",)]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("who", ["administrator", "tenant"])
def test_tenants_and_administrators_do_not_wait_for_each_others_downloads(
    make_job: Callable[..., Job], tenant: Tenant, who: str
) -> None:
    make_job(title="One")
    go_on = threading.Event()
    others = export._threads if who == "administrator" else export._threads_of_operators
    busy = [others.submit(go_on.wait, 60) for _ in range(4)]

    async def take() -> bytes:
        with scopes_disabled():
            response = export.workbook_response(
                queryset=Job.objects.all(), columns=[ExportColumn("Task", str)], name="job",
                tenant=None if who == "administrator" else tenant, user="1", asynchronous=True,
            )  # fmt: skip
        async with asyncio.timeout(20):
            return b"".join([piece async for piece in response])

    try:
        content = asyncio.run(take())
    finally:
        go_on.set()
        for one in busy:
            assert one.result(30)
    assert len(read(content)) == 2


@pytest.mark.django_db(transaction=True)
def test_a_browser_that_goes_away_ends_the_writing(
    make_job: Callable[..., Job], tenant: Tenant, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    make_job()
    make_job()
    monkeypatch.setattr(export, "REPORT_EVERY_S", 0.01)
    monkeypatch.setattr(export, "CHUNK_ROWS", 1)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    gone, seen = threading.Event(), []

    def title(job: Job) -> str:
        seen.append(job.pk)
        assert gone.wait(30)
        return job.title

    async def leave() -> None:
        with scopes_disabled():
            response = export.workbook_response(
                queryset=Job.objects.all(), columns=[ExportColumn("Task", title)], name="job",
                tenant=tenant, user="1", progress=True, asynchronous=True,
            )  # fmt: skip

        async def read() -> None:
            async for _ in response:
                pass

        # As the server does it when the browser is gone.
        reading = asyncio.create_task(read())
        while not seen:
            await asyncio.sleep(0.01)
        reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reading
        gone.set()

    asyncio.run(leave())
    # The thread is free again when this comes back.
    export._threads.submit(int).result(30)
    for _ in range(300):
        if not list(tmp_path.iterdir()):
            break
        time.sleep(0.1)
    assert list(tmp_path.iterdir()) == []
    assert len(seen) == 1

"""Traces by W3C's rules, and what the log's lines say of them."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from scloud.lib import logs, tracing
from scloud.lib.tracing import Trace

GIVEN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    "header",
    [
        "",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "0g-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e473٣-00f067aa0ba902b7-01",
        GIVEN + "\n" + GIVEN,
        "01" + GIVEN[2:] + "-" + "x" * 600,
    ],
)
def test_what_the_recommendation_says_to_ignore_begins_a_new_trace(header: str) -> None:
    assert Trace.parse(header) is None
    with tracing.request(header) as context:
        assert context.trace is not None
        assert Trace.parse(context.trace.header) == context.trace


def test_a_trace_goes_on_with_spans_of_its_own() -> None:
    with tracing.request(GIVEN) as context:
        assert context.trace is not None
        assert context.trace.trace_id == "4bf92f3577b34da6a3ce929d0e0e4736"
        assert context.trace.span_id != "00f067aa0ba902b7"
        assert context.trace.sampled
        assert tracing.to_pass_on() == context.trace.header
        assert tracing.request_id() == context.request_id
        with tracing.job("job-000000001", tracing.to_pass_on()) as inner:
            assert inner.trace is not None
            assert inner.trace.trace_id == context.trace.trace_id
            assert inner.trace.span_id != context.trace.span_id
        assert tracing.current() == context
    assert tracing.current() == tracing.Context()


def test_a_later_version_is_read_as_far_as_it_is_known() -> None:
    found = Trace.parse("cc" + GIVEN[2:-2] + "03-what-comes-later")
    assert found is not None
    assert found.header == GIVEN


@pytest.fixture
def lines() -> Iterator[tuple[logging.Logger, io.StringIO, logging.Handler]]:
    """A logger of its own, with the filter of the settings."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.addFilter(logs.Marked())
    logger = logging.getLogger("tests.lines")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    yield logger, out, handler
    logger.removeHandler(handler)


Lines = tuple[logging.Logger, io.StringIO, logging.Handler]


def test_a_line_is_one_object_with_the_ids(lines: Lines) -> None:
    logger, out, handler = lines
    handler.setFormatter(logs.JsonLines())
    logger.info("outside")
    with tracing.request(GIVEN) as context:
        logger.info("of\n%s", "two lines", extra={"path": "/vms/", "status": 200, "own": "not"})
    with tracing.job("job-000000001", GIVEN):
        try:
            raise RuntimeError("postgres://scloud:hunter2@db/scloud is away")
        except RuntimeError:
            logger.exception("failed")
    outside, request, job = map(json.loads, out.getvalue().splitlines())
    assert "request_id" not in outside
    assert "trace_id" not in outside
    assert outside["timestamp"].endswith("Z")
    assert request["message"] == "of\ntwo lines"
    assert request["request_id"] == context.request_id
    assert request["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert (request["path"], request["status"], request["trace_flags"]) == ("/vms/", 200, "01")
    assert "own" not in request
    assert job["job_id"] == "job-000000001"
    assert job["exception"]["type"] == "RuntimeError"
    assert "hunter2" not in json.dumps(job)
    assert "postgres://scloud:[hidden]@db" in job["exception"]["stacktrace"]


def test_no_form_of_a_secret_gets_through(lines: Lines) -> None:
    logger, out, handler = lines
    secrets = {
        "key sck_abcdefghij0123456789": "abcdefghij0123456789",
        "Authorization: Bearer eyJhbGciOi.J9": "eyJhbGciOi",
        "authorization: basic dXNlcjpodW50ZXIy": "dXNlcjpodW50ZXIy",
        "{'password': 'hunter2', 'name': 'web-1'}": "hunter2",
        '{"token": "tok123456"}': "tok123456",
        "?scloud_session=s3ss10n&page=2": "s3ss10n",
        "secret = s3cret": "s3cret",
    }
    for form in (logs.PlainLines(), logs.JsonLines()):
        handler.setFormatter(form)
        for text, secret in secrets.items():
            logger.info(text)
            assert secret not in out.getvalue()
            assert logs.HIDDEN in out.getvalue()
            out.truncate(0)
    assert logs.without_secrets("{'password': 'x', 'name': 'web-1'}").endswith("'name': 'web-1'}")
    harmless = "vm-000000001: another token was taken by worker:7"
    assert logs.without_secrets(harmless) == harmless


def test_plain_lines_name_the_ids(lines: Lines) -> None:
    logger, out, handler = lines
    handler.setFormatter(logs.PlainLines())
    with tracing.job("job-000000001", GIVEN):
        logger.warning("waits")
    assert "[job=job-000000001 trace=4bf92f3577b34da6a3ce929d0e0e4736] waits" in out.getvalue()

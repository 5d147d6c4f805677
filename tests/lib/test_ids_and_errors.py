"""Public ids and the errors that people and programs see."""

import re

import pytest

from scloud.lib import errors
from scloud.lib.ids import new_id


def test_ids_have_their_prefix_and_do_not_repeat() -> None:
    ids = {new_id("vm") for _ in range(2000)}
    assert len(ids) == 2000
    assert all(re.fullmatch(r"vm-[a-z0-9]{9}", one) for one in ids)


def test_an_error_tells_what_it_has_and_leaves_out_what_it_has_not() -> None:
    assert errors.ScloudError("No.").as_dict() == {"code": "error", "message": "No."}
    full = errors.InvalidInput("No.", code="c", field="f", remedy="r", numbers={"max": 0})
    assert full.as_dict() == {
        "code": "c",
        "message": "No.",
        "field": "f",
        "remedy": "r",
        "numbers": {"max": 0},
    }
    assert str(full) == "No."


@pytest.mark.parametrize(
    ("kind", "status", "code"),
    [
        (errors.InvalidInput, 400, "invalid_input"),
        (errors.Unauthenticated, 401, "unauthenticated"),
        (errors.InsufficientBalance, 402, "insufficient_balance"),
        (errors.Forbidden, 403, "forbidden"),
        (errors.NotFound, 404, "not_found"),
        (errors.Conflict, 409, "conflict"),
        (errors.QuotaExceeded, 409, "quota_exceeded"),
        (errors.NoCapacity, 409, "no_capacity"),
        (errors.StaleQuote, 409, "quote_stale"),
        (errors.TooManyRequests, 429, "too_many_requests"),
        (errors.HostError, 502, "host_error"),
        (errors.InternalError, 500, "internal_error"),
    ],
)
def test_status_and_code_are_stable(kind: type[errors.ScloudError], status: int, code: str) -> None:
    assert (kind.http_status, kind("x").code) == (status, code)
    assert kind.retryable == (status >= 500)

"""The list of breached passwords: found by binary search, whatever its lines look like."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError

from scloud.accounts.breached import holds
from scloud.accounts.checks import check_list


def sha1(text: str) -> str:
    return hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest().upper()


@pytest.mark.parametrize("size", [0, 1, 2, 3, 257])
@pytest.mark.parametrize(
    ("end", "last"), [("\n", "\n"), (":{n}\r\n", ":3\r\n"), (":{n}\n", ""), ("\n", ":12")]
)
def test_every_line_is_found_and_nothing_else(size: int, end: str, last: str) -> None:
    digests = sorted(sha1(f"password {n}") for n in range(size))
    ends = [*(end.format(n=10 ** (n % 8)) for n in range(size - 1)), last][:size]
    file = io.BytesIO("".join(map("".join, zip(digests, ends, strict=True))).encode())
    assert all(holds(file, digest) for digest in digests)
    assert all(holds(file, digest.lower()) for digest in digests)
    others = [sha1(f"another {n}") for n in range(50)] + ["0" * 40, "F" * 40]
    assert not any(holds(file, digest) for digest in others)


def test_a_password_on_the_list_is_refused(tmp_path: Path, settings: Any) -> None:
    bad, good = "correct horse battery staple", "wrong donkey accumulator clip"
    path = tmp_path / "breached.txt"
    path.write_text("".join(f"{one}:7\n" for one in sorted([sha1(bad), "0" * 40, "F" * 40])))
    validate_password(bad)
    settings.SCLOUD_BREACHED_PASSWORDS = path
    assert check_list() == []
    validate_password(good)
    with pytest.raises(ValidationError, match="appeared in a data breach") as refused:
        validate_password(bad)
    assert [error.code for error in refused.value.error_list] == ["password_breached"]


def test_a_process_does_not_start_with_a_list_that_is_none(tmp_path: Path, settings: Any) -> None:
    path = tmp_path / "breached.txt"
    settings.SCLOUD_BREACHED_PASSWORDS = path
    assert "cannot be read" in str(check_list()[0].msg)
    # One that disappears later keeps nobody from changing a password.
    validate_password("wrong donkey accumulator clip")
    path.write_text("correct horse battery staple\n")
    assert "is not a list of SHA-1 digests" in str(check_list()[0].msg)

"""Codes of apps and of recovery, without a database."""

from datetime import UTC, datetime
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from scloud.accounts import onetime

# The secret of the test vectors in RFC 6238, appendix B (SHA-1), of which apps show six digits.
SECRET = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"


@pytest.mark.parametrize(
    ("at", "code"),
    [
        (59, "287082"),
        (1111111109, "081804"),
        (1111111111, "050471"),
        (1234567890, "005924"),
        (2000000000, "279037"),
        (20000000000, "353130"),
    ],
)
def test_codes_are_those_of_the_standard(at: int, code: str) -> None:
    moment = datetime.fromtimestamp(at, UTC)
    assert at // 30 in onetime.steps_of(SECRET, code, moment)
    assert onetime.steps_of(SECRET, code[::-1] + "0", moment) == []


def test_one_interval_before_and_after_is_near_enough() -> None:
    def seen(seconds: int) -> list[int]:
        return onetime.steps_of(SECRET, "005924", datetime.fromtimestamp(seconds, UTC))

    step = 1234567890 // 30
    assert seen(1234567890) == seen(1234567890 + 30) == seen(1234567890 - 30) == [step]
    assert seen(1234567890 + 60) == seen(1234567890 - 60) == []


def test_an_app_learns_the_secret_from_an_address() -> None:
    secret = onetime.new_secret()
    assert secret != onetime.new_secret()
    assert len(secret) == 32
    address = urlsplit(onetime.address_of(secret, "zoë+a@acme.test"))
    assert (address.scheme, address.netloc) == ("otpauth", "totp")
    assert unquote(address.path) == "/SCloud:zoë+a@acme.test"
    assert parse_qs(address.query) == {"secret": [secret], "issuer": ["SCloud"]}


def test_recovery_codes_are_long_and_typed_in_any_way() -> None:
    codes = {onetime.new_recovery_code() for _number in range(200)}
    assert len(codes) == 200
    for code in codes:
        typed = f" {code.upper().replace('-', ' ')} "
        assert onetime.cleaned(typed) == code.replace("-", "")
        assert not onetime.is_of_app(onetime.cleaned(code))
    assert onetime.is_of_app(onetime.cleaned("123 456"))
    # Digits of other scripts are digits to Python.
    assert not onetime.is_of_app("١٢٣٤٥٦")
    one = onetime.cleaned(codes.pop())
    assert onetime.recovery_digest(1, one) == onetime.recovery_digest(1, one)
    assert onetime.recovery_digest(1, one) != onetime.recovery_digest(2, one)
    assert one not in onetime.recovery_digest(1, one)

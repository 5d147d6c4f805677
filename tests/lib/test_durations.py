"""Durations are written with their units, and read back as the same seconds."""

import pytest
from django.core.exceptions import ValidationError

from scloud.lib.durations import DurationField, parse, words


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (59, "59 s"),
        (5400, "1 h 30 min"),
        (86_400, "1 d"),
        (360_000, "4 d 4 h"),
        (90_061, "1 d 1 h 1 min 1 s"),
    ],
)
def test_words_are_exact(seconds: int, text: str) -> None:
    assert words(seconds) == text
    assert parse(text) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90min", 5400), (" 100 H ", 360_000), ("1h30min", 5400), ("2 min 5s", 125)],
)
def test_people_write_them_in_several_ways(text: str, seconds: int) -> None:
    assert parse(text) == seconds
    assert DurationField().clean(text) == seconds


@pytest.mark.parametrize("text", ["", "90", "1.5 h", "-1 h", "3 weeks", "1 minute", "h", "9" * 99])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse(text)
    with pytest.raises(ValidationError):
        DurationField().clean(text)


def test_a_field_shows_what_is_kept_and_keeps_its_bounds() -> None:
    field = DurationField(min_value=60, max_value=3600)
    assert field.prepare_value(1800) == "30 min"
    assert field.prepare_value("30 parsecs") == "30 parsecs"
    assert not field.has_changed(3600, "60 min")
    assert field.has_changed(3600, "59 min")
    for text in ("59 s", "61 min"):
        with pytest.raises(ValidationError):
            field.clean(text)

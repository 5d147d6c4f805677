"""What people type, brought to one form."""

from __future__ import annotations

import pytest

from scloud.lib.text import composed, is_name, time_zones, unix_lines


@pytest.mark.parametrize(
    "name",
    ["हिन्दी-सर्वर", "เซิร์ฟเวอร์", "שָׁלוֹם", "Ünïcode_1.2", "服务器", "e\u0301te\u0301", "a", "x" * 30],
)
def test_letters_with_their_marks_are_names(name: str) -> None:
    assert is_name(composed(name))


@pytest.mark.parametrize(
    "name", ["", "a b", "x" * 31, "\u0301a", "a\n", "a\u200b", "a/b", "a\u00a0b", "<b>", "a\u202eb"]
)
def test_other_signs_are_not(name: str) -> None:
    assert not is_name(composed(name))


def test_the_end_of_a_line_is_one_character() -> None:
    assert unix_lines("a\r\nb\rc\nd") == "a\nb\nc\nd"


def test_only_real_time_zones_are_time_zones() -> None:
    assert {"UTC", "Asia/Shanghai", "Europe/Berlin", "Australia/Lord_Howe"} <= time_zones()
    assert not {"Factory", "localtime", "posixrules"} & time_zones()

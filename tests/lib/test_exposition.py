"""Prometheus' text format, read back by a parser of its own."""

from __future__ import annotations

import math

import pytest

from scloud.lib.exposition import Family, Type, document, number
from tests.prometheus import parse


def test_what_is_written_is_read_back() -> None:
    sent = Family("app_sent_bytes_total", "Bytes\nsent \\ all.", Type.COUNTER)
    sent.add(3, {"device": 'C:\\ "x"\ny'}, at_ms=1_700_000_000_123)
    sent.add(2.5e30, {"device": "}, {="})
    up = Family("app_up", "Whether it is up.").add(1)
    text = document([up, Family("app_none", "Nothing."), sent])
    assert text.splitlines()[0] == "# HELP app_sent_bytes_total Bytes\\nsent \\\\ all."
    found = parse(text)
    assert list(found) == ["app_sent_bytes_total", "app_up"]
    assert found["app_sent_bytes_total"].type == "counter"
    assert found["app_sent_bytes_total"].samples == {
        (("device", 'C:\\ "x"\ny'),): (3.0, 1_700_000_000_123),
        (("device", "}, {="),): (2.5e30, None),
    }
    assert found["app_up"].samples == {(): (1.0, None)}


def test_numbers_as_go_reads_them() -> None:
    assert number(4) == "4"
    assert number(0.1) == "0.1"
    assert number(-0.0) == "0"
    assert number(2.0**53) == "9007199254740992.0"
    assert [number(math.inf), number(-math.inf), number(math.nan)] == ["+Inf", "-Inf", "NaN"]


def test_what_breaks_the_form_is_refused() -> None:
    for name, kind in (("0up", Type.GAUGE), ("a-b", Type.GAUGE), ("up", Type.COUNTER)):
        with pytest.raises(ValueError):
            Family(name, "", kind)
    with pytest.raises(ValueError):
        Family("app_total", "A gauge.")
    family = Family("app_up", "").add(1, {"a": "b"})
    for labels in ({"a": "b"}, {"__a": "b"}, {"a-b": "c"}):
        with pytest.raises(ValueError):
            family.add(1, labels)

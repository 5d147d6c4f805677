"""Messages are read as the package's own parser reads them, however they are cut."""

from __future__ import annotations

import importlib
import importlib.util
import json
from typing import Any

import ovs.json
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from network.fabric.ovn import parsing

texts = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]) | st.sampled_from('"\\{}[]\n\x7f')
)
whole = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts


def messages_of(leaves: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    values = st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    )
    return st.lists(values, max_size=4) | st.dictionaries(texts, values, max_size=4)


messages = messages_of(whole | st.floats(allow_nan=False, allow_infinity=False))


def own_parser() -> type[Any]:
    """The package's parser, of a copy of its module in which nothing was replaced."""
    spec = importlib.util.find_spec("ovs.json")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: type[Any] = module.Parser
    return found


def read(pieces: list[str], parser: type[Any]) -> list[Any]:
    """What comes of pieces of a stream, as a connection takes them."""
    found, now, rest = [], parser(), ""
    for piece in pieces:
        rest += piece
        while rest:
            rest = rest[now.feed(rest) :]
            if now.is_done():
                found.append(now.finish())
                now = parser()
    return found


@given(
    sent=st.lists(messages, min_size=1, max_size=3),
    between=st.sampled_from(["", "\n", " \t"]),
    ascii_only=st.booleans(),
    cut=st.lists(st.integers(1, 9), min_size=1, max_size=20),
)
@settings(max_examples=300, deadline=None)
def test_what_was_sent_is_read(
    sent: list[Any], between: str, ascii_only: bool, cut: list[int]
) -> None:
    stream = between.join(json.dumps(one, ensure_ascii=ascii_only) for one in sent)
    pieces, place, turn = [], 0, 0
    while place < len(stream):
        pieces.append(stream[place : place + cut[turn % len(cut)]])
        place, turn = place + len(pieces[-1]), turn + 1
    assert read(pieces, parsing.Parser) == sent
    assert read([stream], parsing.Parser) == sent


@given(sent=messages_of(whole))
@settings(max_examples=100, deadline=None)
def test_it_is_what_the_packages_own_parser_reads(sent: Any) -> None:
    stream = json.dumps(sent)
    assert read([stream], parsing.Parser) == read([stream], own_parser()) == [sent]


@pytest.mark.parametrize(
    "stream",
    [
        "nonsense",
        '"text"',
        "7 {",
        "]",
        "}",
        '{"a": }',
        "[1,]",
        "[NaN]",
        "[1}",
        "[" * 1001,
        '{"a\nb": 1}',
    ],
)
def test_what_is_no_message_is_told(stream: str) -> None:
    parser = parsing.Parser()
    assert parser.feed(stream) == len(stream)
    assert parser.is_done()
    assert isinstance(parser.finish(), str)


def test_a_message_that_does_not_end_is_not_done() -> None:
    parser = parsing.Parser()
    assert parser.feed('{"a": [1, "}') == 12
    assert not parser.is_done()
    assert isinstance(parser.finish(), str)


def test_connections_use_it() -> None:
    importlib.import_module("network.fabric.ovn.session")
    assert ovs.json.PARSER == ovs.json.PARSER_C or ovs.json.Parser is parsing.Parser

"""Messages of OVSDB's JSON-RPC, read by the standard library.

Messages follow each other on a connection with nothing between them (RFC 7047, section 4). The
``ovs`` package brings a parser in C, which is built only where Open vSwitch's own headers are, and
Debian has no package of them. Its other parser takes a step of Python for each character, in every
process that mirrors a database. Here a regular expression finds the end of a message, and ``json``
reads it.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

import ovs.json

#: As the package's own parsers: deeper is refused.
MOST_DEPTH: Final = 1000
_SPACE: Final = " \t\n\r"
# What changes no depth: everything but brackets, with the strings that end here.
_FLAT: Final = re.compile(r'[^"{}\[\]]*+(?:"(?:[^"\\]+|\\.)*+"[^"{}\[\]]*+)*+', re.DOTALL)
_IN_STRING: Final = re.compile(r'(?:[^"\\]+|\\.)*+', re.DOTALL)


class Parser:
    """Takes the place of ``ovs.json.Parser``, for one message: an object or an array."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._depth = 0
        self._in_string = False
        self._escaped = False
        self._done = False
        self._error: str | None = None

    def feed(self, text: str) -> int:
        """Take what belongs to the message; return how many characters that is."""
        if self._done:
            return 0
        place = self._end(text)
        self._pieces.append(text[:place])
        return place

    def is_done(self) -> bool:
        """Whether the message has ended, or cannot become one."""
        return self._done

    def finish(self) -> Any:
        """Return the message, or a text that says what is wrong with it."""
        if self._error is not None:
            return self._error
        if not self._done:
            return "unexpected end of input"
        try:
            return json.loads(
                "".join(self._pieces), parse_float=_number, parse_constant=_no_constant
            )
        except (ValueError, RecursionError) as error:
            return str(error)

    def _end(self, text: str) -> int:
        """Where the message ends in ``text``, its length where it goes on."""
        place, length = 0, len(text)
        while place < length:
            if self._in_string:
                place = self._after_string(text, place)
                continue
            found = _FLAT.match(text, place)
            assert found is not None  # it matches nothing, too
            if self._depth == 0 and found.group().strip(_SPACE):
                return self._fail("a message is an object or an array", length)
            place = found.end()
            if place == length:
                break
            sign = text[place]
            place += 1
            if sign == '"':
                if self._depth == 0:
                    return self._fail("a message is an object or an array", length)
                self._in_string = True
            elif sign in "{[":
                self._depth += 1
                if self._depth > MOST_DEPTH:
                    return self._fail("input exceeds maximum nesting depth", length)
            else:
                self._depth -= 1
                if self._depth < 0:
                    return self._fail("a bracket closes what was not opened", length)
                if self._depth == 0:
                    self._done = True
                    return place
        return length

    def _after_string(self, text: str, place: int) -> int:
        """Go on in a string that began in an earlier piece, or does not end in this one."""
        if self._escaped:
            self._escaped = False
            return place + 1
        found = _IN_STRING.match(text, place)
        assert found is not None  # it matches nothing, too
        place = found.end()
        if place == len(text):
            return place
        # What stopped it is the quote, or a backslash with nothing behind it.
        self._in_string = text[place] != '"'
        self._escaped = self._in_string
        return place + 1

    def _fail(self, why: str, length: int) -> int:
        self._error, self._done = why, True
        return length


def _number(text: str) -> int | float:
    """A whole number is an integer, however it is written: the package's parsers say so, too."""
    value = float(text)
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number")


def use() -> None:
    """Have the connections of this process read with it, unless the parser in C is there."""
    if ovs.json.PARSER != ovs.json.PARSER_C:
        ovs.json.Parser = Parser

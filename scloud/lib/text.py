"""What people type, brought to one form before it is counted, compared or stored."""

import unicodedata
import zoneinfo
from functools import cache

# The database of time zones also holds what is none: a placeholder and the machine's own.
_NO_ZONES = frozenset({"Factory", "localtime", "posixrules", "leapseconds", "tzdata.zi"})


def unix_lines(text: str) -> str:
    r"""Return the text with one character for each end of a line; browsers send two.

    >>> unix_lines("a\r\nb\rc\n")
    'a\nb\nc\n'
    """
    return text.replace("\r\n", "\n").replace("\r", "\n")


def one_line(text: str) -> str:
    r"""Return the text without what could end a line of a header.

    >>> one_line("a\x00b\r\nc")
    'a b c'
    """
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def composed(text: str) -> str:
    """Return the text with letters and marks joined where one character exists for both (NFC).

    >>> len(composed("e\u0301"))
    1
    """
    return unicodedata.normalize("NFC", text)


def is_name(text: str, *, longest: int = 30) -> bool:
    """Tell whether a text is 1 to ``longest`` letters of any script, digits or ``- _ .``.

    Marks belong to the letter before them, as vowels do in Hindi and Thai, or points in Hebrew.

    >>> is_name("हिन्दी"), is_name("a b"), is_name("\u0301a"), is_name("")
    (True, False, False, False)
    """
    if not 1 <= len(text) <= longest or unicodedata.category(text[0]).startswith("M"):
        return False
    return all(
        one.isalnum() or one in "-_." or unicodedata.category(one).startswith("M") for one in text
    )


@cache
def time_zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones() - _NO_ZONES)

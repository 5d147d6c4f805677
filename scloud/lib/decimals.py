"""Numbers as people and programs read and write them: digits, a point, digits."""

import re
from decimal import Decimal
from typing import Any, Final

_PLAIN: Final = re.compile(r"-?[0-9]{1,30}(\.[0-9]{1,30})?", re.ASCII)
_WHOLE: Final = re.compile(r"-?[0-9]{1,30}", re.ASCII)


def plain(value: Decimal | int) -> str:
    """Return a number without exponent and without zeros that say nothing.

    >>> plain(Decimal("4E+1")), plain(Decimal("0.50")), plain(Decimal("-0"))
    ('40', '0.5', '0')
    """
    # Not normalize(): that rounds to the digits of the context.
    text = f"{Decimal(value):f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def is_plain(value: Any) -> bool:
    """Whether a text is a plain number: ASCII digits, at most one point, at most a minus before.

    Python's Decimal would also take exponents, underscores, spaces, NaN and the digits and signs
    of every script. What is no text (a number of JSON) is left to others.
    """
    return not isinstance(value, str) or _PLAIN.fullmatch(value) is not None


def is_whole(value: Any) -> bool:
    """Whether a text is a plain whole number: ASCII digits, at most a minus before.

    Python's int would also take underscores, spaces, a plus and the digits of every script. What is
    no text (a number of JSON) is left to others.
    """
    return not isinstance(value, str) or _WHOLE.fullmatch(value) is not None

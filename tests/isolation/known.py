"""How a line of the table of URLs is written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

# No right is needed: it is the caller's own account.
OPEN = ""


@dataclass(frozen=True)
class Write:
    """A method that changes something. Texts in ``body`` such as ``{vm}`` are samples."""

    permission: str
    body: dict[str, Any] = field(default_factory=dict)


def asked(body: dict[str, Any]) -> dict[str, Any]:
    """Return what the price of a purchase is asked with: its body without the quote."""
    return {name: value for name, value in body.items() if name != "quote_token"}


@dataclass(frozen=True)
class Known:
    """What the tests know of a URL.

    ``params`` maps each parameter to the name of a sample, or to a plain word after ``=``.
    ``public`` URLs answer anybody; ``unlisted`` ones exist in development only; ``person`` ones
    of the API take a session, and change nothing for a key. ``query`` is what reading needs to be
    told, with samples such as ``{vm}``. ``unknown`` URLs ask for what no caller of these tests has,
    a signature or an address of a payment provider. ``people`` URLs are about somebody's own
    account, for administrators of the platform too.
    """

    params: dict[str, str] = field(default_factory=dict)
    writes: dict[str, Write] = field(default_factory=dict)
    public: bool = False
    unlisted: bool = False
    person: bool = False
    query: str = ""
    unknown: bool = False
    people: bool = False

    @property
    def owned(self) -> bool:
        """Whether the URL names something that belongs to a tenant."""
        return any(not sample.startswith("=") for sample in self.params.values())


def own(
    sample: str, permission: str, body: dict[str, Any] | None = None, param: str = "pk"
) -> Known:
    """Return the line of a URL that names something of a tenant and takes a POST."""
    return Known({param: sample}, {"post": Write(permission, body or {})})

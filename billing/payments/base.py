"""The port to a payment provider, without Django.

A provider takes the money on pages of its own and keeps books of its own. Nothing on this side of
the port ever sees a card or an account number. Amounts are whole minor units of a currency.

``reference`` is the id of our payment and ``refund`` that of our refund: what is asked twice under
the same name happens once at the provider.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol


class ProviderError(Exception):
    """The provider did not do what it was asked for."""


class Unreachable(ProviderError):
    """It did not answer, so nobody knows whether it did it. Ask again."""


class Refused(ProviderError):
    """It will not do it, however often it is asked."""


class BadNews(ProviderError):
    """What came in its name is not signed by it, too old, or not understood. Nothing was read."""


class State(StrEnum):
    """Where a payment stands in the provider's books. All but ``OPEN`` are final, except that a
    provider may still be paid what it called failed or cancelled."""

    OPEN = "open"
    PAID = "paid"
    FAILED = "failed"
    CANCELLED = "cancelled"


class RefundState(StrEnum):
    """Where a refund stands in the provider's books."""

    OPEN = "open"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A payment that somebody is about to make. ``return_url`` is where the browser comes back."""

    reference: str
    amount_minor: int
    currency: str
    text: str
    return_url: str


@dataclass(frozen=True, slots=True)
class Page:
    """The provider's page for a payment, with the provider's own name for it."""

    name: str
    url: str


@dataclass(frozen=True, slots=True)
class Standing:
    """What the provider says of a payment."""

    reference: str
    state: State
    amount_minor: int
    currency: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class RefundStanding:
    """What the provider says of a refund of a payment."""

    reference: str
    refund: str
    state: RefundState
    amount_minor: int
    currency: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Event:
    """News that came from the provider by itself. The same ``id`` is the same news."""

    id: str
    news: Standing | RefundStanding


class Provider(Protocol):
    """What billing asks of a payment provider. Calls may take seconds; none is made in a
    transaction."""

    @property
    def key(self) -> str:
        """Its name here, as in the URL to which it posts."""

    def begin(self, wanted: Wanted) -> Page:
        """Open a payment, or return the page of the one with this reference.

        Raises Unreachable; Refused where the reference is used for something else.
        """

    def look(self, reference: str) -> Standing | None:
        """Where a payment stands; None where the provider knows none. Raises Unreachable."""

    def refund(self, reference: str, refund: str, amount_minor: int) -> RefundStanding:
        """Pay back a part of a payment, or say where the refund of this name stands.

        Raises Unreachable, Refused.
        """

    def read(self, headers: Mapping[str, str], body: bytes, now: datetime) -> Event:
        """Check the signature of what was posted to us, and return what it says.

        Raises BadNews.
        """

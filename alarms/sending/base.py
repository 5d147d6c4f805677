"""What came of sending a message."""

from __future__ import annotations


class NotSent(Exception):
    """A message was not taken. ``lasting`` says that trying again cannot help.

    ``message`` is for the tenant: it says what the other side did, and nothing of the platform.
    """

    def __init__(self, message: str, *, lasting: bool = False, status: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.lasting = lasting
        self.status = status

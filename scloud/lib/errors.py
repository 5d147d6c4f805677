"""The errors that people and programs see: a stable code, a message, the field, what to do."""

from typing import Any, ClassVar


class ScloudError(Exception):
    """An expected refusal or failure.

    ``code`` is stable and meant for programs; ``message`` is one sentence for people; ``field``
    names the input it is about; ``remedy`` says what to do; ``numbers`` holds the figures that the
    message speaks of, so that a program need not parse them.

    Tenants read all of these, so none names a path, an address, a host or a pool of the platform,
    or quotes what a driver says. That goes into ``detail``, which only operators see.
    """

    http_status: ClassVar[int] = 400
    default_code: ClassVar[str] = "error"
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        field: str | None = None,
        remedy: str | None = None,
        numbers: dict[str, Any] | None = None,
        detail: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.field = field
        self.remedy = remedy
        self.numbers = numbers
        self.detail = detail

    def as_dict(self) -> dict[str, Any]:
        """Return ``{code, message, field?, remedy?, numbers?}`` without the empty ones.

        Never ``detail``: this is what tenants are answered.
        """
        out: dict[str, Any] = {"code": self.code, "message": self.message}
        for key in ("field", "remedy", "numbers"):
            value = getattr(self, key)
            if value is not None:
                out[key] = value
        return out

    def for_operators(self) -> str:
        """Return message, remedy and detail as one text."""
        return " ".join(part for part in (self.message, self.remedy, self.detail) if part)


class InvalidInput(ScloudError):
    """A value that was sent is wrong, missing or hostile."""

    http_status = 400
    default_code = "invalid_input"


class TooLarge(InvalidInput):
    """The request is larger than anything that could be meant."""

    http_status = 413
    default_code = "request_too_large"


class Unauthenticated(ScloudError):
    """Nobody is signed in, or the key is unknown, expired or revoked."""

    http_status = 401
    default_code = "unauthenticated"


class LengthRequired(InvalidInput):
    """The request has to say how long its body is."""

    http_status = 411
    default_code = "length_required"


class InsufficientBalance(ScloudError):
    """The account cannot pay for it."""

    http_status = 402
    default_code = "insufficient_balance"


class Forbidden(ScloudError):
    """The role of the caller does not include this verb."""

    http_status = 403
    default_code = "forbidden"


class NotFound(ScloudError):
    """There is no such thing, or it belongs to someone else: the answer is the same."""

    http_status = 404
    default_code = "not_found"


class Conflict(ScloudError):
    """The resource is in a state that does not allow the verb."""

    http_status = 409
    default_code = "conflict"


class QuotaExceeded(Conflict):
    """More was asked than the tenant's quota leaves."""

    default_code = "quota_exceeded"


class NoCapacity(Conflict):
    """No host or pool has room for it."""

    default_code = "no_capacity"


class StaleQuote(Conflict):
    """The price changed since the quote was made."""

    default_code = "quote_stale"


class TooManyRequests(ScloudError):
    """A rate limit was reached."""

    http_status = 429
    default_code = "too_many_requests"


class HostError(ScloudError):
    """A host, its storage or its network did not do what was asked; trying again may help."""

    http_status = 502
    default_code = "host_error"
    retryable = True


class Unavailable(ScloudError):
    """The platform cannot serve for a moment; ``retry_after_s`` in ``numbers`` says how long."""

    http_status = 503
    default_code = "unavailable"
    retryable = True


class InternalError(ScloudError):
    """A defect of ours; the log has the details."""

    http_status = 500
    default_code = "internal_error"
    retryable = True

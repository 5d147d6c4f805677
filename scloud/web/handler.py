"""Django behind ASGI, with a guard in front of request bodies.

Django's own handler writes every body to a file before anything looks at the request. This one
holds what views take in memory, up to the view's limit, refuses what is longer while it comes in,
and hands the body of an upload to its view piece by piece.
"""

import asyncio
import contextlib
import io
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Final, cast

from asgiref.sync import ThreadSensitiveContext
from django.core.exceptions import RequestAborted, RequestDataTooBig
from django.core.handlers.asgi import ASGIHandler
from django.utils.translation import gettext as _

from scloud.lib import bodies
from scloud.lib.errors import InvalidInput, LengthRequired, ScloudError, TooLarge

log = logging.getLogger(__name__)

# A sender that is silent for so long is gone.
STALL_TIMEOUT_S: Final = 60.0
# How long the rest of a refused body is still taken, so that its sender gets to read the answer.
LINGER_S: Final = 2.0
LINGER_BYTES: Final = 16 << 20

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class Body:
    """The body of one request on its way in; callable as ASGI's ``receive``."""

    def __init__(self, scope: dict[str, Any], receive: Receive) -> None:
        self._receive = receive
        self.headers = scope["headers"]
        named = {name.lower(): value for name, value in scope["headers"]}
        self.chunked = b"content-length" not in named and b"transfer-encoding" in named
        self._expects = named.get(b"expect", b"").lower() == b"100-continue"
        length = named.get(b"content-length", b"0").strip()
        self.length = int(length) if length.isdigit() and length.isascii() else 0
        self.rule = bodies.DEFAULT_RULE
        self.streamed = False
        if self.length or self.chunked:
            self.rule = bodies.rule_for(scope["path"], scope["method"])
            kind = named.get(b"content-type", b"").decode("latin-1")
            self.streamed = self.rule.streams(kind)
        self.max_bytes = self.rule.max_bytes()
        if self.streamed and self.rule.handler is not None:
            self.max_bytes += bodies.FORM_BYTES
        if not self.streamed and self.rule.streamed_type:
            # Only the announced type may be large.
            self.max_bytes = bodies.DEFAULT_MAX_BYTES
        self.size = 0
        self.begun = False
        self.finished = asyncio.Event()

    async def __call__(self) -> Message:
        """Return the server's next message."""
        return await self._receive()

    def too_large(self) -> TooLarge:
        """Return the refusal of a body above the limit."""
        return TooLarge(
            _("The request is too large."),
            remedy=_("Send less than %(mb).1f MB.") % {"mb": self.max_bytes / (1 << 20)},
            numbers={"max_bytes": self.max_bytes},
        )

    def refusal(self) -> ScloudError | None:
        """Return why not a byte of the body is read, None when it may come."""
        if self.length > self.max_bytes:
            return self.too_large()
        if self.chunked and self.streamed and self.rule.handler is not None:
            return LengthRequired(
                _("The request has no Content-Length."),
                remedy=_("Send the header Content-Length."),
            )
        return None

    async def next(self) -> bytes:
        """Return the next piece, nothing at the end.

        Raises RequestAborted when the sender is gone, TimeoutError when it is silent for too long,
        TooLarge above the limit.
        """
        while not self.finished.is_set():
            self.begun = True
            async with asyncio.timeout(STALL_TIMEOUT_S):
                message = await self._receive()
            if message["type"] == "http.disconnect":
                self.finished.set()
                raise RequestAborted
            if not message.get("more_body", False):
                self.finished.set()
            piece: bytes = message.get("body", b"")
            self.size += len(piece)
            if self.size > self.max_bytes:
                raise self.too_large()
            if piece:
                return piece
        return b""

    async def whole(self) -> bytes:
        """Return all of it. Raises as :meth:`next`."""
        pieces = []
        while piece := await self.next():
            pieces.append(piece)
        return b"".join(pieces)

    async def linger(self) -> None:
        """Take and forget what still comes of a body that nobody wants, for a while."""
        if self._expects and not self.begun:
            return  # the sender waits for the answer before it sends
        taken = 0
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_S):
                while taken < LINGER_BYTES:
                    message = await self._receive()
                    taken += len(message.get("body", b""))
                    if message["type"] == "http.disconnect" or not message.get("more_body"):
                        return


class LiveBody(io.RawIOBase):
    """The body of an upload as a file for a view's thread, which waits for the next piece."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self._loop = asyncio.get_running_loop()
        self._held = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        """Return up to ``size`` bytes, nothing at the end; without a size all of a small body.

        Raises OSError when the sender is gone or silent, RequestDataTooBig above the limit.
        """
        if size is None or size < 0:
            pieces = []
            held = 0
            while piece := self.read(1 << 16):
                pieces.append(piece)
                held += len(piece)
                if held > bodies.DEFAULT_MAX_BYTES:
                    raise RequestDataTooBig("a streamed body is read piece by piece")
            return b"".join(pieces)
        if not self._held:
            self._held = self._next()
        out, self._held = self._held[:size], self._held[size:]
        return out

    def _next(self) -> bytes:
        waiting = asyncio.run_coroutine_threadsafe(self._body.next(), self._loop)
        try:
            return waiting.result()
        except RequestAborted as error:
            raise ConnectionResetError("the sender is gone") from error
        except TooLarge as error:
            raise RequestDataTooBig(error.message) from error


@dataclass(frozen=True)
class Incoming:
    """The body as Django's handler carries it from one method to the next."""

    file: io.IOBase
    refusal: ScloudError | None

    def close(self) -> None:
        """Called by Django's handler at the end."""
        self.file.close()


class Handler(ASGIHandler):
    """Django's handler for requests whose bodies are bounded by the view that they are for."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one HTTP request."""
        if scope["type"] != "http":
            raise ValueError(f"only HTTP is served here, not {scope['type']}")
        # A copy, because the length of a chunked body is added once it is known.
        scope = {**scope, "headers": list(scope["headers"])}
        body = Body(scope, receive)
        async with ThreadSensitiveContext():
            await self.handle(scope, cast(Any, body), cast(Any, _closing(body, send)))

    async def read_body(self, receive: Any) -> Any:
        """Return the body as a file: empty when it is refused, live for an upload."""
        body = cast(Body, receive)
        refusal = body.refusal()
        content: io.IOBase = io.BytesIO()
        if refusal is None and body.streamed:
            content = LiveBody(body)
        elif refusal is None:
            try:
                content = io.BytesIO(await body.whole())
            except ScloudError as error:
                refusal = error
            except TimeoutError:
                refusal = InvalidInput(
                    _("The request was not received completely."), code="request_incomplete"
                )
            if body.chunked and refusal is None:
                # What follows reads as many bytes as this header says.
                body.headers.append((b"content-length", b"%d" % body.size))
        return Incoming(content, refusal)

    def create_request(self, scope: Any, body_file: Any) -> Any:
        """Return (request, None), the refusal of the body noted on it for the middleware."""
        incoming = cast(Incoming, body_file)
        request: Any
        request, error = super().create_request(scope, cast(Any, incoming.file))
        if request is not None:
            request.body_refusal = incoming.refusal
        return request, error

    async def listen_for_disconnect(self, receive: Any) -> None:
        """Wait until the client is gone; the messages before are the body's."""
        await cast(Body, receive).finished.wait()
        await super().listen_for_disconnect(receive)


def _closing(body: Body, send: Send) -> Send:
    """Return a ``send`` that closes the connection after an answer to a body not read."""

    async def wrapped(message: Message) -> None:
        if not body.finished.is_set() and (body.length or body.chunked):
            if message["type"] == "http.response.start":
                headers = [*message.get("headers", []), (b"connection", b"close")]
                message = {**message, "headers": headers}
            elif not message.get("more_body", False):
                await send({**message, "more_body": True})
                await body.linger()
                message = {"type": "http.response.body", "body": b"", "more_body": False}
        await send(message)

    return wrapped

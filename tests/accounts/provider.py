"""An identity provider on this machine: real HTTP, real keys, and answers that tests spoil."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from django.test import Client
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from scloud.tenancy.models import IdentityProvider
from tests.accounts.factor import text_of

IP = "203.0.113.7"
CLIENT = "scloud"
SECRET = "a secret of the client"


@cache
def _key() -> Any:
    """Return a key pair, which takes long to make."""
    return RSAKey.generate_key(2048, {"kid": "one"})


@dataclass
class Question:
    """What a browser has asked."""

    state: str
    nonce: str
    challenge: str
    redirect_uri: str
    again: bool
    dated: bool


@dataclass
class Provider:
    """A provider. ``claims`` go over what is true, ``header`` over the token's; None leaves out."""

    server: ThreadingHTTPServer
    key: Any = field(default_factory=_key)
    published: list[Any] | None = None
    claims: dict[str, Any] = field(default_factory=dict)
    header: dict[str, Any] = field(default_factory=dict)
    signed_with: Any = None
    metadata: dict[str, Any] = field(default_factory=dict)
    #: Instead of the answer: what a path does.
    tricks: dict[str, Any] = field(default_factory=dict)
    token: str | None = None
    questions: dict[str, Question] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    bodies: list[dict[str, str]] = field(default_factory=list)

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def description(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
            **self.metadata,
        }

    def asked(self, address: str) -> tuple[str, Question]:
        """Take a question as the authorization endpoint does; return a code and the question."""
        query = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
        assert query["response_type"] == "code"
        assert query["client_id"] == CLIENT
        assert query["code_challenge_method"] == "S256"
        question = Question(
            query["state"],
            query["nonce"],
            query["code_challenge"],
            query["redirect_uri"],
            query.get("prompt") == "login" and query.get("max_age") == "0",
            "max_age" in query,
        )
        code = f"code-{len(self.questions)}"
        self.questions[code] = question
        return code, question

    def identity(self, question: Question) -> str:
        """Return the ID token of a question."""
        if self.token is not None:
            return self.token
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "sub": "anna",
            "aud": CLIENT,
            "iat": now,
            "exp": now + 300,
            "nonce": question.nonce,
            "email": "anna@example.org",
            "email_verified": True,
            "name": "Anna Example",
            "groups": ["crew"],
            **self.claims,
        }
        if question.dated:
            claims.setdefault("auth_time", now)
        header = {"alg": "ES256" if isinstance(self.key, ECKey) else "RS256", "kid": self.key.kid}
        header = {name: one for name, one in {**header, **self.header}.items() if one is not None}
        return jwt.encode(
            header,
            {name: one for name, one in claims.items() if one is not None},
            self.signed_with or self.key,
            algorithms=[header["alg"]],
        )

    def exchange(self, sent: dict[str, str], authorization: str) -> tuple[int, dict[str, Any]]:
        basic = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
        if authorization != f"Basic {basic}":
            return 401, {"error": "invalid_client"}
        question = self.questions.pop(sent.get("code", ""), None)
        digest = hashlib.sha256(sent.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if (
            question is None
            or challenge != question.challenge
            or sent.get("redirect_uri") != question.redirect_uri
            or sent.get("grant_type") != "authorization_code"
        ):
            return 400, {"error": "invalid_grant"}
        return 200, {
            "access_token": "an access token",
            "token_type": "Bearer",
            "id_token": self.identity(question),
        }


class _Handler(BaseHTTPRequestHandler):
    provider: Provider

    def log_message(self, *given: Any) -> None:
        """Nothing on the test's output."""

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.provider.requests.append(path)
        if self.tricked(path):
            return
        if path == "/.well-known/openid-configuration":
            self.answer(200, json.dumps(self.provider.description()).encode())
        elif path == "/keys":
            keys = self.provider.published
            if keys is None:
                keys = [self.provider.key.as_dict(private=False)]
            self.answer(200, json.dumps({"keys": keys}).encode())
        elif path == "/authorize":
            code, question = self.provider.asked(self.path)
            back = {"code": code, "state": question.state, "iss": self.provider.issuer}
            self.answer(302, b"", Location=f"{question.redirect_uri}?{urlencode(back)}")
        else:
            self.answer(404, b"{}")

    def do_POST(self) -> None:
        path = urlsplit(self.path).path
        self.provider.requests.append(path)
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        sent = {name: values[0] for name, values in parse_qs(body).items()}
        self.provider.bodies.append(sent)
        if self.tricked(path):
            return
        status, answer = self.provider.exchange(sent, self.headers.get("Authorization", ""))
        self.answer(status, json.dumps(answer).encode())

    def tricked(self, path: str) -> bool:
        trick = self.provider.tricks.get(path)
        if trick is None:
            return False
        with suppress(OSError):
            trick(self)
        return True


def huge(handler: Any) -> None:
    """A body without an end."""
    handler.send_response(200)
    handler.end_headers()
    while True:
        handler.wfile.write(b" " * 65_536)


def slow(handler: Any) -> None:
    """A byte now and then."""
    handler.send_response(200)
    handler.end_headers()
    for _number in range(100):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.1)


def leads_to(address: str) -> Any:
    """A redirection."""
    return lambda handler: handler.answer(302, b"", Location=address)


def says(body: bytes, status: int = 200) -> Any:
    """A body."""
    return lambda handler: handler.answer(status, body)


@contextmanager
def serving() -> Iterator[Provider]:
    """Yield a provider that answers."""
    handler = type("Handler", (_Handler,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    made = Provider(server)
    handler.provider = made  # type: ignore[attr-defined]  # declared in the class above
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()


def begin(client: Client, row: IdentityProvider, **data: str) -> str:
    """Press the button; return where the browser is led."""
    answer = client.post(f"/login/with/{row.pk}/", data, REMOTE_ADDR=IP)
    assert answer.status_code == 200, answer.headers
    return str(answer.headers["Refresh"]).removeprefix("0;url=")


def come_back(
    client: Client, row: IdentityProvider, service: Provider, address: str, **change: str
) -> Any:
    """Be sent back by the provider, and let the page send the answer."""
    code, question = service.asked(address)
    back = {"code": code, "state": question.state, "iss": service.issuer, **change}
    shown = client.get(f"/login/with/{row.pk}/answer/", back, REMOTE_ADDR=IP)
    sent = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', text_of(shown)))
    sent = {name: sent[name] for name in ("code", "state", "iss", "error")}
    return client.post(f"/login/with/{row.pk}/answer/", sent, REMOTE_ADDR=IP)

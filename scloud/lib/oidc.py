"""OpenID Connect towards a provider: the authorization code flow with PKCE, and its tokens.

Requests go to the provider alone: https, no redirection followed, answers of bounded size, all of
one step within a deadline, and only some at the same time in a process. What a provider says is
believed only after its signature, issuer, audience, times and nonce were compared.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.core import CodeIDToken
from authlib.oidc.discovery import get_well_known_url
from django.conf import settings
from django.utils.translation import gettext as _
from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import import_key
from joserfc.jws import JWSRegistry

from scloud.lib import outgoing
from scloud.lib.destinations import Address, Destinations, carried
from scloud.lib.errors import HostError, InvalidInput, TooManyRequests

#: For all requests of a step together, in seconds, beside the look-up of names.
STEP_S: Final = 8.0
#: For the look-up of a name, in seconds.
RESOLVE_S: Final = 3.0
#: Of an answer; one that is larger is refused.
MAX_ANSWER: Final = 256 * 1024
#: How far the clocks of provider and platform may be apart, in seconds.
SKEW_S: Final = 60
#: How long ago somebody may have proven at the provider who they are to sign in here, in seconds.
#: So long that it sends few people there again: it has the token say when that was (`auth_time`).
MAX_AGE_S: Final = 30 * 24 * 3600
#: Requests to providers at the same time, of a process; who comes then waits `_WAIT_S`.
AT_ONCE: Final = 4
#: Of these, to one provider: one that hangs shuts out nobody of another.
AT_ONCE_OF_ONE: Final = 2
_WAIT_S: Final = 2.0
#: Keys of a provider that are looked at.
MAX_KEYS: Final = 50
#: Signatures with a key pair only. "none" is none, and with HS256 everybody who knows the public
#: key, or the secret of the client, could sign.
ALGORITHMS: Final = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
    "Ed25519",
)  # fmt: skip
_REGISTRY: Final = JWSRegistry(algorithms=list(ALGORITHMS), strict_check_header=False)
_PORTS: Final = frozenset(range(1, 65536))
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})
_AZURE_METADATA: Final = "168.63.129.16"


class _Room:
    """Places for requests at the same time: so many in all, and so many of an issuer."""

    def __init__(self, places: int, of_one: int) -> None:
        self._places = places
        self._of_one = of_one
        self._taken: Counter[str] = Counter()
        self._changed = threading.Condition()

    def take(self, issuer: str, wait_s: float) -> bool:
        """Take a place; return whether there was one in time."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._is_free(issuer), wait_s):
                return False
            self._taken[issuer] += 1
        return True

    def give_back(self, issuer: str) -> None:
        """Let somebody else have the place."""
        with self._changed:
            self._taken[issuer] -= 1
            # Empty ones go: issuers come and go, too.
            self._taken += Counter()
            self._changed.notify_all()

    def _is_free(self, issuer: str) -> bool:
        return self._taken.total() < self._places and self._taken[issuer] < self._of_one


_room = _Room(AT_ONCE, AT_ONCE_OF_ONE)


class UnknownKey(Exception):
    """The token was signed with a key that is not among those that are known."""


@dataclass(frozen=True)
class Client:
    """What the provider knows the platform by."""

    issuer: str
    client_id: str
    secret: str
    scopes: str


@dataclass(frozen=True)
class Endpoints:
    """What is kept of a provider's own description of itself."""

    authorization: str
    token: str
    keys: str
    #: Whether each answer names its issuer (RFC 9207).
    names_issuer: bool
    #: Whether the secret is sent in the body, for providers that take it there only.
    secret_in_body: bool

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> Endpoints:
        """Return what :meth:`as_dict` has made."""
        return cls(**kept)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Tokens:
    """The answer to a code."""

    identity: str
    access: str


@dataclass(frozen=True)
class _Providers(Destinations):
    """Hosts that operators name. They may be private ones, of the operator's own network."""

    loopback: bool = False

    def permits(self, address: Address) -> bool:
        inner = carried(address)
        if inner is not None:
            return self.permits(inner)
        if address.is_loopback:
            return self.loopback
        # Metadata of clouds answers at addresses of the link.
        return not (
            address.is_link_local
            or address.is_multicast
            or address.is_unspecified
            or str(address) == _AZURE_METADATA
        )


def _destinations() -> Destinations:
    return _Providers(ports=_PORTS, resolve_s=RESOLVE_S, loopback=settings.SCLOUD_IDENTITY_LOOPBACK)


def check_url(url: str, *, field: str) -> str:
    """Return a URL of a provider. Raises InvalidInput (``url_invalid``, ``url_not_https``, …).

    https only; http to this machine itself where ``SCLOUD_IDENTITY_LOOPBACK`` says so.
    """
    cleaned = _destinations().check_url(url, field=field)
    parts = urlsplit(cleaned)
    if parts.scheme == "https":
        return cleaned
    if settings.SCLOUD_IDENTITY_LOOPBACK and parts.hostname in _LOOPBACK:
        return cleaned
    raise InvalidInput(
        _("The address must begin with https://."), code="url_not_https", field=field
    )


def check_issuer(issuer: str) -> str:
    """Return an issuer as it is compared: exactly as it was written, which has no query."""
    cleaned = check_url(issuer, field="issuer")
    if urlsplit(cleaned).query or urlsplit(cleaned).fragment:
        raise InvalidInput(
            _("An issuer has no query and no fragment."), code="url_invalid", field="issuer"
        )
    return cleaned


# --- asking the provider


def discover(issuer: str) -> Endpoints:
    """Read a provider's description of itself.

    Raises HostError (``provider_unreachable``), InvalidInput (``provider_invalid``) and
    TooManyRequests (``provider_busy``).
    """
    with _step(issuer) as end:
        found = _json(_ask("GET", get_well_known_url(check_issuer(issuer), external=True), end))
    if found.get("issuer") != issuer:
        raise _invalid("issuer", "another issuer is named")
    for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
        if not isinstance(found.get(name), str):
            raise _invalid(name, "missing")
    methods = found.get("code_challenge_methods_supported")
    if isinstance(methods, list) and "S256" not in methods:
        raise _invalid("code_challenge_methods_supported", "no S256")
    ways = found.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
    return Endpoints(
        authorization=check_url(found["authorization_endpoint"], field="authorization_endpoint"),
        token=check_url(found["token_endpoint"], field="token_endpoint"),
        keys=check_url(found["jwks_uri"], field="jwks_uri"),
        names_issuer=found.get("authorization_response_iss_parameter_supported") is True,
        secret_in_body="client_secret_basic" not in ways and "client_secret_post" in ways,
    )


def read_keys(issuer: str, endpoints: Endpoints) -> list[dict[str, Any]]:
    """Read the public keys of a provider; those of other kinds are left out. Raises as discover."""
    with _step(issuer) as end:
        found = _json(_ask("GET", endpoints.keys, end)).get("keys")
    if not isinstance(found, list):
        raise _invalid("keys", "missing")
    return [
        key
        for key in found[:MAX_KEYS]
        if isinstance(key, dict)
        and key.get("kty") in {"RSA", "EC", "OKP"}
        and key.get("use", "sig") == "sig"
    ]


def exchange(
    client: Client, endpoints: Endpoints, *, code: str, verifier: str, redirect_uri: str
) -> Tokens:
    """Return the tokens of a code.

    Raises InvalidInput (``code_refused``, ``provider_invalid``), HostError
    (``provider_unreachable``), TooManyRequests (``provider_busy``).
    """
    body = prepare_token_request(
        "authorization_code", redirect_uri=redirect_uri, code=code, code_verifier=verifier
    )
    way = "none"
    if client.secret:
        way = "client_secret_post" if endpoints.secret_in_body else "client_secret_basic"
    auth = ClientAuth(client.client_id, client.secret, way)
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    url, headers, body = auth.prepare("POST", endpoints.token, headers, body)
    with _step(client.issuer) as end:
        status, answer = _send("POST", url, end, headers=headers, body=body.encode())
    if status in {400, 401}:
        said = _error_of(answer)
        raise InvalidInput(
            _("The provider has refused the sign-in."),
            code="code_refused",
            remedy=_("Try again."),
            detail=said,
        )
    if status != 200:
        raise _unreachable(f"status {status}")
    found = _json(answer)
    identity = found.get("id_token")
    if not isinstance(identity, str):
        raise _invalid("id_token", "missing")
    access = found.get("access_token")
    return Tokens(identity, access if isinstance(access, str) else "")


@contextmanager
def _step(issuer: str) -> Iterator[float]:
    """Yield until when (of ``time.monotonic``) a step has to be over; wait for room first."""
    room = _room
    if not room.take(issuer, _WAIT_S):
        raise TooManyRequests(
            _("Too many people are signing in at the moment."),
            code="provider_busy",
            remedy=_("Try again in a minute."),
        )
    try:
        yield time.monotonic() + STEP_S
    finally:
        room.give_back(issuer)


def _ask(method: str, url: str, end: float) -> bytes:
    status, answer = _send(method, url, end, headers={})
    if status != 200:
        raise _unreachable(f"status {status}")
    return answer


def _send(
    method: str, url: str, end: float, *, headers: Mapping[str, str], body: bytes | None = None
) -> tuple[int, bytes]:
    checked = check_url(url, field="url")
    try:
        response, connection = outgoing.send(
            method,
            checked,
            _destinations(),
            end=end,
            headers={"Accept": "application/json", **headers},
            body=body,
            code="provider_unreachable",
        )
    except HostError as error:
        raise _unreachable(f"{error.code} {error.detail}".strip()) from error
    try:
        # One byte more than may come tells that more comes.
        parts, size = [], 0
        while size <= MAX_ANSWER and (part := response.read1(MAX_ANSWER + 1 - size)):
            parts.append(part)
            size += len(part)
    except Exception as error:
        # http.client and sockets have many; none of them is an answer.
        raise _unreachable(type(error).__name__) from error
    finally:
        response.close()
        connection.hang_up()
    if size > MAX_ANSWER:
        raise _invalid("answer", f"larger than {MAX_ANSWER} bytes")
    return response.status, b"".join(parts)


def _json(answer: bytes) -> dict[str, Any]:
    try:
        found = json.loads(answer)
    except (ValueError, RecursionError) as error:
        raise _invalid("answer", "no JSON") from error
    if not isinstance(found, dict):
        raise _invalid("answer", "no object")
    return found


def _error_of(answer: bytes) -> str:
    """Return the error's name in an answer, which is one of a few words of the standard."""
    try:
        found = json.loads(answer)
    except (ValueError, RecursionError):
        return ""
    name = found.get("error") if isinstance(found, dict) else None
    return name[:60] if isinstance(name, str) and name.isprintable() else ""


def _unreachable(detail: str) -> HostError:
    return HostError(
        _("The provider does not answer."),
        code="provider_unreachable",
        remedy=_("Try again later."),
        detail=detail,
    )


def _invalid(what: str, detail: str) -> InvalidInput:
    return InvalidInput(
        _("The answer of the provider is not valid."),
        code="provider_invalid",
        remedy=_("Tell the administrator of your platform."),
        detail=f"{what}: {detail}",
    )


# --- sending somebody there, and what comes back


@dataclass(frozen=True)
class Question:
    """The secrets of one question to a provider."""

    state: str
    nonce: str
    verifier: str

    @classmethod
    def new(cls) -> Question:
        return cls(*(secrets.token_urlsafe(32) for _number in range(3)))


def authorization_url(
    client: Client,
    endpoints: Endpoints,
    question: Question,
    *,
    redirect_uri: str,
    again: bool = False,
) -> str:
    """Return where a browser asks the provider; ``again`` has the person prove who they are."""
    more = {"max_age": str(MAX_AGE_S)}
    if again:
        more = {"prompt": "login", "max_age": "0"}
    return str(
        prepare_grant_uri(
            check_url(endpoints.authorization, field="authorization_endpoint"),
            client_id=client.client_id,
            response_type="code",
            redirect_uri=redirect_uri,
            scope=client.scopes,
            state=question.state,
            nonce=question.nonce,
            code_challenge=create_s256_code_challenge(question.verifier),
            code_challenge_method="S256",
            **more,
        )
    )


def claims_of(
    tokens: Tokens, client: Client, keys: Sequence[Mapping[str, Any]], *, nonce: str
) -> dict[str, Any]:
    """Return what a token says, after everything about it was compared.

    Raises UnknownKey where no key is the one that it names, and InvalidInput (``token_invalid``).
    """
    try:
        header = jws.extract_compact(tokens.identity.encode()).headers()
    except (JoseError, ValueError, UnicodeError, RecursionError) as error:
        raise _token(error) from error
    algorithm = header.get("alg")
    if algorithm not in ALGORITHMS:
        raise _token(f"algorithm {algorithm!r}"[:80])
    try:
        token = jwt.decode(
            tokens.identity, _key(header, keys), list(ALGORITHMS), registry=_REGISTRY
        )
        found = CodeIDToken(
            token.claims,
            token.header,
            options={
                "iss": {"essential": True, "value": client.issuer},
                "aud": {"essential": True, "value": client.client_id},
                "nonce": {"essential": True, "value": nonce},
            },
            params={
                "nonce": nonce,
                "client_id": client.client_id,
                "access_token": tokens.access or None,
            },
        )
        found.validate(leeway=SKEW_S)
    except (JoseError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise _token(error) from error
    subject = found["sub"]
    # The standard bounds it; PostgreSQL keeps no NUL.
    if not (isinstance(subject, str) and 1 <= len(subject) <= 255 and "\x00" not in subject):
        raise _token("subject")
    return dict(found)


def _key(header: Mapping[str, Any], keys: Sequence[Mapping[str, Any]]) -> Any:
    """Return the key that a token names; where it names none there must be one that fits."""
    kinds = {"R": "RSA", "P": "RSA"}
    algorithm, kid = str(header["alg"]), header.get("kid")
    kind = "OKP" if algorithm.startswith("Ed") else kinds.get(algorithm[0], "EC")
    fitting = [
        key
        for key in keys
        if key.get("kty") == kind
        and key.get("alg", algorithm) == algorithm
        and (kid is None or key.get("kid") == kid)
    ]
    if len(fitting) != 1:
        raise UnknownKey
    return import_key(dict(fitting[0]))


def _token(why: object) -> InvalidInput:
    detail = why if isinstance(why, str) else f"{type(why).__name__}: {why}"[:120]
    return InvalidInput(
        _("The answer of the provider is not valid."),
        code="token_invalid",
        remedy=_("Try again. If it happens again, tell the administrator of your platform."),
        detail=detail,
    )

"""What is believed of an identity provider, over real HTTP and with real signatures."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from joserfc.jwk import ECKey, OctKey, RSAKey

from scloud.lib import oidc
from scloud.lib.errors import ScloudError
from tests.accounts.provider import CLIENT, SECRET, Provider, huge, leads_to, says, serving, slow

BACK = "http://localhost:8000/login/with/idp-1/answer/"


@pytest.fixture
def provider() -> Iterator[Provider]:
    with serving() as made:
        yield made


def client_of(provider: Provider) -> oidc.Client:
    return oidc.Client(provider.issuer, CLIENT, SECRET, "openid email")


def come_back(provider: Provider) -> tuple[oidc.Tokens, oidc.Question]:
    """Ask, be sent back and change the code for tokens."""
    client, endpoints = client_of(provider), oidc.discover(provider.issuer)
    question = oidc.Question.new()
    address = oidc.authorization_url(client, endpoints, question, redirect_uri=BACK)
    code, _asked = provider.asked(address)
    tokens = oidc.exchange(
        client, endpoints, code=code, verifier=question.verifier, redirect_uri=BACK
    )
    return tokens, question


def claims_of(provider: Provider) -> dict[str, Any]:
    """Go the whole way."""
    tokens, question = come_back(provider)
    keys = oidc.read_keys(provider.issuer, oidc.discover(provider.issuer))
    return oidc.claims_of(tokens, client_of(provider), keys, nonce=question.nonce)


def refused(provider: Provider) -> ScloudError:
    with pytest.raises(ScloudError) as refusal:
        claims_of(provider)
    return refusal.value


def test_a_code_becomes_what_the_provider_says(provider: Provider) -> None:
    found = claims_of(provider)
    assert (found["sub"], found["groups"]) == ("anna", ["crew"])
    [sent] = provider.bodies
    assert sent.keys() == {"grant_type", "code", "redirect_uri", "code_verifier"}


def test_keys_of_elliptic_curves_and_a_secret_in_the_body_do_too(provider: Provider) -> None:
    provider.key = ECKey.generate_key("P-256", {"kid": "curve"})
    assert claims_of(provider)["sub"] == "anna"
    provider.metadata["token_endpoint_auth_methods_supported"] = ["client_secret_post"]
    with pytest.raises(ScloudError) as tokens:
        come_back(provider)
    # The test's provider wants the header; what was sent is what counts here.
    assert tokens.value.code == "code_refused"
    assert provider.bodies[-1]["client_secret"] == SECRET


def test_a_code_is_good_for_its_verifier_only(provider: Provider) -> None:
    client, endpoints = client_of(provider), oidc.discover(provider.issuer)
    question = oidc.Question.new()
    code, _asked = provider.asked(
        oidc.authorization_url(client, endpoints, question, redirect_uri=BACK)
    )
    with pytest.raises(ScloudError) as refusal:
        oidc.exchange(
            client,
            endpoints,
            code=code,
            verifier=oidc.Question.new().verifier,
            redirect_uri=BACK,
        )
    assert (refusal.value.code, refusal.value.detail) == ("code_refused", "invalid_grant")


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "another"},
        {"aud": [CLIENT, "another"]},
        {"aud": [CLIENT, "another"], "azp": "another"},
        {"aud": None},
        {"iss": "https://evil.example.org"},
        {"iss": None},
        {"nonce": "another"},
        {"nonce": None},
        {"exp": -120},
        {"exp": None},
        {"exp": "never"},
        {"nbf": 600},
        {"sub": None},
        {"sub": ""},
        {"sub": "x" * 256},
        {"sub": "a\x00b"},
        {"at_hash": "of-another-token"},
    ],
    ids=str,
)
def test_a_token_of_somebody_else_or_of_another_time_is_refused(
    provider: Provider, claims: dict[str, Any]
) -> None:
    # A moment is given as seconds from now.
    provider.claims = {
        name: value + int(time.time()) if isinstance(value, int) else value
        for name, value in claims.items()
    }
    assert refused(provider).code == "token_invalid"


def test_clocks_may_be_a_minute_apart(provider: Provider) -> None:
    provider.claims = {"exp": int(time.time()) - 30}
    assert claims_of(provider)["sub"] == "anna"


def unsigned(header: dict[str, Any], claims: dict[str, Any]) -> str:
    parts = [json.dumps(one).encode() for one in (header, claims)]
    texts = [base64.urlsafe_b64encode(one).decode().rstrip("=") for one in parts]
    return f"{texts[0]}.{texts[1]}."


def test_a_token_without_a_signature_is_refused(provider: Provider) -> None:
    now = int(time.time())
    claims = {"iss": provider.issuer, "sub": "anna", "aud": CLIENT, "iat": now, "exp": now + 300}
    for algorithm in ("none", "None", "RS256"):
        provider.token = unsigned({"alg": algorithm, "kid": "one"}, claims)
        assert refused(provider).code == "token_invalid"


def shared(secret: bytes, provider: Provider) -> str:
    """Return a token that is signed with what both sides know, as HS256 is."""
    now = int(time.time())
    claims = {"iss": provider.issuer, "sub": "anna", "aud": CLIENT, "iat": now, "exp": now + 300}
    signed = unsigned({"alg": "HS256", "kid": "one"}, claims)[:-1]
    digest = hmac.new(secret, signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


def test_the_public_key_signs_nothing(provider: Provider) -> None:
    provider.token = shared(provider.key.as_pem(private=False), provider)
    assert refused(provider).detail == "algorithm 'HS256'"
    # Nor does the secret of the client, even where the provider publishes it as a key.
    provider.token = shared(SECRET.encode(), provider)
    key = OctKey.import_key(SECRET, {"kid": "one"})
    provider.published = [key.as_dict(private=True)]
    assert refused(provider).detail == "algorithm 'HS256'"
    assert oidc.read_keys(provider.issuer, oidc.discover(provider.issuer)) == []


def test_another_key_of_the_same_name_is_refused(provider: Provider) -> None:
    provider.signed_with = RSAKey.generate_key(2048, {"kid": "one"})
    assert refused(provider).code == "token_invalid"


def test_a_key_that_is_not_known_is_told_apart(provider: Provider) -> None:
    provider.header = {"kid": "two"}
    with pytest.raises(oidc.UnknownKey):
        claims_of(provider)
    # Without a name there must be one key only.
    provider.header = {"kid": None}
    assert claims_of(provider)["sub"] == "anna"
    other = RSAKey.generate_key(2048, {"kid": "two"})
    provider.published = [one.as_dict(private=False) for one in (provider.key, other)]
    with pytest.raises(oidc.UnknownKey):
        claims_of(provider)


@pytest.mark.parametrize("token", ["", "x", "a.b", "a.b.c", "..", "\u00e9.\u00e9.\u00e9"])
def test_what_is_no_token_is_refused(provider: Provider, token: str) -> None:
    provider.token = token
    assert refused(provider).code == "token_invalid"


PATHS = ["/.well-known/openid-configuration", "/keys", "/token"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("trick", "code"),
    [
        (huge, "provider_invalid"),
        (says(b"[1]"), "provider_invalid"),
        (says(b"<html>"), "provider_invalid"),
        (says(b"[" * 100_000), "provider_invalid"),
        (says(b"{}"), "provider_invalid"),
        (says(b"{}", 500), "provider_unreachable"),
        (leads_to("http://127.0.0.1:9/"), "provider_unreachable"),
    ],
    ids=["huge", "list", "html", "deep", "empty", "error", "redirection"],
)
def test_no_other_answer_is_taken(provider: Provider, path: str, trick: Any, code: str) -> None:
    provider.tricks = {path: trick}
    assert refused(provider).code == code


def test_a_slow_answer_ends_with_the_step(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oidc, "STEP_S", 0.5)
    for path in PATHS:
        provider.tricks = {path: slow}
        began = time.monotonic()
        assert refused(provider).code == "provider_unreachable"
        assert time.monotonic() - began < 3


def test_only_some_ask_at_the_same_time(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oidc, "_WAIT_S", 0.05)
    monkeypatch.setattr(oidc, "_room", oidc._Room(1, 1))
    with oidc._step("https://another.example.org"), pytest.raises(ScloudError) as refusal:
        oidc.discover(provider.issuer)
    assert refusal.value.code == "provider_busy"
    # An answer that was no good has given its place back.
    provider.tricks = {"/keys": says(b"[]")}
    assert refused(provider).code == "provider_invalid"
    assert oidc.discover(provider.issuer).token == f"{provider.issuer}/token"


def test_a_provider_that_hangs_shuts_out_nobody_of_another(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oidc, "_WAIT_S", 0.2)
    let_go = threading.Event()
    said: list[str] = []

    def ask(issuer: str) -> None:
        try:
            oidc.discover(issuer)
        except ScloudError as error:
            said.append(error.code)

    with serving() as slow_one:
        slow_one.tricks = {"/.well-known/openid-configuration": lambda _handler: let_go.wait(10)}
        asking = [
            threading.Thread(target=ask, args=[slow_one.issuer]) for _number in range(oidc.AT_ONCE)
        ]
        for thread in asking:
            thread.start()
        # Two hang there, and the others were told so.
        deadline = time.monotonic() + 20
        while len(said) < oidc.AT_ONCE - oidc.AT_ONCE_OF_ONE and time.monotonic() < deadline:
            time.sleep(0.01)
        assert said == ["provider_busy"] * (oidc.AT_ONCE - oidc.AT_ONCE_OF_ONE)
        assert oidc.discover(provider.issuer).token == f"{provider.issuer}/token"
        let_go.set()
        for thread in asking:
            thread.join(20)
    assert not any(thread.is_alive() for thread in asking)
    # Every place was given back.
    assert oidc._room._taken == {}


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://evil.example.org"},
        {"jwks_uri": None},
        {"token_endpoint": "http://id.example.org/token"},
        {"authorization_endpoint": "javascript:alert(1)"},
        {"jwks_uri": "file:///etc/passwd"},
        {"code_challenge_methods_supported": ["plain"]},
    ],
    ids=str,
)
def test_a_description_that_leads_astray_is_refused(
    provider: Provider, metadata: dict[str, Any]
) -> None:
    provider.metadata = metadata
    with pytest.raises(ScloudError):
        oidc.discover(provider.issuer)
    assert provider.requests == ["/.well-known/openid-configuration"]


def test_http_is_for_development_on_this_machine(provider: Provider, settings: Any) -> None:
    with pytest.raises(ScloudError) as refusal:
        oidc.check_issuer("http://id.example.org")
    assert refusal.value.code == "url_not_https"
    settings.SCLOUD_IDENTITY_LOOPBACK = False
    with pytest.raises(ScloudError) as refusal:
        oidc.discover(provider.issuer)
    assert refusal.value.code == "url_not_https"
    # Not by https either: what listens here is none of a provider's.
    with pytest.raises(ScloudError) as refusal:
        oidc.discover(provider.issuer.replace("http:", "https:"))
    assert refusal.value.code == "address_refused"
    with pytest.raises(ScloudError) as refusal:
        oidc.discover("https://169.254.169.254/")
    assert refusal.value.code == "address_refused"
    assert provider.requests == []

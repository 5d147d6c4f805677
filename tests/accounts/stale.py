"""Browsers in which somebody signed in a while ago, and what they send when they are asked."""

from __future__ import annotations

import html
import re
from typing import Any
from urllib.parse import urlencode

from django.test import Client
from django.utils import timezone

from tests.fixtures import PASSWORD

ASKED = "Confirm that it is you"


def grow_stale(client: Client, minutes: float = 16) -> None:
    """Let so much time pass since signing in, during which somebody was there."""
    client.get("/profile/")
    session = client.session
    now = timezone.now().timestamp()
    session["signed_in_at"], session["seen_at"] = now - minutes * 60, now
    session.pop("confirmed_at", None)
    session.save()


def text_of(answer: Any) -> str:
    return str(answer.content.decode())


def hidden(answer: Any) -> list[tuple[str, str]]:
    """Return what the hidden fields of the form hold."""
    found = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', text_of(answer))
    return [(name, html.unescape(value)) for name, value in found if name != "csrfmiddlewaretoken"]


def prove(
    client: Client,
    url: str,
    asked: Any,
    *,
    password: str = PASSWORD,
    code: str | None = None,
    htmx: bool = True,
) -> Any:
    """Send the form that asks, as a browser does: everything in it, and the proof."""
    fields = [*hidden(asked), ("identity-password", password)]
    if code is not None:
        fields.append(("identity-code", code))
    headers = {"HX-Request": "true", "HX-Target": "dialog-slot"} if htmx else {}
    return client.post(
        url,
        urlencode(fields),
        content_type="application/x-www-form-urlencoded",
        headers=headers,
    )

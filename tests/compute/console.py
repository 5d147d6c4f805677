"""How the tests of the console's pages read and send."""

from __future__ import annotations

import re
from typing import Any

from django.test import Client
from django.urls import reverse

HTMX = {"HX-Request": "true"}


def token_in(html: str) -> str:
    found = re.search(r'name="quote_token" value="([^"]+)"', html)
    assert found, html
    return found[1]


def page(console: Client, name: str, *args: str, query: str = "") -> str:
    response = console.get(reverse(name, args=args) + query, headers=HTMX)
    assert response.status_code == 200, response.content
    return response.content.decode()


def send(console: Client, url_name: str, /, *args: str, **data: Any) -> Any:
    return console.post(reverse(url_name, args=args), data, headers=HTMX)

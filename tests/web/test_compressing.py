"""Pages are compressed, and answers that hold secrets are not."""

from __future__ import annotations

import gzip
from typing import Any

from django.http import HttpResponse
from django.test import Client, RequestFactory
from django.urls import reverse

from scloud.web.middleware import CompressingMiddleware

ACCEPTS = {"Accept-Encoding": "gzip"}


def test_a_page_is_sent_compressed_and_differs_in_length_each_time(console: Client) -> None:
    plain = console.get("/tasks/")
    assert "Content-Encoding" not in plain.headers
    lengths = set()
    for _ in range(8):
        answer = console.get("/tasks/", headers=ACCEPTS)
        assert answer.headers["Content-Encoding"] == "gzip"
        assert "Accept-Encoding" in answer.headers["Vary"]
        text = gzip.decompress(answer.content).decode()
        assert "<h1>Tasks</h1>" in text
        lengths.add(len(answer.content))
    assert max(lengths) * 3 < len(plain.content)
    # What is random in each answer hides by how much a guess has shortened it.
    assert len(lengths) > 1


def test_the_token_against_forged_requests_is_another_text_in_each_answer(console: Client) -> None:
    texts = {
        console.get("/tasks/").content.decode().split('"X-CSRFToken": "')[1].split('"')[0]
        for _ in range(3)
    }
    assert len(texts) == 3


def test_answers_to_a_post_are_not_compressed(console: Client) -> None:
    """They are where a new key or password is shown."""
    answer = console.post(
        reverse("api-key-create"), {"name": "x" * 300}, headers={**ACCEPTS, "HX-Request": "true"}
    )
    assert len(answer.content) > 1000
    assert "Content-Encoding" not in answer.headers


def test_pages_of_the_second_factor_are_not_compressed(console: Client) -> None:
    answer = console.get(reverse("second-factor-begin"), headers=ACCEPTS)
    assert answer.status_code == 200
    assert len(answer.content) > 200
    assert "Content-Encoding" not in answer.headers


def test_what_is_no_page_is_left_alone(console: Client) -> None:
    answer = console.get("/api/v1/vms", headers=ACCEPTS)
    assert "Content-Encoding" not in answer.headers


def test_a_view_can_say_that_it_holds_a_secret(rf: RequestFactory) -> None:
    def answer(holds_secret: bool) -> Any:
        response = HttpResponse("secret " * 200, content_type="text/html; charset=utf-8")
        response.holds_secret = holds_secret  # type: ignore[attr-defined]  # as views do
        request = rf.get("/", headers=ACCEPTS)
        return CompressingMiddleware(lambda _request: response)(request)

    assert "Content-Encoding" in answer(False).headers
    assert "Content-Encoding" not in answer(True).headers

"""What comes of a message whose mail server is silent, gone, or says no."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any

import pytest

from alarms.rules.messages import Message
from alarms.sending import email
from alarms.sending.base import NotSent

SAID = Message("delivery-1", "Subject", "Text")
PATIENCE_S = 0.5


@pytest.fixture
def listening(settings: Any) -> Iterator[socket.socket]:
    """A socket that takes connections; the mail server of the platform is there."""
    server = socket.create_server(("127.0.0.1", 0))
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = server.getsockname()
    settings.EMAIL_TIMEOUT = PATIENCE_S
    settings.SCLOUD_EMAIL_READY = True
    with closing(server):
        yield server


def answer(server: socket.socket, *lines: str) -> None:
    """Greet the next client, then answer each of its lines with the next of ``lines``."""

    def serve() -> None:
        with suppress(OSError):
            client, _peer = server.accept()
            with client, client.makefile("rwb", buffering=0) as stream:
                stream.write(b"220 mail.test\r\n")
                for line in lines:
                    stream.readline()
                    stream.write(f"{line}\r\n".encode())
                # What follows is heard and not answered.
                while stream.readline():
                    pass

    threading.Thread(target=serve, daemon=True).start()


def refusal() -> NotSent:
    """Send a message, which fails, within a few times the patience."""
    began = time.monotonic()
    with pytest.raises(NotSent) as caught:
        email.send("on-call", "on-call@example.org", SAID)
    assert time.monotonic() - began < 10 * PATIENCE_S
    return caught.value


def test_one_that_never_greets_is_given_up(listening: socket.socket) -> None:
    assert not refusal().lasting


def test_one_that_falls_silent_is_given_up(listening: socket.socket) -> None:
    answer(listening, "250 Ok", "250 Ok")
    assert not refusal().lasting


def test_one_that_is_gone_is_tried_again(listening: socket.socket) -> None:
    listening.close()
    assert not refusal().lasting


@pytest.mark.parametrize(("reply", "lasting"), [("550 Unknown", True), ("450 Later", False)])
def test_an_address_that_is_refused(listening: socket.socket, reply: str, lasting: bool) -> None:
    answer(listening, "250 Ok", "250 Ok", reply, "250 Ok", "221 Bye")
    assert refusal().lasting is lasting


def test_without_a_mail_server_nothing_is_tried(settings: Any) -> None:
    settings.SCLOUD_EMAIL_READY = False
    assert refusal().lasting

"""Authenticator apps for tests, and the time that their codes are of."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pyotp
from django.test import Client
from django.utils import timezone

from scloud.accounts import onetime, second_factor
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import User
from tests.fixtures import PASSWORD


class Clock:
    """The time by which codes are compared: it stands, until a test lets it go on."""

    def __init__(self) -> None:
        # In the middle of an interval.
        self.now = timezone.now().replace(second=15, microsecond=0)

    def go_on(self, steps: int = 1) -> None:
        """Let so many intervals of the app pass."""
        self.now += timedelta(seconds=steps * onetime.STEP_S)


@dataclass
class App:
    """An app that has learnt a secret, and the recovery codes that came with it."""

    secret: str
    clock: Clock
    recovery: list[str] = field(default_factory=list)

    def code(self, steps: int = 0) -> str:
        """Return what it shows now, or so many intervals later."""
        at = self.clock.now + timedelta(seconds=steps * onetime.STEP_S)
        return pyotp.HOTP(self.secret).at(int(at.timestamp()) // onetime.STEP_S)

    def fresh(self) -> str:
        """Return a code that was never shown before."""
        self.clock.go_on()
        return self.code()

    def wrong(self) -> str:
        """Return six digits that are no code of now."""
        near = {self.code(steps) for steps in (-1, 0, 1)}
        return next(code for code in ("000000", "111111", "222222", "333333") if code not in near)


def actor_of(user: User) -> Actor:
    if user.tenant is None:
        return Actor.administrator(user, None, "192.0.2.7")
    return Actor(tenant=user.tenant, user=user, role=user.role, via="console", ip="192.0.2.7")


def give(user: User, clock: Clock) -> App:
    """Turn a second factor on for a user; the next code of the app is a fresh one."""
    actor = actor_of(user)
    pending = second_factor.begin(actor=actor, password=PASSWORD)
    app = App(second_factor.secret_of(actor=actor, pending=pending) or "", clock)
    app.recovery = second_factor.turn_on(
        actor=actor, pending=pending, code=app.code(), keep_session=None
    )
    clock.go_on()
    return app


def text_of(answer: Any) -> str:
    return str(answer.content.decode())


def first_step(client: Client, user: User, password: str = PASSWORD, **more: Any) -> Any:
    """Send address and password."""
    ip = more.pop("ip", "203.0.113.7")
    data = {"email": user.email, "password": password, **more}
    return client.post("/login/", data, REMOTE_ADDR=ip)


def second_step(client: Client, code: str, **more: Any) -> Any:
    """Send a code."""
    ip = more.pop("ip", "203.0.113.7")
    return client.post("/login/code/", {"code": code, **more}, REMOTE_ADDR=ip)


def is_in(client: Client) -> bool:
    """Tell whether somebody is signed in with a browser."""
    return "_auth_user_id" in client.session


def secret_shown(page: str) -> str:
    """Return the secret that a page shows for the app."""
    found = re.search(r'data-copy="([A-Z2-7]{32})"', page)
    assert found is not None, page
    return found[1]


def codes_shown(page: str) -> list[str]:
    """Return the recovery codes that a page shows."""
    return re.findall(r"<li>([a-z0-9]{4}(?:-[a-z0-9]{4}){3})</li>", page)


def comes_in(user: User, code: str, client: Client | None = None) -> bool:
    """Sign in with password and code; tell whether that was enough."""
    browser = client or Client()
    assert first_step(browser, user)["Location"].startswith("/login/code/")
    second_step(browser, code)
    return is_in(browser)

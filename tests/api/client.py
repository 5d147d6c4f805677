"""A program that calls the API with a key."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from django.test import Client

from scloud.tenancy import apikeys
from scloud.tenancy.models import User
from scloud.tenancy.scoping import scope


@dataclass
class Answer:
    """A response: status, parsed body, headers."""

    status: int
    body: Any
    headers: Any

    def error(self, status: int, code: str, field_name: str | None = None) -> dict[str, Any]:
        """Return the body after checking that it is this error in the API's one form."""
        assert self.status == status, (self.status, self.body)
        assert self.body["code"] == code, self.body
        assert self.body["message"]
        if field_name is not None:
            assert self.body["field"] == field_name, self.body
        body: dict[str, Any] = self.body
        return body


@dataclass
class Program:
    """Sends JSON with a bearer key."""

    secret: str
    http: Client = field(default_factory=Client)

    def call(
        self, method: str, path: str, body: Any = None, *, key: str = "", raw: bytes | None = None
    ) -> Answer:
        """Send a request; ``raw`` replaces the body's JSON, ``key`` is an Idempotency-Key."""
        headers = {"Authorization": f"Bearer {self.secret}"}
        if key:
            headers["Idempotency-Key"] = key
        extra: dict[str, Any] = {}
        if raw is not None or body is not None:
            extra = {
                "data": raw if raw is not None else json.dumps(body).encode(),
                "content_type": "application/json",
            }
        response = self.http.generic(method, "/api/v1" + path, headers=headers, **extra)
        content = response.content
        return Answer(
            response.status_code, json.loads(content) if content else None, response.headers
        )

    def get(self, path: str) -> Answer:
        """Read."""
        return self.call("GET", path)

    def delete(self, path: str) -> Answer:
        """Take away."""
        return self.call("DELETE", path)

    def post(self, path: str, body: Any = None, **more: Any) -> Answer:
        """Ask for something."""
        return self.call("POST", path, body, **more)


def program_of(user: User, scopes: list[str] | None = None) -> Program:
    """Return a program with a fresh key of a user."""
    with scope(tenant=user.tenant):
        _key, secret = apikeys.issue(user=user, name="program", scopes=scopes)
    return Program(secret)

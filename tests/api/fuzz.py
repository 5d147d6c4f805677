"""Requests that schemathesis makes from the schema, against the whole product on fake drivers."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import schemathesis
from django.db import connections
from schemathesis.engine import events, from_schema
from schemathesis.openapi.checks import RejectedPositiveData, UseAfterFree

from scloud.rest import idempotency
from scloud.rest.schema import document
from tests.asgi import answered, connections_end_with_requests

PHASES: Final = ("examples", "coverage", "fuzzing", "stateful")
# Refusals of a request for what it looks like, which the schema has to rule out beforehand.
SHAPE: Final = frozenset({"invalid_input", "invalid_query", "invalid_key", "parse_error"})


@dataclass
class Found:
    """What a run came to: how many requests, and each kind of failure once."""

    requests: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    phases: Counter[str] = field(default_factory=Counter)
    operations: set[str] = field(default_factory=set)
    failures: dict[str, str] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def summary(self) -> str:
        """Return how much was tried."""
        return (
            f"{self.requests} requests to {len(self.operations)} operations, "
            f"by phase {dict(self.phases)}, by status {dict(sorted(self.statuses.items()))}"
        )

    def __str__(self) -> str:
        told = [f"## {name}\n{text}" for name, text in sorted(self.failures.items())]
        return "\n".join([self.summary(), *told, *self.errors])


class Served:
    """The application of the console's process, as uvicorn calls it: body guard and all.

    ``meanwhile`` is called after each request that changed something.
    """

    def __init__(self, thread: ThreadPoolExecutor, meanwhile: Callable[[], object]) -> None:
        self._thread = thread
        self._meanwhile = meanwhile

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request."""
        # As behind uvicorn, which is told that the application has no lifespan.
        assert scope["type"] == "http", "only requests are spoken of here"
        headers = [pair for pair in scope["headers"] if pair[0] != _KEY]
        if len(headers) < len(scope["headers"]):
            headers.append((_KEY, _fresh(dict(scope["headers"])[_KEY])))
        scope = {**scope, "client": ("127.0.0.1", 1), "headers": headers}
        statuses: list[int] = []

        async def noted(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])
            await send(message)

        await answered(scope, receive, noted)
        [status] = statuses
        if scope["method"] != "GET" and status < 300:
            work = asyncio.get_running_loop().run_in_executor(self._thread, self._meanwhile)
            await work


_KEY: Final = idempotency.HEADER.lower().encode()


def _fresh(key: bytes) -> bytes:
    """Return another key for a good one, and a bad one as it is.

    schemathesis sends the same few keys all the time; clients take a new one each time.
    """
    text = key.decode("latin-1")
    if len(text) <= idempotency.MAX_LENGTH and re.fullmatch(idempotency.PATTERN, text):
        return str(uuid.uuid4()).encode()
    return key


@contextmanager
def served(meanwhile: Callable[[], object] = lambda: None) -> Iterator[Served]:
    """The product; no connection to the database is left at the end."""
    with ThreadPoolExecutor(max_workers=1) as thread, connections_end_with_requests():
        try:
            yield Served(thread, meanwhile)
        finally:
            thread.submit(connections.close_all).result()


def run(
    product: Served,
    secret: str,
    *,
    seed: int,
    max_time_s: int,
    examples: int,
    phases: Sequence[str] = PHASES,
    only: str = "",
) -> Found:
    """Send requests of the phases with all checks, for at most ``max_time_s`` seconds.

    ``only`` is the path of the operations to call, else all are called.
    """
    config = schemathesis.Config.from_dict(
        {
            "seed": seed,
            "max-time": max_time_s,
            "continue-on-failure": True,
            "workers": 1,
            "cache": {"enabled": False},
            "headers": {"Authorization": f"Bearer {secret}"},
            "generation": {"max-examples": examples, "database": "none", "no-shrink": True},
            "phases": {name: {"enabled": name in phases} for name in PHASES},
        }
    )
    document("en")  # takes longer than schemathesis waits, on a busy machine
    schema: Any = schemathesis.openapi.from_asgi("/api/v1/openapi.json", product, config=config)
    if only:
        schema = schema.include(path=only)
    schema.hooks.register_hook_with_name(_is_a_fault, "filter_failure")

    found = Found()
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            _note(event, found)
        elif isinstance(event, events.NonFatalError | events.FatalError):
            told = getattr(event, "value", None) or getattr(event, "exception", event)
            found.errors.append(f"{getattr(event, 'label', '')}: {told!r}")
    return found


def _is_a_fault(context: Any, failure: Any, case: Any, response: Any) -> bool:
    """Whether a failure is one: no schema can say what the rules of the product say.

    A request of the right shape may name a VM that is not there or a name that is taken (its code
    is not one of ``SHAPE`` then). And what was deleted lies in the recycle bin, where it is seen.
    """
    if isinstance(failure, RejectedPositiveData):
        body = _body(response)
        if response.status_code == 400 and body.get("code") in SHAPE:
            return not _is_about_characters(body)
        # 402: somebody has to pay for it.
        return response.status_code not in {400, 402}
    if isinstance(failure, UseAfterFree):
        return bool(_body(response).get("status") != "binned")
    return True


def _is_about_characters(body: dict[str, Any]) -> bool:
    """Whether a refusal is about a NUL in a text, or a text of nothing but spaces.

    The document says both once, in words: a pattern at each of its 200 texts would be read by
    nobody.
    """
    codes = {row["code"] for row in body.get("errors", [])}
    if codes:
        return codes <= {"blank", "null_characters_not_allowed"}
    return bool(body["message"] == "The query has a NUL character.")


def _body(response: Any) -> dict[str, Any]:
    found = json.loads(response.content or b"null")
    return found if isinstance(found, dict) else {}


def _note(event: events.ScenarioFinished, found: Found) -> None:
    recorder = event.recorder
    for case_id, interaction in recorder.interactions.items():
        found.requests += 1
        found.phases[event.phase.value] += 1
        answer = interaction.response
        if answer is not None:
            found.statuses[answer.status_code] += 1
        case = recorder.cases.get(case_id)
        if case is not None:
            found.operations.add(case.value.operation.label)
        for check in recorder.checks.get(case_id, []):
            if check.failure_info is None:
                continue
            failure = check.failure_info.failure
            name = f"{check.name} {failure.operation}: {failure.title}"
            said = f"{answer.status_code} {answer.content[:500]!r}" if answer is not None else ""
            text = f"{failure.message}\n{check.failure_info.code_sample}\n{said}"
            found.failures.setdefault(name, text)

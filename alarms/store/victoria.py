"""The metrics store on VictoriaMetrics, by its HTTP interface.

https://docs.victoriametrics.com/#how-to-import-data-in-json-line-format

Each number is a sample of a series ``scloud_<metric>`` with the labels tenant, resource and device;
the last counter behind it one of ``scloud_total_<metric>``. The server keeps one retention for all
and needs no roll-ups. It must run with ``-dedup.minScrapeInterval=1ms``, or what is written again
after a doubt counts twice in means, and with ``-search.latencyOffset=0s``, or what it tells of the
last half minute is missing or wrong.
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final
from urllib.parse import unquote, urlencode, urlsplit

from alarms.store.base import (
    Aggregate,
    Latest,
    Line,
    QueryTooLarge,
    RangeQuery,
    Retention,
    Sample,
    SeriesKey,
    StoreRefused,
    StoreUnavailable,
    check_id,
    check_owners,
    check_size,
    from_milliseconds,
    milliseconds,
)

TIMEOUT_S: Final = 10.0
MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
MAX_BODY_BYTES: Final = 4 * 1024 * 1024
_CHUNK = 64 * 1024
_PREFIX: Final = "scloud_"
_TOTAL_PREFIX: Final = "scloud_total_"
_RESOURCES_AT_ONCE = 200
#: Not understood, too large, not to be computed.
_REFUSALS: Final = frozenset({400, 413, 422})

_FUNCTIONS: Final[Mapping[Aggregate, str]] = {
    Aggregate.AVG: "avg_over_time",
    Aggregate.MAX: "max_over_time",
    Aggregate.MIN: "min_over_time",
    Aggregate.LAST: "last_over_time",
}


class VictoriaStore:
    """The port on one VictoriaMetrics server. Safe to share between threads."""

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        """Raise ValueError for a URL that is none of HTTP; it does not tell what is in the URL."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("The URL of VictoriaMetrics begins with http:// or https://.")
        try:
            self._host, self._port = parts.hostname, parts.port
        except ValueError:
            # Its words would show the beginning of a password with a sign that is not quoted.
            raise ValueError(
                "The URL of VictoriaMetrics has no port that is a number. Write #, / and ? in a"
                " password as %23, %2F and %3F."
            ) from None
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._path = parts.path.rstrip("/")
        self._timeout_s = timeout_s
        self._headers = {"User-Agent": "scloud"}
        if parts.username is not None:
            both = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            self._headers["Authorization"] = f"Basic {base64.b64encode(both.encode()).decode()}"

    # -- the port ------------------------------------------------------------------------------

    def write(self, samples: Sequence[Sample]) -> None:
        for body in _bodies(samples):
            self._ask("POST", "/api/v1/import", body, "application/json")

    def latest(
        self, tenant: str, resources: Collection[str], *, since: datetime
    ) -> Mapping[str, Latest]:
        found: dict[str, Latest] = {}
        wanted = sorted(resources)
        for begin in range(0, len(wanted), _RESOURCES_AT_ONCE):
            part = wanted[begin : begin + _RESOURCES_AT_ONCE]
            selector = _selector('__name__=~"scloud_.+"', tenant, part)
            answer = self._form(
                "/api/v1/export",
                {"match[]": selector, "start": f"{milliseconds(since) / 1000:.3f}"},
            )
            with _understood():
                found |= _newest(answer)
        return found

    def query(self, query: RangeQuery) -> tuple[Line, ...]:
        if not query.resources:
            return ()
        selector = _selector(
            f'__name__="{_PREFIX}{query.metric}"', query.tenant, query.resources, query.device
        )
        # The server's windows are open at their begin and closed at their end, to the millisecond.
        step_ms = query.step_s * 1000
        start_ms = milliseconds(query.start)
        first, last = start_ms + step_ms - 1, milliseconds(query.end) - 1
        answer = self._form(
            "/api/v1/query_range",
            {
                "query": f"{_FUNCTIONS[query.aggregate]}({selector}[{query.step_s}s])",
                "start": f"{first / 1000:.3f}",
                "end": f"{last / 1000:.3f}",
                "step": f"{query.step_s}s",
                "nocache": "1",
            },
        )
        with _understood():
            result: list[dict[str, Any]] = json.loads(answer)["data"]["result"]
            check_size(len(result), query.points)
            lines = [_line(series, query.points, first, step_ms) for series in result]
        return tuple(sorted(lines, key=lambda line: (line.resource, line.device)))

    def means(
        self, owners: Mapping[str, str], metrics: Collection[str], *, start: datetime, end: datetime
    ) -> Mapping[str, Mapping[SeriesKey, float]]:
        check_owners(owners)
        tenants: dict[str, list[str]] = {}
        for resource, tenant in owners.items():
            tenants.setdefault(tenant, []).append(resource)
        found: dict[str, dict[SeriesKey, float]] = {}
        if not metrics:
            return found
        names = "|".join(f"{_PREFIX}{SeriesKey(name).metric}" for name in sorted(metrics))
        # As in `query`: the window is open at its begin and closed at its end.
        last_ms, length_ms = milliseconds(end) - 1, milliseconds(end) - milliseconds(start)
        parts = (
            (tenant, those[begin : begin + _RESOURCES_AT_ONCE])
            for tenant, those in tenants.items()
            for begin in range(0, len(those), _RESOURCES_AT_ONCE)
        )
        for tenant, resources in parts:
            selector = _selector(f'__name__=~"{names}"', tenant, resources)
            answer = self._form(
                "/api/v1/query",
                {
                    "query": f"avg_over_time({selector}[{length_ms}ms]) keep_metric_names",
                    "time": f"{last_ms / 1000:.3f}",
                    "nocache": "1",
                },
            )
            with _understood():
                for series in json.loads(answer)["data"]["result"]:
                    labels = series["metric"]
                    name = labels["__name__"].removeprefix(_PREFIX)
                    key = SeriesKey(name, labels.get("device", ""))
                    found.setdefault(labels["resource"], {})[key] = float(series["value"][1])
        return found

    def roll_up(self, now: datetime) -> int:
        return 0

    def prune(self, now: datetime, keep: Retention) -> int:
        return 0

    # -- HTTP ----------------------------------------------------------------------------------

    def _form(self, path: str, values: Mapping[str, str]) -> bytes:
        body = urlencode(values).encode()
        return self._ask("POST", path, body, "application/x-www-form-urlencoded")

    def _ask(self, method: str, path: str, body: bytes, content_type: str) -> bytes:
        """One request; the answer's body, whole and within the bounds of time and size."""
        deadline = time.monotonic() + self._timeout_s
        if self._tls is None:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)
        else:
            connection = http.client.HTTPSConnection(
                self._host, self._port, timeout=self._timeout_s, context=self._tls
            )
        try:
            headers = {**self._headers, "Content-Type": content_type}
            connection.request(method, f"{self._path}{path}", body, headers)
            answer = connection.getresponse()
            content = b"".join(_read(connection, answer, deadline))
        except (OSError, http.client.HTTPException) as error:
            raise StoreUnavailable(f"VictoriaMetrics did not answer: {error}") from error
        finally:
            connection.close()
        if answer.status < 300:
            return content
        words = content[:300].decode(errors="replace").strip()
        if answer.status in _REFUSALS:
            raise StoreRefused(f"VictoriaMetrics answered {answer.status}: {words}")
        # Everything else is not for what was sent: a proxy that wants another password, a path that
        # is wrong. The same is taken once that is mended.
        raise StoreUnavailable(f"VictoriaMetrics answered {answer.status}: {words}")


def _read(
    connection: http.client.HTTPConnection, answer: http.client.HTTPResponse, deadline: float
) -> Iterator[bytes]:
    """Yield the body; raise TimeoutError past the deadline, `QueryTooLarge` beyond the size."""
    size = 0
    while True:
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("the answer takes too long")
        if connection.sock is not None:
            connection.sock.settimeout(left_s)
        part = answer.read1(_CHUNK)
        if not part:
            if answer.length:
                raise http.client.IncompleteRead(b"", answer.length)
            return
        size += len(part)
        if size > MAX_ANSWER_BYTES:
            raise QueryTooLarge(f"The answer has more than {MAX_ANSWER_BYTES} bytes.")
        yield part


def _bodies(samples: Sequence[Sample]) -> Iterator[bytes]:
    """The samples in the server's format, in requests of a bounded size."""
    lines: list[bytes] = []
    size = 0
    for sample in samples:
        at = milliseconds(sample.at)
        for prefix, numbers in ((_PREFIX, sample.values), (_TOTAL_PREFIX, sample.totals)):
            for key, value in numbers.items():
                labels = {
                    "__name__": f"{prefix}{key.metric}",
                    "tenant": sample.tenant,
                    "resource": sample.resource,
                }
                if key.device:
                    labels["device"] = key.device
                line = {"metric": labels, "values": [float(value)], "timestamps": [at]}
                lines.append(json.dumps(line, separators=(",", ":")).encode() + b"\n")
                size += len(lines[-1])
        if size >= MAX_BODY_BYTES:
            yield b"".join(lines)
            lines, size = [], 0
    if lines:
        yield b"".join(lines)


def _selector(name: str, tenant: str, resources: Collection[str], device: str | None = None) -> str:
    """What to look for; every text in it is quoted."""
    for resource in resources:
        check_id(resource)
    # No sign of an id but the full stop means anything in a pattern.
    pattern = "|".join(resource.replace(".", "\\.") for resource in resources)
    parts = [name, f"tenant={_quoted(tenant)}", f"resource=~{_quoted(pattern)}"]
    if device is not None:
        parts.append(f"device={_quoted(device)}")
    return "{" + ",".join(parts) + "}"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


@contextmanager
def _understood() -> Iterator[None]:
    """What is not as it should be in an answer is a refusal."""
    try:
        yield
    except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
        raise StoreRefused("VictoriaMetrics answered something else.") from error


def _line(series: dict[str, Any], count: int, first_ms: int, step_ms: int) -> Line:
    points: list[float | None] = [None] * count
    for moment, value in series["values"]:
        number = (round(float(moment) * 1000) - first_ms) // step_ms
        if 0 <= number < count:
            points[number] = float(value)
    labels = series["metric"]
    return Line(labels["resource"], labels.get("device", ""), tuple(points))


def _newest(answer: bytes) -> dict[str, Latest]:
    """The newest sample of each resource, from exported series."""
    newest: dict[str, int] = {}
    series: list[tuple[str, str, SeriesKey, int, float]] = []
    for line in answer.splitlines():
        one = json.loads(line)
        labels, at, value = one["metric"], int(one["timestamps"][-1]), float(one["values"][-1])
        name, resource = labels["__name__"], labels["resource"]
        prefix = _TOTAL_PREFIX if name.startswith(_TOTAL_PREFIX) else _PREFIX
        key = SeriesKey(name.removeprefix(prefix), labels.get("device", ""))
        series.append((prefix, resource, key, at, value))
        newest[resource] = max(at, newest.get(resource, at))
    found: dict[str, tuple[dict[SeriesKey, float], dict[SeriesKey, float]]] = {
        resource: ({}, {}) for resource in newest
    }
    for prefix, resource, key, at, value in series:
        if at == newest[resource]:
            found[resource][prefix == _TOTAL_PREFIX][key] = value
    return {
        resource: Latest(from_milliseconds(newest[resource]), values, totals)
        for resource, (values, totals) in found.items()
    }

"""How lines of the log look: plain text for people, or one JSON object each for machines.

Both carry the ids of request, job and trace, and neither lets through what looks like a secret:
that is the second line of defence, since nothing logs one on purpose.
"""

from __future__ import annotations

import json
import logging
import os
import re
from datetime import UTC, datetime
from typing import Any, Final

from scloud.lib import tracing

HIDDEN: Final = "[hidden]"
#: What callers may add to a record (``extra=``) and is shown; anything else is not.
FIELDS: Final = ("method", "path", "status", "duration_ms")

_SECRETS: Final = (
    # API keys, and what follows the name of a scheme of authentication.
    re.compile(r"\bsck_[A-Za-z0-9_-]{8,}"),
    re.compile(r"(?<=\bBearer )[^\s'\",;]+|(?<=\bBasic )[A-Za-z0-9+/=]{8,}", re.IGNORECASE),
    # The password of a URL.
    re.compile(r"(?<=://)([^\s/:@]*):[^\s/@]+(?=@)"),
    # name=value and "name": "value" of what is called a secret.
    re.compile(
        r"(?i)(?<![a-z])(?:password|passwd|secret|token|sessionid|scloud_session|api_key)"
        r"(?P<between>[\"']?\s*[=:]\s*[\"']?)(?P<value>[^\s\"',;&}]+)"
    ),
)


def without_secrets(text: str) -> str:
    """Return the text with what looks like a key, a token or a password taken out."""
    keys, schemes, urls, named = _SECRETS
    text = keys.sub(f"sck_{HIDDEN}", text)
    text = schemes.sub(HIDDEN, text)
    text = urls.sub(rf"\1:{HIDDEN}", text)
    return named.sub(lambda found: found[0][: found.start("value") - found.start()] + HIDDEN, text)


class Marked(logging.Filter):
    """Notes on each record which request, job and trace it belongs to."""

    def filter(self, record: logging.LogRecord) -> bool:
        context = tracing.current()
        record.request_id, record.job_id = context.request_id, context.job_id
        record.trace = context.trace
        ids = [
            f"{name}={value}"
            for name, value in (
                ("request", context.request_id),
                ("job", context.job_id),
                ("trace", context.trace.trace_id if context.trace else ""),
            )
            if value
        ]
        record.ids = f"[{' '.join(ids)}] " if ids else ""
        return True


class PlainLines(logging.Formatter):
    """A line of text, followed by the traceback."""

    def __init__(self) -> None:
        super().__init__("{asctime} {levelname} {name} {ids}{message}", style="{")

    def format(self, record: logging.LogRecord) -> str:
        if not hasattr(record, "ids"):
            record.ids = ""
        return without_secrets(super().format(record))


class JsonLines(logging.Formatter):
    """One JSON object in one line; times in UTC, RFC 3339."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "timestamp": datetime.fromtimestamp(record.created, UTC)
            .isoformat(timespec="milliseconds")
            .replace("+00:00", "Z"),
            "level": record.levelname,
            "logger": record.name,
            "message": without_secrets(record.getMessage()),
            "pid": os.getpid(),
        }
        for name in ("request_id", "job_id"):
            if value := getattr(record, name, ""):
                line[name] = value
        trace = getattr(record, "trace", None)
        if isinstance(trace, tracing.Trace):
            line["trace_id"], line["span_id"] = trace.trace_id, trace.span_id
            line["trace_flags"] = trace.flags
        for name in FIELDS:
            value = getattr(record, name, None)
            if isinstance(value, str | int | float):
                line[name] = without_secrets(value) if isinstance(value, str) else value
        if isinstance(record.exc_info, tuple) and record.exc_info[0] is not None:
            line["exception"] = {
                "type": record.exc_info[0].__name__,
                "stacktrace": without_secrets(self.formatException(record.exc_info)),
            }
        return json.dumps(line, ensure_ascii=False)

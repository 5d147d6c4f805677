"""What messages say, in the formats of those who read them. Pure functions."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from urllib.parse import parse_qsl, quote_plus, urlencode, urlsplit, urlunsplit

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from alarms.states.notices import WebhookFormat
from scloud.lib.text import one_line

#: Alarms that a message names; of the others it tells the number and where they are.
NAMED: Final = 20
#: Characters of a message: DingTalk and WeCom take no more than some thousand bytes.
MOST_TEXT: Final = 1800
MOST_SUBJECT: Final = 150
#: The page of the console with a tenant's alarms.
ALARMS_PATH: Final = "/alarms/"


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that happened to one alarm, in words.

    ``is_sentence`` says that ``text`` names the resource itself.
    """

    alarm: str
    what: str
    severity: str
    severity_word: str
    resource_kind: str
    resource_id: str
    resource_name: str
    text: str
    device: str
    value: float | None
    value_text: str
    at: datetime
    url: str
    is_sentence: bool = False


@dataclass(frozen=True, slots=True)
class Fact:
    """What people are told of that is no alarm of a tenant; it is kept with its notices.

    ``path`` is that of the page where there is more of it, the resource's own where it is empty.
    """

    id: str
    severity: str
    text: str
    path: str = ""
    resource_kind: str = ""
    resource_id: str = ""
    resource_name: str = ""
    is_sentence: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    """A message for one reader; ``data`` is what programs get."""

    id: str
    subject: str
    text: str
    data: dict[str, Any] = field(default_factory=dict)


def message(
    identity: str, items: Sequence[Item], *, console_url: str, list_path: str = ALARMS_PATH
) -> Message:
    """Return one message that tells all items: a digest where there are several.

    ``list_path`` is that of the page with all of them.
    """
    words = {
        "opened": _("Opened"),
        "persisted": _("Still open"),
        "ended": _("Ended"),
        "notice": _("Notice"),
    }
    if len(items) == 1:
        (one,) = items
        subject = f"[{one.severity_word}] {words[one.what]}: {_named(one, one.text)}"
    else:
        subject = _digest(items, words)
    lines = []
    for item in items[:NAMED]:
        about = f"{item.text}{f' ({item.device})' if item.device else ''}"
        value = f", {item.value_text}" if item.value is not None else ""
        lines.append(
            f"[{item.severity_word}] {words[item.what]}: {_named(item, about)}{value}"
            f"{'' if item.is_sentence else ','} {item.at:%Y-%m-%d %H:%M:%S} UTC\n{item.url}"
        )
    more = len(items) - NAMED
    if more > 0:
        rest = ngettext("%(n)d more alarm", "%(n)d more alarms", more) % {"n": more}
        lines.append(f"{rest}: {console_url}{list_path}")
    return Message(
        identity,
        one_line(subject)[:MOST_SUBJECT],
        "\n\n".join(lines),
        {
            "id": identity,
            "alarms": [_shown(item) for item in items[:NAMED]],
            "total": len(items),
            "url": f"{console_url}{list_path}",
        },
    )


def _digest(items: Sequence[Item], words: Mapping[str, str]) -> str:
    """Return how many of what a message tells."""
    counts = {what: sum(item.what == what for item in items) for what in words}
    told = counts.pop("notice")
    notices = ngettext("%(n)d notice", "%(n)d notices", told) % {"n": told}
    alarms = len(items) - told
    if not alarms:
        return notices
    parts = ", ".join(f"{n} {words[what].lower()}" for what, n in counts.items() if n)
    digest = ngettext("%(n)d alarm: %(parts)s", "%(n)d alarms: %(parts)s", alarms)
    said = digest % {"n": alarms, "parts": parts}
    return f"{said}; {notices}" if told else said


def test_message(identity: str, *, console_url: str, list_path: str) -> Message:
    """Return the message of the test button."""
    subject = _("Test message from SCloud")
    text = _("This is how you are notified of alarms.")
    url = f"{console_url}{list_path}"
    data = {"id": identity, "test": True, "alarms": [], "total": 0, "url": url}
    return Message(identity, subject, text, data)


def _named(item: Item, text: str) -> str:
    return text if item.is_sentence else f"{item.resource_name}: {text}"


def _shown(item: Item) -> dict[str, Any]:
    return {
        "id": item.alarm,
        "event": item.what,
        "severity": item.severity,
        "resource": {
            "kind": item.resource_kind,
            "id": item.resource_id,
            "name": item.resource_name,
        },
        "device": item.device or None,
        "text": item.text,
        "value": item.value,
        "at": item.at.isoformat(),
        "url": item.url,
    }


# -- formats -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Post:
    """What is posted to a webhook."""

    url: str
    body: bytes
    headers: dict[str, str]


def post(form: str, url: str, secret: str, said: Message, *, now: datetime) -> Post:
    """Return what a webhook is sent.

    SCloud's own: the header ``X-SCloud-Signature: t=<seconds>,v1=<hex>`` is HMAC-SHA256 with the
    secret over ``<seconds>.<body>``. DingTalk signs by the query
    (https://open.dingtalk.com/document/robots/customize-robot-security-settings).
    """
    headers = {"Content-Type": "application/json; charset=utf-8"}
    text = clipped(f"{said.subject}\n\n{said.text}")
    if form == WebhookFormat.SLACK:
        return Post(url, _json({"text": _slack(text)}), headers)
    if form == WebhookFormat.WECOM:
        return Post(url, _json({"msgtype": "text", "text": {"content": text}}), headers)
    if form == WebhookFormat.DINGTALK:
        body = _json({"msgtype": "text", "text": {"content": text}})
        return Post(_dingtalk(url, secret, now) if secret else url, body, headers)
    body = _json(said.data | {"subject": said.subject, "sent_at": now.isoformat()})
    headers["X-SCloud-Delivery"] = said.id
    if secret:
        headers["X-SCloud-Signature"] = signature(secret, body, int(now.timestamp()))
    return Post(url, body, headers)


def signature(secret: str, body: bytes, seconds: int) -> str:
    """Return what the header says: receivers compute it again and compare."""
    mac = hmac.new(secret.encode(), b"%d." % seconds + body, hashlib.sha256)
    return f"t={seconds},v1={mac.hexdigest()}"


def refusal(form: str, body: bytes) -> str:
    """Return what a service of chats says against a message that it answered with 200."""
    if form not in (WebhookFormat.DINGTALK, WebhookFormat.WECOM):
        return ""
    try:
        said = json.loads(body)
        code, words = int(said["errcode"]), str(said.get("errmsg", ""))
    except (ValueError, KeyError, TypeError, AttributeError):
        return _("The answer was not understood.")
    return "" if code == 0 else one_line(f"{code} {words}")[:200]


def clipped(text: str) -> str:
    """Return a text that is not longer than services of chats take."""
    return text if len(text) <= MOST_TEXT else f"{text[: MOST_TEXT - 1]}…"


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _slack(text: str) -> str:
    """Slack's three signs (https://api.slack.com/reference/surfaces/formatting#escaping)."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _dingtalk(url: str, secret: str, now: datetime) -> str:
    stamp = str(int(now.timestamp() * 1000))
    mac = hmac.new(secret.encode(), f"{stamp}\n{secret}".encode(), hashlib.sha256)
    sign = base64.b64encode(mac.digest()).decode()
    parts = urlsplit(url)
    query = [*parse_qsl(parts.query, keep_blank_values=True), ("timestamp", stamp), ("sign", sign)]
    return urlunsplit(parts._replace(query=urlencode(query, quote_via=quote_plus)))

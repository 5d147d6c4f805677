"""Which columns hold sealed secrets, so that a new key can reach them all."""

from dataclasses import dataclass
from typing import Any

from cryptography.fernet import InvalidToken
from django.db import models

from scloud.lib import crypto, keys
from scloud.lib.keys import Purpose
from scloud.tenancy.scoping import scopes_disabled

_columns: dict[tuple[str, str], type[models.Model]] = {}


@dataclass
class Report:
    """What a run over the columns has found; ``unreadable`` names rows that no key opens."""

    resealed: int
    present: int
    unreadable: list[str]


def register(model: type[models.Model], *fields: str) -> None:
    """Make columns known that :func:`scloud.lib.keys.box` has sealed."""
    for field in fields:
        _columns[model._meta.label, field] = model


def reseal() -> Report:
    """Seal with the first key what was sealed with another one.

    A row that changes meanwhile was sealed anew by whoever changed it, and is left alone.
    """
    report = Report(0, 0, [])
    accepted, first = keys.box(), crypto.box(keys.ring(Purpose.SEALING)[:1])
    with scopes_disabled():
        for (label, field), model in sorted(_columns.items()):
            column = model._meta.get_field(field)
            assert isinstance(column, models.Field)
            rows = model._default_manager.exclude(**{field: column.get_default()})
            for pk, sealed in rows.values_list("pk", field).iterator():
                token = bytes(sealed) if not isinstance(sealed, str) else sealed.encode()
                if _opens(first, token):
                    report.present += 1
                    continue
                try:
                    fresh = accepted.rotate(token)
                except InvalidToken:
                    report.unreadable.append(f"{label}.{field} {pk}")
                    continue
                value: Any = fresh.decode() if isinstance(sealed, str) else fresh
                report.resealed += rows.filter(pk=pk, **{field: sealed}).update(**{field: value})
    return report


def _opens(cipher: Any, token: bytes) -> bool:
    try:
        cipher.decrypt(token)
    except InvalidToken:
        return False
    return True

"""Shapes that several kinds share."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from django.utils.translation import gettext as _
from rest_framework import serializers

from scloud.rest.fields import Lines
from scloud.tenancy.actor import Actor


class AllowedAction(serializers.Serializer[Any]):
    """Whether a verb is allowed now; ``reason`` says why not."""

    verb = serializers.CharField()
    allowed = serializers.BooleanField()
    reason = Lines(allow_null=True)


class ErrorShape(serializers.Serializer[Any]):
    """An error."""

    code = serializers.CharField()
    message = serializers.CharField()
    field = serializers.CharField(required=False)
    remedy = serializers.CharField(required=False)
    numbers = serializers.DictField(required=False)


class JobAccepted(serializers.Serializer[Any]):
    """A verb was begun: its job, null when it took effect at once."""

    job_id = serializers.CharField(allow_null=True)


class DestroyInput(serializers.Serializer[Any]):
    """Destroying may be confirmed with the name."""

    confirm_name = serializers.CharField(max_length=60, required=False)


METHODS = ["hour", "month", "year"]


def allowed(
    actor: Actor, verbs: Iterable[str], why_not: Callable[[str], str | None]
) -> list[dict[str, Any]]:
    """Return each verb with the reason why it is not allowed, if it is not."""
    rows = []
    for verb in verbs:
        reason = why_not(verb)
        right = "billing.renew_resource" if verb == "renew_disk" else f"compute.{verb}"
        if reason is None and not actor.allows(right):
            reason = _("Your role does not include it.")
        rows.append({"verb": verb, "allowed": reason is None, "reason": reason})
    return rows


# --- what is sent


class TextsBase(serializers.Serializer[Any]):
    """Name and remark."""

    name = serializers.CharField(max_length=200, required=False)
    remark = serializers.CharField(max_length=1000, required=False, allow_blank=True)


class TextsInput(TextsBase):
    """A new name or remark."""

"""Shapes that several kinds share."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers


class ErrorShape(serializers.Serializer[Any]):
    """An error."""

    code = serializers.CharField()
    message = serializers.CharField()
    field = serializers.CharField(required=False)
    remedy = serializers.CharField(required=False)
    numbers = serializers.DictField(required=False)

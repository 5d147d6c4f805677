"""What the verbs of the network take. The actions decide what is allowed."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from scloud.rest.fields import Lines
from scloud.verbs.inputs import VerbInput

# Longer than what is allowed, so that the action refuses with its own code and remedy.
GENEROUS = 300


class NameInput(VerbInput):
    """A new name, and a new remark unless it is left out."""

    name = serializers.CharField(max_length=GENEROUS)
    remark = serializers.CharField(max_length=GENEROUS, allow_blank=True, required=False)


class CopyGroupInput(VerbInput):
    """The name of the copy, and its remark unless it keeps the original's."""

    name = serializers.CharField(max_length=GENEROUS)
    remark = serializers.CharField(max_length=GENEROUS, allow_blank=True, required=False)


class TemplateInput(VerbInput):
    """Which template, and the source that replaces its own."""

    template = serializers.CharField(max_length=GENEROUS)
    cidr = serializers.CharField(max_length=GENEROUS, allow_blank=True, default="")


class RulesFileInput(VerbInput):
    """A CSV file; with ``replace`` the group has exactly its rules afterwards.

    The first line names the columns: direction, protocol, ports, cidr, action, priority,
    description; direction, protocol and cidr are needed.
    """

    content = Lines(max_length=200_000)
    replace = serializers.BooleanField(default=False)


class RulesChangedShape(serializers.Serializer[Any]):
    """What became of a set of rules; ``present`` ones were there already."""

    added = serializers.IntegerField()
    present = serializers.IntegerField()
    removed = serializers.IntegerField()

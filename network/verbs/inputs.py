"""What the verbs of the network take. The actions decide what is allowed."""

from __future__ import annotations

from rest_framework import serializers

from scloud.verbs.inputs import VerbInput

# Longer than what is allowed, so that the action refuses with its own code and remedy.
GENEROUS = 300


class NameInput(VerbInput):
    """A new name or remark; what is left out stays."""

    name = serializers.CharField(max_length=GENEROUS, required=False)
    remark = serializers.CharField(max_length=GENEROUS, allow_blank=True, required=False)

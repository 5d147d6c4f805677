"""What the verbs of alarms take. The actions decide what is allowed."""

from __future__ import annotations

from rest_framework import serializers

from scloud.rest.fields import WholeNumber
from scloud.verbs.inputs import Reference, VerbInput

# Longer than what is allowed, so that the action refuses with its own code and remedy.
GENEROUS = 300


class TemplateEditInput(VerbInput):
    """What a template is called, and when missing data opens an alarm; what is left out stays."""

    name = serializers.CharField(max_length=GENEROUS, required=False)
    remark = serializers.CharField(max_length=GENEROUS, allow_blank=True, required=False)
    no_data_s = WholeNumber(
        min_value=0, required=False, help_text="In seconds: 0 (never), 300, 900 or 3600."
    )


class TemplateCopyInput(VerbInput):
    """What the copy of an alarm template is called; without a remark it keeps the original's."""

    name = serializers.CharField(max_length=GENEROUS)
    remark = serializers.CharField(max_length=GENEROUS, allow_blank=True, required=False)


class TemplateGroupInput(VerbInput):
    """The notification group of an alarm template from now on; null for none."""

    group = Reference("alarms.groups", what="notification group", allow_null=True)


class CodeInput(VerbInput):
    """The code that was sent to an address."""

    code = serializers.CharField(max_length=GENEROUS)


class ContactEditInput(VerbInput):
    """What a contact is called."""

    name = serializers.CharField(max_length=GENEROUS)

"""What the API shows of rows."""

from __future__ import annotations

from typing import Any, Final, TypeVar

from django.core.exceptions import FieldDoesNotExist
from django.db import models
from rest_framework import serializers

M = TypeVar("M", bound=models.Model)

# Texts that people write, where an empty text is what they wrote. Everything else of which there
# is nothing is null: a program must tell "no task" from a task that it does not know.
WRITTEN: Final = frozenset({"name", "remark", "description", "note", "reason"})


class ShownSerializer(serializers.ModelSerializer[M]):
    """A row for reading: every field is always there, and what there is nothing of is null.

    A text column that may be blank is nullable here, whatever the serializer calls it; the schema
    says so. Texts that people write (``WRITTEN``) stay as they are.
    """

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """Return the fields, with those that may be null."""
        fields: dict[str, Any] = super().get_fields()
        for name, field in fields.items():
            field.read_only, field.required = True, False
            if self._may_be_blank(field.source or name):
                field.allow_null = True
                if isinstance(field, serializers.ChoiceField):
                    field.allow_blank = False
                    field.choices = {key: word for key, word in field.choices.items() if key}
        return fields

    def _may_be_blank(self, source: str) -> bool:
        model: Any = self.Meta.model
        *path, column = source.split(".")
        try:
            for part in path:
                model = model._meta.get_field(part).related_model
            found = model._meta.get_field(column)
        except (FieldDoesNotExist, AttributeError):
            return False
        is_text = isinstance(found, models.CharField | models.TextField)
        return is_text and found.blank and column not in WRITTEN

    def to_representation(self, instance: M) -> dict[str, Any]:
        """Return the row with null where there is nothing."""
        shown: dict[str, Any] = super().to_representation(instance)
        for name, field in self.fields.items():
            if field.allow_null and shown.get(name) == "":
                shown[name] = None
        return shown

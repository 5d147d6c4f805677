"""Form fields for numbers, as forms of the console and of the administration have them."""

from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from scloud.lib.decimals import is_plain, is_whole


class PlainDecimalField(forms.DecimalField):
    """An amount in plain digits, such as ``1000`` or ``12.50``."""

    def to_python(self, value: Any) -> Any:
        """Return the number. Raises ValidationError for anything but plain digits."""
        if value not in self.empty_values and not is_plain(value):
            raise ValidationError(self.error_messages["invalid"], code="invalid")
        return super().to_python(value)


class PlainIntegerField(forms.IntegerField):
    """A whole number in plain digits, such as ``40``."""

    def to_python(self, value: Any) -> Any:
        """Return the number. Raises ValidationError for anything but plain digits."""
        if value not in self.empty_values and not is_whole(value):
            raise ValidationError(self.error_messages["invalid"], code="invalid")
        return super().to_python(value)

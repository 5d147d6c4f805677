"""Forms of the compute console. They parse; what is allowed is decided by the actions."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _


def split_tags(text: str) -> list[str]:
    """Return what was typed between commas, without blanks."""
    return [tag.strip() for tag in text.split(",") if tag.strip()]


class RenameForm(forms.Form):
    """Name, remark and tags of a VM."""

    name = forms.CharField(
        label=_("Name"),
        max_length=30,
        help_text=_("1 to 30 letters, digits or - _ . The guest keeps its host name."),
    )
    remark = forms.CharField(label=_("Remark"), max_length=200, required=False)
    tags = forms.CharField(
        label=_("Tags"),
        max_length=1000,
        required=False,
        help_text=_("Separated by commas: web, env=production"),
    )

    def clean_tags(self) -> list[str]:
        """The tags as the action takes them."""
        return split_tags(self.cleaned_data["tags"])


class InlineNameForm(forms.Form):
    """Name and remark, edited in the row."""

    name = forms.CharField(max_length=60)
    remark = forms.CharField(max_length=300, required=False)


class ProtectForm(forms.Form):
    """Deletion protection on or off."""

    protected = forms.BooleanField(label=_("Deletion protection"), required=False)


class RenewForm(forms.Form):
    """How many periods more."""

    periods = forms.TypedChoiceField(label=_("Duration"), coerce=int)
    quote_token = forms.CharField(widget=forms.HiddenInput, required=False)

    def __init__(self, *args: Any, durations: list[tuple[int, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["periods"].choices = durations  # type: ignore[attr-defined]  # TypedChoiceField

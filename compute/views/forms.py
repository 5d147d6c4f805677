"""Forms of the compute console. They parse; what is allowed is decided by the actions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django import forms
from django.db.models import QuerySet
from django.utils.translation import gettext_lazy as _

from compute.models import Image, Spec, SshKey
from compute.rules.validation import MAX_SSH_KEYS, SSH_KEY_MAX
from network.models import SecurityGroup
from scloud.web.forms import LinesField, NewPasswordForm


class InlineNameForm(forms.Form):
    """Name and remark, edited in the row."""

    name = forms.CharField(max_length=60)
    remark = forms.CharField(max_length=300, required=False)


class ResetPasswordForm(NewPasswordForm):
    """The new password; it is never shown again."""

    password = forms.CharField(
        label=_("New password"),
        max_length=64,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text=_(
            "8 to 30 characters with three of upper case, lower case, digits, special characters."
        ),
    )


class MakeImageForm(forms.Form):
    """Name and description of an own image."""

    name = forms.CharField(label=_("Name"), max_length=60)
    remark = forms.CharField(label=_("Description"), max_length=200, required=False)


class ReinstallForm(NewPasswordForm):
    """The image, and a new password where one is wanted."""

    image = forms.ModelChoiceField(Image.objects.none(), label=_("Image"), empty_label=None)
    password = forms.CharField(
        label=_("New password"),
        max_length=64,
        required=False,
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        help_text=_("Leave empty to keep the current one."),
    )
    ssh_keys = forms.MultipleChoiceField(
        label=_("SSH keys"), widget=forms.CheckboxSelectMultiple, required=False
    )
    ssh_public_key = LinesField(
        label=_("Other SSH public keys"),
        max_length=MAX_SSH_KEYS * SSH_KEY_MAX,
        required=False,
        widget=forms.Textarea(
            attrs={"rows": "2", "class": "input-mono", "spellcheck": "false"},
        ),
        help_text=_("One a line. Without any key, chosen or typed, the VM keeps its own."),
    )

    def __init__(
        self, *args: Any, images: QuerySet[Image], keys: Iterable[SshKey], **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.fields["image"].queryset = images  # type: ignore[attr-defined]  # ModelChoiceField
        choices = [(one.pk, one.name) for one in keys]
        self.fields["ssh_keys"].choices = choices  # type: ignore[attr-defined]  # ChoiceField
        if not choices:
            del self.fields["ssh_keys"]


class GroupsForm(forms.Form):
    """The security groups of a VM; empty is none. ``side`` asks for one of the two only."""

    SIDES = ("internal", "external")
    internal = forms.ModelChoiceField(
        SecurityGroup.objects.none(),
        label=_("Internal security group"),
        required=False,
        empty_label=_("None: not filtered"),
    )
    external = forms.ModelChoiceField(
        SecurityGroup.objects.none(),
        label=_("External security group"),
        required=False,
        empty_label=_("None: not filtered"),
    )

    def __init__(
        self, *args: Any, groups: QuerySet[SecurityGroup], side: str = "", **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        for name in self.SIDES:
            if side not in ("", name):
                del self.fields[name]
                continue
            self.fields[name].queryset = groups  # type: ignore[attr-defined]  # ModelChoiceField


class SizeForm(forms.Form):
    """Another size, at the price that was shown."""

    spec = forms.ModelChoiceField(Spec.objects.none(), label=_("Size"), empty_label=None)
    quote_token = forms.CharField(widget=forms.HiddenInput, required=False)

    def __init__(self, *args: Any, specs: QuerySet[Spec], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["spec"].queryset = specs  # type: ignore[attr-defined]  # ModelChoiceField

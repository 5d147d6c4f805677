"""Form fields as the console shows them, and how a ScloudError reaches its field."""

from typing import Any, cast

from django import forms
from django.core.exceptions import ValidationError
from django.forms import BoundField
from django.forms.widgets import Input
from django.template.loader import render_to_string
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from scloud.lib.errors import ScloudError
from scloud.lib.text import unix_lines

_CLASSES: tuple[tuple[type[forms.Widget], str], ...] = (
    (forms.CheckboxInput, ""),
    (forms.RadioSelect, ""),
    (forms.CheckboxSelectMultiple, ""),
    (forms.HiddenInput, ""),
    (forms.Textarea, "textarea"),
    (forms.Select, "select"),
    (Input, "input"),
)


class LinesField(forms.CharField):
    """A text of several lines, whose ends count as one character each."""

    def to_python(self, value: Any) -> str | None:
        """Return the text before its length is looked at."""
        found = super().to_python(value)
        return unix_lines(found) if isinstance(found, str) else found


class RemedyError(ValidationError):
    """A field error that also says what to do."""

    def __init__(self, message: str, *, code: str, remedy: str | None) -> None:
        super().__init__(message, code=code)
        self.remedy = remedy or ""


def repeated(name: str) -> str:
    """Return the name of the field in which a password is typed again."""
    return f"{name}_again"


class NewPasswordForm(forms.Form):
    """A form with a new password, ``password``, which is typed twice.

    The repetition is compared and then left out of the cleaned data. Where the password may stay
    empty, both stay empty.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        first = self.fields["password"]
        self.fields[repeated("password")] = forms.CharField(
            label=_("Repeat the new password"),
            required=first.required,
            max_length=getattr(first, "max_length", None),
            strip=False,
            widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
        )
        names = list(self.fields)
        names.insert(names.index("password") + 1, names.pop())
        self.order_fields(names)

    def clean(self) -> dict[str, Any]:
        """Compare the two."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        again = cleaned.pop(repeated("password"), None)
        if again is not None and cleaned.get("password", again) != again:
            self.add_error(repeated("password"), _("The two passwords are not the same."))
        return cleaned


def add_error(form: forms.Form, error: ScloudError) -> None:
    """Put an action's refusal next to the field it is about, or above the form."""
    wrapped = RemedyError(error.message, code=error.code, remedy=error.remedy)
    form.add_error(error.field if error.field in form.fields else None, wrapped)


def errors_with_remedies(form: forms.BaseForm, name: str | None) -> list[dict[str, str]]:
    """Return the errors of a field (None: of the whole form) as message and remedy."""
    key = name if name is not None else "__all__"
    found = form.errors.get(key)
    if found is None:
        return []
    return [
        {"message": message, "remedy": str(getattr(error, "remedy", ""))}
        for error in found.as_data()
        for message in error.messages
    ]


def nothing_to_choose(field: forms.Field) -> bool:
    """Tell whether a choice has to be made and there is none, not in groups either.

    Rows are not asked for that.
    """
    if not field.required or not isinstance(field, forms.ChoiceField):
        return False
    if isinstance(field, forms.ModelChoiceField):
        return False
    known: list[tuple[Any, Any]] = list(cast(Any, field).choices)
    # A group has a list where a choice has its label.
    return all(isinstance(label, list | tuple) and not label for _value, label in known)


def css_class_of(widget: forms.Widget) -> str:
    for kind, css_class in _CLASSES:
        if isinstance(widget, kind):
            return css_class
    return ""


def render_field(bound: BoundField, **options: Any) -> SafeString:
    """Return label, control, help, errors and remedies of one field.

    Options: ``unit`` (text after the control), ``size`` ("s" or "m"), ``label``, ``help``,
    ``placeholder``, ``autofocus``, ``mono``.
    """
    widget = bound.field.widget
    if bound.is_hidden:
        return bound.as_widget()
    errors = errors_with_remedies(bound.form, bound.name)
    help_text = options.get("help", bound.help_text)
    error_id, help_id = f"{bound.auto_id}_error", f"{bound.auto_id}_help"
    described = [i for i, on in ((error_id, errors), (help_id, help_text)) if on]
    classes = [css_class_of(widget), str(widget.attrs.get("class", ""))]
    if options.get("size"):
        classes.append(f"input-{options['size']}")
    if options.get("mono"):
        classes.append("input-mono")
    attrs: dict[str, str | bool] = {}
    joined = " ".join(filter(None, classes))
    if joined:
        attrs["class"] = joined
    if described:
        attrs["aria-describedby"] = " ".join(described)
    if errors:
        attrs["aria-invalid"] = "true"
    for name in ("placeholder", "autofocus"):
        if options.get(name):
            attrs[name] = options[name]
    is_group = isinstance(widget, forms.RadioSelect | forms.CheckboxSelectMultiple)
    template = "components/field.html"
    if isinstance(widget, forms.CheckboxInput):
        template = "components/field_check.html"
    return SafeString(
        render_to_string(
            template,
            {
                "bound": bound,
                "control": bound.as_widget(attrs=attrs),
                "label": options.get("label", bound.label),
                "help": help_text,
                "unit": options.get("unit", ""),
                "reveals": isinstance(widget, forms.PasswordInput),
                "errors": errors,
                "error_id": error_id,
                "help_id": help_id,
                "group": is_group,
                "optional": not bound.field.required and not options.get("quiet"),
            },
        )
    )

"""The console's forms of alarms: they parse; the actions decide."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from alarms.catalogue import METRICS, Device, Metric
from alarms.models import AlarmRule, AlarmTemplate
from alarms.models.templates import SUBJECTS
from alarms.rules.rule_values import RuleInput
from alarms.rules.values import in_scale, parsed_threshold
from alarms.states.alarms import MAX_COUNT, NO_DATA, PERIODS, Comparison, Convergence, Severity
from alarms.verbs.inputs import GENEROUS
from scloud.lib.errors import InvalidInput
from scloud.lib.form_fields import PlainIntegerField


class NameForm(forms.Form):
    name = forms.CharField(label=_("Name"), max_length=GENEROUS)
    remark = forms.CharField(label=_("Remark"), max_length=GENEROUS, required=False)


class TemplateEditForm(NameForm):
    """What a template is called, and when missing data opens an alarm."""

    no_data_s = forms.TypedChoiceField(
        label=_("Alarm without data"),
        choices=NO_DATA,
        coerce=int,
        initial=300,
        help_text=_("When a running VM sends no measurements."),
    )


class TemplateForm(TemplateEditForm):
    """A new template."""

    subject = forms.ChoiceField(label=_("Resource type"), choices=SUBJECTS)
    field_order = ("name", "subject", "no_data_s", "remark")


def metrics_of(subject: str) -> list[Metric]:
    """Return the metrics of a kind of resource, by name."""
    found = [metric for metric in METRICS.values() if metric.subject == subject]
    return sorted(found, key=lambda metric: str(metric.label))


class RuleForm(forms.Form):
    """A rule of a template. The threshold is typed with its unit."""

    metric = forms.ChoiceField(label=_("Metric"))
    device = forms.CharField(
        label=_("Device"),
        max_length=GENEROUS,
        required=False,
        help_text=_("A disk or NIC ID, or a mount point such as /data. Empty for each of them."),
    )
    comparison = forms.ChoiceField(label=_("Comparison"), choices=Comparison.choices)
    threshold = forms.CharField(
        label=_("Threshold"),
        max_length=60,
        help_text=_("With its unit: 90 %, 20 Mb/s, 1.5 GB, 100"),
        widget=forms.TextInput(attrs={"autocomplete": "off", "inputmode": "text"}),
    )
    period_s = forms.TypedChoiceField(
        label=_("Period"),
        choices=PERIODS,
        coerce=int,
        initial=300,
        help_text=_("Values are averaged over it."),
    )
    count = PlainIntegerField(
        label=_("Periods in a row"), min_value=1, max_value=MAX_COUNT, initial=3
    )
    convergence = forms.ChoiceField(
        label=_("Notify"), choices=Convergence.choices, initial=Convergence.ONCE
    )
    severity = forms.ChoiceField(
        label=_("Severity"), choices=Severity.choices, initial=Severity.WARNING
    )

    def __init__(self, *args: Any, subject: str, **more: Any) -> None:
        super().__init__(*args, **more)
        found = metrics_of(subject)
        self.fields["metric"].choices = [  # type: ignore[attr-defined]  # ChoiceField
            (metric.name, metric.label) for metric in found
        ]
        if all(metric.device is Device.NONE for metric in found):
            del self.fields["device"]

    @staticmethod
    def initial_of(rule: AlarmRule) -> dict[str, Any]:
        """What the form begins with for a rule that is there."""
        metric = rule.known
        number = ""
        if metric is not None:
            text, scale = in_scale(metric, rule.threshold)
            number = f"{text} {scale.label}" if scale.key != "count" else text
        return {
            "metric": rule.metric,
            "device": rule.device,
            "comparison": rule.comparison,
            "threshold": number,
            "period_s": rule.period_s,
            "count": rule.count,
            "convergence": rule.convergence,
            "severity": rule.severity,
        }

    @staticmethod
    def rule(data: dict[str, Any]) -> RuleInput:
        """What the action takes. Raises InvalidInput for what is no threshold."""
        metric = METRICS.get(data["metric"])
        if metric is None:
            raise InvalidInput(gettext("Choose a metric."), code="metric_invalid", field="metric")
        number, unit = parsed_threshold(metric, data["threshold"])
        return RuleInput(**{**data, "threshold": number, "unit": unit})


class ChosenTemplateForm(forms.Form):
    """Which alarm template a resource has."""

    template = forms.ChoiceField(label=_("Alarm template"), required=False)

    def __init__(self, *args: Any, templates: list[AlarmTemplate], **more: Any) -> None:
        super().__init__(*args, **more)
        self.fields["template"].choices = [  # type: ignore[attr-defined]  # ChoiceField
            ("", _("None")),
            *((one.pk, f"{one.name} ({one.pk})") for one in templates),
        ]

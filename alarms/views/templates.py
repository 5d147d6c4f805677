"""Alarm templates, their rules, and the dialogs in which resources get one."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from alarms.actions import templates as actions
from alarms.actions.templates import fill_rule
from alarms.catalogue import METRICS, Subject
from alarms.models import AlarmRule, AlarmTemplate, NotificationGroup
from alarms.models.templates import RULES_PER_TEMPLATE, SUBJECTS
from alarms.queries import notices as notice_queries
from alarms.queries import preview as preview_queries
from alarms.queries import resources
from alarms.queries import templates as queries
from alarms.rules.values import value_text
from alarms.states.alarms import NO_DATA, PERIODS, Convergence, Severity
from alarms.store.base import StoreError
from alarms.views import preview as drawing
from alarms.views.forms import (
    ChosenTemplateForm,
    NameForm,
    RuleForm,
    TemplateEditForm,
    TemplateForm,
)
from alarms.views.presentation import severity_view
from network.views.common import NAMES, found, name_column
from scloud.lib.errors import ScloudError
from scloud.verbs.inputs import pick
from scloud.web import http, ui
from scloud.web.details import DetailListView
from scloud.web.lists import Column, EmptyState, Filter, PageAction
from scloud.web.status import StatusView
from scloud.web.verbs import (
    Pages,
    VerbBatch,
    VerbDialog,
    VerbList,
    batch_dialog,
    dialog,
    menu,
    register,
)
from scloud.web.views import ActionView, ConsoleView

_NO_DATA = dict(NO_DATA)


class TemplateList(VerbList):
    kind = "alarm_template"
    title = gettext_lazy("Alarm templates")
    text = gettext_lazy(
        "Rules that watch the VMs and external IPs that use the template. Every new VM gets the "
        "default template."
    )
    permission = "alarms.view_template"
    columns = (
        name_column("alarm-template-detail"),
        Column("id", gettext_lazy("ID"), render=ui.ident, sort="id", nowrap=True),
        Column("subject", gettext_lazy("Resource type"), value="get_subject_display",
               sort="subject"),
        Column("default", gettext_lazy("Default"), value="is_default", sort="is_default"),
        Column("rules", gettext_lazy("Rules"), value="rule_count", sort="rule_count", align="end"),
        Column("resources", gettext_lazy("Used by"), value="resource_count",
               sort="resource_count", align="end"),
        Column("created", gettext_lazy("Created"), value="created_at", sort="created_at"),
    )  # fmt: skip
    filters = (Filter("subject", gettext_lazy("Resource type"), choices=SUBJECTS),)
    page_actions = (
        PageAction(
            gettext_lazy("Create alarm template"),
            "alarm-template-create",
            dialog=True,
            permission="alarms.create_alarm_template",
        ),
    )
    empty = EmptyState(
        gettext_lazy("No alarm template yet"),
        gettext_lazy("A template says which measurements open an alarm."),
        icon="bell-cog",
        action_label=gettext_lazy("Create alarm template"),
        action_url_name="alarm-template-create",
        action_permission="alarms.create_alarm_template",
        dialog=True,
    )

    def get_queryset(self) -> QuerySet[Any]:
        return queries.templates()


class TemplateDetail(VerbList, DetailListView):
    kind = "alarm_rule"
    title = gettext_lazy("Rules")
    permission = "alarms.view_template"
    columns = (
        Column("metric", gettext_lazy("Metric"), value="metric_name", sort="metric", main=True),
        Column("device", gettext_lazy("Device"), value=lambda rule: rule.device or _("Each"),
               sort="device"),
        Column("condition", gettext_lazy("Opens when"), value=str, sort=("metric", "threshold")),
        Column("period", gettext_lazy("Period"), value="get_period_s_display", sort="period_s"),
        Column("count", gettext_lazy("In a row"), sort="count", align="end"),
        Column("convergence", gettext_lazy("Notify"), value="get_convergence_display",
               sort="convergence"),
        Column("severity", gettext_lazy("Severity"), value=lambda r: severity_view(r.severity),
               sort="severity", export="get_severity_display"),
        Column("id", gettext_lazy("ID"), render=ui.ident, nowrap=True, default=False),
    )  # fmt: skip
    filters = (
        Filter("severity", gettext_lazy("Severity"), choices=Severity.choices),
        Filter("period_s", gettext_lazy("Period"), choices=[(str(k), v) for k, v in PERIODS]),
        Filter("convergence", gettext_lazy("Notify"), choices=Convergence.choices),
    )
    search_fields = ("id", "metric", "device")
    search_placeholder = gettext_lazy("Search by metric or device")
    default_size = 50
    empty = EmptyState(
        gettext_lazy("No rule yet"),
        gettext_lazy("Without rules the template opens no alarms."),
        icon="bell-cog",
    )

    def template(self) -> AlarmTemplate:
        """The template of the address. Raises NotFound."""
        row: AlarmTemplate = found(queries.templates(), self.kwargs["pk"])
        return row

    def get_queryset(self) -> QuerySet[Any]:
        return queries.rules(self.template())

    def page_context(self) -> dict[str, Any]:
        template = self.template()
        add, *others = menu("alarm_template", template, self.actor)
        count = template.rule_count  # type: ignore[attr-defined]  # annotated
        used = template.resource_count  # type: ignore[attr-defined]  # annotated
        status = StatusView(_("Default"), "ok") if template.is_default else None
        return {
            "object": template,
            "status": status or StatusView(template.get_subject_display(), "off"),
            "crumbs": [
                (_("Alarm templates"), reverse("alarm-template-list")),
                (template.name, ""),
            ],
            "primary": add,
            "actions": others,
            "facts": [
                (_("ID"), template.pk, template.pk),
                (_("Resource type"), template.get_subject_display()),
                (_("Rules"), f"{count} / {RULES_PER_TEMPLATE}"),
                (_("Used by"), used),
                (_("Alarm without data"), _NO_DATA.get(template.no_data_s)),
                (_("Notification group"), template.group.name if template.group else None),
                (_("Remark"), template.remark),
                (_("Created"), ui.moment(template.created_at)),
            ],
        }


class TemplateCreate(ActionView):
    title = gettext_lazy("Create alarm template")
    verb = gettext_lazy("Create")
    form_class = TemplateForm
    success_text = gettext_lazy("The alarm template was created.")

    def perform(self, obj: Any, data: dict[str, Any]) -> AlarmTemplate:
        return actions.create_alarm_template(actor=self.actor, **data)

    def succeeded(self, obj: Any, result: AlarmTemplate) -> HttpResponse:
        """To the template, whose rules come next."""
        to = reverse("alarm-template-detail", args=[result.pk])
        return http.done(self.request, self.success_text, to=to)


def _rules() -> QuerySet[AlarmRule]:
    return queries.rules()


register(
    Pages(
        kind="alarm_template",
        prefix="alarm-templates",
        permission="alarms.view_template",
        one=lambda request, pk, binned: found(queries.templates(), pk),
        several=lambda request, ids: queries.templates().filter(pk__in=ids),
        names=NAMES,
        home=lambda template: reverse("alarm-template-list"),
    )
)
register(
    Pages(
        kind="alarm_rule",
        prefix="alarm-rules",
        permission="alarms.view_template",
        one=lambda request, pk, binned: found(_rules(), pk),
        several=lambda request, ids: _rules().filter(pk__in=ids),
    )
)


@dialog("alarm_template", "edit_alarm_template")
class TemplateEdit(VerbDialog):
    form_class = TemplateEditForm

    def get_form_kwargs(self, obj: AlarmTemplate) -> dict[str, Any]:
        """Begin with what it says now."""
        return {"initial": {"name": obj.name, "remark": obj.remark, "no_data_s": obj.no_data_s}}


class GroupForm(forms.Form):
    """Who is notified of a template's alarms."""

    group = forms.ChoiceField(label=gettext_lazy("Notification group"), required=False)

    def __init__(self, *args: Any, groups: list[NotificationGroup], **more: Any) -> None:
        super().__init__(*args, **more)
        self.fields["group"].choices = [  # type: ignore[attr-defined]  # ChoiceField
            ("", _("None")),
            *((one.pk, f"{one.name} ({one.pk})") for one in groups),
        ]


@dialog("alarm_template", "set_alarm_template_group")
class TemplateGroup(VerbDialog):
    form_class = GroupForm

    def get_form_kwargs(self, obj: AlarmTemplate) -> dict[str, Any]:
        """The tenant's groups, with the present one chosen."""
        return {"groups": list(notice_queries.groups()), "initial": {"group": obj.group_id}}

    def values(self, obj: AlarmTemplate, data: dict[str, Any]) -> dict[str, Any]:
        """The chosen group; None for none."""
        if not data["group"]:
            return {"group": None}
        rows = notice_queries.groups()
        return {"group": pick(rows, data["group"], field="group", what="notification group")}


@dialog("alarm_template", "copy_alarm_template")
class TemplateCopy(VerbDialog):
    form_class = NameForm

    def get_form_kwargs(self, obj: AlarmTemplate) -> dict[str, Any]:
        """Begin with a name that tells it from the original."""
        return {"initial": {"name": f"{obj.name[:25]}-copy", "remark": obj.remark}}

    def success_url(self, obj: Any) -> Any:
        """To the list, where the copy appears."""
        return reverse("alarm-template-list")


class RuleDialog(VerbDialog):
    """After a change of a rule its row is fetched again, or appears, or goes."""

    template_name = "alarms/rule_dialog.html"
    form_class: ClassVar[type[forms.Form] | None] = RuleForm

    def template_of(self, obj: Any) -> AlarmTemplate:
        """The template that the rule is, or will be, of."""
        template: AlarmTemplate = obj if isinstance(obj, AlarmTemplate) else obj.template
        return template

    def get_dialog_context(self, obj: Any) -> dict[str, Any]:
        """Where the preview of what is typed comes from."""
        url = reverse("alarm-template-preview", args=[self.template_of(obj).pk])
        return {**super().get_dialog_context(obj), "preview_url": url}

    def answer(self, template_id: str, rule_id: str) -> HttpResponse:
        """Close the dialog; without HTMX go to the template's page."""
        to = None if self.request.htmx else reverse("alarm-template-detail", args=[template_id])
        response = http.done(self.request, self.success_text, to=to)
        if response.status_code == 204:
            http.changed(response, "alarm_rule", rule_id)
        return response

    def succeeded(self, obj: Any, result: Any) -> HttpResponse:
        """Show the changed row, or let it go."""
        return self.answer(obj.template_id, obj.pk)


@dialog("alarm_template", "add_alarm_rule")
class RuleAdd(RuleDialog):
    def get_form_kwargs(self, obj: AlarmTemplate) -> dict[str, Any]:
        return {"subject": obj.subject}

    def values(self, obj: AlarmTemplate, data: dict[str, Any]) -> dict[str, Any]:
        return {"rule": RuleForm.rule(data)}

    def succeeded(self, obj: AlarmTemplate, result: AlarmRule) -> HttpResponse:
        return self.answer(obj.pk, result.pk)


@dialog("alarm_rule", "edit_alarm_rule")
class RuleEdit(RuleDialog):
    def get_form_kwargs(self, obj: AlarmRule) -> dict[str, Any]:
        """Begin with what it says now."""
        return {"subject": obj.template.subject, "initial": RuleForm.initial_of(obj)}

    def values(self, obj: AlarmRule, data: dict[str, Any]) -> dict[str, Any]:
        return {"values": RuleForm.rule(data)}


@dialog("alarm_rule", "remove_alarm_rule")
class RuleRemove(RuleDialog):
    """Remove a rule."""

    template_name = "web/dialog/action.html"
    form_class = None


class RulePreview(ConsoleView):
    """How often a rule that is being typed would have opened an alarm; changes nothing."""

    permission = "alarms.view_template"

    def get(self, request: HttpRequest, pk: str) -> HttpResponse:
        """Answer with the part of the dialog."""
        template: AlarmTemplate = found(queries.templates(), pk)
        form = RuleForm(request.GET, subject=template.subject)
        if not form.is_valid():
            return self._said(_("Complete the rule to see the preview."))
        try:
            rule = fill_rule(AlarmRule(), template, RuleForm.rule(form.cleaned_data))
            rows = list(resources.bound_to(template)[: preview_queries.MOST_RESOURCES])
            shown = preview_queries.preview(
                rows,
                METRICS[rule.metric],
                rule.condition,
                period_s=rule.period_s,
                device=rule.device,
            )
        except ScloudError as error:
            return self._said(error.message)
        except StoreError:
            return self._said(_("Measurements are not available now."))
        if not rows:
            return self._said(_("No resource uses this template yet."))
        names = {row.pk: row.name for row in rows}
        charts = drawing.drawings(shown, rule, names)
        times = ngettext(
            "Would have opened %(n)s alarm in the last 24 hours.",
            "Would have opened %(n)s alarms in the last 24 hours.",
            shown.times,
        ) % {"n": shown.times}
        return self.render(
            "alarms/preview.html",
            {
                "said": times,
                "metric": rule.metric_name,
                "threshold": value_text(rule.metric, rule.threshold),
                "lines": preview_queries.fired(shown, names),
                "measured": bool(shown.lines),
                "charts": charts,
                "undrawn": len(shown.lines) - len(charts),
                "width": drawing.WIDTH,
                "height": drawing.HEIGHT,
            },
        )

    def _said(self, text: str) -> HttpResponse:
        return self.render("alarms/preview.html", {"said": text, "measured": True})


# -- which template a resource has -----------------------------------------------------------------


class ChooseTemplate(VerbDialog):
    """Another alarm template, or none."""

    form_class = ChosenTemplateForm
    subject: ClassVar[Subject]

    def get_form_kwargs(self, obj: Any) -> dict[str, Any]:
        """The templates of this kind of resource, with the present one chosen."""
        now = queries.template_of(self.subject, obj.pk)
        return {
            "templates": list(queries.templates(self.subject)),
            "initial": {"template": now.pk if now else ""},
        }

    def values(self, obj: Any, data: dict[str, Any]) -> dict[str, Any]:
        return {"template": chosen(self.subject, data["template"])}


@dialog("vm", "change_alarm_template")
class VmTemplate(ChooseTemplate):
    subject = Subject.VM


@dialog("external_ip", "change_alarm_template")
class ExternalIpTemplate(ChooseTemplate):
    subject = Subject.EXTERNAL_IP


class ChooseTemplates(VerbBatch):
    """Another alarm template for several resources, or none."""

    subject: ClassVar[Subject]

    def get_form(self, data: Any = None) -> forms.Form:
        """The templates of this kind of resource."""
        return ChosenTemplateForm(data, templates=list(queries.templates(self.subject)))

    def perform(self, obj: Any, data: dict[str, Any]) -> Any:
        template = chosen(self.subject, data["template"])
        return super().perform(obj, {"template": template})


@batch_dialog("vm", "change_alarm_template")
class VmTemplates(ChooseTemplates):
    subject = Subject.VM


@batch_dialog("external_ip", "change_alarm_template")
class ExternalIpTemplates(ChooseTemplates):
    subject = Subject.EXTERNAL_IP


def chosen(subject: str, pk: str) -> AlarmTemplate | None:
    """Return the template that was chosen, None for none. Raises InvalidInput."""
    if not pk:
        return None
    return pick(queries.templates(subject), pk, field="template", what="alarm template")

"""The URLs of alarms, and what the tests must know of each (see ``routes``)."""

from __future__ import annotations

from typing import Any

from tests.isolation.known import Known, Write, own

_RULE = {"metric": "cpu_usage_ratio", "threshold": 80}
_RULE_FORM = {
    "metric": "cpu_usage_ratio",
    "device": "",
    "comparison": "gt",
    "threshold": "80 %",
    "period_s": "300",
    "count": "3",
    "convergence": "once",
    "severity": "warning",
}
_NAME = {"name": "renamed", "remark": "changed"}
_EDIT = {**_NAME, "no_data_s": "900"}
_VM = "alarms.change_vm_template"
_EIP = "alarms.change_external_ip_template"


def _template(verb: str, body: dict[str, Any] | None = None, sample: str = "template") -> Known:
    return own(sample, f"alarms.{verb}", body)


_SILENCE = {
    "reason": "planned",
    "starts_at": "2035-01-01T00:00:00Z",
    "ends_at": "2035-01-01T06:00:00Z",
    "resource_id": "{vm}",
    "template": "{template}",
}
_SILENCE_FORM = {**_SILENCE, "starts_at": "2035-01-01T00:00", "ends_at": "2035-01-01T06:00"}
_GROUP = {"name": "new", "contacts": ["{contact}"], "time_zone": "UTC"}
_HOOK = {"name": "hook", "url": "https://example.org/hook", "format": "scloud"}
_HOOK_FORM = {"name": "hook", "url": "https://example.org/hook", "webhook_format": "scloud"}


def _contact(verb: str, body: dict[str, Any] | None = None, sample: str = "contact") -> Known:
    return own(sample, f"alarms.{verb}", body)


NOTICE_API: dict[str, Known] = {
    "api-alarm-template-set-group": _template(
        "set_alarm_template_group", {"group": "{notification_group}"}
    ),
    "api-contact-list": Known(
        writes={"post": Write("alarms.create_contact", {"name": "new", "email": "new@example.org"})}
    ),
    "api-contact-detail": Known(
        {"pk": "contact"},
        {
            "patch": Write("alarms.edit_contact", {"name": "renamed"}),
            "delete": Write("alarms.delete_contact"),
        },
    ),
    "api-contact-verify": _contact("verify_contact", {"code": "ABCD-EFGH"}, "verified_contact"),
    "api-contact-send-code": _contact("send_contact_code", {}),
    "api-contact-test": _contact("test_contact", {}, "verified_contact"),
    "api-notification-group-list": Known(
        writes={"post": Write("alarms.create_notification_group", _GROUP)}
    ),
    "api-notification-group-detail": Known(
        {"pk": "unused_group"},
        {
            "put": Write("alarms.edit_notification_group", _GROUP),
            "delete": Write("alarms.delete_notification_group"),
        },
    ),
    "api-notification-group-webhooks": own("notification_group", "alarms.add_webhook", _HOOK),
    "api-webhook-list": Known(),
    "api-webhook-detail": Known(
        {"pk": "webhook"},
        {
            "put": Write("alarms.edit_webhook", _HOOK),
            "delete": Write("alarms.remove_webhook"),
        },
    ),
    "api-webhook-test": own("webhook", "alarms.test_webhook", {}),
    "api-silence-list": Known(writes={"post": Write("alarms.create_silence", _SILENCE)}),
    "api-silence-detail": Known({"pk": "silence"}),
    "api-silence-end": own("silence", "alarms.end_silence", {}),
    "api-delivery-list": Known(),
    "api-delivery-detail": Known({"pk": "delivery"}),
}

NOTICE_CONSOLE: dict[str, Known] = {
    "alarm-template-set-group": _template(
        "set_alarm_template_group", {"group": "{notification_group}"}
    ),
    "contact-list": Known(),
    "contact-create": Known(
        writes={"post": Write("alarms.create_contact", {"name": "new", "email": "new@example.org"})}
    ),
    "contact-verify": _contact("verify_contact", {"code": "ABCD-EFGH"}, "verified_contact"),
    "contact-send-code": _contact("send_contact_code"),
    "contact-test": _contact("test_contact", {}, "verified_contact"),
    "contact-edit": _contact("edit_contact", {"name": "renamed"}),
    "contact-delete": _contact("delete_contact"),
    "notification-group-list": Known(),
    "notification-group-create": Known(
        writes={"post": Write("alarms.create_notification_group", _GROUP)}
    ),
    "notification-group-detail": Known({"pk": "notification_group"}),
    "notification-group-add-webhook": own("notification_group", "alarms.add_webhook", _HOOK_FORM),
    "notification-group-edit": own("notification_group", "alarms.edit_notification_group", _GROUP),
    "notification-group-delete": own("unused_group", "alarms.delete_notification_group"),
    "webhook-test": own("webhook", "alarms.test_webhook"),
    "webhook-edit": own("webhook", "alarms.edit_webhook", {**_HOOK_FORM, "enabled": "on"}),
    "webhook-remove": own("webhook", "alarms.remove_webhook"),
    "silence-list": Known(),
    "silence-create": Known(writes={"post": Write("alarms.create_silence", _SILENCE_FORM)}),
    "silence-end": own("silence", "alarms.end_silence"),
    "delivery-list": Known(),
}

ALARM_API: dict[str, Known] = {
    **NOTICE_API,
    "api-alarm-list": Known(),
    "api-alarm-detail": Known({"pk": "alarm"}),
    "api-alarm-acknowledge": own("alarm", "alarms.acknowledge_alarm", {}),
    "api-alarm-template-list": Known(
        writes={"post": Write("alarms.create_alarm_template", {"name": "new", "rules": [_RULE]})}
    ),
    "api-alarm-template-detail": Known(
        {"pk": "unused_template"},
        {
            "patch": Write("alarms.edit_alarm_template", {"name": "renamed"}),
            "delete": Write("alarms.delete_alarm_template"),
        },
    ),
    "api-alarm-template-rules": _template("add_alarm_rule", _RULE),
    "api-alarm-template-rule-preview": _template("view_template", _RULE),
    "api-alarm-template-copy": _template("copy_alarm_template", _NAME),
    "api-alarm-template-make-default": _template(
        "make_default_alarm_template", {}, "unused_template"
    ),
    "api-alarm-rule": Known(
        {"pk": "alarm_rule"},
        {
            "put": Write("alarms.edit_alarm_rule", _RULE),
            "delete": Write("alarms.remove_alarm_rule"),
        },
    ),
    "api-vm-change-alarm-template": own("vm", _VM, {"template": "{unused_template}"}),
    "api-external-ip-change-alarm-template": own("eip", _EIP, {"template": "{eip_template}"}),
}

ALARM_CONSOLE: dict[str, Known] = {
    **NOTICE_CONSOLE,
    "alarm-list": Known(),
    "bell": Known(),
    "bell-read": Known(
        writes={"post": Write("alarms.view_alarm", {"until": "2026-01-01T00:00:00Z"})}
    ),
    "alarm-acknowledge": own("alarm", "alarms.acknowledge_alarm"),
    "alarm-batch-acknowledge": Known(
        writes={"post": Write("alarms.acknowledge_alarm", {"ids": ["{alarm}"]})}
    ),
    "alarm-template-list": Known(),
    "alarm-template-create": Known(
        writes={
            "post": Write(
                "alarms.create_alarm_template",
                {"name": "new", "subject": "vm", "no_data_s": "300", "remark": ""},
            )
        }
    ),
    "alarm-template-detail": Known({"pk": "template"}),
    "alarm-template-preview": Known({"pk": "template"}),
    "alarm-template-edit": _template("edit_alarm_template", _EDIT),
    "alarm-template-copy": _template("copy_alarm_template", _NAME),
    "alarm-template-make-default": _template("make_default_alarm_template", {}, "unused_template"),
    "alarm-template-delete": _template("delete_alarm_template", {}, "unused_template"),
    "alarm-rule-add": _template("add_alarm_rule", _RULE_FORM),
    "alarm-rule-edit": own("alarm_rule", "alarms.edit_alarm_rule", _RULE_FORM),
    "alarm-rule-remove": own("alarm_rule", "alarms.remove_alarm_rule"),
    "alarm-rule-batch-remove": Known(
        writes={"post": Write("alarms.remove_alarm_rule", {"ids": ["{alarm_rule}"]})}
    ),
    "vm-change-alarm-template": own("vm", _VM, {"template": "{unused_template}"}, "vm_id"),
    "vm-batch-change-alarm-template": Known(
        writes={"post": Write(_VM, {"ids": ["{vm}"], "template": "{unused_template}"})}
    ),
    "external-ip-change-alarm-template": own("eip", _EIP, {"template": "{eip_template}"}),
    "external-ip-batch-change-alarm-template": Known(
        writes={"post": Write(_EIP, {"ids": ["{eip}"], "template": "{eip_template}"})}
    ),
}

"""The console's pages of alarms, and the same by API: one story of a tenant."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from alarms.actions.defaults import ensure_default_template
from alarms.models import AlarmBinding, AlarmRule, AlarmTemplate
from alarms.store.base import StoreUnavailable
from scloud.audit.models import Operation
from scloud.tenancy.actor import Actor
from scloud.tenancy.scoping import scope, scopes_disabled
from tests.alarms.stories import CPU, Story, minutely
from tests.api.client import Program, program_of

HTMX: dict[str, Any] = {"HTTP_HX_REQUEST": "true"}
FORM = {
    "metric": "nic_transmit_bytes_per_second",
    "device": "",
    "comparison": "ge",
    "threshold": "20 Mb/s",
    "period_s": "900",
    "count": "2",
    "convergence": "always",
    "severity": "critical",
}


@pytest.fixture
def program(story: Story) -> Program:
    """A key of the owner."""
    assert story.actor.user is not None
    return program_of(story.actor.user)


def test_a_template_from_its_making_to_its_end(console: Client, story: Story, actor: Actor) -> None:
    assert actor.tenant is not None
    ensure_default_template(actor.tenant)
    made = console.post(
        reverse("alarm-template-create"),
        {"name": "web", "subject": "vm", "no_data_s": "0", "remark": "of the shop"},
    )
    with scope(tenant=actor.tenant):
        template = AlarmTemplate.objects.get(name="web")
    home = reverse("alarm-template-detail", args=[template.pk])
    assert made.headers["Location"] == home
    add = reverse("alarm-rule-add", args=[template.pk])
    assert "Preview" in console.get(add, **HTMX).content.decode()
    wrong = console.post(add, {**FORM, "threshold": "20 parsecs"}, **HTMX)
    assert wrong.status_code == 422
    assert "Mb/s, KB/s, MB/s" in wrong.content.decode()
    assert console.post(add, FORM, **HTMX).status_code == 204
    with scopes_disabled():
        (rule,) = AlarmRule.objects.filter(template=template)
    assert (rule.threshold, rule.period_s, rule.severity) == (2_500_000, 900, "critical")
    page = console.get(home).content.decode()
    assert "NIC outbound bandwidth ≥ 2.4 MB/s" in page
    assert "1 / 50" in page
    edit = reverse("alarm-rule-edit", args=[rule.pk])
    assert 'value="20 Mb/s"' in console.get(edit, **HTMX).content.decode()
    assert console.post(edit, {**FORM, "count": "4"}, **HTMX).status_code == 204
    # On a VM, by the batch of its list; then none again, by its own page.
    batch = {"ids": [vm.pk for vm in story.vms], "template": template.pk}
    console.post(reverse("vm-batch-change-alarm-template"), batch, **HTMX)
    with scopes_disabled():
        assert AlarmBinding.objects.filter(template=template).count() == 2
    overview = console.get(reverse("vm-detail", args=[story.vms[0].pk])).content.decode()
    assert f'href="{home}">web<' in overview
    delete = reverse("alarm-template-delete", args=[template.pk])
    refused = console.post(delete, **HTMX)
    assert "is used by 2 resources" in refused.content.decode()
    for vm in story.vms:
        url = reverse("vm-change-alarm-template", args=[vm.pk])
        assert "web (template-" in console.get(url, **HTMX).content.decode()
        assert console.post(url, {"template": ""}, **HTMX).status_code == 204
    console.post(reverse("alarm-template-make-default", args=[template.pk]), **HTMX)
    assert "is the default template" in console.post(delete, **HTMX).content.decode()
    copied = console.post(reverse("alarm-template-copy", args=[template.pk]), {"name": "web-2"})
    assert copied.status_code == 302
    with scope(tenant=actor.tenant):
        copy = AlarmTemplate.objects.get(name="web-2")
        assert [rule.count for rule in copy.rules.all()] == [4]
        default = AlarmTemplate.objects.get(name="default")
    assert (
        console.post(reverse("alarm-template-delete", args=[default.pk]), **HTMX).status_code < 400
    )
    with scopes_disabled():
        assert (
            Operation.objects.filter(verb="alarms.change_vm_template", succeeded=True).count() == 4
        )


def test_the_records_and_the_time_line(console: Client, story: Story) -> None:
    story.template(minutely(severity="critical"))
    story.cpu(0.95, 0.97)
    listed = console.get(reverse("alarm-list"))
    page = listed.content.decode()
    assert page.count("CPU usage &gt; 90 %") >= 2
    assert "97 %" in page
    one, other = story.alarms
    url = reverse("alarm-acknowledge", args=[one.pk])
    assert console.post(url, **HTMX).status_code == 204
    open_ones = console.get(reverse("alarm-list"), {"state": "open"}).content.decode()
    assert other.resource_id in open_ones
    assert one.resource_id not in open_ones
    acknowledged = console.get(reverse("alarm-list"), {"state": "acknowledged"}).content.decode()
    assert "By owner@acme.test" in acknowledged
    line = console.get(reverse("vm-events", args=[story.vms[0].pk])).content.decode()
    assert "Alarm opened" in line
    assert "Alarm acknowledged" in line
    book = console.get(reverse("alarm-list"), {"export": "xlsx"})
    assert book.headers["Content-Type"].endswith("spreadsheetml.sheet")


def test_what_a_rule_would_have_done(
    console: Client, program: Program, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = story.template(no_data_s=0)
    for usage in (0.95, 0.95, 0.2, 0.95, 0.95, 0.95, 0.1, 0.95, 0.95):
        story.minute({(CPU, ""): usage}, evaluate=False)
    typed = {**FORM, "metric": CPU, "threshold": "90", "period_s": "60", "comparison": "gt"}
    url = reverse("alarm-template-preview", args=[template.pk])
    page = console.get(url, typed, **HTMX).content.decode()
    assert "Would have opened 6 alarms in the last 24 hours." in page
    assert page.count("Still open") == 2
    assert (page.count("<polyline"), page.count('class="preview-open"')) == (2, 6)
    assert "Threshold 90 %" in page
    assert 'd="M0 9.6H480"' in page
    assert " style=" not in page
    sent = {"metric": CPU, "threshold": 90, "period_s": 60, "count": 2}
    answer = program.post(f"/alarm-templates/{template.pk}/rule-preview", sent)
    assert (answer.status, answer.body["times"], answer.body["threshold"]) == (200, 6, 0.9)
    first = answer.body["lines"][0]
    assert [one["ended"] for one in first["episodes"]] == [True, True, False]
    assert len(first["points"]) == 24 * 60
    assert "Complete the rule" in console.get(url, {"metric": CPU}, **HTMX).content.decode()
    story.store.faults.away = True
    assert "not available now" in console.get(url, typed, **HTMX).content.decode()
    away = program.post(f"/alarm-templates/{template.pk}/rule-preview", sent)
    assert away.status == 503
    assert StoreUnavailable.code not in json.dumps(away.body)


def test_the_api_refuses_what_makes_no_rule(program: Program, story: Story) -> None:
    rules = [{"metric": CPU, "threshold": 70}]
    made = program.post("/alarm-templates", {"name": "by-api", "rules": rules})
    assert (made.status, made.body["rule_count"], made.body["resource_count"]) == (201, 1, 0)
    at = f"/alarm-templates/{made.body['id']}/rules"
    for body, code in (
        ({"metric": CPU, "threshold": -1}, "threshold_invalid"),
        ({"metric": CPU, "threshold": 101}, "threshold_invalid"),
        ({"metric": "load1", "threshold": 1e31}, "threshold_invalid"),
        ({"metric": CPU, "threshold": 9, "unit": "gb"}, "unit_invalid"),
        ({"metric": "host_cpu_usage_ratio", "threshold": 9}, "metric_invalid"),
        ({"metric": "external_ip_receive_bytes_per_second", "threshold": 9}, "metric_invalid"),
        ({"metric": CPU, "threshold": 9, "period_s": 61}, "period_s_invalid"),
        ({"metric": CPU, "threshold": 9, "device": "vda"}, "device_invalid"),
    ):
        answer = program.post(at, body)
        assert (answer.status, answer.body["code"]) == (400, code), body
    for number in (math.nan, math.inf, 1e308 * 10):
        assert program.post(at, {"metric": CPU, "threshold": number}).status == 400
    with scopes_disabled():
        assert AlarmRule.objects.filter(template=made.body["id"]).count() == 1
    batch = {"verb": "change_alarm_template", "ids": [story.vms[0].pk]}
    missing = program.post("/vms/batch", batch)
    assert (missing.status, missing.body["code"]) == (400, "option_missing")
    given = program.post("/vms/batch", {**batch, "template": made.body["id"]})
    assert given.body == [{"id": story.vms[0].pk, "job_id": None, "error": None}]
    foreign = program.post("/vms/batch", {**batch, "template": "template-000000000"})
    assert foreign.body[0]["error"]["code"] == "template_unknown"

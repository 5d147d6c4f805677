"""Many rules at once: templates, CSV files, copies; and the order in which rules decide."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from billing.models import QuotaLimit
from network.actions import (
    Defaults,
    RuleInput,
    RulesChanged,
    add_rule,
    add_template,
    copy_security_group,
    create_security_group,
    import_rules,
)
from network.fabric import fake
from network.fabric.base import Kind, SecurityGroupSpec
from network.models import SecurityGroup, SecurityGroupRule
from network.queries import security as queries
from network.rules import csv_rules, templates
from network.rules.evaluate import rank
from network.rules.rule_values import meaning
from scloud.audit.models import Operation
from scloud.jobs.models import Job
from scloud.lib.errors import Conflict, InvalidInput
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant, User
from scloud.tenancy.scoping import scope, scopes_disabled
from tests.network.fabric.rule_sets import some_group
from tests.network.test_api import call

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("scoped")]
RunJobs = Callable[[], list[str]]
HEAD = "direction,protocol,ports,cidr,action,priority,description\n"
SSH = RuleInput(direction="in", protocol="tcp", cidr="0.0.0.0/0", ports="22", description="SSH")
HTMX = {"HX-Request": "true"}


@pytest.fixture
def group(actor: Actor, region: Region) -> SecurityGroup:
    return create_security_group(actor=actor, region=region, name="web")


def said(group: SecurityGroup) -> set[str]:
    return {str(rule) for rule in SecurityGroupRule.objects.filter(group=group)}


# --- templates


@pytest.mark.parametrize("template", templates.TEMPLATES, ids=lambda one: one.key)
def test_every_template_can_be_added_and_adding_it_again_changes_nothing(
    actor: Actor, group: SecurityGroup, template: templates.Template
) -> None:
    first = add_template(actor=actor, group=group, template=template.key)
    assert first == RulesChanged(added=len(template.rules()), present=0, removed=0)
    group.refresh_from_db()
    before = group.generation
    again = add_template(actor=actor, group=group, template=template.key)
    assert again == RulesChanged(added=0, present=first.added, removed=0)
    group.refresh_from_db()
    assert group.generation == before


def test_a_source_replaces_the_templates_own(actor: Actor, group: SecurityGroup) -> None:
    add_template(actor=actor, group=group, template="web", cidr="2001:db8::/32")
    assert said(group) == {
        "in tcp 80 2001:db8::/32 accept",
        "in tcp 443 2001:db8::/32 accept",
        "in icmpv6 * 2001:db8::/32 accept",
    }


@pytest.mark.parametrize(
    ("values", "code", "field"),
    [
        ({"template": "nonsense"}, "template_unknown", "template"),
        ({"template": "web", "cidr": "10.0.0.1/8"}, "cidr_invalid", "cidr"),
    ],
)
def test_a_bad_template_or_source_is_refused(
    actor: Actor, group: SecurityGroup, values: dict[str, str], code: str, field: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        add_template(actor=actor, group=group, **values)
    assert (refused.value.code, refused.value.field) == (code, field)
    assert said(group) == set()


def test_a_group_may_begin_with_several_templates(actor: Actor, region: Region) -> None:
    mine = replace(SSH, description="mine")
    made = create_security_group(
        actor=actor, region=region, name="edge", rules=[mine], templates=["web", "ssh", "outbound"]
    )
    # SSH from anywhere is there once, although the template has it too.
    assert made.rules.get(port_min=22, cidr="0.0.0.0/0").description == "mine"
    assert made.rules.count() == 6 + 2 + 2


# --- CSV


def test_what_is_exported_is_imported_the_same(actor: Actor, region: Region) -> None:
    rng = random.Random(11)
    found = some_group(rng, 60, [ip_address("10.0.0.5"), ip_address("fd00::5")])
    rules = list({meaning(rule): rule for rule in found}.values())
    assert len(rules) > 20
    group, other = (
        create_security_group(actor=actor, region=region, name=name) for name in ("one", "two")
    )
    texts = ["plain", 'with "quotes", commas', "=SUM(A1)", "-", "'@", "ünï — 中文", ""]
    for number, rule in enumerate(rules):
        rule.tenant, rule.group = group.tenant, group
        rule.description = texts[number % len(texts)]
    SecurityGroupRule.objects.bulk_create(rules)
    file = csv_rules.written(queries.rules(group))
    # A spreadsheet must not take a text for a formula.
    assert "\n=" not in file
    assert ",=SUM" not in file
    import_rules(actor=actor, group=other, content=file)

    def all_of(group: SecurityGroup) -> list[tuple[str, str]]:
        return [(f"{rule} {rule.priority}", rule.description) for rule in queries.rules(group)]

    assert sorted(all_of(other)) == sorted(all_of(group))


@pytest.mark.parametrize(
    "content",
    [
        "\ufeff" + HEAD + "in,tcp,22,0.0.0.0/0,accept,medium,SSH\n",
        HEAD.replace(",", ";") + "in;tcp;22;0.0.0.0/0;accept;medium;SSH",
        HEAD.replace(",", "\t") + "IN\tTCP\t22\t0.0.0.0/0\tAllow\tMedium\tSSH\r\n\r\n",
        "CIDR , Protocol,direction,ports,description\r0.0.0.0/0,tcp,Inbound,22,SSH\r",
        '\n\n"direction","protocol","cidr","ports","description"\nin,tcp,0.0.0.0/0,22,SSH,,,',
    ],
    ids=["byte order mark", "semicolons", "tabs", "columns and words", "blank lines"],
)
def test_files_of_spreadsheets_are_understood(
    actor: Actor, group: SecurityGroup, content: str
) -> None:
    assert import_rules(actor=actor, group=group, content=content).added == 1
    assert said(group) == {"in tcp 22 0.0.0.0/0 accept"}
    assert group.rules.get().description == "SSH"


def test_every_bad_line_is_named_and_nothing_is_imported(
    actor: Actor, group: SecurityGroup
) -> None:
    add_rule(actor=actor, group=group, rule=SSH)
    before = SecurityGroup.objects.get(pk=group.pk).generation
    content = HEAD + (
        "in,tcp,22,10.0.0.0/8,accept,low,fine\n"
        "in,tcp,99999,10.0.0.0/8,accept,low,\n"
        '"in",udp,53,"10.0.0.1/8",accept,low,"two\nlines"\n'
        "sideways,tcp,22,10.0.0.0/8,,,\n"
    )
    with pytest.raises(InvalidInput) as refused:
        import_rules(actor=actor, group=group, content=content, replace=True)
    assert (refused.value.code, refused.value.field) == ("csv_lines", "content")
    assert refused.value.numbers == {
        "wrong": 3,
        "total": 4,
        "lines": [
            {"line": 3, "code": "ports_invalid", "field": "ports"},
            {"line": 4, "code": "cidr_invalid", "field": "cidr"},
            {"line": 6, "code": "direction_invalid", "field": "direction"},
        ],
    }
    assert "Line 3: “99999” is not a port" in refused.value.message
    assert said(group) == {str(group.rules.get())}
    assert SecurityGroup.objects.get(pk=group.pk).generation == before


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("", "csv_empty"),
        (HEAD, "csv_empty"),
        ("direction,protocol\nin,tcp\n", "csv_columns"),
        ("direction,protocol,cidr,cidr\nin,tcp,::/0,::/0\n", "csv_columns"),
        ("direction,protocol,cidr,colour\nin,tcp,::/0,red\n", "csv_columns"),
        (HEAD + "in,tcp,22,0.0.0.0/0,accept,low,a,b\n", "csv_invalid"),
        (HEAD + 'in,tcp,22,0.0.0.0/0,accept,low,"never closed\n', "csv_invalid"),
        (HEAD + "in,tcp,22,0.0.0.0/0,accept,low,\x00\n", "csv_invalid"),
        (HEAD + "x" * csv_rules.LONGEST, "csv_too_long"),
        (HEAD + "in,tcp,22,0.0.0.0/0\n" * 201, "too_many_rules"),
    ],
)
def test_what_is_no_file_of_rules_is_refused(
    actor: Actor, group: SecurityGroup, content: str, code: str
) -> None:
    with pytest.raises(InvalidInput) as refused:
        import_rules(actor=actor, group=group, content=content)
    assert (refused.value.code, refused.value.field) == (code, "content")
    assert said(group) == set()


def test_replacing_keeps_what_stays_and_is_one_change_of_the_network(
    actor: Actor, region: Region, group: SecurityGroup, world: fake.World, run_jobs: RunJobs
) -> None:
    kept = add_rule(actor=actor, group=group, rule=SSH)
    add_rule(actor=actor, group=group, rule=replace(SSH, ports="23"))
    run_jobs()
    calls = len(world.calls)
    content = HEAD + (
        "in,tcp,22,0.0.0.0/0,accept,medium,Secure shell\n"
        "in,tcp,443,0.0.0.0/0,accept,high,\n"
        "in,tcp,443,0.0.0.0/0,accept,high,again\n"
    )
    changed = import_rules(actor=actor, group=group, content=content, replace=True)
    assert changed == RulesChanged(added=1, present=2, removed=1)
    assert said(group) == {"in tcp 22 0.0.0.0/0 accept", "in tcp 443 0.0.0.0/0 accept"}
    kept.refresh_from_db()
    assert kept.description == "Secure shell"
    run_jobs()
    assert world.calls[calls:] == [f"ensure_security_group {group.pk}"]
    spec = world.things[region.pk, Kind.SECURITY_GROUP, group.pk]
    assert isinstance(spec, SecurityGroupSpec)
    assert {rule.port_min for rule in spec.rules} == {22, 443}


def test_adding_never_goes_beyond_the_most_and_replacing_counts_what_goes(
    actor: Actor, group: SecurityGroup
) -> None:
    def lines(first: int, last: int) -> str:
        return HEAD + "".join(
            f"in,tcp,{port},0.0.0.0/0,accept,low,\n" for port in range(first, last)
        )

    import_rules(actor=actor, group=group, content=lines(1, 201))
    with pytest.raises(Conflict) as refused:
        import_rules(actor=actor, group=group, content=lines(200, 202))
    assert refused.value.numbers == {"limit": 200, "used": 200, "asked": 1}
    changed = import_rules(actor=actor, group=group, content=lines(101, 301), replace=True)
    assert changed == RulesChanged(added=100, present=100, removed=100)


# --- copies and order


def test_a_copy_has_the_rules_and_nothing_else_of_the_original(
    actor: Actor, group: SecurityGroup
) -> None:
    add_template(actor=actor, group=group, template="default")
    SecurityGroup.objects.filter(pk=group.pk).update(is_default=True, remark="mine")
    copied = copy_security_group(actor=actor, group=group, name="web-copy")
    assert said(copied) == said(group)
    assert copied.pk != group.pk
    assert (copied.is_default, copied.remark) == (False, "mine")
    assert Job.objects.filter(kind="network.sync_security_group", target_id=copied.pk).exists()
    logged = Operation.objects.get(verb="network.copy_security_group")
    assert {one["id"] for one in logged.resources} == {group.pk, copied.pk}


def test_a_copy_counts_against_the_quota(actor: Actor, group: SecurityGroup) -> None:
    QuotaLimit.objects.create(item="security_groups", limit=1)
    with pytest.raises(Conflict) as refused:
        copy_security_group(actor=actor, group=group, name="web-copy")
    assert refused.value.code == "quota_exceeded"


def test_rules_are_listed_in_the_order_in_which_they_decide(
    actor: Actor, group: SecurityGroup
) -> None:
    rng = random.Random(3)
    rows = some_group(rng, 150, [])
    for row in rows:
        row.tenant, row.group = group.tenant, group
    SecurityGroupRule.objects.bulk_create(rows)
    listed = list(queries.rules(group))
    assert [rule.direction for rule in listed] == sorted(rule.direction for rule in rows)
    for direction in ("in", "out"):
        ranks = [rank(rule) for rule in listed if rule.direction == direction]
        assert ranks == sorted(ranks)
        assert len(set(ranks)) == 6


# --- console and API


def send(client: Client, url_name: str, /, *args: str, **data: Any) -> Any:
    return client.post(reverse(url_name, args=args), data, headers=HTMX)


def test_the_console_adds_templates_copies_exports_and_imports(
    console: Client, defaults: Defaults
) -> None:
    group = defaults.security_group
    page = console.get(reverse("security-group-detail", args=[group.pk])).content.decode()
    for words in ("Add rules from a template", "Import rules from CSV", "Export rules as CSV"):
        assert words in page
    added = send(console, "security-group-add-template", group.pk, template="mail")
    assert added.headers["HX-Redirect"] == reverse("security-group-detail", args=[group.pk])
    file = console.get(reverse("security-group-rules-csv", args=[group.pk]))
    assert file.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert file.headers["Content-Disposition"] == f'attachment; filename="{group.pk}-rules.csv"'
    form = console.get(reverse("security-group-copy", args=[group.pk]), headers=HTMX)
    assert 'value="default-copy"' in form.content.decode()
    assert send(console, "security-group-copy", group.pk, name="again").status_code == 204
    with scopes_disabled():
        copied = SecurityGroup.objects.get(name="again")
        assert copied.rules.count() == 12 + 10
        SecurityGroupRule.objects.filter(group=copied, direction="in").delete()
    sent = SimpleUploadedFile("rules.csv", file.content, "text/csv")
    send(console, "security-group-import-rules", copied.pk, file=sent)
    with scopes_disabled():
        assert said(copied) == said(group)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "Choose a file, or paste the rules."),
        ({"file": SimpleUploadedFile("a.csv", b"\xff\xfe\x00")}, "The file is not UTF-8."),
        ({"file": SimpleUploadedFile("a.csv", b"x" * 400_001)}, "The file is too large."),
        ({"content": HEAD + "in,tcp,0,::/0,,,"}, "Line 2: “0” is not a port"),
    ],
)
def test_a_bad_file_is_refused_beside_its_field(
    console: Client, defaults: Defaults, values: dict[str, Any], words: str
) -> None:
    answer = send(console, "security-group-import-rules", defaults.security_group.pk, **values)
    assert answer.status_code == 422
    assert words in answer.content.decode()


def test_the_api_has_the_same_verbs(console: Client, defaults: Defaults, region: Region) -> None:
    listed = call(console, "GET", "/security-group-templates").json()
    assert [one["key"] for one in listed] == [one.key for one in templates.TEMPLATES]
    made = call(
        console,
        "POST",
        "/security-groups",
        {"region": region.pk, "name": "db", "templates": ["database"]},
    )
    assert made.status_code == 201, made.content
    path = f"/security-groups/{made.json()['id']}"
    added = call(console, "POST", f"{path}/add-template", {"template": "ssh"})
    assert added.json() == {"added": 2, "present": 0, "removed": 0}
    file = call(console, "GET", f"{path}/rules.csv")
    assert file.headers["Content-Type"] == "text/csv; charset=utf-8"
    imported = call(
        console,
        "POST",
        f"{path}/import-rules",
        {"content": file.content.decode(), "replace": True},
    )
    assert imported.json() == {"added": 0, "present": 22, "removed": 0}
    copied = call(console, "POST", f"{path}/copy", {"name": "db-2"})
    assert copied.status_code == 201
    assert copied.json()["rule_count"] == 22


def test_a_stranger_and_a_reader_cannot(
    tenant: Tenant, other_tenant: Tenant, make_user: Callable[..., User], defaults: Defaults
) -> None:
    group = defaults.security_group.pk
    stranger, reader = Client(), Client()
    stranger.force_login(make_user(other_tenant))
    reader.force_login(make_user(tenant, "readonly"))
    assert stranger.get(reverse("security-group-rules-csv", args=[group])).status_code == 404
    assert send(stranger, "security-group-copy", group, name="mine").status_code == 404
    assert call(stranger, "GET", f"/security-groups/{group}/rules.csv").status_code == 404
    assert reader.get(reverse("security-group-rules-csv", args=[group])).status_code == 200
    refused = call(reader, "POST", f"/security-groups/{group}/copy", {"name": "x"})
    assert refused.status_code == 403
    with scope(tenant=defaults.security_group.tenant):
        assert SecurityGroup.objects.count() == 1

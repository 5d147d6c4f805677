"""The console's pages of the network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from network.actions import Defaults, NicRequest, RuleInput, add_rule, create_nics, create_vpc
from network.models import SecurityGroup, SecurityGroupRule, Subnet, Vpc
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant, User
from scloud.tenancy.scoping import scope, scopes_disabled

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("defaults")]
HTMX = {"HX-Request": "true"}


def page(client: Client, name: str, *args: str, **query: str) -> str:
    answer = client.get(reverse(name, args=args), query)
    assert answer.status_code == 200, answer.content
    return answer.content.decode()


def send(client: Client, url_name: str, /, *args: str, **data: Any) -> Any:
    return client.post(reverse(url_name, args=args), data, headers=HTMX)


def test_the_lists_show_what_the_tenant_begins_with(console: Client, defaults: Defaults) -> None:
    vpcs = page(console, "vpc-list")
    assert defaults.vpc.pk in vpcs
    assert "10.0.0.0/16" in vpcs
    assert defaults.security_group.pk in page(console, "security-group-list")


def test_a_vpcs_page_shows_its_subnets_with_their_free_addresses(
    console: Client, defaults: Defaults
) -> None:
    assert defaults.subnet is not None
    with scope(tenant=defaults.vpc.tenant):
        create_nics(subnet=defaults.subnet, requests=[NicRequest(vm_id="vm-1")])
    html = page(console, "vpc-detail", defaults.vpc.pk)
    assert defaults.subnet.pk in html
    assert "252 of 253" in html
    subnet = page(console, "subnet-detail", defaults.subnet.pk)
    assert "10.0.0.2" in subnet
    assert f'href="{reverse("vm-detail", args=["vm-1"])}"' in subnet


def test_the_head_of_a_page_is_fetched_alone_when_a_push_asks(
    console: Client, defaults: Defaults
) -> None:
    head = page(console, "vpc-detail", defaults.vpc.pk, part="head")
    assert f'data-live="vpc:{defaults.vpc.pk}"' in head
    assert "<table" not in head


def test_a_vpc_is_created_renamed_and_deleted_in_dialogs(console: Client) -> None:
    assert "Address range" in console.get(reverse("vpc-create"), headers=HTMX).content.decode()
    answer = send(console, "vpc-create", name="office", cidr="172.16.0.0/16")
    assert answer.status_code == 204
    with scopes_disabled():
        vpc = Vpc.objects.get(name="office")
    assert send(console, "vpc-rename", vpc.pk, name="plant", remark="north").status_code == 204
    assert "plant" in page(console, "vpc-list", q="north")
    assert send(console, "vpc-delete", vpc.pk).status_code == 204
    with scopes_disabled():
        assert not Vpc.objects.filter(pk=vpc.pk).exists()


def test_a_refusal_stands_beside_its_field_and_keeps_what_was_typed(console: Client) -> None:
    answer = send(console, "vpc-create", name="office", cidr="8.8.8.0/24")
    html = answer.content.decode()
    assert answer.status_code == 422
    assert "is not within a private range" in html
    assert 'value="8.8.8.0/24"' in html
    assert 'value="office"' in html


def test_a_subnet_is_offered_the_first_free_range(console: Client, defaults: Defaults) -> None:
    url = reverse("subnet-create", args=[defaults.vpc.pk])
    assert 'value="10.0.1.0/24"' in console.get(url, headers=HTMX).content.decode()
    answer = send(
        console, "subnet-create", defaults.vpc.pk, name="desks", cidr="10.0.1.0/24",
        dns_servers="10.0.1.53, 10.0.1.54",
    )  # fmt: skip
    assert answer.status_code == 204
    with scopes_disabled():
        assert Subnet.objects.get(name="desks").dns_servers == ["10.0.1.53", "10.0.1.54"]
    overlapping = send(console, "subnet-create", defaults.vpc.pk, name="more", cidr="10.0.1.0/25")
    assert overlapping.status_code == 422
    assert "overlaps the subnet 10.0.1.0/24" in overlapping.content.decode()


def test_what_cannot_be_done_says_why(console: Client, defaults: Defaults) -> None:
    menu = console.get(reverse("vpc-list"), {"menu": defaults.vpc.pk}).content.decode()
    assert "Cannot be deleted while it has subnets." in menu
    refused = send(console, "vpc-delete", defaults.vpc.pk)
    assert refused.status_code == 422
    assert "Delete its subnets first." in refused.content.decode()


def test_rules_are_added_edited_and_removed(console: Client, defaults: Defaults) -> None:
    group = defaults.security_group
    values = {"direction": "in", "cidr": "10.0.0.0/8", "action": "accept", "priority": "high"}
    added = send(console, "rule-add", group.pk, service="tcp", ports="8000-8100", **values)
    assert added.status_code == 204
    with scopes_disabled():
        rule = SecurityGroupRule.objects.get(cidr="10.0.0.0/8")
    assert (rule.protocol, rule.ports) == ("tcp", "8000-8100")
    assert "8000-8100" in page(console, "security-group-detail", group.pk, priority="high")
    # The ports of a named service are its own, whatever is left in the field.
    changed = send(console, "rule-edit", rule.pk, service="dns", ports="junk", **values)
    assert changed.status_code == 204
    rule.refresh_from_db()
    assert (rule.protocol, rule.ports) == ("udp", "53")
    form = console.get(reverse("rule-edit", args=[rule.pk]), headers=HTMX).content.decode()
    assert '<option value="dns" selected>' in form
    bad = send(console, "rule-edit", rule.pk, service="udp", ports="junk", **values)
    assert bad.status_code == 422
    assert "is not a port" in bad.content.decode()
    assert send(console, "rule-remove", rule.pk).status_code == 204
    with scopes_disabled():
        assert not SecurityGroupRule.objects.filter(pk=rule.pk).exists()


def test_rules_are_removed_together_with_a_result_for_each(
    console: Client, defaults: Defaults
) -> None:
    with scopes_disabled():
        ids = list(defaults.security_group.rules.values_list("pk", flat=True)[:3])
    answer = send(console, "rules-remove", ids=[*ids, "sgr-000000000"])
    assert "3 of 4 accepted." in answer.content.decode()
    with scopes_disabled():
        assert not SecurityGroupRule.objects.filter(pk__in=ids).exists()


@pytest.mark.parametrize(
    ("chosen", "rules"), [(["default"], 12), (["outbound"], 2), ([], 0), (["web", "outbound"], 8)]
)
def test_a_group_begins_with_the_rules_that_were_chosen(
    console: Client, chosen: list[str], rules: int
) -> None:
    answer = send(console, "security-group-create", name="web", templates=chosen)
    assert answer.status_code == 204
    with scopes_disabled():
        group = SecurityGroup.objects.get(name="web")
        assert group.rules.count() == rules
    assert send(console, "security-group-rename", group.pk, name="edge").status_code == 204
    assert send(console, "security-group-delete", group.pk).status_code == 204


def test_a_reader_sees_the_pages_but_no_way_to_change_them(
    tenant: Tenant, make_user: Callable[..., User], defaults: Defaults
) -> None:
    client = Client()
    client.force_login(make_user(tenant, "readonly"))
    assert "Create VPC" not in page(client, "vpc-list")
    menu = client.get(reverse("vpc-list"), {"menu": defaults.vpc.pk}).content.decode()
    assert "Your role does not include this." in menu
    assert send(client, "vpc-create", name="office", cidr="10.0.0.0/16").status_code != 204
    with scopes_disabled():
        assert Vpc.objects.count() == 1


def test_another_tenants_things_are_unknown_on_every_page(
    other_tenant: Tenant, make_user: Callable[..., User], defaults: Defaults, actor: Actor
) -> None:
    assert defaults.subnet is not None
    rule = add_rule(
        actor=actor,
        group=defaults.security_group,
        rule=RuleInput(direction="in", protocol="udp", cidr="0.0.0.0/0"),
    )
    stranger = Client()
    stranger.force_login(make_user(other_tenant))
    for name, pk in (
        ("vpc-detail", defaults.vpc.pk),
        ("vpc-rename", defaults.vpc.pk),
        ("vpc-delete", defaults.vpc.pk),
        ("subnet-create", defaults.vpc.pk),
        ("subnet-detail", defaults.subnet.pk),
        ("subnet-rename", defaults.subnet.pk),
        ("subnet-delete", defaults.subnet.pk),
        ("security-group-detail", defaults.security_group.pk),
        ("security-group-rename", defaults.security_group.pk),
        ("security-group-delete", defaults.security_group.pk),
        ("rule-add", defaults.security_group.pk),
        ("rule-edit", rule.pk),
        ("rule-remove", rule.pk),
    ):
        assert stranger.get(reverse(name, args=[pk])).status_code == 404, name
        if not name.endswith("detail"):
            assert stranger.post(reverse(name, args=[pk])).status_code == 404, name
    assert defaults.vpc.pk not in page(stranger, "vpc-list")


def test_a_list_costs_the_same_whatever_its_length(
    console: Client,
    actor: Actor,
    region: Region,
    django_assert_max_num_queries: Callable[[int], Any],
) -> None:
    for number in range(9):
        create_vpc(actor=actor, region=region, name=f"v{number}", cidr="10.0.0.0/16")
    page(console, "vpc-list")
    with django_assert_max_num_queries(12):
        assert page(console, "vpc-list").count("data-live=") >= 10


def test_the_workbook_holds_the_list(console: Client) -> None:
    answer = console.get(reverse("vpc-list"), {"export": "xlsx"})
    assert answer.status_code == 200
    assert "spreadsheet" in answer.headers["Content-Type"]


def test_a_new_eni_is_filtered_unless_somebody_asks_for_none(
    console: Client, defaults: Defaults
) -> None:
    shown = page(console, "eni-create")
    assert f'<option value="{defaults.security_group.pk}" selected>' in shown
    assert '<option value="" selected>' not in shown

"""The network in the API."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from network.actions import Defaults, NicRequest, create_nics
from network.models import Vpc
from scloud.tenancy.models import Tenant, User
from scloud.tenancy.scoping import scope, scopes_disabled

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("defaults")]
API = "/api/v1"


def call(client: Client, method: str, path: str, data: Any = None, **headers: str) -> Any:
    return client.generic(
        method,
        API + path,
        "" if data is None else json.dumps(data),
        content_type="application/json",
        headers=headers,
    )


def test_a_vpc_through_its_life(console: Client) -> None:
    made = call(
        console, "POST", "/vpcs", {"region": "box", "name": "office", "cidr": "10.1.0.0/16"}
    )
    assert made.status_code == 201, made.content
    vpc = made.json()
    assert (vpc["status"], vpc["cidr"], vpc["subnet_count"]) == ("applying", "10.1.0.0/16", 0)
    assert vpc["allowed_actions"] == ["create_subnet", "rename_vpc", "delete_vpc"]
    path = f"/vpcs/{vpc['id']}"
    subnet = call(
        console, "POST", "/subnets", {"vpc": vpc["id"], "name": "desks", "cidr": "10.1.1.0/24"}
    ).json()
    assert (subnet["gateway"], subnet["free_addresses"]) == ("10.1.1.1", 253)
    assert call(console, "GET", path).json()["allowed_actions"] == ["create_subnet", "rename_vpc"]
    refused = call(console, "DELETE", path)
    assert (refused.status_code, refused.json()["code"]) == (409, "vpc_not_empty")
    renamed = call(console, "PATCH", path, {"name": "plant"}).json()
    assert renamed["name"] == "plant"
    listed = call(console, "GET", f"/subnets?vpc={vpc['id']}").json()
    assert [row["id"] for row in listed["results"]] == [subnet["id"]]
    assert call(console, "DELETE", f"/subnets/{subnet['id']}").status_code == 204
    assert call(console, "DELETE", path).status_code == 204
    gone = call(console, "GET", path)
    assert (gone.status_code, gone.json()["code"]) == (404, "not_found")


def test_a_security_group_with_its_rules(console: Client) -> None:
    body = {
        "region": "box",
        "name": "web",
        "rules": [{"direction": "in", "protocol": "tcp", "ports": "443", "cidr": "0.0.0.0/0"}],
    }
    group = call(console, "POST", "/security-groups", body).json()
    assert group["rule_count"] == 1
    rules = f"/security-groups/{group['id']}/rules"
    rule = {"direction": "out", "protocol": "all", "cidr": "::/0", "priority": "low"}
    added = call(console, "POST", rules, rule)
    assert added.status_code == 201
    one = f"/security-group-rules/{added.json()['id']}"
    changed = call(console, "PUT", one, {**rule, "action": "drop"})
    assert changed.json()["action"] == "drop"
    assert len(call(console, "GET", rules).json()) == 2
    assert call(console, "DELETE", one).status_code == 204
    assert call(console, "GET", one).status_code == 404
    assert call(console, "DELETE", f"/security-groups/{group['id']}").status_code == 204


@pytest.mark.parametrize(
    ("path", "body", "status", "code", "field"),
    [
        ("/vpcs", {}, 400, "invalid_input", "region"),
        ("/vpcs", [], 400, "invalid_input", None),
        ("/vpcs", {"region": "box", "name": "x", "cidr": "x"}, 400, "cidr_invalid", "cidr"),
        ("/vpcs", {"region": "no", "name": "x", "cidr": "x"}, 404, "not_found", "region"),
        ("/vpcs", {"region": "box", "name": "x" * 999, "cidr": "x"}, 400, "invalid_input", "name"),
        ("/vpcs", {"region": "box", "name": {"a": 1}, "cidr": []}, 400, "invalid_input", "name"),
        ("/subnets", {"vpc": "vpc-nothing00", "name": "x", "cidr": "x"}, 404, "not_found", "vpc"),
        ("/security-groups", {"region": "box", "name": "a b"}, 400, "invalid_name", "name"),
        (
            "/security-groups",
            {"region": "box", "name": "x", "rules": [{"direction": "up"}]},
            400,
            "invalid_input",
            "rules.0.direction",
        ),
    ],
)
def test_a_bad_body_is_refused_and_changes_nothing(
    console: Client, path: str, body: Any, status: int, code: str, field: str | None
) -> None:
    answer = call(console, "POST", path, body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json().get("field") == field
    with scopes_disabled():
        assert Vpc.objects.count() == 1


def test_a_repeated_request_makes_one_vpc(console: Client) -> None:
    body = {"region": "box", "name": "office", "cidr": "10.1.0.0/16"}
    first = call(console, "POST", "/vpcs", body, **{"Idempotency-Key": "abc"})
    second = call(console, "POST", "/vpcs", body, **{"Idempotency-Key": "abc"})
    assert first.json() == second.json()
    with scopes_disabled():
        assert Vpc.objects.filter(name="office").count() == 1


def test_another_tenants_things_are_unknown(
    other_tenant: Tenant, make_user: Callable[..., User], defaults: Defaults
) -> None:
    assert defaults.subnet is not None
    client = Client()
    client.force_login(make_user(other_tenant))
    with scopes_disabled():
        rule = defaults.security_group.rules.first()
    assert rule is not None
    for path in (
        f"/vpcs/{defaults.vpc.pk}",
        f"/subnets/{defaults.subnet.pk}",
        f"/security-groups/{defaults.security_group.pk}",
        f"/security-group-rules/{rule.pk}",
    ):
        assert call(client, "GET", path).status_code == 404
        assert call(client, "DELETE", path).status_code == 404
    foreign = {"vpc": defaults.vpc.pk, "name": "x", "cidr": "10.0.7.0/24"}
    assert call(client, "POST", "/subnets", foreign).status_code == 404
    assert call(client, "GET", "/vpcs").json()["results"] == []


def test_a_reader_reads_and_is_told_what_is_missing(
    tenant: Tenant, make_user: Callable[..., User], defaults: Defaults
) -> None:
    client = Client()
    client.force_login(make_user(tenant, "readonly"))
    assert call(client, "GET", f"/vpcs/{defaults.vpc.pk}").json()["allowed_actions"] == []
    answer = call(client, "DELETE", f"/vpcs/{defaults.vpc.pk}")
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


def test_a_subnets_free_addresses_follow_its_nics(console: Client, defaults: Defaults) -> None:
    assert defaults.subnet is not None
    with scope(tenant=defaults.vpc.tenant):
        create_nics(
            subnet=defaults.subnet,
            requests=[NicRequest(vm_id=f"vm-{number}") for number in range(3)],
        )
    subnet = call(console, "GET", f"/subnets/{defaults.subnet.pk}").json()
    assert subnet["free_addresses"] == 250
    assert subnet["allowed_actions"] == ["rename_subnet", "configure_subnet", "turn_on_ipv6"]


def test_subnets_and_groups_are_renamed(console: Client, defaults: Defaults) -> None:
    assert defaults.subnet is not None
    group = defaults.security_group.pk
    for path in (f"/subnets/{defaults.subnet.pk}", f"/security-groups/{group}"):
        answer = call(console, "PATCH", path, {"name": "inner", "remark": "first floor"})
        assert (answer.json()["name"], answer.json()["remark"]) == ("inner", "first floor")
        assert call(console, "PATCH", path, {"name": "a/b"}).json()["code"] == "invalid_name"
    listed = call(console, "GET", "/security-groups?region=elsewhere").json()
    assert listed["results"] == []

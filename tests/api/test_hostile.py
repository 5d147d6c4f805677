"""Hostile values in every field: a refusal with code and field, never a crash, nothing changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from django.urls import reverse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from compute.api.serializers import vms as shapes
from network.api import serializers as network_shapes
from scloud.tenancy.models import Tenant, User
from scloud.tenancy.scoping import scope
from tests.api.client import Answer, Program
from tests.billing.helpers import balances
from tests.budget import share
from tests.compute.factories import PASSWORD, Platform, give_network, make_vm
from tests.isolation.world import Rollback, changed, fingerprint, writes

pytestmark = pytest.mark.unmeasured

OrderOf = Callable[..., dict[str, Any]]

# What people and programs have sent to other systems; each goes into every field.
NASTY: list[Any] = [
    None,
    "",
    " ",
    "\x00",
    "a\x00b",
    "\u202egnp.exe",
    "\ud800",
    "٣",
    "１",
    "²",
    "<script>alert(1)</script>",
    "{{ 7*7 }}",
    "'; DROP TABLE compute_vm; --",
    "../../../etc/passwd",
    "$(reboot)",
    "%s%n%x",
    "a" * 100_000,
    "\r\nX-Injected: 1",
    -1,
    0,
    10**30,
    1.5,
    float("1e308"),
    True,
    [],
    [[[[["deep"]]]]],
    ["x"] * 2000,
    {},
    {"$ne": None},
    {"a": {"b": {"c": [1, 2, {"d": None}]}}},
]
# None of a field that may be left out, and what a field of that type may well hold.
HARMLESS: dict[str, tuple[Any, ...]] = {
    "remark": ("", " ", "\u202egnp.exe", "٣", "１", "²", "'; DROP TABLE compute_vm; --", 0),
    "tags": ([],),
    "private_ips": ([],),
    "names": ([],),
    "ssh_public_key": ("", " "),
    "user_data": ("", " "),
    "internal_security_group": (None,),
    "external_security_group": (None,),
    "name": ("٣", "１", "²", -1, 0, 10**30, 1.5),
    "gpu_count": (0,),
    "auto_renew": ("", 0, True),
    # It follows the rules, odd as it is.
    "password": ("<script>alert(1)</script>",),
}


# Of so many fields in a row one is tried with a value; each in a soak.
FIELDS_PER_VALUE = 8


class Nothing:
    """A fingerprint of the database, to which each request is held."""

    def __init__(self) -> None:
        self.before = fingerprint("rest_idempotentrequest")
        self._written = writes()

    @contextmanager
    def taken_back(self) -> Iterator[None]:
        """Undo what a request did after all."""
        try:
            with transaction.atomic():
                self._written = writes()
                yield
                raise Rollback
        except Rollback:
            pass

    def changed(self) -> list[str]:
        """Return the tables that the request in ``taken_back`` changed."""
        return changed(self.before, self._written)


def send(program: Program, path: str, body: Any) -> Answer:
    # Lone surrogates are valid JSON escapes; Python writes them as such.
    return program.post(path, raw=json.dumps(body).encode())


def assert_refused(answer: Answer, what: str) -> None:
    assert 400 <= answer.status < 500, f"{what}: {answer.status} {str(answer.body)[:300]}"
    assert answer.body["code"], what
    assert answer.body["message"], what


def fields_of(shape: Any) -> list[str]:
    return list(shape().fields)


@pytest.mark.parametrize(("turn", "field"), list(enumerate(fields_of(shapes.VmPurchaseInput))))
def test_no_value_in_any_field_of_an_order_breaks_it(
    turn: int, field: str, program: Program, ready: Platform, order: OrderOf, tenant: Tenant
) -> None:
    body = order(ready, tags=["a"], remark="r", data_disk_type="ssd")
    body["data_disk_gib"] = 20
    body["quote_token"] = program.post("/vms/quote", body).body["token"]
    money = balances(tenant)
    nothing = Nothing()
    wrong = []
    for value in share(NASTY, turn, of=2):
        with nothing.taken_back():
            answer = send(program, "/vms", {**body, field: value})
            if answer.status == 201:
                harmless = HARMLESS.get(field, ())
                by_default = value is None and field in ("auto_renew", "placement_group")
                equal = value == body.get(field, object())
                if field == "remark":
                    # Free text on one line; every page escapes it.
                    harmless = (value,) if str(value).strip().isprintable() else harmless
                if value not in harmless and not by_default and not equal:
                    wrong.append((value, answer.status, "bought"))
                continue
            told = isinstance(answer.body, dict) and answer.body.get("code")
            if not 400 <= answer.status < 500 or not told or nothing.changed():
                wrong.append((str(value)[:40], answer.status, str(answer.body)[:200]))
            elif answer.body["code"] == "invalid_input" and not answer.body.get("field"):
                wrong.append((str(value)[:40], answer.status, "no field"))
    assert wrong == []
    assert balances(tenant) == money
    assert changed(nothing.before) == []


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=300),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_random_orders_never_crash_and_change_nothing_when_refused(
    program: Program, ready: Platform, order: OrderOf, data: st.DataObject
) -> None:
    nothing = Nothing()
    body = order(ready)
    for field in data.draw(st.sets(st.sampled_from(list(body)), min_size=1, max_size=3)):
        body[field] = data.draw(ANYTHING)
    with nothing.taken_back():
        quoted = send(program, "/vms/quote", body)
        assert nothing.changed() == []
        if quoted.status != 200:
            assert_refused(quoted, str(body))
            return
        answer = send(program, "/vms", {**body, "quote_token": quoted.body["token"]})
        if answer.status != 201:
            assert_refused(answer, str(body))
            assert nothing.changed() == []


@pytest.mark.parametrize(
    "body",
    [None, [], "text", 5, True, [{}], {"": ""}],
    ids=["null", "list", "text", "number", "true", "list of objects", "empty name"],
)
def test_a_body_of_another_shape_is_refused(program: Program, ready: Platform, body: Any) -> None:
    nothing = Nothing()
    for path in ("/vms", "/vms/quote", "/vms/batch", "/vpcs", "/security-groups", "/subnets"):
        assert_refused(send(program, path, body), path)
    assert changed(nothing.before) == []


@pytest.mark.parametrize(
    "raw",
    [b"", b"{", b"\xff\xfe", b"NaN", b'{"a":' * 5000, b"[" * 100_000, b"\x00" * 10],
    ids=["empty", "open", "no utf-8", "nan", "deep objects", "deep lists", "nul"],
)
def test_what_is_no_json_is_refused(program: Program, ready: Platform, raw: bytes) -> None:
    nothing = Nothing()
    for path in ("/vms", "/vms/quote", "/vpcs"):
        assert_refused(program.post(path, raw=raw), path)
    assert changed(nothing.before) == []


def test_ten_megabytes_are_refused(program: Program, ready: Platform, order: OrderOf) -> None:
    nothing = Nothing()
    huge = {**order(ready), "user_data": "#!" + "x" * 10_000_000, "quote_token": "t"}
    assert_refused(send(program, "/vms", huge), "10 MB")
    assert_refused(program.post("/vms", raw=b"{" + b" " * 10_000_000), "10 MB of nothing")
    assert changed(nothing.before) == []


@pytest.mark.parametrize(
    ("path", "shape", "good"),
    [
        (
            "/vpcs",
            network_shapes.VpcInput,
            {"region": "box", "name": "n", "cidr": "10.9.0.0/16", "remark": ""},
        ),
        (
            "/security-groups",
            network_shapes.SecurityGroupInput,
            {"region": "box", "name": "n", "remark": "", "rules": []},
        ),
    ],
)
def test_no_value_breaks_the_networks_bodies(
    program: Program, ready: Platform, path: str, shape: Any, good: dict[str, Any]
) -> None:
    nothing = Nothing()
    wrong = []
    for turn, field in enumerate(fields_of(shape)):
        for value in share(NASTY, turn, of=2):
            with nothing.taken_back():
                answer = send(program, path, {**good, field: value})
                if answer.status == 201:
                    continue
                told = isinstance(answer.body, dict) and answer.body.get("code")
                if not 400 <= answer.status < 500 or not told or nothing.changed():
                    wrong.append((field, str(value)[:40], answer.status, str(answer.body)[:200]))
    assert wrong == []


@pytest.mark.parametrize(
    "query",
    [
        "page=0",
        "page=-1",
        "page=9999999999999999999999",
        "page=%00",
        "page=x",
        "page_size=-1",
        "page_size=99999999999999999999",
        "search=%00",
        "search=%ff",
        "search=" + "a" * 5000,
        "search=%27%3B--",
        "status=%00",
        "status[]=x",
        "region=%00",
        "tag=%00",
        "tag=" + "%F0%9F%92%A9" * 200,
    ],
)
def test_no_query_breaks_a_list(program: Program, ready: Platform, query: str) -> None:
    for path in ("/vms", "/images", "/jobs", "/vpcs", "/subnets", "/billing/orders", "/models"):
        answer = program.get(f"{path}?{query}")
        assert answer.status in {200, 400, 404}, (path, query, answer.body)
        if answer.status != 200:
            assert answer.body["code"]


@pytest.mark.parametrize(
    "pk", ["%00", "vm-%00000000", "..%2f..%2fetc", "vm-" + "a" * 500, "٣", "vm-AAAAAAAAA"]
)
def test_no_id_in_a_path_breaks_a_resource(program: Program, ready: Platform, pk: str) -> None:
    client = program.http
    for path in ("vms", "vpcs", "subnets", "images", "jobs", "security-group-rules"):
        response = client.get(
            f"/api/v1/{path}/{pk}", headers={"Authorization": f"Bearer {program.secret}"}
        )
        assert response.status_code in {400, 404}, (path, pk, response.content[:300])


# --- the console's forms


@pytest.fixture
def vm_id(ready: Platform, actor: Any) -> str:
    return make_vm(ready, actor, cash="0").pk


def post_nasty(
    client: Client, url: str, good: dict[str, Any], *, accepted: tuple[int, ...] = (302, 204)
) -> list[Any]:
    """Put nasty texts into every field of a form; return what was not a clear answer.

    Each field has some of them and the form all; in a soak each field has all.
    """
    nothing = Nothing()
    wrong: list[Any] = []
    texts = [one for one in NASTY if isinstance(one, str | int | float) and one != "\ud800"]
    for turn, field in enumerate(good):
        for value in share(texts, turn, of=min(FIELDS_PER_VALUE, len(good))):
            with nothing.taken_back():
                response = client.post(url, {**good, field: str(value)})
                if response.status_code in accepted:
                    continue
                refused = response.status_code in {200, 400, 404, 409, 422, 429}
                if not refused or nothing.changed():
                    wrong.append((field, str(value)[:40], response.status_code))
                elif "<script>alert" in response.content.decode():
                    wrong.append((field, "unescaped"))
    return wrong


def test_the_login_survives_everything(client: Client, user: User, settings: Any) -> None:
    settings.SCLOUD_LOGIN_ATTEMPTS_PER_MINUTE = 10_000
    good = {"email": user.email, "password": "wrong", "next": "/"}
    assert post_nasty(client, reverse("login"), good, accepted=()) == []


def test_the_wizard_survives_everything(console: Client, ready: Platform, tenant: Tenant) -> None:
    network = give_network(tenant, ready.region)
    assert network.subnet is not None
    good = {
        "cluster": ready.cluster.pk,
        "image": ready.image.pk,
        "spec": str(ready.specs[0].pk),
        "gpu_count": "0",
        "system_disk_type": "ssd",
        "system_disk_gib": "40",
        "data_disk": "on",
        "data_disk_type": "ssd",
        "data_disk_gib": "20",
        "subnet": network.subnet.pk,
        "private_ips": "",
        "internal_group": network.security_group.pk,
        "external_group": "",
        "name": "web",
        "names": "",
        "remark": "",
        "tags": "a",
        "password": PASSWORD,
        "ssh_public_key": "",
        "user_data": "",
        "count": "1",
        "method": "hour",
        "periods": "1",
        "quote_token": "stale",
    }
    assert post_nasty(console, reverse("vm-create"), good, accepted=()) == []
    assert post_nasty(console, reverse("vm-create-quote"), good, accepted=()) == []


def test_the_forms_of_a_vm_survive_everything(console: Client, vm_id: str) -> None:
    for name in ("vm-rename", "vm-name"):
        url = reverse(name, args=[vm_id])
        good = {"name": "web", "remark": "r", "tags": "a, b"}
        assert post_nasty(console, url, good, accepted=(302, 204, 200)) == []
    renew = reverse("vm-renew", args=[vm_id])
    assert post_nasty(console, renew, {"periods": "1", "quote_token": "stale"}, accepted=()) == []


def test_the_networks_forms_survive_everything(
    console: Client, ready: Platform, tenant: Tenant
) -> None:
    network = give_network(tenant, ready.region)
    with scope(tenant=tenant):
        rule = network.security_group.rules.first()
    assert rule is not None
    rule_form = {
        "direction": "in",
        "service": "tcp",
        "ports": "22",
        "cidr": "0.0.0.0/0",
        "action": "accept",
        "priority": "medium",
        "description": "d",
    }
    forms: list[tuple[str, list[str], dict[str, str]]] = [
        ("vpc-create", [], {"name": "n", "cidr": "10.9.0.0/16", "remark": "r"}),
        ("vpc-rename", [network.vpc.pk], {"name": "n", "remark": "r"}),
        (
            "subnet-create",
            [network.vpc.pk],
            {"name": "n", "cidr": "10.0.9.0/24", "dns_servers": "1.1.1.1", "remark": "r"},
        ),
        ("security-group-create", [], {"name": "n", "template": "empty", "remark": "r"}),
        ("rule-add", [network.security_group.pk], rule_form),
        ("rule-edit", [rule.pk], rule_form),
        ("quota-request", [], {"item": "vms", "limit_wanted": "999", "reason": "r"}),
        ("api-key-create", [], {"name": "n", "expires_in_days": "30", "scopes": "compute.*"}),
        (
            "profile",
            [],
            {"full_name": "n", "time_zone": "UTC", "language": "en", "theme": "auto"},
        ),
    ]
    for name, args, good in forms:
        url = reverse(name, args=args)
        wrong = post_nasty(console, url, good, accepted=(302, 204, 200, 201))
        assert wrong == [], name

"""What programs rely on: the schema, the form of errors, idempotency, limits, allowed actions."""

import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.validation import validate_schema
from rest_framework.response import Response

from compute.models import VM
from compute.rules.refusals import vm_refusal
from compute.verbs.vms import VM_RULES
from network.models import Nic, SecurityGroup
from scloud.audit.models import Operation
from scloud.jobs.models import Job
from scloud.lib.errors import Conflict
from scloud.rest import idempotency
from scloud.rest.models import IdempotentRequest
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import ApiKey, RateCounter, Tenant, User
from scloud.tenancy.permissions import Role
from scloud.tenancy.scoping import scope, scopes_disabled
from tests.api.client import Program, program_of
from tests.billing.helpers import balances
from tests.compute.factories import Platform, settle

Order = Callable[..., dict[str, Any]]
Bought = Callable[..., list[dict[str, Any]]]


# --- the schema


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    GENERATOR_STATS.reset()
    found: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]  # spectacular's own
    return found


def operations(schema: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (method, path, found)
        for path, methods in schema["paths"].items()
        for method, found in methods.items()
        if isinstance(found, dict)
    ]


def test_the_schema_is_valid_openapi_3_and_was_made_without_a_warning(
    schema: dict[str, Any],
) -> None:
    assert schema["openapi"].startswith("3.")
    validate_schema(schema)  # type: ignore[no-untyped-call]  # drf-spectacular has no types
    assert GENERATOR_STATS._warn_cache == {}
    assert GENERATOR_STATS._error_cache == {}


def test_every_operation_says_what_it_does_and_has_a_name_of_its_own(
    schema: dict[str, Any],
) -> None:
    found = operations(schema)
    assert len(found) > 40
    names = [operation["operationId"] for _, _, operation in found]
    assert len(names) == len(set(names))
    for method, path, operation in found:
        assert operation.get("description"), f"{method} {path}"
        assert operation.get("tags"), f"{method} {path}"


def test_every_body_that_makes_something_has_an_example(schema: dict[str, Any]) -> None:
    """Where nothing has to be sent there is nothing to show."""
    missing = []
    for method, path, operation in operations(schema):
        content = operation.get("requestBody", {}).get("content", {}).get("application/json", {})
        name = content.get("schema", {}).get("$ref", "").rpartition("/")[2]
        needed = schema["components"]["schemas"].get(name, {}).get("required")
        if method == "post" and needed and not content.get("examples"):
            missing.append(f"{method} {path}")
    assert missing == []


def test_the_schema_is_served_to_anybody(client: Client, db: None) -> None:
    response = client.get("/api/v1/openapi.json")
    assert response.status_code == 200
    assert json.loads(response.content)["info"]["title"] == "SCloud API"


def test_the_schema_is_made_once_and_not_sent_to_who_has_it(
    client: Client, db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = client.get("/api/v1/openapi.json")

    def again(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("the document was made again")

    monkeypatch.setattr("scloud.rest.schema.SchemaGenerator", again)
    second = client.get("/api/v1/openapi.json")
    assert second.content == first.content
    assert "max-age" in second["Cache-Control"]
    known = client.get("/api/v1/openapi.json", headers={"If-None-Match": first["ETag"]})
    assert (known.status_code, known.content) == (304, b"")


def test_every_url_of_the_api_is_in_the_schema(schema: dict[str, Any]) -> None:
    from tests.isolation.routes import all_routes

    routes = [route for route in all_routes() if route.api and route.name != "openapi"]
    assert len(schema["paths"]) == len(routes)
    assert len(operations(schema)) == sum(len(route.methods) for route in routes)


# --- the form of errors


def test_errors_name_code_message_field_remedy_and_numbers(
    program: Program, ready: Platform, order: Order
) -> None:
    body = order(ready, system_disk_gib=9999)
    error = program.post("/vms/quote", body).error(400, "disk_size_out_of_range", "system_disk_gib")
    assert error["numbers"] == {"min": 40, "max": 500, "asked": 9999}
    assert set(error) <= {"code", "message", "field", "remedy", "numbers"}
    error = program.post("/vms/quote", {**body, "image": "image-zzzzzzzzz"}).error(
        400, "image_unknown", "image"
    )
    assert error["remedy"]


def test_all_wrong_fields_are_named_at_once(program: Program, ready: Platform) -> None:
    error = program.post("/vms", {"vcpus": "many"}).error(400, "invalid_input")
    named = {row["field"] for row in error["errors"]}
    assert {"region", "cluster", "vcpus", "quote_token"} <= named


def test_a_field_that_is_not_described_is_refused_by_its_name(
    program: Program, ready: Platform, order: Order, bought: Bought
) -> None:
    """Left out in silence, a misspelt option makes something else than what was asked for."""
    body = order(ready)
    error = program.post("/vms/quote", {**body, "user_dat": "#!/bin/sh"}).error(
        400, "invalid_input", "user_dat"
    )
    assert error["reason"] == "unknown_field"
    assert "user_data" in error["message"]
    # Deeper in the body, and beside other mistakes.
    rule = {"direction": "ingress", "protocl": "tcp"}
    error = program.post("/security-groups", {"name": "a", "rules": [rule], "zz": 1}).error(
        400, "invalid_input"
    )
    named = {row["field"]: row["code"] for row in error["errors"]}
    assert named["rules.0.protocl"] == named["zz"] == "unknown_field"
    # A verb that takes nothing, and one that is asked for its price.
    [vm] = bought()
    with scopes_disabled():
        settle(VM.objects.get(pk=vm["id"]))
    program.post(f"/vms/{vm['id']}/power-off", {"force": True}).error(400, "invalid_input", "force")
    program.post(f"/vms/{vm['id']}/modify/quote", {"vcpu": 1}).error(400, "invalid_input")
    assert program.get(f"/vms/{vm['id']}").body["status"] == "running"
    assert program.post(f"/vms/{vm['id']}/power-off", {}).status == 202


def test_no_request_may_have_fields_that_are_not_described(schema: dict[str, Any]) -> None:
    described = schema["components"]["schemas"]
    sent = {
        body["schema"]["$ref"].rpartition("/")[2]
        for _method, _path, operation in operations(schema)
        for body in operation.get("requestBody", {}).get("content", {}).values()
        if "$ref" in body["schema"]
    }
    assert len(sent) > 20
    assert [name for name in sent if described[name].get("additionalProperties") is not False] == []


@pytest.mark.parametrize(
    ("secret", "code"),
    [
        ("", "unauthenticated"),
        ("sck_unknown", "invalid_api_key"),
        ("\x7f\xfe", "invalid_api_key"),
        ("sck_" + "a" * 5000, "invalid_api_key"),
    ],
)
def test_a_bad_key_is_401(db: None, secret: str, code: str) -> None:
    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    response = Client().get("/api/v1/vms", headers=headers)
    assert response.status_code == 401
    assert response.json()["code"] == code
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("what", ["revoked", "expired", "user", "tenant"])
def test_a_key_ends_with_its_owner_and_its_time(user: User, tenant: Tenant, what: str) -> None:
    program = program_of(user)
    assert program.get("/vms").status == 200
    with scopes_disabled():
        keys = ApiKey.objects.filter(user=user)
        if what == "revoked":
            keys.update(revoked_at=timezone.now())
        elif what == "expired":
            keys.update(expires_at=timezone.now() - timedelta(seconds=1))
        elif what == "user":
            User.objects.filter(pk=user.pk).update(is_active=False)
        else:
            Tenant.objects.filter(pk=tenant.pk).update(is_active=False)
    program.get("/vms").error(401, "invalid_api_key")


def test_a_keys_scopes_narrow_its_users_role(user: User, ready: Platform, order: Order) -> None:
    reader = program_of(user, ["compute.view*", "billing.quote"])
    assert reader.get("/vms").status == 200
    quoted = reader.post("/vms/quote", order(ready))
    assert quoted.status == 200
    error = reader.post("/vms", {**order(ready), "quote_token": quoted.body["token"]}).error(
        403, "forbidden"
    )
    assert error["numbers"]["permission"] == "compute.create_vm"
    reader.get("/billing/account").error(403, "forbidden")


def test_another_methods_and_types_are_refused_in_the_same_form(program: Program) -> None:
    program.call("PUT", "/vms", {}).error(405, "method_not_allowed")
    program.call("DELETE", "/regions").error(405, "method_not_allowed")
    response = program.http.post(
        "/api/v1/vms", "a=1", "text/plain", headers={"Authorization": f"Bearer {program.secret}"}
    )
    assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")
    program.post("/vms", raw=b"{not json").error(400, "parse_error")


# --- idempotency


def test_the_same_key_buys_once_and_gets_the_same_answer(
    program: Program, ready: Platform, order: Order, tenant: Tenant
) -> None:
    body = order(ready)
    body["quote_token"] = program.post("/vms/quote", body).body["token"]
    first = program.post("/vms", body, key="buy-1")
    again = program.post("/vms", body, key="buy-1")
    assert first.status == again.status == 201
    assert first.body == again.body
    assert "Idempotent-Replay" not in first.headers
    assert again.headers["Idempotent-Replay"] == "true"
    assert balances(tenant) == (99_985, 0)
    with scope(tenant=tenant):
        assert VM.objects.count() == 1


def test_a_key_cannot_be_used_for_something_else(
    program: Program, ready: Platform, order: Order
) -> None:
    body = order(ready)
    body["quote_token"] = program.post("/vms/quote", body).body["token"]
    program.post("/vms", body, key="k")
    program.post("/vms", {**body, "name": "other"}, key="k").error(
        400, "idempotency_key_reused", "Idempotency-Key"
    )
    program.post("/vpcs", {"region": "box", "name": "n", "cidr": "10.9.0.0/16"}, key="k").error(
        400, "idempotency_key_reused"
    )


def test_another_caller_never_gets_the_stored_answer(
    program: Program, ready: Platform, user: User, make_user: Callable[..., User], tenant: Tenant
) -> None:
    """Neither a colleague nor another key of the same person."""
    first = program.post("/vpcs", _vpc("a"), key="k")
    assert first.status == 201
    for other in (program_of(make_user(tenant, "operator")), program_of(user)):
        answer = other.post("/vpcs", _vpc("a"), key="k")
        assert "Idempotent-Replay" not in answer.headers
        assert answer.status == 201
        assert answer.body["id"] != first.body["id"]
    reader = program_of(make_user(tenant, "readonly"))
    reader.post("/vpcs", _vpc("a"), key="k").error(403, "forbidden")
    again = program.post("/vpcs", _vpc("a"), key="k")
    assert again.headers["Idempotent-Replay"] == "true"
    assert again.body == first.body


def test_who_has_lost_the_right_gets_no_stored_answer(
    program: Program, ready: Platform, order: Order, user: User, tenant: Tenant
) -> None:
    body = order(ready)
    body["quote_token"] = program.post("/vms/quote", body).body["token"]
    assert program.post("/vms", body, key="k").status == 201
    with scope(tenant=tenant):
        kept = IdempotentRequest.objects.get()
        assert kept.caller.startswith("key:key-")
        assert kept.rights is not None
        assert {"compute.create_vm", "billing.spend"} <= set(kept.rights)
    User.objects.filter(pk=user.pk).update(role=Role.READONLY)
    program.post("/vms", body, key="k").error(403, "forbidden")
    # Nor is told whether it is the same request.
    program.post("/vms", {**body, "name": "other"}, key="k").error(403, "forbidden")
    User.objects.filter(pk=user.pk).update(role=Role.OWNER)
    with scope(tenant=tenant):
        ApiKey.objects.update(scopes=["compute.*"])
    program.post("/vms", body, key="k").error(403, "spending_not_allowed")
    with scope(tenant=tenant):
        ApiKey.objects.update(scopes=["compute.*", "billing.spend"])
    assert program.post("/vms", body, key="k").headers["Idempotent-Replay"] == "true"


def test_the_digest_of_a_request_cannot_be_guessed(
    ready: Platform, user: User, tenant: Tenant, settings: Any
) -> None:
    """It covers passwords; whoever reads the table has no key to try them with."""
    settings.SCLOUD_KEYS = {"digests": ["first"]}
    program = program_of(user)
    assert program.post("/vpcs", _vpc("a"), key="k").status == 201
    content = json.dumps(["POST", "/api/v1/vpcs", _vpc("a")], sort_keys=True)
    with scope(tenant=tenant):
        kept = IdempotentRequest.objects.get(key="k").request_digest
    assert kept != hashlib.sha256(content.encode()).hexdigest()
    # A new key of the site is no other request.
    settings.SCLOUD_KEYS = {"digests": ["second", "first"]}
    assert program.post("/vpcs", _vpc("a"), key="k").headers["Idempotent-Replay"] == "true"


def test_work_of_an_older_version_is_not_done_again_and_its_answer_not_told(
    program: Program, ready: Platform, tenant: Tenant
) -> None:
    content = json.dumps(["POST", "/api/v1/vpcs", _vpc("a")], sort_keys=True)
    digest = hashlib.sha256(content.encode()).hexdigest()
    with connection.cursor() as cursor:
        # As that version writes: it knows neither caller nor rights.
        cursor.execute(
            "INSERT INTO rest_idempotentrequest (tenant_id, key, request_digest, status, body,"
            " created_at) VALUES (%s, 'k', %s, 201, '{\"id\": \"vpc-secret\"}', now())",
            [tenant.pk, digest],
        )
    error = program.post("/vpcs", _vpc("a"), key="k").error(409, "idempotency_answer_lost")
    assert "secret" not in str(error)


def test_a_refusal_frees_the_key(
    program: Program, ready: Platform, order: Order, tenant: Tenant
) -> None:
    body = order(ready)
    program.post("/vms", {**body, "quote_token": "nonsense"}, key="k").error(
        400, "quote_invalid", "quote_token"
    )
    program.post("/vms", {**body, "vcpus": 3, "quote_token": "n"}, key="k").error(
        400, "spec_unknown"
    )
    body["quote_token"] = program.post("/vms/quote", body).body["token"]
    assert program.post("/vms", body, key="k").status == 201


def test_while_the_first_runs_the_second_is_sent_away_unless_it_is_dead(
    program: Program, ready: Platform, tenant: Tenant
) -> None:
    there = connection.settings_dict
    first = psycopg.connect(
        host=there["HOST"], port=there["PORT"], user=there["USER"],
        password=there["PASSWORD"] or None, dbname=there["NAME"],
    )  # fmt: skip
    first.execute("SELECT pg_advisory_lock(%s)", [idempotency.lock_of(tenant, "k")])
    program.post("/vpcs", _vpc("n"), key="k").error(409, "idempotency_key_in_use")
    with scope(tenant=tenant):
        assert not IdempotentRequest.objects.exists()
    # Its process is killed: the connection goes, the key is free, and the work is done.
    first.close()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [idempotency.lock_of(tenant, "k")])
    assert program.post("/vpcs", _vpc("n"), key="k").status == 201


def test_a_refusal_with_a_key_is_in_the_operation_log(
    program: Program, ready: Platform, order: Order, tenant: Tenant
) -> None:
    body = {**order(ready), "quote_token": "nonsense"}
    program.post("/vms", body, key="k").error(400, "quote_invalid")
    with scope(tenant=tenant):
        refused = Operation.objects.get(verb="compute.create_vm")
        assert (refused.succeeded, refused.error_code) == (False, "quote_invalid")
        assert not IdempotentRequest.objects.exists()
        assert not VM.objects.exists()


def test_a_day_later_the_key_is_free(program: Program, ready: Platform, tenant: Tenant) -> None:
    assert program.post("/vpcs", _vpc("a"), key="k").status == 201
    with scope(tenant=tenant):
        IdempotentRequest.objects.update(created_at=timezone.now() - idempotency.KEEP * 2)
    assert program.post("/vpcs", _vpc("b"), key="k").status == 201


def test_old_answers_are_forgotten(program: Program, ready: Platform, tenant: Tenant) -> None:
    for key in ("old", "new"):
        assert program.post("/vpcs", _vpc(key), key=key).status == 201
    with scope(tenant=tenant):
        old = IdempotentRequest.objects.filter(key="old")
        old.update(created_at=timezone.now() - idempotency.KEEP * 2)
    assert idempotency.forget_old() == 1
    with scope(tenant=tenant):
        assert IdempotentRequest.objects.get().key == "new"


def _vpc(name: str) -> dict[str, Any]:
    return {"region": "box", "name": name, "cidr": "10.9.0.0/16"}


def test_two_tenants_may_use_the_same_key(
    program: Program, ready: Platform, other_tenant: Tenant, make_user: Callable[..., User]
) -> None:
    assert program.post("/vpcs", _vpc("a"), key="k").status == 201
    other = program_of(make_user(other_tenant)).post("/vpcs", _vpc("a"), key="k")
    assert other.status == 201
    assert "Idempotent-Replay" not in other.headers


@pytest.mark.parametrize("key", ["x" * 121, "a\tb", "\x7f"])
def test_a_senseless_key_is_refused(program: Program, ready: Platform, key: str) -> None:
    program.post("/vpcs", _vpc("a"), key=key).error(400, "invalid_key", "Idempotency-Key")


def test_a_crash_frees_the_key_and_takes_the_work_back(tenant: Tenant, db: None) -> None:
    from rest_framework.request import Request
    from rest_framework.test import APIRequestFactory

    http = APIRequestFactory().post("/x", headers={"Idempotency-Key": "k"})

    def work() -> Response:
        RateCounter.objects.create(key="work", window_start=timezone.now(), count=1)
        raise RuntimeError("broken")

    with scope(tenant=tenant):
        with pytest.raises(RuntimeError):
            idempotency.once(Request(http), Actor.system(tenant), work)
        assert not RateCounter.objects.exists()
        assert not IdempotentRequest.objects.exists()
        with pytest.raises(Conflict):
            idempotency.once(Request(http), Actor.system(tenant), _refuse)
        assert not IdempotentRequest.objects.exists()


def _refuse() -> Response:
    raise Conflict("no")


# --- the rate limit


@pytest.mark.usefixtures("one_window")
def test_too_many_requests_are_told_when_to_come_back(
    program: Program, settings: Any, user: User
) -> None:
    settings.SCLOUD_API_REQUESTS_PER_MINUTE = 3
    answers = [program.get("/vms") for _ in range(5)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429, 429]
    refused = answers[3:]
    error = refused[-1].error(429, "too_many_requests")
    assert error["message"]
    assert 1 <= int(refused[-1].headers["Retry-After"]) <= 61
    # The limit belongs to the key: another one is not held up.
    assert program_of(user).get("/vms").status == 200


@pytest.mark.usefixtures("one_window")
def test_strangers_are_limited_by_address(db: None, settings: Any) -> None:
    settings.SCLOUD_API_REQUESTS_PER_MINUTE = 2
    found = [Client().get("/api/v1/openapi.json").status_code for _ in range(6)]
    assert found == [200, 200, 429, 429, 429, 429]


@pytest.mark.usefixtures("one_window")
def test_a_browser_is_limited_by_its_user(console: Client, settings: Any) -> None:
    settings.SCLOUD_API_REQUESTS_PER_MINUTE = 2
    found = [console.get("/api/v1/vms").status_code for _ in range(6)]
    assert found == [200, 200, 429, 429, 429, 429]
    with scopes_disabled():
        assert RateCounter.objects.filter(key__startswith="api:user:").exists()


# --- allowed actions


@pytest.mark.parametrize("status", ["running", "stopped", "expired", "failed", "binned"])
def test_allowed_actions_are_the_table_of_states(
    program: Program, bought: Bought, tenant: Tenant, status: str
) -> None:
    [made] = bought()
    with scope(tenant=tenant):
        vm = settle(VM.objects.get(pk=made["id"]), status)
        rows = program.get(f"/vms/{vm.pk}").body["allowed_actions"]
        assert {row["verb"] for row in rows} == {
            verb for verb, rule in VM_RULES.items() if not rule.administrator_only
        }
        for row in rows:
            reason = vm_refusal(vm, row["verb"])
            assert row["allowed"] == (reason is None)
            assert row["reason"] == reason


@pytest.mark.parametrize("status", ["running", "stopped", "expired", "failed", "binned"])
def test_what_is_not_allowed_is_refused_and_changes_nothing(
    program: Program, bought: Bought, tenant: Tenant, status: str
) -> None:
    """Every verb that the API has against every state: the list and the guard agree."""
    [made] = bought()
    with scope(tenant=tenant):
        vm = settle(VM.objects.get(pk=made["id"]), status)
        jobs = Job.objects.count()
        urls = {
            "start_vm": ("POST", "/start"),
            "shut_down_vm": ("POST", "/shut-down"),
            "power_off_vm": ("POST", "/power-off"),
            "resume_vm": ("POST", "/resume"),
            "restart_vm": ("POST", "/restart"),
            "delete_vm": ("DELETE", ""),
            "restore_vm": ("POST", "/restore"),
            "destroy_vm": ("POST", "/destroy"),
        }
        for verb, (method, path) in urls.items():
            if vm_refusal(vm, verb) is None:
                continue
            answer = program.call(method, f"/vms/{vm.pk}{path}")
            error = answer.error(409, "vm_state")
            assert error["message"]
            assert VM.objects.get(pk=vm.pk).status == status
            assert Job.objects.count() == jobs


def test_a_reader_is_told_that_its_role_is_the_reason(
    bought: Bought, tenant: Tenant, make_user: Callable[..., User]
) -> None:
    [made] = bought()
    with scope(tenant=tenant):
        settle(VM.objects.get(pk=made["id"]))
    reader = program_of(make_user(tenant, Role.READONLY))
    rows = reader.get(f"/vms/{made['id']}").body["allowed_actions"]
    assert not any(row["allowed"] for row in rows)
    assert "Your role does not include this." in {row["reason"] for row in rows}


@pytest.mark.parametrize(
    ("asked", "default"), [({}, True), ({"internal_security_group": None}, False)]
)
def test_an_order_that_names_no_group_gets_the_default_one_unless_it_says_none(
    asked: dict[str, Any],
    default: bool,
    program: Program,
    ready: Platform,
    order: Order,
    tenant: Tenant,
) -> None:
    body = order(ready)
    del body["internal_security_group"]
    body |= asked
    body["quote_token"] = program.post("/vms/quote", body).body["token"]
    assert program.post("/vms", body).status == 201
    with scope(tenant=tenant):
        group = SecurityGroup.objects.get(is_default=True)
        inner, outer = Nic.objects.order_by("index")
        assert (inner.security_group_id == group.pk) is default
        assert outer.security_group_id == group.pk

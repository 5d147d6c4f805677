"""What generated clients rest on: names that stay, refusals that are told, and no empty texts."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator

from scloud.rest.openapi import REFUSALS
from scloud.rest.shown import WRITTEN, ShownSerializer
from scloud.verbs.inputs import VerbInput
from tests.api.client import Program
from tests.billing.helpers import fund
from tests.compute.box import Box
from tests.compute.factories import Platform
from tests.outside import buy_ip, make_segment

ROOT = Path(__file__).resolve().parents[2]
Operation = dict[str, Any]


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    """The document, made now."""
    GENERATOR_STATS.reset()
    found: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]  # spectacular's own
    return found


@pytest.fixture(scope="module")
def operations(schema: dict[str, Any]) -> dict[str, Operation]:
    """All operations, by method and path."""
    return {
        f"{method.upper()} {path}": operation
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    }


def test_names_of_operations_are_one_of_a_kind_and_never_change(
    operations: dict[str, Operation],
) -> None:
    """New ones are added to operations.txt; a line that is there stays: programs call by it."""
    names = [operation["operationId"] for operation in operations.values()]
    assert [name for name, count in Counter(names).items() if count > 1] == []
    assert [name for name in names if not re.fullmatch("[a-z]+(_([a-z]+|ipv6))+", name)] == []
    now = {f"{operation['operationId']} {where}" for where, operation in operations.items()}
    published = set((ROOT / "tests/api/operations.txt").read_text().splitlines())
    assert now == published


@pytest.mark.parametrize(
    ("where", "name"),
    [
        ("GET /api/v1/vms", "list_vms"),
        ("GET /api/v1/vms/{id}", "get_vm"),
        ("POST /api/v1/vms/{id}/start", "start_vm"),
        ("POST /api/v1/vms/{id}/shut-down", "shut_down_vm"),
        ("PATCH /api/v1/disks/{id}", "update_disk"),
        ("DELETE /api/v1/security-groups/{id}", "delete_security_group"),
        ("PUT /api/v1/disks/{id}/schedule", "set_disk_schedule"),
    ],
)
def test_operations_are_called_as_people_write_them(
    operations: dict[str, Operation], where: str, name: str
) -> None:
    assert operations[where]["operationId"] == name


def test_every_operation_has_one_tag_of_those_that_are_explained(
    schema: dict[str, Any], operations: dict[str, Operation]
) -> None:
    explained = {tag["name"] for tag in schema["tags"]}
    assert {"VMs", "Disks", "Security groups"} <= explained
    assert all(len(operation["tags"]) == 1 for operation in operations.values())
    assert {operation["tags"][0] for operation in operations.values()} == explained


def test_every_operation_tells_the_refusals_that_can_come(
    operations: dict[str, Operation],
) -> None:
    for where, operation in operations.items():
        method, told = where.split()[0], set(operation["responses"])
        assert {"400", "401", "403", "406", "429", "503"} <= told, where
        if method != "GET":
            assert {"409", "413", "415"} <= told, where
        if "{" in where:
            assert "404" in told, where
        for status in told & set(REFUSALS):
            name = REFUSALS[status][0]
            assert operation["responses"][status] == {"$ref": f"#/components/responses/{name}"}
    assert "402" in operations["POST /api/v1/vms"]["responses"]
    assert "402" not in operations["POST /api/v1/vms/quote"]["responses"]


def test_a_refusal_has_one_form_and_says_when_to_come_back(schema: dict[str, Any]) -> None:
    components = schema["components"]
    error = components["schemas"]["Error"]
    assert error["required"] == ["code", "message"]
    assert {"field", "remedy", "numbers"} <= set(error["properties"])
    assert len(components["responses"]) == len(REFUSALS)
    for name, response in components["responses"].items():
        content = response["content"]["application/json"]["schema"]
        assert content == {"$ref": "#/components/schemas/Error"}, name
    assert components["responses"]["TooManyRequests"]["headers"]["Retry-After"]["required"]
    assert "Retry-After" in components["responses"]["Unavailable"]["headers"]


def test_what_may_be_repeated_safely_says_so(operations: dict[str, Operation]) -> None:
    """An answer with a secret is kept nowhere; neither is that of an upload."""
    plain = {
        where
        for where, operation in operations.items()
        if where.split()[0] in {"POST", "DELETE"}
        and not any(one["name"] == "Idempotency-Key" for one in operation.get("parameters", []))
    }
    assert plain == {
        "POST /api/v1/api-keys",
        "POST /api/v1/images/upload",
        "POST /api/v1/vms/{id}/vnc-information",
    }


def test_answers_have_every_field_always(schema: dict[str, Any]) -> None:
    """Only an error leaves out what there is nothing of, and the time of a step not yet begun."""
    optional = {}
    for name, component in schema["components"]["schemas"].items():
        fields = set(component.get("properties", {})) - set(component.get("required", []))
        if fields and not name.endswith("Request") and not name.startswith("Paginated"):
            optional[name] = fields
    assert set(optional) == {"Error", "Step"}
    assert optional["Step"] == {"at"}


def test_every_form_is_described_in_words_of_its_own(schema: dict[str, Any]) -> None:
    """The docstring of a shape is what programmers of clients read; a base class's is not."""
    words = {
        name: one.get("description", "")
        for name, one in schema["components"]["schemas"].items()
        if one.get("type") == "object" and not name.startswith("Paginated")
    }
    assert [name for name, text in words.items() if not text] == []
    assert [text for text, count in Counter(words.values()).items() if count > 1] == []
    assert [name for name, text in words.items() if text.startswith(INHERITED)] == []


INHERITED = tuple(str(one.__doc__).split("\n")[0] for one in (VerbInput, ShownSerializer))


def test_lists_are_narrowed_by_every_status_that_they_show(
    schema: dict[str, Any], operations: dict[str, Operation]
) -> None:
    """Also by one that no row holds: a VM that runs is shown as paused."""
    found = {}
    for where, operation in operations.items():
        asked = [one for one in operation.get("parameters", []) if one["name"] == "status"]
        for parameter in asked:
            [page] = operation["responses"]["200"]["content"].values()
            name = page["schema"]["$ref"].rsplit("/", 1)[1].removeprefix("Paginated")
            row = schema["components"]["schemas"][name.removesuffix("List")]
            [shown] = row["properties"]["status"]["allOf"]
            values = schema["components"]["schemas"][shown["$ref"].rsplit("/", 1)[1]]["enum"]
            found[where] = set(values) - set(parameter["schema"].get("enum", values))
    assert len(found) == 6
    assert {where: left for where, left in found.items() if left - {"destroyed"}} == {}


LISTS = ("vms", "disks", "snapshots", "images", "jobs", "vpcs", "subnets", "security-groups",
         "external-ips", "enis", "segments",
         "models", "disk-types", "billing/orders", "billing/transactions",
         "billing/subscriptions", "api-keys", "regions", "quotas?region=box")  # fmt: skip


def empty_texts(value: Any, path: str = "") -> list[str]:
    """Return where a value has an empty text that nobody has written."""
    if isinstance(value, dict):
        return [
            found
            for name, one in value.items()
            if name not in WRITTEN
            for found in empty_texts(one, f"{path}.{name}")
        ]
    if isinstance(value, list):
        return [found for one in value for found in empty_texts(one, path)]
    return [path] if value == "" else []


def test_nothing_is_null(program: Program, box: Box) -> None:
    """Idle and busy, in every list."""
    vm = box.vm(data_disk_type=box.platform.disk_type, data_disk_gib=10)
    segment = make_segment(box.platform.region)
    assert box.actor.tenant is not None
    fund(box.actor.tenant, cash="1000")
    buy_ip(box.actor, segment)
    subnet = program.get("/subnets").body["results"][0]["id"]
    program.post("/enis", {"region": "box", "subnet": subnet})
    wrong: list[str] = []
    for path in LISTS:
        found = program.get(f"/{path}").body
        rows = found["results"] if isinstance(found, dict) else found
        wrong += [f"{path}{one}" for one in empty_texts(rows)]
    assert wrong == []
    shown = program.get(f"/vms/{vm.pk}").body
    assert (shown["task"], shown["failure"], shown["job_id"]) == (None, None, None)
    [group] = program.get("/security-groups").body["results"]
    rules = program.get(f"/security-groups/{group['id']}/rules").body
    assert None in {rule["ports"] for rule in rules}
    assert empty_texts(rules) == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("page_size=null", "page_size"),
        ("page_size=", "page_size"),
        ("page_size=0", "page_size"),
        ("page_size=101", "page_size"),
        ("page_size=1e1", "page_size"),
        ("page_size=%D9%A1", "page_size"),
        ("page=0", "page"),
        ("page=null", "page"),
        ("page=1&page=2", "page"),
        ("status=nonsense", "status"),
        ("staus=stopped", "staus"),
        ("search=%00", "search"),
        ("%00=1", "?"),
    ],
)
def test_a_query_that_the_document_does_not_allow_is_refused(
    program: Program, query: str, field: str
) -> None:
    for path in ("/vms", "/disks"):
        error = program.get(f"{path}?{query}").error(400, "invalid_query", field)
        assert error["message"]


@pytest.mark.parametrize(
    ("method", "path", "known"),
    [
        ("GET", "/models?vpc=x", "region"),
        ("GET", "/billing/account?page=1", "-"),
        (
            "DELETE",
            "/vms/vm-zzzzzzzzz?delete_disk=true",
            "delete_disks, delete_enis, delete_external_ips",
        ),
        ("GET", "/billing/orders?kind=gift", ""),
        ("DELETE", "/vms/vm-zzzzzzzzz?delete_disks=maybe", ""),
    ],
)
def test_so_it_is_in_every_other_operation(
    program: Program, method: str, path: str, known: str
) -> None:
    error = program.call(method, path).error(400, "invalid_query")
    if known:
        assert error["remedy"] == f"Known parameters: {known}."


def test_a_query_of_a_method_that_is_not_there_is_not_looked_at(program: Program) -> None:
    program.call("PUT", "/vms?nonsense=1", {}).error(405, "method_not_allowed")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": 5}, "name"),
        ({"remark": True}, "remark"),
        ({"tags": [1]}, "tags"),
        ({"deletion_protected": "true"}, "deletion_protected"),
        ({"deletion_protected": 1}, "deletion_protected"),
    ],
)
def test_a_value_of_another_type_is_not_guessed_at(
    program: Program, box: Box, body: dict[str, Any], field: str
) -> None:
    vm = box.vm()
    error = program.call("PATCH", f"/vms/{vm.pk}", body).error(400, "invalid_input")
    assert error["field"].split(".")[0] == field
    program.call("PATCH", f"/vms/{vm.pk}", {"name": "new", "tags": ["a"]})
    assert program.get(f"/vms/{vm.pk}").body["name"] == "new"


@pytest.mark.parametrize("value", ["many", True, "3", 1.5, [1]])
def test_numbers_are_numbers(program: Program, value: Any) -> None:
    body = {"region": "box", "item": "vms", "limit_wanted": value}
    program.post("/quota-requests", body).error(400, "invalid_input", "limit_wanted")


def test_a_part_of_a_network_can_be_changed_alone(program: Program, ready: Platform) -> None:
    [vpc] = program.get("/vpcs").body["results"]
    changed = program.call("PATCH", f"/vpcs/{vpc['id']}", {"remark": "ours"})
    assert (changed.status, changed.body["name"], changed.body["remark"]) == (
        200,
        vpc["name"],
        "ours",
    )


def test_every_refusal_of_the_caller_says_how_to_be_let_in(program: Program) -> None:
    answer = program.post("/api-keys", {"name": "more"})
    answer.error(401, "person_needed")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_every_post_answers_once_per_key(program: Program, box: Box) -> None:
    """Quotes and deletes too: who repeats a request need not know which ones are safe."""
    order = {"region": "box", "disk_type": box.platform.disk_type.pk, "size_gib": 20}
    first = program.post("/disks/quote", order, key="k")
    again = program.post("/disks/quote", order, key="k")
    assert first.status == again.status == 200
    assert first.body["token"] == again.body["token"]
    assert again.headers["Idempotent-Replay"] == "true"

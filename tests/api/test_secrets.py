"""A guest's password is known to its owner and its guest; nothing of the platform repeats it."""

from __future__ import annotations

import io
import logging
import zipfile
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse

from compute.actions.vms.changes import reset_password
from compute.models import VM
from compute.rules.logins import open_hash
from compute.rules.orders import VmOrder
from scloud.lib.crypto import sha512_crypt
from scloud.tenancy.models import Tenant
from tests.api.client import Program
from tests.billing.helpers import fund
from tests.compute.box import Box
from tests.isolation.routes import KNOWN, all_routes

SECRET = "Zq7-known-Only2me"
SECOND = "Yy8-second-Secret"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJq1rN4qE4m1d4rK0xqQ7jqk0mNw1rX3Yx1Z8pJv8o5T me@example"

OrderOf = Callable[..., dict[str, Any]]


@pytest.fixture
def records(caplog: Any) -> Any:
    """Everything that is logged, down to the last detail."""
    caplog.set_level(logging.DEBUG)
    return caplog


def everything_stored() -> dict[str, str]:
    """Return the content of every table as text."""
    found = {}
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names():
            cursor.execute(f"SELECT coalesce(string_agg(t::text, chr(10)), '') FROM \"{table}\" t")
            found[table] = str(cursor.fetchone()[0])
    return found


def hexed(secret: str) -> str:
    """Return how PostgreSQL writes the bytes of a secret."""
    return secret.encode().hex()


@pytest.mark.unmeasured
def test_a_password_is_nowhere_but_in_its_guest(
    box: Box, program: Program, order: OrderOf, tenant: Tenant, console: Client, records: Any
) -> None:
    fund(tenant, cash="100")
    body = order(box.platform, password=SECRET, ssh_public_key=KEY)
    quoted = program.post("/vms/quote", body)
    purchase = {**body, "quote_token": quoted.body["token"]}
    bought = program.post("/vms", purchase, key="buy")
    replayed = program.post("/vms", purchase, key="buy")
    refused = program.post("/vms", {**purchase, "name": "no good name"})
    weak = program.post("/vms", {**purchase, "password": SECRET.lower() + " "})
    assert (bought.status, replayed.status) == (201, 201)
    assert (refused.status, weak.status) == (400, 400)
    vm = VM.objects.get(pk=bought.body[0]["id"])
    crypted = open_hash(vm)
    assert crypted is not None
    salt = crypted.split("$")[2]
    assert crypted == sha512_crypt(SECRET, salt), "the guest gets the hash of this password"
    box.run()
    assert program.get(f"/vms/{vm.pk}").body["state"] == "Running"

    vm.refresh_from_db()
    reset_password(actor=box.actor, vm=vm, password=SECOND)
    box.run()
    second = open_hash(vm)
    assert second is not None
    assert second != crypted

    told = [str(answer.body) for answer in (quoted, bought, replayed, refused, weak)]
    told += api_answers(program, vm)
    told += pages(console, vm)
    told += [record.getMessage() + str(record.__dict__) for record in records.records]
    told.append(records.text)
    assert len(told) > 60

    secrets = [SECRET, SECOND, crypted, second, salt, second.split("$")[2]]
    for secret in secrets:
        for text in told:
            assert secret not in text
        for table, text in everything_stored().items():
            assert secret not in text, table
            assert hexed(secret) not in text, table


def api_answers(program: Program, vm: VM) -> list[str]:
    """Return what every list of the API and everything about the VM says."""
    routes = [route for route in all_routes() if route.api and "get" in route.methods]
    found = []
    for route in routes:
        known = KNOWN.get(route.name)
        if known is None or known.owned:
            continue
        kwargs = {name: sample[1:] for name, sample in known.params.items()}
        path = reverse(route.name, kwargs=kwargs).removeprefix("/api/v1")
        found.append(str(program.get(f"{path}?region=box").body))
    found.append(str(program.get(f"/vms/{vm.pk}").body))
    jobs = program.get(f"/jobs?target={vm.pk}").body["results"]
    return [*found, *(str(program.get(f"/jobs/{job['id']}").body) for job in jobs)]


def pages(console: Client, vm: VM) -> list[str]:
    """Return what every page of the console says, exports included."""
    found = []
    for route in all_routes():
        known = KNOWN.get(route.name)
        if route.api or known is None or "get" not in route.methods:
            continue
        if known.owned and set(route.params) != {"vm_id"}:
            continue
        kwargs = {
            name: vm.pk if name == "vm_id" else sample.removeprefix("=")
            for name, sample in known.params.items()
        }
        for query in ("", "?export=xlsx"):
            response = console.get(reverse(route.name, kwargs=kwargs) + query)
            found.append(_text(b"".join(response)))
    return found


def _text(content: bytes) -> str:
    """Return a page, or all sheets of a workbook, as text."""
    if not content.startswith(b"PK"):
        return content.decode(errors="replace")
    with zipfile.ZipFile(io.BytesIO(content)) as book:
        return "".join(book.read(name).decode(errors="replace") for name in book.namelist())


def test_the_wizard_never_sends_a_password_back(console: Client, ready: Any, records: Any) -> None:
    data = {"name": "no good name", "password": SECRET, "ssh_public_key": KEY, "count": "1"}
    for name in ("vm-create", "vm-create-quote"):
        response = console.post(reverse(name), data)
        assert SECRET not in response.content.decode()
    assert SECRET not in records.text


def test_an_order_does_not_print_its_password() -> None:
    """Objects that carry a password on the way do not show it when they are printed."""
    rows = ("region", "cluster", "image", "spec", "subnet", "system_disk_type")
    made: dict[str, Any] = dict.fromkeys(rows)
    assert SECRET not in repr(VmOrder(**made, system_disk_gib=40, password=SECRET))


def test_keys_of_the_api_are_stored_as_digests(program: Program) -> None:
    secret = program.secret
    for table, text in everything_stored().items():
        assert secret not in text, table
        assert secret.removeprefix("sck_") not in text, table

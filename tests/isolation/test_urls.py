"""Every URL, as nobody, as a stranger, as each role, without the CSRF token, by wrong methods.

The URLs come from the URLconf. What a request changed is seen in the database and taken back, so
that each request meets the same world. Coverage watches the owner only: the requests of the others
run no other lines than refusals.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext

from compute.models import Snapshot
from scloud.resources.models import Region
from scloud.tenancy.models import ApiKey, LoginAttempt, Tenant
from scloud.tenancy.permissions import Role, role_allows
from scloud.tenancy.scoping import scopes_disabled
from tests.isolation.known import OPEN, Known
from tests.isolation.routes import KNOWN, Route, all_routes
from tests.isolation.world import Caller, address, changed, fill, fingerprint, send, writes

# Asking for the middle of the other tenant's data by a word that only stands there.
MARK = "zebra"
WRITES = ("post", "put", "patch", "delete")

# Programs post here that have no session; a signature over the body takes the token's place, and
# tests/billing/test_payments.py tries wrong ones.
SIGNED = frozenset({"payment-events"})

# What cannot be read without saying of which region.
NEEDS_A_REGION = frozenset({"api-prices", "api-quotas"})


def known_routes() -> list[tuple[Route, Known]]:
    return [(route, KNOWN[route.name]) for route in all_routes() if route.name in KNOWN]


# Roles that ask for everything; the others share the URLs in `make test`, and have all of them in
# `make soak`: what is told apart is the permission of each URL, which these two have or lack.
WHOLE = list(Role) if os.environ.get("SCLOUD_SOAK") else [Role.OWNER, Role.READONLY]


def shared_routes(role: str) -> list[tuple[Route, Known]]:
    """All URLs for a role that asks for everything, else its share of them."""
    if role in WHOLE:
        return known_routes()
    others = [one for one in Role if one not in WHOLE]
    return known_routes()[others.index(Role(role)) :: len(others)]


def listed(wrong: list[Any]) -> str:
    """One line for each, whole: pytest shortens lists."""
    return "\n".join(map(str, wrong))


def body_for(route: Route, known: Known, method: str, samples: dict[str, str]) -> object:
    return fill(known.writes[method].body, samples) if method in known.writes else {}


def test_what_a_request_writes_is_seen(owner: Caller) -> None:
    """The tests below hang on this: no write outside of the bookkeeping may escape them."""
    before = fingerprint("tenancy_apikey")
    with scopes_disabled():
        changes: dict[str, Callable[[], object]] = {
            "tenancy_tenant": lambda: Tenant.objects.filter(name="Acme").update(name="Zoo"),
            "resources_region": lambda: Region.objects.create(id="new", name="New"),
            "compute_snapshot": lambda: Snapshot.objects.all().delete(),
            "tenancy_apikey": lambda: ApiKey.objects.update(name="other"),
        }
        for table, change in changes.items():
            for kept in (True, False):
                mark, written = transaction.savepoint(), writes()
                change()
                if not kept:
                    transaction.savepoint_rollback(mark)
                assert changed(before, written) == ([table] if kept else [])
                if kept:
                    transaction.savepoint_rollback(mark)
        written = writes()
        LoginAttempt.objects.create(email="x@y.test", succeeded=False)
        with CaptureQueriesContext(connection) as asked:
            assert changed(before, written) == [], "bookkeeping that is not named does not count"
        # The counts alone: no table is read that nothing was written to since.
        assert len(asked) == 1, [query["sql"] for query in asked]


def test_every_url_is_known() -> None:
    routes = all_routes()
    assert len(routes) > 100
    names = [route.name for route in routes]
    assert len(names) == len(set(names)), "two URLs have the same name"
    missing = sorted(set(names) - set(KNOWN))
    assert missing == [], f"add them to tests/isolation/routes.py: {missing}"
    assert sorted(set(KNOWN) - set(names)) == [], "these URLs do not exist any more"
    for route in routes:
        known = KNOWN[route.name]
        assert set(known.params) == set(route.params), route.name
        writes = {method for method in route.methods if method in WRITES}
        assert set(known.writes) == writes, route.name


@pytest.mark.unmeasured
def test_nobody_gets_in_anywhere(owner: Caller) -> None:
    before = fingerprint("tenancy_apikey", "rest_idempotentrequest")
    wrong = []
    for route, known in known_routes():
        if known.public:
            continue
        url = address(route, known, owner.samples)
        for method in route.methods:
            body = body_for(route, known, method, owner.samples)
            answer = send(route, url, method, caller=None, body=body, before=before)
            if route.api:
                right = answer.status == 401 and '"unauthenticated"' in answer.text
            else:
                right = answer.status == 302 and answer.headers["Location"].startswith("/login/?")
            if not right or answer.changed or MARK in answer.text:
                wrong.append((method, url, answer.status, answer.changed))
    assert not wrong, listed(wrong)


def test_public_urls_tell_nothing_and_change_nothing_for_nobody(owner: Caller) -> None:
    before = fingerprint()
    wrong = []
    for route, known in known_routes():
        if not known.public:
            continue
        for method in route.methods:
            body = body_for(route, known, method, owner.samples)
            url = address(route, known, owner.samples)
            answer = send(route, url, method, caller=None, body=body, before=before)
            if answer.status >= 500 or answer.changed or MARK in answer.text:
                wrong.append((method, url, answer.status, answer.changed))
    assert not wrong, listed(wrong)


@pytest.mark.unmeasured
def test_what_belongs_to_another_tenant_does_not_exist(owner: Caller, intruder: Caller) -> None:
    before = fingerprint()
    wrong: list[Any] = []
    tried = 0
    for route, known in known_routes():
        if not known.owned:
            continue
        url = address(route, known, owner.samples)
        for method in route.methods:
            body = body_for(route, known, method, intruder.samples)
            answer = send(route, url, method, caller=intruder, body=body, before=before)
            tried += 1
            if answer.status != 404 or answer.changed or MARK in answer.text:
                wrong.append((method, url, answer.status, answer.changed))
            if route.api and '"code"' not in answer.text:
                wrong.append((method, url, answer.status, "no code"))
    assert not wrong, listed(wrong)
    assert tried > 80


def looks(route: Route, url: str, caller: Caller, ids: re.Pattern[str]) -> tuple[int, int | str]:
    """Status and text of an answer, without the ids that were asked for; of a page its length."""
    answer = send(route, url, "get", caller=caller)
    text = ids.sub("ID", answer.text)
    return answer.status, text if route.api else len(text)


@pytest.mark.unmeasured
def test_a_foreign_id_looks_like_one_that_never_was(owner: Caller, intruder: Caller) -> None:
    wrong = []
    never = {
        name: f"{value.split('-')[0]}-zzzzzzzzz" if "-" in value else "999999999"
        for name, value in owner.samples.items()
    }
    samples = sorted({*owner.samples.values(), *never.values()}, key=len, reverse=True)
    # Whole ones: a number may stand in a token or a hash by chance.
    ids = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, samples))})(?!\w)")
    for route, known in known_routes():
        if not known.owned or "get" not in route.methods:
            continue
        foreign, unknown = address(route, known, owner.samples), address(route, known, never)
        # Pages tell how long ago something was, which may change between two of them: what differs
        # each time tells one from the other.
        for _ in range(3):
            answers = [looks(route, url, intruder, ids) for url in (foreign, unknown)]
            if answers[0] == answers[1]:
                break
        else:
            wrong.append((foreign, answers))
    assert not wrong, listed(wrong)


@pytest.mark.unmeasured
def test_foreign_ids_in_bodies_are_refused(owner: Caller, intruder: Caller) -> None:
    """The caller's own place, but the other tenant's subnet, VM, rule, ... in the form."""
    before = fingerprint()
    wrong = []
    for route, known in known_routes():
        for method, write in known.writes.items():
            body = fill(write.body, owner.samples)
            if body == fill(write.body, {**owner.samples, **_owned_of(intruder)}) or known.public:
                continue
            url = address(route, known, intruder.samples)
            answer = send(route, url, method, caller=intruder, body=body, before=before)
            if answer.changed or answer.status >= 500 or MARK in answer.text:
                wrong.append((method, url, answer.status, answer.changed))
    assert not wrong, listed(wrong)


def _owned_of(caller: Caller) -> dict[str, str]:
    """What stands for something of the caller's own; names that are typed again open nothing."""
    return {
        name: value
        for name, value in caller.samples.items()
        if name not in ("uuid", "password") and not name.endswith("_name")
    }


@pytest.mark.unmeasured
def test_lists_show_nothing_of_another_tenant(owner: Caller, intruder: Caller) -> None:
    wrong = []
    for route, known in known_routes():
        if "get" not in route.methods or known.owned:
            continue
        url = address(route, known, intruder.samples)
        for query in ("", f"?search={MARK}", f"?q={MARK}", "?region=box", "?export=xlsx"):
            answer = send(route, url + query, "get", caller=intruder)
            seen = answer.text.replace(f"search={MARK}", "").replace(f"q={MARK}", "")
            ids = [
                sample
                for name, sample in _private(owner).items()
                if sample in seen and sample not in _private(intruder).values()
            ]
            if answer.status >= 500 or ids or f"{MARK}-" in seen:
                wrong.append((url + query, answer.status, ids))
    assert not wrong, listed(wrong)


def _private(caller: Caller) -> dict[str, str]:
    shared = (
        "region",
        "larger_spec",
        "cluster",
        "base_image",
        "disk_type",
        "password",
        "operation",
        "uuid",
    )
    # A plain number stands in other places for something else.
    return {
        name: value
        for name, value in caller.samples.items()
        if name not in shared and not value.isdigit()
    }


@pytest.mark.unmeasured
@pytest.mark.parametrize("role", [Role.ADMINISTRATOR, Role.OPERATOR, Role.FINANCE, Role.READONLY])
def test_a_role_changes_only_what_it_includes(role: str, colleague: Callable[..., Caller]) -> None:
    caller = colleague(role)
    before = fingerprint()
    wrong = []
    refusals = 0
    for route, known in shared_routes(role):
        if known.public:
            continue
        url = address(route, known, caller.samples)
        for method, write in known.writes.items():
            body = fill(write.body, caller.samples)
            answer = send(route, url, method, caller=caller, body=body, before=before)
            allowed = write.permission == OPEN or role_allows(role, write.permission)
            if allowed:
                right = not answer.refused(write.permission) and answer.status not in {
                    401,
                    404,
                    405,
                }
            else:
                refusals += 1
                right = answer.refused(write.permission) and not answer.changed
                if route.api:
                    right = right and '"code":"forbidden"' in answer.text.replace(": ", ":")
            if answer.status >= 500 or not right:
                wrong.append((role, method, url, answer.status, answer.changed, write.permission))
    assert not wrong, listed(wrong)
    assert refusals > 5 or role == Role.ADMINISTRATOR


def test_the_owner_can_do_everything(owner: Caller) -> None:
    """The bodies of the table are good ones: each is accepted or refused for its state only."""
    before = fingerprint("tenancy_apikey")
    wrong, acted = [], 0
    for route, known in known_routes():
        if known.unknown:
            continue
        url = address(route, known, owner.samples)
        for method, write in known.writes.items():
            body = fill(write.body, owner.samples)
            answer = send(route, url, method, caller=owner, body=body, before=before)
            acted += bool(answer.changed)
            if (
                answer.refused(write.permission)
                or answer.status in {400, 401, 404, 405}
                or answer.status >= 500
            ):
                wrong.append((method, url, answer.status, answer.text[:300]))
    assert not wrong, listed(wrong)
    assert acted > 60


@pytest.mark.parametrize("role", list(Role))
def test_reading_changes_nothing(role: str, colleague: Callable[..., Caller]) -> None:
    caller = colleague(role)
    before = fingerprint()
    wrong = []
    for route, known in shared_routes(role):
        if "get" not in route.methods:
            continue
        url = address(route, known, caller.samples)
        query = "?region=box" if route.name in NEEDS_A_REGION else ""
        if known.query:
            query = f"?{known.query.format(**caller.samples)}"
        answer = send(route, url + query, "get", caller=caller, before=before)
        expected = {200, 302, 403} if role != Role.OWNER else {200, 302}
        if route.name.endswith("image-file"):
            # Not ready: nobody has asked for this download to be prepared.
            expected = expected - {200} | {409}
        if route.name in {"vm-screenshot", "vm-console-log", "vm-rdp"}:
            # Nobody has looked at this guest, and it is no Windows.
            expected = expected - {200} | {404}
        if known.unknown:
            expected = {404}
        if answer.status not in expected or answer.changed:
            wrong.append((url, answer.status, answer.changed))
    assert not wrong, listed(wrong)


@pytest.mark.unmeasured
def test_other_methods_are_refused(owner: Caller) -> None:
    before = fingerprint()
    wrong = []
    for route, known in known_routes():
        url = address(route, known, owner.samples)
        for method in ("get", *WRITES):
            if method in route.methods:
                continue
            answer = send(route, url, method, caller=owner, before=before)
            if answer.status != 405 or answer.changed:
                wrong.append((method, url, answer.status, answer.changed))
    assert not wrong, listed(wrong)


@pytest.mark.unmeasured
def test_without_the_csrf_token_nothing_happens(owner: Caller) -> None:
    """The console, and the API when it is called with the console's session."""
    client = Client(enforce_csrf_checks=True)
    client.force_login(owner.user)
    before = fingerprint()
    wrong = []
    for route, known in known_routes():
        url = address(route, known, owner.samples)
        if route.name in SIGNED:
            continue
        for method, write in known.writes.items():
            body = fill(write.body, owner.samples)
            answer = send(route, url, method, caller=None, body=body, before=before, client=client)
            if answer.status != 403 or answer.changed:
                wrong.append((method, url, answer.status, answer.changed))
    assert not wrong, listed(wrong)


@pytest.mark.unmeasured
def test_administrators_of_the_platform_have_no_console(owner: Caller) -> None:
    from scloud.tenancy.models import User

    client = Client()
    client.force_login(User.objects.create_superuser("root@platform.test", "x"))
    wrong = []
    for route, known in known_routes():
        if known.public or known.people:
            continue
        url = address(route, known, owner.samples)
        for method in route.methods:
            answer = send(route, url, method, caller=None, client=client)
            if answer.status not in {401, 403} or MARK in answer.text:
                wrong.append((method, url, answer.status))
    assert not wrong, listed(wrong)

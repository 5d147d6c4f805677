"""The frame of every action, the operation log, events, the base of all resources, kinds."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, transaction

from network.models import Subnet, Vpc
from scloud.audit import events
from scloud.audit.action import action, describe, note
from scloud.audit.models import Event, Operation
from scloud.lib.errors import Conflict, Forbidden, NotFound
from scloud.resources import kinds
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant, User
from scloud.tenancy.permissions import Role
from scloud.tenancy.scoping import scope, scopes_disabled


@action("compute.test_verb")
def verb(
    *, actor: Actor, thing: Any = None, things: list[Any] | None = None, fail: str = ""
) -> str:
    """Do as the test says."""
    note(thing, before={"a": 1})
    note(thing, after={"b": 2})
    note(before={"c": 3})
    if fail == "refused":
        raise Conflict("No.", code="no")
    if fail == "broken":
        raise RuntimeError("defect")
    return "done"


@action("compute.quiet_verb", log=False)
def quiet(*, actor: Actor, fail: bool = False) -> None:
    """Leave no trace."""
    if fail:
        raise Conflict("No.")


def log() -> list[Operation]:
    with scopes_disabled():
        return list(Operation.objects.order_by("pk"))


@pytest.fixture
def vpc(tenant: Tenant, region: Region) -> Vpc:
    with scope(tenant=tenant):
        return Vpc.objects.create(tenant=tenant, region=region, name="mine", cidr="10.0.0.0/16")


def test_a_success_is_logged_with_what_it_touched(actor: Actor, vpc: Vpc) -> None:
    assert verb(actor=actor, thing=vpc, things=[vpc, "text"]) == "done"
    [row] = log()
    assert (row.verb, row.succeeded, row.error_code) == ("compute.test_verb", True, "")
    assert row.resources == [{"kind": "vpc", "id": vpc.pk, "name": "mine"}]
    assert (row.before, row.after) == ({"a": 1, "c": 3}, {"b": 2})
    assert (row.actor, row.ip, row.via) == (actor.label, "192.0.2.7", "console")
    assert str(row) == f"compute.test_verb by {actor.label}"


def test_a_refusal_is_logged_though_the_work_is_taken_back(actor: Actor, vpc: Vpc) -> None:
    with pytest.raises(Conflict):
        verb(actor=actor, thing=vpc, fail="refused")
    [row] = log()
    assert (row.succeeded, row.error_code, row.error_message) == (False, "no", "No.")


def test_a_defect_is_not_taken_for_a_refusal(actor: Actor) -> None:
    with pytest.raises(RuntimeError):
        verb(actor=actor, fail="broken")
    assert log() == []


def test_a_missing_right_is_logged(tenant: Tenant, make_user: Callable[..., User]) -> None:
    reader = make_user(tenant, Role.READONLY)
    with pytest.raises(Forbidden):
        verb(actor=Actor(tenant=tenant, user=reader, role=reader.role, via="console"))
    [row] = log()
    assert (row.error_code, row.user_id) == ("forbidden", reader.pk)


def test_foreign_rows_are_unknown_whatever_the_right(
    other_tenant: Tenant, make_user: Callable[..., User], vpc: Vpc
) -> None:
    stranger = make_user(other_tenant)
    foreign = Actor(tenant=other_tenant, user=stranger, role=stranger.role, via="console")
    for values in ({"thing": vpc}, {"things": [vpc]}):
        with pytest.raises(NotFound):
            verb(actor=foreign, **values)
    assert {row.error_code for row in log()} == {"not_found"}
    assert all("mine" not in json.dumps(row.resources) for row in log())


def test_a_row_of_the_platform_serves_all(actor: Actor, region: Region) -> None:
    assert verb(actor=actor, thing=region) == "done"


def test_some_verbs_leave_no_trace(actor: Actor) -> None:
    quiet(actor=actor)
    with pytest.raises(Conflict):
        quiet(actor=actor, fail=True)
    assert log() == []


def test_who_acts_must_be_an_actor(user: User) -> None:
    with pytest.raises(TypeError, match="must be an Actor"):
        verb(actor=user)  # type: ignore[arg-type]  # the mistake that is meant


def test_a_note_outside_of_an_action_is_nothing(vpc: Vpc) -> None:
    note(vpc, before={"a": 1})
    assert log() == []


def test_a_thing_without_a_kind_is_called_by_its_model(tenant: Tenant) -> None:
    assert describe(tenant) == {"kind": "tenant", "id": tenant.pk, "name": "Acme"}


def test_the_permission_can_be_read_from_the_verb() -> None:
    assert verb.permission == "compute.test_verb"  # type: ignore[attr-defined]  # set by action


# --- events


@pytest.mark.django_db(transaction=True)
def test_an_event_is_a_row_and_a_notice_on_commit(tenant: Tenant) -> None:
    import psycopg

    settings = connection.settings_dict
    listener = psycopg.connect(
        host=settings["HOST"], port=settings["PORT"], user=settings["USER"],
        password=settings["PASSWORD"] or None, dbname=settings["NAME"], autocommit=True,
    )  # fmt: skip
    try:
        listener.execute(f"LISTEN {events.CHANNEL}")
        with scope(tenant=tenant):
            with transaction.atomic():
                events.emit(
                    tenant_id=tenant.pk, kind="vm.lost", resource_kind="vm", resource_id="vm-1"
                )
                transaction.set_rollback(True)
            event = events.emit(
                tenant_id=tenant.pk,
                kind="vm.started",
                resource_kind="vm",
                resource_id="vm-1",
                data={"by": "me"},
            )
            [heard] = [
                json.loads(one.payload) for one in listener.notifies(timeout=5, stop_after=1)
            ]
            assert heard == {
                "tenant": tenant.pk,
                "event_id": event.pk,
                "kind": "vm.started",
                "resource_kind": "vm",
                "resource_id": "vm-1",
            }
            assert [str(row) for row in Event.objects.all()] == ["vm.started vm-1"]
    finally:
        listener.close()


# --- resources


def test_related_rows_are_of_the_same_tenant(
    tenant: Tenant, other_tenant: Tenant, region: Region, vpc: Vpc
) -> None:
    with scopes_disabled():
        with pytest.raises(ValueError, match="is of another tenant"):
            Subnet(tenant=other_tenant, region=region, name="s", vpc=vpc, cidr="10.0.1.0/24").save()
        subnet = Subnet(tenant=tenant, region=region, name="s", vpc=vpc, cidr="10.0.1.0/24")
        subnet.save()
        assert str(subnet) == f"s ({subnet.pk})"
        assert str(region) == "Box"
        # Only what is written is looked at: a name can be changed without reading the VPC.
        Subnet.objects.filter(pk=subnet.pk).update(tenant=other_tenant)
        loaded = Subnet.objects.get(pk=subnet.pk)
        loaded.save(update_fields=["name"])
        with pytest.raises(ValueError, match="is of another tenant"):
            loaded.save(update_fields=["vpc_id"])
        with pytest.raises(ValueError, match="is of another tenant"):
            loaded.save(update_fields=["vpc"])


def test_kinds_are_known_by_name(tenant: Tenant, vpc: Vpc) -> None:
    with scope(tenant=tenant):
        assert list(kinds.get("vpc").rows()) == [vpc]
    assert kinds.get("vm").model_class()._meta.label == "compute.VM"
    assert {kind.kind for kind in kinds.binnable()} <= {kind.kind for kind in kinds.all_kinds()}
    assert "vm" in {kind.kind for kind in kinds.binnable()}
    with pytest.raises(KeyError):
        kinds.get("spaceship")
    bare = kinds.Kind("plain", "network.Vpc", "a", "b", "icon")
    with scope(tenant=tenant):
        assert list(bare.rows()) == [vpc]


def test_a_kind_is_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinds, "_kinds", {})
    kinds.register(kinds.Kind("plain", "network.Vpc", "a", "b", "icon"))
    assert [kind.kind for kind in kinds.all_kinds()] == ["plain"]
    assert kinds.binnable() == []

"""Asking who is signed in once more, before what cannot be taken back, costs a lot or lets in."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import reverse

from compute.models import VM
from compute.models.fencing import FenceDevice
from compute.views import bin as bin_views
from scloud.accounts import users
from scloud.audit.models import Operation
from scloud.jobs.models import Job
from scloud.lib.errors import InvalidInput
from scloud.resources import kinds
from scloud.tenancy import apikeys
from scloud.tenancy.actor import Actor
from scloud.tenancy.confirmation import ConfirmationNeeded
from scloud.tenancy.models import ApiKey, Tenant, User
from scloud.tenancy.permissions import Role
from scloud.tenancy.scoping import scope, scopes_disabled
from scloud.verbs.actions import action_of
from scloud.verbs.catalogue import all_catalogues
from scloud.web import profile
from tests.accounts.factor import Clock, give
from tests.accounts.stale import ASKED, grow_stale, hidden, prove, text_of
from tests.api.client import Program
from tests.compute.factories import Platform, make_vm, settle
from tests.fixtures import PASSWORD, new_user

KEYS = "/api-keys/create/"
HTMX = {"HX-Request": "true", "HX-Target": "dialog-slot"}


def keys_of(user: User) -> list[str]:
    with scopes_disabled():
        return list(ApiKey.objects.filter(user=user).values_list("name", flat=True))


def log(verb: str) -> list[tuple[bool, str]]:
    with scopes_disabled():
        rows = Operation.objects.filter(verb=verb).order_by("pk")
        return list(rows.values_list("succeeded", "error_code"))


# --- the way of it


def test_a_dialog_asks_and_goes_on_with_what_was_typed(console: Client, user: User) -> None:
    grow_stale(console)
    data = {"name": 'a "key" <1>', "scopes": ["compute.view*", "jobs.view*"], "networks": "::1"}
    asked = console.post(KEYS, data, headers=HTMX)
    assert (asked.status_code, asked["HX-Retarget"]) == (422, "#dialog-slot")
    assert ASKED in text_of(asked)
    assert f'hx-post="{KEYS}"' in text_of(asked)
    assert hidden(asked) == [
        ("identity-asked", "1"),
        ("name", 'a "key" <1>'),
        ("scopes", "compute.view*"),
        ("scopes", "jobs.view*"),
        ("networks", "::1"),
    ]
    # It is a question: nothing was done, and nothing was refused.
    assert (keys_of(user), log("tenancy.manage_api_keys")) == ([], [])
    assert asked["Cache-Control"] == "private, no-store"

    wrong = prove(console, KEYS, asked, password="guess")
    assert (wrong.status_code, hidden(wrong)) == (422, hidden(asked))
    assert "This is not your current password." in text_of(wrong)
    assert "guess" not in text_of(wrong)
    empty = prove(console, KEYS, asked, password="")
    assert "Enter your password." in text_of(empty)
    assert keys_of(user) == []
    assert log("tenancy.confirm_identity") == [(False, "wrong_password"), (False, "proof_missing")]

    done = prove(console, KEYS, asked)
    assert "Copy it now." in text_of(done)
    with scopes_disabled():
        key = ApiKey.objects.get(user=user)
    assert (key.name, key.scopes) == ('a "key" <1>', ["compute.view*", "jobs.view*"])
    assert key.networks == ["::1/128"]
    # For some minutes nobody is asked again.
    assert "Copy it now." in text_of(console.post(KEYS, {"name": "second"}, headers=HTMX))
    assert log("tenancy.manage_api_keys") == [(True, ""), (True, "")]


def test_a_browser_without_scripts_is_asked_on_a_page(console: Client, user: User) -> None:
    grow_stale(console)
    asked = console.post(KEYS, {"name": "plain"})
    assert asked.status_code == 422
    assert "<title>" in text_of(asked)
    assert "hx-post" not in text_of(asked).partition("dialog-form")[2].partition("</form>")[0]
    done = prove(console, KEYS, asked, htmx=False)
    assert "Copy it now." in text_of(done)
    assert keys_of(user) == ["plain"]


def test_what_was_sent_from_another_part_of_a_page_is_sent_as_a_page(console: Client) -> None:
    """Where its answer would have gone is not known here."""
    grow_stale(console)
    headers = {"HX-Request": "true", "HX-Target": "wizard-summary"}
    asked = console.post(KEYS, {"name": "k"}, headers=headers)
    assert asked["HX-Retarget"] == "#dialog-slot"
    assert "hx-post" not in text_of(asked)


@pytest.mark.parametrize(("minutes", "asks"), [(14, False), (16, True)])
def test_signing_in_counts_for_a_while(console: Client, minutes: int, asks: bool) -> None:
    grow_stale(console, minutes)
    assert (ASKED in text_of(console.post(KEYS, {"name": "k"}, headers=HTMX))) is asks


def test_the_time_is_a_setting(console: Client, settings: Any) -> None:
    settings.SCLOUD_CONFIRM_MINUTES = 5
    grow_stale(console, 6)
    assert ASKED in text_of(console.post(KEYS, {"name": "k"}, headers=HTMX))


def test_a_right_that_is_missing_is_refused_and_nobody_is_asked(
    tenant: Tenant, platform: Platform, actor: Actor
) -> None:
    reader = Client()
    reader.force_login(new_user(tenant, Role.READONLY))
    grow_stale(reader)
    assert reader.post(KEYS, {"name": "k"}, headers=HTMX).status_code == 403
    vm = settle(make_vm(platform, actor, name="gone"), "binned")
    answer = reader.post(reverse("vm-destroy", args=[vm.pk]), {"typed_name": "gone"}, headers=HTMX)
    assert ASKED not in text_of(answer)


def test_a_code_is_enough_once(console: Client, user: User, clock: Clock) -> None:
    app = give(user, clock)
    session = console.session
    session["code_asked"] = True
    session.save()
    grow_stale(console)
    asked = console.post(KEYS, {"name": "k"}, headers=HTMX)
    assert "Or a code of your second factor" in text_of(asked)
    wrong = prove(console, KEYS, asked, password="", code=app.wrong())
    assert "This code is wrong or was used before." in text_of(wrong)
    code = app.fresh()
    assert "Copy it now." in text_of(prove(console, KEYS, asked, password="", code=code))
    grow_stale(console)
    again = prove(console, KEYS, asked, password="", code=code)
    assert "This code is wrong or was used before." in text_of(again)
    assert keys_of(user) == ["k"]


def test_a_code_of_nobody_is_none(console: Client, user: User) -> None:
    grow_stale(console)
    asked = console.post(KEYS, {"name": "k"}, headers=HTMX)
    assert "second factor" not in text_of(asked)
    answer = prove(console, KEYS, asked, password="", code="000000")
    assert "Enter your password." in text_of(answer)
    assert keys_of(user) == []


def test_guesses_are_counted_as_at_a_sign_in(console: Client, user: User) -> None:
    grow_stale(console)
    asked = console.post(KEYS, {"name": "k"}, headers=HTMX)
    for _ in range(5):
        prove(console, KEYS, asked, password="guess")
    locked = prove(console, KEYS, asked)
    assert "this account is locked for your address" in text_of(locked)
    assert keys_of(user) == []


def test_no_view_gets_to_see_the_proof(
    console: Client, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict[str, Any]] = []

    def post(self: Any, request: HttpRequest) -> HttpResponse:
        seen.append(dict(request.POST))
        assert self.actor.confirmed
        return HttpResponse()

    grow_stale(console)
    asked = console.post(KEYS, {"name": "k"}, headers=HTMX)
    monkeypatch.setattr(profile.ApiKeyCreateView, "post", post)
    prove(console, KEYS, asked)
    assert seen == [{"name": ["k"]}]


def test_a_proof_needs_the_token_of_the_form(user: User) -> None:
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(user)
    answer = browser.post(
        KEYS,
        "identity-asked=1&identity-password=guess&name=k",
        content_type="application/x-www-form-urlencoded",
    )
    assert answer.status_code == 403
    # Not even a guess was counted.
    assert log("tenancy.confirm_identity") == []


def test_programs_with_a_session_are_refused_and_keys_are_not_asked(
    console: Client, user: User, platform: Platform, actor: Actor
) -> None:
    vm = settle(make_vm(platform, actor, name="gone"), "binned")
    url = f"/api/v1/vms/{vm.pk}/destroy"
    grow_stale(console)
    answer = console.post(url, {}, content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (403, "confirmation_needed")
    # A repeated request asks as the first did: nothing is kept under its key.
    headers = {"Idempotency-Key": "one"}
    for _ in range(2):
        answer = console.post(url, {}, content_type="application/json", headers=headers)
        assert answer.json()["code"] == "confirmation_needed"
    vm.refresh_from_db()
    assert vm.task == ""
    with scope(tenant=actor.tenant):
        _key, secret = apikeys.issue(user=user, name="robot")
    assert Program(secret).post(f"/vms/{vm.pk}/destroy", {}).status == 202
    vm.refresh_from_db()
    assert vm.task == "destroying"


# --- destroying


def test_every_verb_with_a_typed_name_asks() -> None:
    asking = {
        verb.name
        for catalogue in all_catalogues()
        for verb in catalogue.public.values()
        if verb.dialog is not None and verb.dialog.type_name
    }
    assert {"destroy_vm", "roll_back_snapshot"} <= asking
    for catalogue in all_catalogues():
        for verb in catalogue.public.values():
            if verb.name in asking:
                assert action_of(verb).confirmed, verb.name  # type: ignore[attr-defined]  # see action
    # The recycle bin has the name typed for every kind.
    for kind in kinds.binnable():
        assert kind.bin is not None
        assert kind.bin.destroy.confirmed, kind.kind  # type: ignore[attr-defined]  # see action


def test_what_is_destroyed_is_confirmed(console: Client, platform: Platform, actor: Actor) -> None:
    vm = settle(make_vm(platform, actor, name="gone"), "binned")
    grow_stale(console)
    url = reverse("vm-destroy", args=[vm.pk])
    # A wrong name is told first.
    wrong = console.post(url, {"typed_name": "other"}, headers=HTMX)
    assert "to confirm" in text_of(wrong)
    assert ASKED not in text_of(wrong)
    asked = console.post(url, {"typed_name": "gone"}, headers=HTMX)
    assert ASKED in text_of(asked)
    with scopes_disabled():
        assert not Job.objects.filter(kind="vm.destroy").exists()
    assert prove(console, url, asked).status_code == 204
    vm.refresh_from_db()
    assert vm.task == "destroying"


def test_a_batch_asks_once_for_all(console: Client, platform: Platform, actor: Actor) -> None:
    vms = [settle(make_vm(platform, actor, name=f"g{n}"), "binned") for n in range(2)]
    grow_stale(console)
    url = reverse("bin-batch-destroy", args=["vm"])
    asked = console.post(url, {"ids": [vm.pk for vm in vms], "typed_count": "2"}, headers=HTMX)
    assert ASKED in text_of(asked)
    with scopes_disabled():
        assert not VM.objects.filter(task="destroying").exists()
    assert "2 of 2 accepted." in text_of(prove(console, url, asked))


def test_what_a_batch_has_done_is_not_done_again(
    console: Client, platform: Platform, actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sent again as a whole, what was accepted would be paid for twice."""
    vms = [settle(make_vm(platform, actor, name=f"g{n}"), "binned") for n in range(2)]

    def perform(self: Any, obj: VM, data: dict[str, Any]) -> None:
        if obj.pk == vms[1].pk:
            raise ConfirmationNeeded

    monkeypatch.setattr(bin_views.BinBatchDestroy, "perform", perform)
    url = reverse("bin-batch-destroy", args=["vm"])
    data = {"ids": [vm.pk for vm in vms], "typed_count": "2"}
    answer = text_of(console.post(url, data, headers=HTMX))
    assert "1 of 2 accepted." in answer
    assert "Confirm first that it is you." in answer


# --- the limit of payments


def test_owners_set_the_limit_and_it_is_not_lifted_by_who_finds_an_open_browser(
    console: Client, tenant: Tenant, user: User, actor: Actor
) -> None:
    url = "/users/second-factor/"
    page = text_of(console.get(url))
    assert 'value="1000.00"' in page
    grow_stale(console)
    assert console.post(url, {"ask_above": "50.5"}).status_code == 302
    tenant.refresh_from_db()
    assert (tenant.ask_above, tenant.second_factor_required) == (Decimal("50.50"), False)
    asked = console.post(url, {"ask_above": "60"})
    assert ASKED in text_of(asked)
    tenant.refresh_from_db()
    assert tenant.ask_above == Decimal("50.50")
    assert prove(console, url, asked, htmx=False).status_code == 302
    # Left empty it stays.
    assert console.post(url, {"required": ""}).status_code == 302
    assert console.post(url, {"ask_above": "-1"}).status_code == 422
    tenant.refresh_from_db()
    assert tenant.ask_above == Decimal(60)
    with pytest.raises(InvalidInput, match="from 0 to"):
        users.change_security(actor=actor, required=False, ask_above=Decimal(-1))
    with scopes_disabled():
        first = Operation.objects.filter(verb=users.MANAGE).earliest("pk")
    assert first.before == {"second_factor_required": False, "ask_above": "1000.00"}
    assert first.after == {"second_factor_required": False, "ask_above": "50.5"}


# --- the administration


def test_administrators_are_asked_before_a_host_is_switched_off(platform: Platform) -> None:
    host = platform.hosts[0]
    device = FenceDevice.objects.create(host=host, agent="fake", address="bmc-1", user="fencer")
    boss = Client()
    boss.force_login(User.objects.create_superuser("boss@platform.test", PASSWORD))
    grow_stale(boss)
    url = reverse("admin:compute_fencedevice_power_off", args=[device.pk])
    asked = boss.post(url, {"typed": host.name})
    assert asked.status_code == 422
    assert ASKED in text_of(asked)
    assert "Django" in text_of(asked) or "SCloud" in text_of(asked)
    with scopes_disabled():
        assert not Job.objects.filter(target_kind=FenceDevice.KIND).exists()
    wrong = prove(boss, url, asked, password="guess", htmx=False)
    assert "This is not your current password." in text_of(wrong)
    done = prove(boss, url, asked, htmx=False)
    assert done.status_code == 302
    with scopes_disabled():
        assert Job.objects.filter(target_kind=FenceDevice.KIND).exists()
    assert log("tenancy.confirm_identity") == [(False, "wrong_password")]

"""Staff with a role sees and does in the administration what its role says, everywhere.

Pages and buttons are walked from the URLconf and the registry, so that a new one is tried as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.admin import site
from django.core.exceptions import PermissionDenied
from django.db import IntegrityError, transaction
from django.http import HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from compute.models import VM, Host
from scloud.accounts.second_factor import reset_second_factor
from scloud.adminsite.site import GUARDED
from scloud.lib.errors import Forbidden
from scloud.tenancy import staff
from scloud.tenancy.actor import Actor
from scloud.tenancy.admintools import ButtonAdmin, needs
from scloud.tenancy.models import SecondFactor, User, UserSession
from scloud.tenancy.permissions import matches
from scloud.tenancy.scoping import scopes_disabled
from scloud.tenancy.staff import GRANTS, StaffRole
from tests.compute.factories import Platform

ROLES = list(StaffRole)


def member(role: str) -> User:
    """Make a member of the staff with a role."""
    return User.objects.create_user(
        f"{role}@platform.test", "a long secret 9", is_staff=True, staff_role=role
    )


@pytest.fixture
def browser(db: None) -> Callable[[str], Client]:
    """Return a function that signs a member of the staff in."""

    def signed_in(role: str) -> Client:
        client = Client()
        client.force_login(member(role))
        return client

    return signed_in


def views() -> Iterator[tuple[str, Any]]:
    """Yield name and view of every URL of the administration."""

    def below(resolver: Any) -> Iterator[tuple[str, Any]]:
        for one in resolver.url_patterns:
            if isinstance(one, URLResolver):
                yield from below(one)
            elif isinstance(one, URLPattern):
                yield str(one.name), one.callback

    for one in get_resolver().url_patterns:
        if isinstance(one, URLResolver) and one.namespace == "admin":
            yield from below(one)


def test_every_page_of_ours_says_which_right_it_needs() -> None:
    """What says none is for administrators alone: that is safe, and not what anybody meant."""
    silent = []
    for name, view in views():
        inner = getattr(view, "__name__", "")
        leads = getattr(view, "view_class", None) is not None
        if inner not in GUARDED and not leads and not getattr(view, "right", ""):
            silent.append(name)
    assert len(list(views())) > 300
    assert silent == []


def test_every_button_says_which_right_it_needs() -> None:
    silent, seen = [], 0
    for page in admin.site._registry.values():
        if not isinstance(page, ButtonAdmin):
            continue
        for button in page.get_buttons():
            seen += 1
            if not button.right:
                silent.append(f"{type(page).__name__}: {button.name}")
    assert seen > 20
    assert silent == []


def test_what_a_role_is_given_exists() -> None:
    """A right that is written wrongly gives nothing, and nobody would see it."""
    from scloud.audit.action import _actions

    reverse("home")  # imports the views, and the actions with them
    known = set(_actions)
    for model in admin.site._registry:
        options = model._meta
        known |= {
            f"{options.app_label}.{one}_{options.model_name}"
            for one in ("view", "add", "change", "delete")
        }
        for inline in admin.site._registry[model].inlines:
            inner = inline.model._meta
            known |= {
                f"{inner.app_label}.{one}_{inner.model_name}"
                for one in ("view", "add", "change", "delete")
            }
    planned = {"platform.act_as", "platform.announce", "platform.test_host"}
    for role, patterns in GRANTS.items():
        for pattern in patterns:
            exists = any(matches(pattern, right) for right in known)
            assert exists or pattern in planned, f"{role}: {pattern}"


@pytest.mark.unmeasured
@pytest.mark.parametrize("role", ROLES)
def test_every_list_and_form_is_open_to_those_who_may_see_it(
    browser: Callable[[str], Client], role: str, vm: VM
) -> None:
    client = browser(role)
    user = User.objects.get(staff_role=role)
    wrong = []
    for model in admin.site._registry:
        options = model._meta
        name = f"{options.app_label}_{options.model_name}"
        sees = any(
            staff.may(user, f"{options.app_label}.{one}_{options.model_name}")
            for one in ("view", "change")
        )
        for page in ("changelist", "download"):
            status = client.get(reverse(f"admin:{name}_{page}")).status_code
            if (status in (200, 302)) != sees:
                wrong.append((name, page, status))
        with scopes_disabled():
            row = model._default_manager.first()
        if row is not None:
            for page in ("change", "history"):
                status = client.get(reverse(f"admin:{name}_{page}", args=[row.pk])).status_code
                if (status == 200) != sees:
                    wrong.append((name, page, status))
        adds = staff.may(user, f"{options.app_label}.add_{options.model_name}")
        status = client.get(reverse(f"admin:{name}_add")).status_code
        if status == 200 and not adds:
            wrong.append((name, "add", status))
    assert wrong == []


@pytest.mark.unmeasured
@pytest.mark.parametrize("role", ROLES)
def test_every_button_is_refused_to_those_who_may_not_press_it(
    browser: Callable[[str], Client], role: str, vm: VM
) -> None:
    client = browser(role)
    user = User.objects.get(staff_role=role)
    wrong: list[tuple[object, ...]] = []
    seen = 0
    for model, page in admin.site._registry.items():
        if not isinstance(page, ButtonAdmin):
            continue
        with scopes_disabled():
            row = model._default_manager.first()
        if row is None:
            continue
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        for button in page.get_buttons():
            url = reverse(f"{name}_do", args=[row.pk, button.name])
            status = client.get(url).status_code
            seen += 1
            # The page of the row has to be open as well.
            if not staff.may(user, button.right) and status != 403:
                wrong.append((name, button.name, status))
            shown = client.get(reverse(f"{name}_change", args=[row.pk]))
            if shown.status_code == 200 and (url in shown.content.decode()) > staff.may(
                user, button.right
            ):
                wrong.append((name, button.name, "shown"))
    assert seen > 10
    assert wrong == []


@pytest.mark.unmeasured
@pytest.mark.parametrize("role", ROLES)
def test_every_page_of_ours_is_closed_to_those_without_its_right(role: str, db: None) -> None:
    user = member(role)
    closed = 0
    for name, view in views():
        right = getattr(view, "right", "")
        if not right or staff.may(user, right):
            continue
        request = RequestFactory().post("/admin/")
        request.user = user
        request._dont_enforce_csrf_checks = True  # type: ignore[attr-defined]  # as the test client
        with pytest.raises(PermissionDenied):
            view(request, object_id="1")
        closed += 1
        assert name
    assert closed > 0


def test_a_page_without_a_right_is_for_administrators_alone(db: None) -> None:
    site = admin.site

    def page(request: Any) -> HttpResponse:
        return HttpResponse("seen")

    request = RequestFactory().get("/admin/")
    request.user = member(StaffRole.OPERATIONS)
    with pytest.raises(PermissionDenied):
        site.admin_view(page)(request)
    request.user = User.objects.create_superuser("root@platform.test", "x")
    assert site.admin_view(page)(request).content == b"seen"
    request.user = member(StaffRole.SUPPORT)
    with pytest.raises(PermissionDenied):
        site.admin_view(needs("platform.lock_host")(lambda request: page(request)))(request)


def test_an_action_asks_for_the_role_as_well(
    browser: Callable[[str], Client], platform: Platform, vm: VM
) -> None:
    host = platform.hosts[0]
    lock = reverse("admin:compute_host_do", args=[host.pk, "lock"])
    assert browser(StaffRole.FINANCE).post(lock).status_code == 403
    assert browser(StaffRole.SUPPORT).post(lock).status_code == 403
    assert Host.objects.get(pk=host.pk).state == "available"
    assert browser(StaffRole.OPERATIONS).post(lock).status_code == 302
    assert Host.objects.get(pk=host.pk).state == "locked"
    support = Actor.administrator(User.objects.get(staff_role="support"), None)
    with pytest.raises(Forbidden) as refusal:
        support.require("platform.lock_host")
    assert refusal.value.numbers == {"permission": "platform.lock_host", "role": "support"}
    assert support.allows("compute.start_vm")
    assert not support.allows("compute.destroy_vm")


def test_verbs_for_chosen_rows_are_offered_by_role(
    browser: Callable[[str], Client], platform: Platform
) -> None:
    url = reverse("admin:compute_host_changelist")
    assert 'value="lock"' in browser(StaffRole.OPERATIONS).get(url).content.decode()
    client = browser(StaffRole.SUPPORT)
    assert 'value="lock"' not in client.get(url).content.decode()
    client.post(url, {"action": "lock", "_selected_action": [platform.hosts[0].pk]})
    assert Host.objects.get(pk=platform.hosts[0].pk).state == "available"


def test_the_front_page_shows_what_the_role_may_see(browser: Callable[[str], Client]) -> None:
    url = reverse("admin:index")
    money, machines = "Books", "Capacity, jobs, drift"
    finance = browser(StaffRole.FINANCE).get(url).content.decode()
    operations = browser(StaffRole.OPERATIONS).get(url).content.decode()
    assert money in finance
    assert machines not in finance
    assert machines in operations
    assert money not in operations


def test_finance_cannot_change_when_two_people_decide(browser: Callable[[str], Client]) -> None:
    client = browser(StaffRole.FINANCE)
    url = reverse("admin:billing_billingsettings_change", args=[1])
    client.get(reverse("admin:billing_billingsettings_changelist"))
    assert client.post(url, {"four_eyes_above": "1000000"}).status_code == 403


@pytest.fixture
def root(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root@platform.test", "a long secret 9"))
    return client


def form_of(**values: str) -> dict[str, str]:
    return {
        "email": "new@platform.test",
        "full_name": "",
        "role": "owner",
        "time_zone": "UTC",
        "tenant": "",
        "new_password": "correct horse 9 battery",
        **values,
    }


def test_an_administrator_makes_staff_with_a_role(root: Client) -> None:
    url = reverse("admin:tenancy_user_add")
    root.post(url, form_of(is_staff="on", is_active="on", staff_role="support"))
    user = User.objects.get(email="new@platform.test")
    assert (user.is_staff, user.is_superuser, user.staff_role) == (True, False, "support")
    change = reverse("admin:tenancy_user_change", args=[user.pk])
    root.post(change, form_of(is_staff="on", is_active="on", staff_role="", new_password=""))
    user.refresh_from_db()
    assert (user.is_superuser, user.staff_role) == (True, "")
    root.post(change, form_of(is_staff="on", is_active="on", staff_role="finance", new_password=""))
    user.refresh_from_db()
    assert (user.is_superuser, user.staff_role) == (False, "finance")


def test_the_last_administrator_stays(root: Client) -> None:
    user = User.objects.get(email="root@platform.test")
    url = reverse("admin:tenancy_user_change", args=[user.pk])
    for change in ({"staff_role": "support", "is_active": "on"}, {"staff_role": ""}):
        sent = form_of(email=user.email, is_staff="on", new_password="", **change)
        assert "the last administrator" in root.post(url, sent).content.decode()
    user.refresh_from_db()
    assert user.is_superuser
    assert user.is_active
    assert (
        root.post(reverse("admin:tenancy_user_delete", args=[user.pk]), {"post": "yes"}).status_code
        == 403
    )


@pytest.mark.parametrize("role", ROLES)
def test_no_role_makes_or_changes_users(browser: Callable[[str], Client], role: str) -> None:
    client = browser(role)
    sent = form_of(is_staff="on", is_active="on")
    assert client.post(reverse("admin:tenancy_user_add"), sent).status_code == 403
    own = User.objects.get(staff_role=role)
    url = reverse("admin:tenancy_user_change", args=[own.pk])
    assert client.post(url, sent).status_code == 403
    own.refresh_from_db()
    assert not own.is_superuser


def test_support_resets_the_second_factor_of_tenants_users_only(user: User, db: None) -> None:
    actor = Actor.administrator(member(StaffRole.SUPPORT), user.tenant)
    root = User.objects.create_superuser("root@platform.test", "x")
    for one in (user, root):
        SecondFactor.objects.create(user=one, sealed_secret=b"x")
    with pytest.raises(Forbidden) as refusal:
        reset_second_factor(actor=Actor.administrator(actor.user, None), user=root)  # type: ignore[arg-type]  # there is one
    assert refusal.value.code == "administrator_needed"
    assert SecondFactor.objects.filter(user=root).exists()
    reset_second_factor(actor=actor, user=user)
    assert not SecondFactor.objects.filter(user=user).exists()


@pytest.mark.parametrize("role", ["", *ROLES])
def test_no_page_names_the_key_of_a_session(
    browser: Callable[[str], Client], root: Client, user: User, role: str
) -> None:
    theirs = Client()
    theirs.force_login(user)
    key = str(theirs.session.session_key)
    UserSession.objects.create(session_key=key, user=user, ip="192.0.2.1")
    client = browser(role) if role else root
    shown = 0
    for model in admin.site._registry:
        name = f"admin:{model._meta.app_label}_{model._meta.model_name}"
        for url in (reverse(f"{name}_changelist"), reverse(f"{name}_download")):
            answer = client.get(url)
            shown += answer.status_code == 200
            content = answer.getvalue() if answer.streaming else answer.content
            assert key.encode() not in bytes(content), url
            if model is UserSession and answer.status_code == 200 and not answer.streaming:
                assert user.email in answer.content.decode()
    assert shown > 10
    sessions = reverse("admin:tenancy_usersession_changelist")
    for page in ("", "change/", "history/", "delete/"):
        assert client.get(f"{sessions}{key}/{page}").status_code == 404
    answer = client.get(sessions, {"q": key})
    assert user.email not in answer.content.decode()


@pytest.mark.parametrize(
    ("model", "lookup"),
    [
        ("tenancy_usersession", "session_key__startswith"),
        ("tenancy_usersession", "pk__startswith"),
        ("tenancy_usersession", "pk__gte"),
        ("tenancy_user", "sessions__pk__startswith"),
        ("tenancy_user", "sessions__gte"),
        ("tenancy_user", "sessions__ip__startswith"),
        ("tenancy_usersession", "user__password__startswith"),
        ("tenancy_user", "password__startswith"),
        ("tenancy_user", "sessions__session_key__startswith"),
        ("tenancy_apikey", "digest__startswith"),
        ("compute_storagepool", "sealed_key__startswith"),
    ],
)
def test_no_list_is_filtered_by_a_secret(root: Client, model: str, lookup: str) -> None:
    page = site._registry[apps.get_model(model.replace("_", "."))]
    assert not page.lookup_allowed(lookup, "a", HttpRequest())
    answer = root.get(reverse(f"admin:{model}_changelist"), {lookup: "a"})
    # Whatever the value begins with, the answer is the same.
    assert (answer.status_code, answer.get("Location", "")[-4:]) in [(302, "?e=1"), (400, "")]


def test_no_user_with_a_role_is_made_an_administrator(db: None) -> None:
    user = member(StaffRole.SUPPORT)
    with pytest.raises(IntegrityError), transaction.atomic():
        # As a console of an earlier release does when it saves the form.
        User.objects.filter(pk=user.pk).update(is_superuser=True)
    user.refresh_from_db()
    assert not staff.may(user, "platform.lock_host")

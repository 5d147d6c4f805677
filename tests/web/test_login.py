"""Signing in and out, profile, sessions, API keys."""

from collections.abc import Callable

import pytest
from django.test import Client

from scloud.audit.models import Operation
from scloud.tenancy.models import ApiKey, Tenant, User, UserSession
from scloud.tenancy.scoping import scope, scopes_disabled
from tests.fixtures import PASSWORD


def sign_in(client: Client, user: User, password: str = PASSWORD, **extra: str) -> int:
    data = {"email": user.email, "password": password, **extra}
    return client.post("/login/", data).status_code


def operations(tenant: Tenant) -> list[tuple[str, bool]]:
    with scope(tenant=tenant):
        return list(Operation.objects.order_by("id").values_list("verb", "succeeded"))


def test_every_page_asks_for_a_login_and_comes_back(client: Client, user: User) -> None:
    response = client.get("/operations/?q=x")
    assert response.status_code == 302
    assert response["Location"] == "/login/?next=%2Foperations%2F%3Fq%3Dx"
    page = client.get(response["Location"]).content.decode()
    assert 'name="next" value="/operations/?q=x"' in page
    data = {"email": user.email, "password": PASSWORD, "next": "/operations/?q=x"}
    assert client.post("/login/", data)["Location"] == "/operations/?q=x"


def test_a_part_of_a_page_sends_the_whole_page_to_the_login(client: Client, db: None) -> None:
    headers = {"HX-Request": "true", "HX-Current-URL": "http://testserver/tasks/?page=2"}
    response = client.get("/tasks/", headers=headers)
    assert response.status_code == 401
    assert response["HX-Redirect"] == "/login/?next=%2Ftasks%2F%3Fpage%3D2"


@pytest.mark.parametrize("target", ["https://evil.test/", "//evil.test", "javascript:alert(1)"])
def test_the_login_never_leads_to_another_site(client: Client, user: User, target: str) -> None:
    data = {"email": user.email, "password": PASSWORD, "next": target}
    assert client.post("/login/", data)["Location"] == "/"


def test_the_address_matches_in_any_case(client: Client, user: User) -> None:
    data = {"email": user.email.upper(), "password": PASSWORD}
    assert client.post("/login/", data).status_code == 302


def test_wrong_password_and_unknown_address_get_the_same_answer(
    client: Client, user: User, tenant: Tenant
) -> None:
    wrong = client.post("/login/", {"email": user.email, "password": "nope"})
    unknown = client.post("/login/", {"email": "nobody@acme.test", "password": "nope"})
    assert wrong.status_code == unknown.status_code == 422
    for response in (wrong, unknown):
        assert "The e-mail address or the password is wrong." in response.content.decode()
    assert operations(tenant) == [("tenancy.sign_in", False)]


def test_five_failures_lock_the_account_even_for_the_right_password(
    client: Client, user: User
) -> None:
    for _ in range(5):
        assert sign_in(client, user, "nope") == 422
    response = client.post("/login/", {"email": user.email, "password": PASSWORD})
    assert response.status_code == 429
    assert "this account is locked" in response.content.decode()
    assert "Try again in" in response.content.decode()


def test_sign_in_and_out_are_in_the_operation_log(
    client: Client, user: User, tenant: Tenant
) -> None:
    sign_in(client, user)
    assert UserSession.objects.filter(user=user).count() == 1
    assert client.post("/logout/")["Location"] == "/login/"
    assert UserSession.objects.filter(user=user).count() == 0
    assert operations(tenant) == [("tenancy.sign_in", True), ("tenancy.sign_out", True)]
    assert client.get("/").status_code == 302


def test_logging_out_needs_a_post(console: Client) -> None:
    assert console.get("/logout/").status_code == 405
    assert console.get("/").status_code == 200


def test_posts_need_the_csrf_token(user: User) -> None:
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(user)
    response = strict.post("/profile/", {"full_name": "Eve"})
    assert response.status_code == 403
    assert "no longer valid" in response.content.decode()


def test_a_platform_administrator_is_sent_to_the_administration(client: Client, db: None) -> None:
    boss = User.objects.create_superuser("boss@platform.test", PASSWORD)
    response = client.post("/login/", {"email": boss.email, "password": PASSWORD})
    assert response["Location"] == "/admin/"
    page = client.get("/tasks/")
    assert page.status_code == 403
    assert "You are a platform administrator" in page.content.decode()


def test_the_profile_is_saved_and_shown_in_the_frame(console: Client, user: User) -> None:
    values = {
        "full_name": "Ada Lovelace",
        "time_zone": "Europe/Berlin",
        "language": "en",
        "theme": "dark",
    }
    assert console.post("/profile/", values).status_code == 302
    user.refresh_from_db()
    assert (user.full_name, user.time_zone, user.theme) == ("Ada Lovelace", "Europe/Berlin", "dark")
    assert 'data-theme="dark"' in console.get("/").content.decode()


@pytest.mark.parametrize(
    ("field", "value"),
    [("time_zone", "Mars/Olympus"), ("theme", "pink"), ("language", "xx"), ("full_name", "x" * 81)],
)
def test_a_wrong_preference_changes_nothing(
    console: Client, user: User, field: str, value: str
) -> None:
    good = {"full_name": "Ada", "time_zone": "UTC", "language": "", "theme": "auto"}
    response = console.post("/profile/", {**good, field: value})
    assert response.status_code == 422
    assert "field-invalid" in response.content.decode()
    user.refresh_from_db()
    assert user.full_name == ""


def test_a_new_password_ends_the_other_sessions(client: Client, user: User) -> None:
    other = Client()
    sign_in(client, user)
    sign_in(other, user)
    change = {"current": PASSWORD, "new": "another good passphrase"}
    assert client.post("/profile/password/", change).status_code == 302
    assert client.get("/profile/").status_code == 200
    assert other.get("/profile/").status_code == 302
    user.refresh_from_db()
    assert user.check_password("another good passphrase")


@pytest.mark.parametrize(
    ("current", "new", "message"),
    [
        ("wrong", "another good passphrase", "not your current password"),
        (PASSWORD, "short", "too short"),
        (PASSWORD, "password123", "too common"),
    ],
)
def test_a_bad_password_change_is_refused_beside_its_field(
    console: Client, user: User, current: str, new: str, message: str
) -> None:
    response = console.post("/profile/password/", {"current": current, "new": new})
    assert response.status_code == 422
    assert message in response.content.decode()
    user.refresh_from_db()
    assert user.check_password(PASSWORD)


def test_one_ends_ones_own_sessions_and_nobody_elses(
    client: Client, user: User, make_user: Callable[..., User], tenant: Tenant
) -> None:
    from scloud.web.profile import session_handle

    other_browser, colleague = Client(), Client()
    sign_in(client, user)
    sign_in(other_browser, user)
    sign_in(colleague, make_user(tenant, "operator"))
    page = client.get("/profile/").content.decode()
    mine = [session_handle(s) for s in UserSession.objects.filter(user=user)]
    foreign = session_handle(UserSession.objects.exclude(user=user).get())
    ending = next(handle for handle in mine if f"/profile/sessions/{handle}/end/" in page)
    # Neither the own session nor a session key is offered on the page.
    assert page.count("/end/") == 1
    assert all(s.session_key not in page for s in UserSession.objects.all())
    assert client.post(f"/profile/sessions/{foreign}/end/").status_code == 404
    assert client.post(f"/profile/sessions/{ending}/end/").status_code == 302
    assert other_browser.get("/").status_code == 302
    assert colleague.get("/").status_code == 200


def test_the_secret_of_a_key_is_shown_once(console: Client, tenant: Tenant) -> None:
    response = console.post("/api-keys/create/", {"name": "ci", "expires_in_days": "30"})
    page = response.content.decode()
    secret = page.split('data-copy="')[1].split('"')[0]
    assert secret.startswith("sck_")
    assert secret not in console.get("/api-keys/").content.decode()
    with scope(tenant=tenant):
        key = ApiKey.objects.get()
    assert key.name == "ci"
    assert key.expires_at is not None
    assert secret not in str(key.__dict__)
    assert ("tenancy.manage_api_keys", True) in operations(tenant)


def test_a_key_of_a_colleague_cannot_be_revoked(
    console: Client, make_user: Callable[..., User], tenant: Tenant
) -> None:
    colleague = Client()
    colleague.force_login(make_user(tenant, "operator"))
    colleague.post("/api-keys/create/", {"name": "theirs", "expires_in_days": "30"})
    with scope(tenant=tenant):
        key = ApiKey.objects.get()
    assert console.post(f"/api-keys/{key.pk}/revoke/").status_code == 404
    key.refresh_from_db()
    assert key.revoked_at is None


def test_a_key_never_gets_more_than_its_users_role(
    make_user: Callable[..., User], tenant: Tenant
) -> None:
    operator = Client()
    operator.force_login(make_user(tenant, "operator"))
    response = operator.post("/api-keys/create/", {"name": "x", "scopes": ["billing.*"]})
    assert response.status_code == 422
    with scopes_disabled():
        assert ApiKey.objects.count() == 0


@pytest.mark.parametrize("role", ["finance", "readonly"])
def test_roles_without_the_right_see_no_keys(
    make_user: Callable[..., User], tenant: Tenant, role: str
) -> None:
    client = Client()
    client.force_login(make_user(tenant, role))
    assert client.get("/api-keys/").status_code == 403
    assert client.post("/api-keys/create/", {"name": "x"}).status_code == 403
    assert "/api-keys/" not in client.get("/").content.decode().split("nav-scroll")[1]


def test_the_theme_of_the_top_bar_is_kept(console: Client, user: User) -> None:
    data = {"theme": "light", "next": "/tasks/"}
    assert console.post("/appearance/", data)["Location"] == "/tasks/"
    user.refresh_from_db()
    assert user.theme == "light"
    data = {"theme": "neon", "language": "tlh", "next": "https://evil.test"}
    assert console.post("/appearance/", data)["Location"] == "/"
    user.refresh_from_db()
    assert user.theme == "light"

"""While the database is away: 503 that says so, everywhere, and when to come back."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from channels.testing import WebsocketCommunicator
from django.conf import settings
from django.db import InterfaceError, OperationalError, connection, transaction
from django.test import Client
from django.urls import path

from scloud.asgi import application
from scloud.lib import outage
from scloud.lib.errors import Unavailable
from scloud.tenancy.models import User
from tests import asgi
from tests.api.client import program_of
from tests.browser import free_port

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def client() -> Client:
    """A client that gets the answer of an error rather than the error."""
    return Client(raise_request_exception=False)


@contextmanager
def away() -> Iterator[None]:
    """Point this process at a server that does not listen."""
    connection.close()
    before = dict(connection.settings_dict)
    connection.settings_dict.update(HOST="127.0.0.1", PORT=str(free_port()))
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict.update(before)


@pytest.mark.parametrize("path", ["/", "/login/", "/admin/", "/admin/login/", "/operations/"])
def test_pages_say_that_the_service_is_unavailable(client: Client, user: User, path: str) -> None:
    client.force_login(user)
    with away():
        answer = client.get(path)
    page = answer.content.decode()
    assert answer.status_code == 503
    assert answer["Retry-After"] == "5"
    assert answer["Cache-Control"] == "no-store"
    assert "The service is unavailable for a moment." in page
    assert "database_unavailable" in page
    assert "internal" not in page.lower()
    assert client.get("/").status_code == 200


def test_signing_in_says_so_too(client: Client, user: User) -> None:
    form = {"email": user.email, "password": "x"}
    with away():
        assert client.post("/login/", form).status_code == 503
        # Administrators go the same way in.
        assert client.get("/admin/login/").headers["Location"].startswith("/login/")


def test_a_part_of_a_page_gets_a_toast(client: Client, user: User) -> None:
    client.force_login(user)
    with away():
        answer = client.get("/tasks/", headers={"HX-Request": "true"})
    assert answer.status_code == 503
    assert answer["HX-Reswap"] == "none"
    assert "unavailable for a moment" in answer["HX-Trigger"]
    assert answer["Retry-After"] == "5"


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_api_answers_in_its_form(client: Client, user: User, method: str) -> None:
    program = program_of(user)
    program.http = client
    with away():
        answer = program.call(method, "/vms", None if method == "GET" else {})
    error = answer.error(503, "database_unavailable")
    assert answer.headers["Retry-After"] == "5"
    assert error["numbers"] == {"retry_after_s": 5}
    assert program.get("/vms").status == 200


def failing_at_commit(request: Any) -> Any:
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            row = cursor.fetchone()
        assert row is not None
        # The server ends the session between the last statement and the commit.
        parameters = connection.get_connection_params()
        wanted = {k: parameters[k] for k in ("host", "port", "user", "dbname") if k in parameters}
        with psycopg.connect(**wanted, autocommit=True) as other:
            other.execute("SELECT pg_terminate_backend(%s)", [row[0]])


urlpatterns = [
    path("api/v1/commit", failing_at_commit),
    path("commit", failing_at_commit),
]
handler500 = "scloud.web.errors.server_error"


@pytest.mark.urls(__name__)
@pytest.mark.parametrize("address", ["/api/v1/commit", "/commit"])
def test_a_connection_lost_at_commit_is_an_outage(client: Client, address: str) -> None:
    answer = client.get(address)
    assert answer.status_code == 503
    assert answer["Retry-After"] == "5"
    assert "database_unavailable" in answer.content.decode()


def test_a_defect_stays_a_defect(client: Client, user: User, monkeypatch: Any) -> None:
    client.force_login(user)

    def broken(*args: Any) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr("scloud.web.pages.HomeView.get", broken)
    assert client.get("/").status_code == 500


def wrapped(error: Exception, cause: BaseException | None) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (wrapped(OperationalError("gone"), None), "database_unavailable"),
        (wrapped(InterfaceError("the connection is closed"), None), "database_unavailable"),
        (wrapped(OperationalError(""), psycopg.errors.AdminShutdown()), "database_unavailable"),
        (wrapped(OperationalError(""), psycopg.errors.DeadlockDetected()), "database_busy"),
        (wrapped(OperationalError(""), psycopg.errors.LockNotAvailable()), "database_busy"),
        (wrapped(OperationalError(""), psycopg.errors.QueryCanceled()), "database_busy"),
        (wrapped(RuntimeError("later"), OperationalError("gone")), "database_unavailable"),
        (RuntimeError("a defect"), None),
    ],
)
def test_outages_are_told_from_defects(error: Exception, code: str | None) -> None:
    found = outage.outage_of(error)
    assert (found.code if found else None) == code
    assert found is None or isinstance(found, Unavailable)


def test_an_outage_is_one_line_of_the_log(
    client: Client, user: User, caplog: pytest.LogCaptureFixture
) -> None:
    client.force_login(user)
    caplog.handler.addFilter(outage.OneLine())
    with away():
        client.get("/")
    lines = [record for record in caplog.records if record.name == "django.request"]
    assert len(lines) == 1
    assert lines[0].exc_info is None
    assert "the database did not answer" in lines[0].getMessage()


def test_a_websocket_is_told_to_come_back(user: User) -> None:
    headers = [
        (b"origin", b"http://localhost"),
        (b"host", b"localhost"),
        (b"cookie", session_of(user)["Cookie"].encode()),
    ]

    async def run() -> None:
        page = WebsocketCommunicator(application, "/ws/events", headers=headers)
        await page.connect(timeout=20)
        closed = await page.receive_output(timeout=20)
        assert (closed["type"], closed["code"]) == ("websocket.close", 1013)

    with away_everywhere():
        asyncio.run(run())


# --- the same through the application of the console's process, body guard and all


@pytest.mark.usefixtures("region")
@pytest.mark.parametrize("path", ["/", "/login/", "/vms/", "/vms/create/", "/admin/"])
def test_the_process_answers_with_a_page(user: User, path: str) -> None:
    signed_in = session_of(user)
    assert asgi.ask("GET", path, headers=signed_in).status_code < 400
    with away_everywhere():
        answer = asgi.ask("GET", path, headers=signed_in)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "The service is unavailable for a moment." in answer.text
    assert "database_unavailable" in answer.text


def test_the_process_answers_a_part_of_a_page_with_a_toast(user: User) -> None:
    signed_in = session_of(user)
    with away_everywhere():
        answer = asgi.ask("GET", "/tasks/", headers={**signed_in, "HX-Request": "true"})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert "unavailable for a moment" in answer.headers["HX-Trigger"]


IMAGE = {"Content-Type": "application/octet-stream"}


@pytest.mark.parametrize(
    ("method", "path", "given"),
    [
        ("GET", "/vms", {}),
        ("GET", "/vms?page_size=1", {}),
        ("POST", "/vms", {"json": {}}),
        ("POST", "/vms", {"json": {}, "headers": {"Idempotency-Key": "k"}}),
        ("PATCH", "/vms/vm-zzzzzzzzz", {"json": {"name": "x"}}),
        ("DELETE", "/vms/vm-zzzzzzzzz", {}),
        ("POST", "/images/upload?disk_type=ssd", {"content": b"a" * 100_000, "headers": IMAGE}),
    ],
)
def test_the_process_answers_in_the_form_of_the_api(
    user: User, method: str, path: str, given: dict[str, Any]
) -> None:
    given = {
        **given,
        "headers": {
            "Authorization": f"Bearer {program_of(user).secret}",
            **given.get("headers", {}),
        },
    }
    assert asgi.ask(method, f"/api/v1{path}", **given).status_code not in {401, 503}
    with away_everywhere():
        answer = asgi.ask(method, f"/api/v1{path}", **given)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    error = answer.json()
    assert (error["code"], error["numbers"]) == ("database_unavailable", {"retry_after_s": 5})
    assert error["remedy"] == "Try again in a few seconds. No changes were made."


@pytest.mark.urls(__name__)
@pytest.mark.parametrize("address", ["/api/v1/commit", "/commit"])
def test_the_process_tells_a_connection_lost_at_commit(address: str) -> None:
    answer = asgi.ask("GET", address)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert "database_unavailable" in answer.text


def session_of(user: User) -> dict[str, str]:
    """The header with the cookie of a browser in which somebody is signed in."""
    browser = Client()
    browser.force_login(user)
    return {"Cookie": f"scloud_session={browser.cookies['scloud_session'].value}"}


@contextmanager
def away_everywhere() -> Iterator[None]:
    """As :func:`away`, also for the connections that other threads make."""
    database = settings.DATABASES["default"]
    before = database["PORT"]
    database["PORT"] = str(free_port())
    try:
        with away():
            yield
    finally:
        database["PORT"] = before

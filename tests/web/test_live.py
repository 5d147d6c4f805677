"""Events from PostgreSQL to the page: listener and websocket."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from asgiref.sync import sync_to_async
from channels.layers import channel_layers
from channels.testing import WebsocketCommunicator
from django.db import connection, connections, transaction
from django.test import Client
from websockets import ConnectionClosed, Origin
from websockets.sync.client import connect

from scloud import serve
from scloud.asgi import application
from scloud.audit import events
from scloud.tenancy.models import PlatformSettings, Tenant, User
from scloud.tenancy.scoping import scope
from scloud.tenancy.sessions import SEEN_KEY, STARTED_KEY
from scloud.web import consumers, listener

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _fresh_layer() -> Iterator[None]:
    """Every test has an event loop of its own, so it needs a channel layer of its own."""
    channel_layers.backends.clear()
    yield
    channel_layers.backends.clear()


def in_loop(test: Callable[[], Awaitable[None]]) -> None:
    """Run an asynchronous test to its end, and end the listener that it has started."""

    async def run() -> None:
        try:
            await test()
        finally:
            task = listener._tasks.get(asyncio.get_running_loop())
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            # The worker thread has a connection of its own, which would keep the database busy.
            await sync_to_async(connections.close_all)()

    asyncio.run(run())


def page_of(user: User | None, **data: Any) -> WebsocketCommunicator:
    """Return the websocket of a page that a user has open; ``data`` is put into the session."""
    headers = [(b"origin", b"http://localhost"), (b"host", b"localhost")]
    if user is not None:
        cookie = f"scloud_session={session_of(user, **data)}"
        headers.append((b"cookie", cookie.encode()))
    return WebsocketCommunicator(application, "/ws/events", headers=headers)


def emit(tenant: Tenant, kind: str = "vm.started") -> None:
    with scope(tenant=tenant):
        events.emit(tenant_id=tenant.pk, kind=kind, resource_kind="vm", resource_id="vm-000000001")


async def listening() -> None:
    """Wait until the listener has its LISTEN in place."""
    for _ in range(100):
        found = await sync_to_async(_listeners)()
        if found:
            return
        await asyncio.sleep(0.05)
    raise AssertionError("nobody listens")


def _listeners() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity "
            "WHERE query = 'LISTEN scloud_events' AND datname = current_database()"
        )
        return int(cursor.fetchone()[0])


def test_an_event_reaches_the_pages_of_its_tenant_and_no_others(
    user: User, tenant: Tenant, other_tenant: Tenant, make_user: Callable[..., User]
) -> None:
    mine, foreign = page_of(user), page_of(make_user(other_tenant))

    async def test() -> None:
        for page in (mine, foreign):
            connected, _ = await page.connect(timeout=10)
            assert connected
        await listening()
        await sync_to_async(emit)(tenant)
        message = await mine.receive_json_from(timeout=5)
        assert message["kind"] == "vm.started"
        assert message["resource_kind"] == "vm"
        assert message["resource_id"] == "vm-000000001"
        assert isinstance(message["event_id"], int)
        assert "tenant" not in message
        assert await foreign.receive_nothing(timeout=0.3)
        for page in (mine, foreign):
            await page.disconnect()

    in_loop(test)


def test_a_page_that_is_open_misses_nothing(
    user: User, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = page_of(user)
    connect_at_once = psycopg.AsyncConnection.connect

    async def slowly(*given: Any, **named: Any) -> Any:
        await asyncio.sleep(0.5)
        return await connect_at_once(*given, **named)

    monkeypatch.setattr(psycopg.AsyncConnection, "connect", slowly)

    async def test() -> None:
        connected, _ = await page.connect(timeout=10)
        assert connected
        await sync_to_async(emit)(tenant)
        assert (await page.receive_json_from(timeout=5))["kind"] == "vm.started"
        await page.disconnect()

    in_loop(test)


def test_an_event_of_a_transaction_that_is_rolled_back_is_never_sent(
    user: User, tenant: Tenant
) -> None:
    page = page_of(user)

    def emit_and_roll_back() -> None:
        with transaction.atomic():
            emit(tenant)
            transaction.set_rollback(True)

    async def test() -> None:
        await page.connect(timeout=10)
        await listening()
        await sync_to_async(emit_and_roll_back)()
        assert await page.receive_nothing(timeout=0.5)
        await page.disconnect()

    in_loop(test)


def test_nobody_listens_without_a_login(db: None) -> None:
    page = page_of(None)

    async def test() -> None:
        await page.connect(timeout=10)
        assert await page.receive_output(timeout=5) == {
            "type": "websocket.close",
            "code": consumers.SIGNED_OUT,
        }

    in_loop(test)


def test_a_page_of_another_site_cannot_open_the_socket(user: User) -> None:
    page = page_of(user)
    page.scope["headers"] = [
        (name, b"https://evil.test" if name == b"origin" else value)
        for name, value in page.scope["headers"] or []
    ]

    async def test() -> None:
        connected, _ = await page.connect(timeout=10)
        assert not connected

    in_loop(test)


def test_pages_resync_when_the_listener_has_lost_its_connection(user: User, tenant: Tenant) -> None:
    page = page_of(user)

    def cut() -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE query = 'LISTEN scloud_events' AND datname = current_database()"
            )

    async def test() -> None:
        await page.connect(timeout=10)
        await listening()
        await sync_to_async(cut)()
        assert await page.receive_json_from(timeout=10) == {"kind": "resync"}
        await sync_to_async(emit)(tenant, "vm.stopped")
        assert (await page.receive_json_from(timeout=5))["kind"] == "vm.stopped"
        await page.disconnect()

    in_loop(test)


def test_the_socket_closes_when_the_session_ends(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "CHECK_S", 0.1)
    page = page_of(user)

    def end() -> None:
        from django.contrib.sessions.models import Session

        Session.objects.all().delete()

    async def test() -> None:
        await page.connect(timeout=10)
        assert await page.receive_nothing(timeout=0.4)
        await sync_to_async(end)()
        output = await page.receive_output(timeout=5)
        assert output == {"type": "websocket.close", "code": consumers.SIGNED_OUT}

    in_loop(test)


def session_of(user: User, **data: Any) -> str:
    client = Client()
    client.force_login(user)
    session = client.session
    session.update(data)
    session.save()
    return str(session.session_key)


def test_a_session_is_valid_until_it_is_over_or_its_user_is_gone(
    user: User, make_user: Callable[..., User], tenant: Tenant, other_tenant: Tenant
) -> None:
    key = session_of(user)
    assert consumers.still_valid(user.pk, tenant.pk, key)
    assert not consumers.still_valid(user.pk, tenant.pk, None)
    assert not consumers.still_valid(user.pk, tenant.pk, "no-such-session")
    assert not consumers.still_valid(user.pk, other_tenant.pk, key)
    assert not consumers.still_valid(make_user(tenant, "finance").pk, tenant.pk, key)
    PlatformSettings.objects.create(idle_logout_min=15, session_lifetime_h=12)
    for past in ({SEEN_KEY: 1_000_000}, {STARTED_KEY: 1_000_000}):
        assert not consumers.still_valid(user.pk, tenant.pk, session_of(user, **past))
    User.objects.filter(pk=user.pk).update(is_active=False)
    assert not consumers.still_valid(user.pk, tenant.pk, key)


def test_a_new_password_ends_what_the_page_hears(user: User, tenant: Tenant) -> None:
    key = session_of(user)
    user.set_password("another good passphrase")
    user.save()
    assert not consumers.still_valid(user.pk, tenant.pk, key)


@pytest.mark.parametrize("what", [SEEN_KEY, STARTED_KEY])
def test_a_session_that_is_over_opens_no_websocket(user: User, what: str) -> None:
    page = page_of(user, **{what: 1_000_000})

    async def test() -> None:
        await page.connect(timeout=10)
        message = await page.receive_output(timeout=5)
        assert message == {"type": "websocket.close", "code": consumers.SIGNED_OUT}

    in_loop(test)


@pytest.mark.parametrize("payload", ["", "x", "[]", "{}", '"vm"', "null", '{"kind": "x"}'])
def test_nonsense_on_the_channel_is_dropped(payload: str, caplog: Any) -> None:
    asyncio.run(listener.pass_on(payload))
    assert "is not an event" in caplog.text


# --- limits


def test_one_person_has_so_many_pages_open_and_others_are_not_held_up(
    user: User, tenant: Tenant, make_user: Callable[..., User], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumers, "MAX_PER_USER", 2)
    mine = [page_of(user) for _ in range(4)]
    other = page_of(make_user(tenant, "operator"))

    async def test() -> None:
        for page in mine[:2]:
            assert (await page.connect(timeout=10))[0]
            assert await page.receive_nothing(timeout=0.1)
        await mine[2].connect(timeout=10)
        closed = await mine[2].receive_output(timeout=10)
        assert (closed["type"], closed["code"]) == ("websocket.close", consumers.TOO_MANY)
        assert (await other.connect(timeout=10))[0]
        assert await other.receive_nothing(timeout=0.1)
        # A page that is closed makes room.
        await mine[0].disconnect()
        assert (await mine[3].connect(timeout=10))[0]
        assert await mine[3].receive_nothing(timeout=0.1)
        for page in (mine[1], mine[3], other):
            await page.disconnect()
        assert not consumers._open

    in_loop(test)


def test_a_page_that_talks_is_cut_off(user: User) -> None:
    page = page_of(user)

    async def test() -> None:
        assert (await page.connect(timeout=10))[0]
        for _ in range(consumers.MAX_MESSAGES):
            await page.send_to(text_data="this is no JSON")
        assert await page.receive_nothing(timeout=0.2)
        await page.send_to(text_data="{}")
        closed = await page.receive_output(timeout=10)
        assert (closed["type"], closed["code"]) == ("websocket.close", consumers.POLICY)
        await page.disconnect()

    in_loop(test)


def test_the_server_takes_no_large_message(
    console_url: str, console_state: Path, user: User, settings: Any
) -> None:
    # The process has a secret key of its own, which signs sessions.
    settings.SECRET_KEY = (console_state / "secret_key").read_text().strip()
    client = Client()
    client.force_login(user)
    cookie = f"scloud_session={client.cookies['scloud_session'].value}"
    address = console_url.replace("http://", "ws://") + "/ws/events"
    with connect(
        address, additional_headers={"Cookie": cookie}, origin=Origin(console_url)
    ) as page:
        page.send("a" * (serve.MAX_MESSAGE_BYTES + 1))
        with pytest.raises(ConnectionClosed) as closed:
            page.recv(timeout=20)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009
    connections.close_all()

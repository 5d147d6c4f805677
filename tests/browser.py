"""A real browser on the real console process, on the test database."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.contrib.auth.hashers import make_password
from django.db import connection, connections
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, sync_playwright

from scloud.tenancy.models import User
from tests.fixtures import PASSWORD

WIDE, NARROW = {"width": 1440, "height": 900}, {"width": 390, "height": 844}


# What htmx says of a request that ended because its page was left; one that failed is named
# otherwise (``htmx:sendError``, ``htmx:responseError``).
LEFT = ("htmx:afterRequest", "htmx:sendAbort")


def complaints_in(message: ConsoleMessage) -> list[str]:
    """Return the error that a page wrote to the browser's console, if it is one."""
    if message.type != "error" or message.text.startswith(LEFT):
        return []
    return [message.text]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def _loop_of_playwright(monkeypatch: pytest.MonkeyPatch) -> None:
    """Playwright keeps an event loop in this thread; the queries of the tests are plain."""
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")


@pytest.fixture(scope="module")
def console_state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the console process keeps files."""
    return tmp_path_factory.mktemp("console")


@pytest.fixture(scope="module")
def console_url(console_state: Path, django_db_setup: None) -> Iterator[str]:
    """The console process on the test database, one for all tests of a file."""
    tmp_path = console_state
    database = connection.settings_dict
    port = free_port()
    url = f"postgres://{database['USER']}@{database['HOST']}:{database['PORT']}/{database['NAME']}"
    environment = {
        **os.environ,
        "DATABASE_URL": url,
        "SCLOUD_DEMO": "1",
        "SCLOUD_DEBUG": "1",
        "SCLOUD_STATE_DIR": str(tmp_path),
        # Where an identity provider leads back.
        "SCLOUD_CONSOLE_URL": f"http://127.0.0.1:{port}",
    }
    log = (tmp_path / "console.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "scloud.serve", "--listen", f"127.0.0.1:{port}"],
        cwd=Path(__file__).parents[1],
        env=environment,
        stdout=log,
        stderr=log,
    )
    try:
        for _ in range(1200):
            if process.poll() is not None or answers(port):
                break
            time.sleep(0.1)
        assert answers(port), (tmp_path / "console.log").read_text()
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=20)
        log.close()


@pytest.fixture
def context(_loop_of_playwright: None) -> Iterator[BrowserContext]:
    """A browser of 1440 pixels."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium",
            args=["--no-sandbox", "--disable-gpu", "--no-first-run"],
        )
        yield browser.new_context(viewport=WIDE)  # type: ignore[arg-type]  # a plain dict will do
        browser.close()


@pytest.fixture
def problems() -> list[str]:
    """What the browser complained about."""
    return []


@pytest.fixture
def page(
    context: BrowserContext, console_url: str, user: User, problems: list[str]
) -> Iterator[Page]:
    """A page of the signed-in owner."""
    opened = context.new_page()
    opened.set_default_timeout(15_000)
    opened.on("pageerror", lambda error: problems.append(str(error)))
    opened.on("console", lambda message: problems.extend(complaints_in(message)))
    # The tests hash with a fast algorithm that the server process does not accept.
    user.password = make_password(PASSWORD, hasher="argon2")
    user.save(update_fields=["password"])
    opened.goto(f"{console_url}/login/")
    opened.fill("[name=email]", user.email)
    opened.fill("[name=password]", PASSWORD)
    opened.keyboard.press("Enter")
    opened.wait_for_url(f"{console_url}/")
    yield opened
    # While Playwright's loop runs, Django keeps another connection than without it.
    connections.close_all()
    assert problems == []

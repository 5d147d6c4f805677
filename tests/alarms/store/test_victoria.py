"""The driver of VictoriaMetrics before a server that misbehaves."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from alarms.store import victoria
from alarms.store.base import (
    QueryTooLarge,
    RangeQuery,
    Sample,
    SeriesKey,
    StoreRefused,
    StoreUnavailable,
)
from alarms.store.victoria import VictoriaStore
from tests.alarms.store.rig import CPU, recently

START = recently()
QUERY = RangeQuery("tenant-a", ("vm-1",), CPU, START, START + timedelta(hours=1), 60)

Answer = Callable[[BaseHTTPRequestHandler], None]


class Server:
    """Answers every request as a test says, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answer: Answer = lambda handler: None
        self.asked: list[tuple[str, dict[str, str], bytes]] = []
        self.closing = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", "0"))
                outer.asked.append((self.path, dict(self.headers), self.rfile.read(length)))
                outer.answer(self)

            def log_request(self, code: object = "-", size: object = "-") -> None:
                """Quietly."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.server.server_address[1]}"

    def close(self) -> None:
        self.closing.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture
def store(server: Server) -> VictoriaStore:
    return VictoriaStore(f"http://{server.place}", timeout_s=1.0)


def says(status: int, body: bytes) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def sample(number: int = 1) -> Sample:
    return Sample("tenant-a", f"vm-{number}", START, {SeriesKey(CPU): 0.5})


@pytest.mark.parametrize("status", [301, 401, 403, 404, 429, 500, 502, 503])
def test_a_server_in_trouble_is_tried_again(
    server: Server, store: VictoriaStore, status: int
) -> None:
    server.answer = says(status, b"too busy")
    with pytest.raises(StoreUnavailable, match=f"{status}: too busy"):
        store.write([sample()])
    with pytest.raises(StoreUnavailable):
        store.query(QUERY)


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_server_that_refuses_is_not(server: Server, store: VictoriaStore, status: int) -> None:
    server.answer = says(status, b"cannot parse")
    with pytest.raises(StoreRefused, match="cannot parse"):
        store.write([sample()])


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"status":"success"}', b'{"data":1}'])
def test_something_else_than_an_answer_is_refused(
    server: Server, store: VictoriaStore, body: bytes
) -> None:
    server.answer = says(200, body)
    with pytest.raises(StoreRefused):
        store.query(QUERY)


def test_nobody_there() -> None:
    with pytest.raises(StoreUnavailable):
        VictoriaStore("http://127.0.0.1:9", timeout_s=1.0).query(QUERY)


def test_a_server_that_says_nothing_is_not_waited_for(server: Server, store: VictoriaStore) -> None:
    def hang(handler: BaseHTTPRequestHandler) -> None:
        server.closing.wait(30)

    server.answer = hang
    began = time.monotonic()
    with pytest.raises(StoreUnavailable):
        store.query(QUERY)
    assert time.monotonic() - began < 5


def test_an_answer_that_drips_is_given_up(server: Server, store: VictoriaStore) -> None:
    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000000")
        handler.end_headers()
        while not server.closing.wait(0.05):
            try:
                handler.wfile.write(b" ")
            except OSError:
                return

    server.answer = drip
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match="too long"):
        store.query(QUERY)
    assert time.monotonic() - began < 5


def test_an_answer_without_end_is_given_up(
    server: Server, store: VictoriaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(victoria, "MAX_ANSWER_BYTES", 1_000_000)

    def flood(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            while not server.closing.is_set():
                handler.wfile.write(b" " * 65_536)
        except OSError:
            return

    server.answer = flood
    with pytest.raises(QueryTooLarge, match="1000000 bytes"):
        store.query(QUERY)


def test_an_answer_that_is_cut_off_is_none(server: Server, store: VictoriaStore) -> None:
    def cut(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b'{"status":"success","data":{"result":[]}}')
        handler.close_connection = True

    server.answer = cut
    with pytest.raises(StoreUnavailable):
        store.query(QUERY)


def test_large_batches_are_written_in_parts(
    server: Server, store: VictoriaStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(victoria, "MAX_BODY_BYTES", 1000)
    server.answer = says(204, b"")
    store.write([sample(number) for number in range(50)])
    bodies = [body for _path, _headers, body in server.asked]
    lines = [json.loads(line) for line in b"".join(bodies).splitlines()]
    assert len(server.asked) > 3
    assert all(len(body) < 1500 for body in bodies)
    assert [line["metric"]["resource"] for line in lines] == [f"vm-{n}" for n in range(50)]
    assert {path for path, _headers, _body in server.asked} == {"/api/v1/import"}


def test_a_proxy_may_ask_for_a_password(server: Server) -> None:
    server.answer = says(204, b"")
    url = f"http://metrics:s%40fe@{server.place}/behind/"
    VictoriaStore(url).write([sample()])
    ((path, headers, _body),) = server.asked
    assert path == "/behind/api/v1/import"
    scheme, _, both = headers["Authorization"].partition(" ")
    assert (scheme, base64.b64decode(both)) == ("Basic", b"metrics:s@fe")


@pytest.mark.parametrize("url", ["", "postgres", "ftp://x/", "http://", "//x:1/"])
def test_a_url_of_something_else_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="http"):
        VictoriaStore(url)


def test_a_url_that_is_wrong_shows_no_password() -> None:
    with pytest.raises(ValueError, match="no port") as caught:
        VictoriaStore("https://metrics:secret#word@metrics.test/")
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__

"""Bodies of requests: bounded before they are stored, against the console's own server."""

import asyncio
import http.client
import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connections
from django.test import Client

from compute.transfer import staging, uploads
from scloud.lib import bodies
from scloud.resources.models import Region
from scloud.tenancy.models import Tenant, User
from scloud.web import handler
from scloud.web.handler import Handler
from tests.api.client import program_of
from tests.asgi import connections_end_with_requests

MIB = 1 << 20


class Exchange:
    """One request to the handler in this process: pieces in, the answer out."""

    def __init__(self, method: str, path: str, headers: dict[str, str]) -> None:
        self.scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(k.lower().encode(), v.encode()) for k, v in headers.items()],
            "client": ("192.0.2.7", 1234),
            "server": ("testserver", 80),
        }
        self.taken = 0
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""

    def send(self, pieces: list[bytes], *, gone: bool = False, silent: bool = False) -> "Exchange":
        """Run it; ``gone`` lets the client vanish after the pieces, ``silent`` say no more."""
        left = list(pieces)

        async def receive() -> dict[str, Any]:
            if left:
                piece = left.pop(0)
                self.taken += len(piece)
                return {
                    "type": "http.request",
                    "body": piece,
                    "more_body": bool(left) or gone or silent,
                }
            if gone:
                return {"type": "http.disconnect"}
            await asyncio.sleep(3600)
            raise AssertionError

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                self.status = message["status"]
                self.headers = {k.decode().lower(): v.decode() for k, v in message["headers"]}
            else:
                self.body += message.get("body", b"")

        with connections_end_with_requests():
            asyncio.run(Handler()(self.scope, receive, send))
        return self


@pytest.fixture(autouse=True)
def _hosts(settings: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    settings.ALLOWED_HOSTS = ["testserver", "127.0.0.1"]
    settings.MEDIA_ROOT = tmp_path
    monkeypatch.setattr(handler, "LINGER_S", 0.2)


def test_a_body_that_says_it_is_too_long_is_refused_before_a_byte_is_read() -> None:
    done = Exchange(
        "POST", "/login/", {"Host": "testserver", "Content-Length": str(200 * MIB)}
    ).send([])
    assert done.status == 413
    assert done.headers["connection"] == "close"
    assert "request_too_large" in done.body.decode()
    assert "content-security-policy" in done.headers


def test_a_body_of_unknown_length_is_counted_while_it_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(handler, "LINGER_BYTES", MIB)
    done = Exchange("POST", "/login/", {"Host": "testserver", "Transfer-Encoding": "chunked"}).send(
        [b"a" * 8192] * 10_000
    )
    assert done.status == 413
    # Its own 64 KB, and what was taken after the answer so that its sender can read it.
    assert done.taken <= 64 * 1024 + MIB + 3 * 8192


def test_the_api_refuses_in_its_own_form() -> None:
    done = Exchange(
        "POST", "/api/v1/vms", {"Host": "testserver", "Content-Length": str(3 * MIB)}
    ).send([])
    assert done.status == 413
    error = json.loads(done.body)
    assert error["code"] == "request_too_large"
    assert error["numbers"] == {"max_bytes": bodies.DEFAULT_MAX_BYTES}


def test_a_form_with_a_file_needs_a_length() -> None:
    done = Exchange(
        "POST",
        "/images/upload/",
        {
            "Host": "testserver",
            "Transfer-Encoding": "chunked",
            "Content-Type": "multipart/form-data; boundary=x",
        },
    ).send([])
    assert (done.status, "length_required" in done.body.decode()) == (411, True)


def test_only_the_announced_type_may_be_large() -> None:
    done = Exchange(
        "POST",
        "/api/v1/images/upload",
        {
            "Host": "testserver",
            "Content-Length": str(3 * MIB),
            "Content-Type": "multipart/form-data; boundary=x",
        },
    ).send([])
    assert done.status == 413


@pytest.mark.parametrize(
    ("path", "kind", "status"),
    [
        ("/api/v1/images/upload", "application/octet-stream", 401),
        ("/images/upload/", "multipart/form-data; boundary=x", 302),
    ],
)
@pytest.mark.django_db(transaction=True)
def test_nobody_s_upload_is_answered_without_reading_it(path: str, kind: str, status: int) -> None:
    done = Exchange(
        "POST",
        path,
        {
            "Host": "testserver",
            "Content-Length": str(50 * MIB),
            "Content-Type": kind,
            "Expect": "100-continue",
        },
    ).send([b"a" * MIB] * 50)
    assert (done.status, done.taken) == (status, 0)


CSRF = "c" * 32


def form_of(user: User, path: str, fields: dict[str, str], file: bytes) -> tuple[Exchange, bytes]:
    """A form with a file from somebody's browser: the request, and the bytes of its body."""
    client = Client()
    client.force_login(user)
    lines = []
    for name, value in {"csrfmiddlewaretoken": CSRF, **fields}.items():
        lines += ["--x", f'Content-Disposition: form-data; name="{name}"', "", value]
    lines += ["--x", 'Content-Disposition: form-data; name="file"; filename="a.raw"', "", ""]
    body = "\r\n".join(lines).encode() + file + b"\r\n--x--\r\n"
    headers = {
        "Host": "testserver",
        "Content-Length": str(len(body)),
        "Content-Type": "multipart/form-data; boundary=x",
        "Cookie": f"scloud_session={client.cookies['scloud_session'].value}; scloud_csrf={CSRF}",
        "Expect": "100-continue",
    }
    return Exchange("POST", path, headers), body


def pieces_of(body: bytes) -> list[bytes]:
    return [body[at : at + 65536] for at in range(0, len(body), 65536)]


ADMIN = "/admin/compute/image/add/"


@pytest.mark.django_db(transaction=True)
def test_an_administrator_uploads_a_base_image_of_any_size() -> None:
    boss = User.objects.create_superuser("boss@platform.test", "a good 9 password")
    request, body = form_of(boss, ADMIN, {"name": "x"}, bytes(5 * MIB))
    done = request.send(pieces_of(body))
    # The form's own refusal: other fields are missing.
    assert (done.status, done.taken) == (200, len(body))
    assert "This field is required" in done.body.decode()
    assert list(staging.folder().iterdir()) == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("role", "path"), [("owner", ADMIN), ("readonly", "/images/upload/")])
def test_a_file_of_somebody_without_the_right_is_not_read(
    make_user: Callable[..., User], tenant: Tenant, role: str, path: str
) -> None:
    request, body = form_of(make_user(tenant, role), path, {}, bytes(5 * MIB))
    done = request.send(pieces_of(body))
    assert (done.status, done.taken) == (403, 0)


@pytest.mark.django_db(transaction=True)
def test_a_form_whose_sender_vanishes_leaves_nothing(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted = uploads.StagingHandler.upload_interrupted

    def ended(self: uploads.StagingHandler) -> None:
        interrupted(self)
        # Nobody is there any more to whom the request's end would be told.
        connections.close_all()

    monkeypatch.setattr(uploads.StagingHandler, "upload_interrupted", ended)
    request, body = form_of(user, "/images/upload/", {"name": "x"}, bytes(5 * MIB))
    request.send(pieces_of(body[: 3 * MIB]), gone=True)
    assert request.taken == 3 * MIB
    assert list(staging.folder().iterdir()) == []


@pytest.mark.django_db(transaction=True)
def test_a_sender_that_falls_silent_is_given_up(
    user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handler, "STALL_TIMEOUT_S", 0.3)
    plain = Exchange("POST", "/login/", {"Host": "testserver", "Content-Length": "100"})
    done = plain.send([b"a" * 10], silent=True)
    assert (done.status, "request_incomplete" in done.body.decode()) == (400, True)
    request, body = form_of(user, "/images/upload/", {"name": "x"}, bytes(MIB))
    request.send(pieces_of(body)[:4], silent=True)
    # Without its token, which did not arrive in a whole form, nothing comes of it.
    assert request.status == 403
    assert list(staging.folder().iterdir()) == []


# --- the process that serves the console


def raw(url: str, head: str, body: Iterator[bytes] | None = None) -> tuple[str, int]:
    """Send a request as bytes; return the answer and how many bytes of the body went out."""
    host, port = url.removeprefix("http://").split(":")
    sent = 0
    with socket.create_connection((host, int(port)), timeout=20) as wire:
        wire.sendall(head.replace("\n", "\r\n").encode() + b"\r\n\r\n")
        try:
            for piece in body or ():
                wire.sendall(piece)
                sent += len(piece)
        except OSError:
            pass
        answer = b""
        try:
            while piece := wire.recv(65536):
                answer += piece
        except OSError:
            pass
    return answer.decode(errors="replace"), sent


def written_by(url: str) -> int:
    """Return how many bytes the server's process has passed to write()."""
    port = int(url.rsplit(":", 1)[1])
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes()
            if f"127.0.0.1:{port}".encode() in words and b"scloud.serve" in words:
                lines = (entry / "io").read_text().splitlines()
                return int(dict(line.split(": ") for line in lines)["wchar"])
        except OSError:
            continue
    raise AssertionError("no such process")


@pytest.mark.django_db(transaction=True)
def test_the_server_writes_nothing_of_a_large_form_of_a_stranger(console_url: str) -> None:
    before = written_by(console_url)
    head = f"POST /login/ HTTP/1.1\nHost: 127.0.0.1\nContent-Length: {200 * MIB}"
    answer, sent = raw(console_url, head, (b"a" * MIB for _ in range(200)))
    assert answer.startswith("HTTP/1.1 413")
    assert "request_too_large" in answer
    assert sent < 100 * MIB
    assert written_by(console_url) - before < MIB


@pytest.mark.django_db(transaction=True)
def test_the_server_stops_a_chunked_form_of_a_stranger(console_url: str) -> None:
    before = written_by(console_url)
    head = "POST /login/ HTTP/1.1\nHost: 127.0.0.1\nTransfer-Encoding: chunked"
    chunk = b"100000\r\n" + b"a" * MIB + b"\r\n"
    answer, sent = raw(console_url, head, (chunk for _ in range(200)))
    assert answer.startswith("HTTP/1.1 413")
    assert sent < 100 * MIB
    assert written_by(console_url) - before < MIB


@pytest.fixture
def secret(console_url: str, console_state: Path, user: User, settings: Any) -> str:
    """A key of the owner that the process knows: it has keys of its own."""
    settings.SCLOUD_STATE_DIR = console_state
    return program_of(user).secret


@pytest.mark.django_db(transaction=True)
def test_a_chunked_body_of_the_api_arrives(user: User, region: Region) -> None:
    body = json.dumps({"region": region.pk, "name": "chunked", "cidr": "10.9.0.0/16"}).encode()
    done = Exchange(
        "POST",
        "/api/v1/vpcs",
        {
            "Host": "testserver",
            "Transfer-Encoding": "chunked",
            "Content-Type": "application/json",
            "Authorization": f"Bearer {program_of(user).secret}",
        },
    ).send([body[:20], body[20:]])
    assert (done.status, json.loads(done.body)["name"]) == (201, "chunked")


@pytest.mark.django_db(transaction=True)
def test_a_chunked_form_arrives(console_url: str, user: Any) -> None:
    host, port = console_url.removeprefix("http://").split(":")
    wire = http.client.HTTPConnection(host, int(port), timeout=20)
    wire.request("GET", "/login/")
    page = wire.getresponse()
    token = page.headers["Set-Cookie"].split("scloud_csrf=")[1].split(";")[0]
    page.read()
    form = f"csrfmiddlewaretoken={token}&email=nobody%40a.test&password=wrong".encode()
    wire.request(
        "POST",
        "/login/",
        body=iter([form[:20], form[20:]]),
        headers={
            "Cookie": f"scloud_csrf={token}",
            "Content-Type": "application/x-www-form-urlencoded",
            "Transfer-Encoding": "chunked",
        },
        encode_chunked=True,
    )
    answer = wire.getresponse()
    assert answer.status == 422
    assert "The e-mail address or the password is wrong." in answer.read().decode()
    wire.close()
    connections.close_all()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("chunked", [False, True])
def test_an_upload_streams_to_its_place_once(
    console_url: str, console_state: Path, secret: str, chunked: bool
) -> None:
    size = 32 * MIB
    before = written_by(console_url)
    host, port = console_url.removeprefix("http://").split(":")
    wire = http.client.HTTPConnection(host, int(port), timeout=120)
    headers = {
        "Authorization": f"Bearer {secret}",
        "Content-Type": "application/octet-stream",
        **({"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(size)}),
    }
    pieces = iter([os.urandom(MIB)] * 32)
    wire.request("POST", "/api/v1/images/upload", pieces, headers, encode_chunked=chunked)
    answer = wire.getresponse()
    told = json.loads(answer.read())
    wire.close()
    assert answer.status == 201, told
    assert told["size_bytes"] == size
    staged = list((console_state / "uploads" / "images").glob("upload-*.image"))
    assert [path.stat().st_size for path in staged] == [size]
    assert written_by(console_url) - before < size + 2 * MIB
    staged[0].unlink()
    connections.close_all()


@pytest.mark.django_db(transaction=True)
def test_an_upload_that_breaks_off_leaves_nothing(
    console_url: str, console_state: Path, secret: str
) -> None:
    head = (
        f"POST /api/v1/images/upload HTTP/1.1\nHost: 127.0.0.1\nContent-Length: {8 * MIB}\n"
        f"Content-Type: application/octet-stream\nAuthorization: Bearer {secret}"
    )
    host, port = console_url.removeprefix("http://").split(":")
    place = console_state / "uploads" / "images"
    with socket.create_connection((host, int(port)), timeout=20) as wire:
        wire.sendall(head.replace("\n", "\r\n").encode() + b"\r\n\r\n" + b"a" * MIB)
        for _ in range(100):
            if place.is_dir() and list(place.iterdir()):
                break
            time.sleep(0.05)
        assert list(place.iterdir())
    for _ in range(100):
        if not list(place.iterdir()):
            break
        time.sleep(0.05)
    assert list(place.iterdir()) == []
    connections.close_all()


def test_a_form_with_a_file_of_the_test_client_still_works(console: Client) -> None:
    answer = console.post(
        "/images/upload/", {"name": "x", "file": SimpleUploadedFile("a.raw", b"a" * 10)}
    )
    assert answer.status_code == 422  # of the form: other fields are missing
    assert list(staging.folder().iterdir()) == []

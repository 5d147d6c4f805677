"""Images that tenants bring: uploads, downloads that are not fooled, and what may be deleted."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from billing.models import QuotaClaim
from compute.actions import images
from compute.actions.images import ImageFacts
from compute.models import Image
from compute.queries import catalogue
from compute.storage.base import StorageError
from compute.storage.fake import FakeStorage
from compute.sweeps import images as image_sweeps
from compute.transfer import download, staging
from compute.transfer.staging import export_path
from scloud.jobs.models import Job
from scloud.lib.destinations import Destinations, networks
from scloud.lib.errors import Conflict, Forbidden, HostError, InvalidInput, ScloudError
from scloud.resources import kinds
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scope
from tests.compute.box import Box, points_of


@pytest.fixture(autouse=True)
def _media(settings: Any, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path / "media"
    settings.SCLOUD_IMPORT_ALLOWED_NETWORKS = ["127.0.0.0/8"]


@pytest.fixture
def qcow2(tmp_path: Path) -> bytes:
    """A sound image of 1 GiB."""
    path = tmp_path / "sound.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(path), "1G"], check=True)
    return path.read_bytes()


def facts(box: Box, **changes: object) -> ImageFacts:
    values: dict[str, object] = {
        "region": box.platform.region,
        "pool": box.platform.pool,
        "name": "mine",
        "distribution": "ubuntu",
        "version": "24.04",
    }
    return ImageFacts(**{**values, **changes})  # type: ignore[arg-type]  # checked by the action


def upload(box: Box, content: bytes, sha256: str | None = None, **changes: object) -> Image:
    staged = staging.stage([content])
    return images.import_image_file(
        actor=box.actor, facts=facts(box, **changes), path=staged.path, sha256=sha256
    )


def run(box: Box, image: Image) -> Image:
    box.run()
    image.refresh_from_db()
    return image


# -- uploads


def test_an_upload_becomes_an_image_of_its_tenant_only(
    box: Box, qcow2: bytes, other_tenant: Tenant
) -> None:
    image = upload(box, qcow2, hashlib.sha256(qcow2).hexdigest())
    assert image.status == "importing"
    run(box, image)
    assert (image.status, image.min_disk_gib, image.admin_account) == ("available", 1, "ubuntu")
    assert image.import_source == ""
    assert QuotaClaim.objects.get(resource_id=image.pk).item == "images"
    assert list(staging.folder().iterdir()) == []
    region = box.platform.region
    assert box.actor.tenant is not None
    assert image in catalogue.images(box.actor.tenant, region)
    assert image not in catalogue.images(other_tenant, region)
    assert image in kinds.get("image").rows()
    assert box.platform.image not in kinds.get("image").rows()
    with scope(tenant=other_tenant):
        assert image not in kinds.get("image").rows()
    box.assert_nothing_orphaned()


def test_a_wrong_checksum_is_refused_and_leaves_nothing(box: Box, qcow2: bytes) -> None:
    image = run(box, upload(box, qcow2, "0" * 64))
    assert image.status == "failed"
    assert "checksum" in image.failure
    assert not QuotaClaim.objects.filter(resource_id=image.pk).exists()
    assert list(staging.folder().iterdir()) == []
    assert images.delete_image(actor=box.actor, image=image).status == "destroyed"
    box.assert_nothing_orphaned()


def test_an_image_with_a_foreign_backing_file_is_refused(box: Box, tmp_path: Path) -> None:
    path = tmp_path / "evil.qcow2"
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-u", "-F", "raw", "-b", "/etc/shadow",
         str(path), "1G"],
        check=True,
    )  # fmt: skip
    image = run(box, upload(box, path.read_bytes()))
    assert image.status == "failed"
    assert "backing file" in image.failure
    box.assert_nothing_orphaned()


def test_what_is_no_image_is_said_to_be_none(box: Box) -> None:
    image = run(box, upload(box, b"\x7fELF" + bytes(1020)))
    assert image.status == "failed"
    assert "ELF" in image.failure


def test_an_upload_beyond_the_limit_is_cut_off(settings: Any, tmp_path: Path) -> None:
    settings.SCLOUD_IMAGE_MAX_FILE_GIB = 0
    with pytest.raises(InvalidInput) as refused:
        staging.stage([b"x"])
    assert refused.value.code == "upload_too_large"
    assert list(staging.folder().iterdir()) == []


@pytest.mark.parametrize("name", ["../secret", "upload-1.part", "upload-none.image", "link"])
def test_only_complete_uploads_are_taken(box: Box, tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_bytes(b"x")
    (staging.folder() / "upload-1.part").write_bytes(b"x")
    (staging.folder() / "link").symlink_to(tmp_path / "secret")
    with pytest.raises(InvalidInput) as refused:
        images.import_image_file(actor=box.actor, facts=facts(box), path=staging.folder() / name)
    assert refused.value.code == "upload_missing"


@pytest.mark.parametrize(
    ("field", "changes"),
    [
        ("name", {"name": ""}),
        ("os_family", {"os_family": "beos"}),
        ("architecture", {"architecture": "m68k"}),
        ("min_disk_gib", {"min_disk_gib": 501}),
        ("admin_account", {"admin_account": "root; rm"}),
    ],
)
def test_facts_that_cannot_be_are_refused(
    box: Box, qcow2: bytes, field: str, changes: dict[str, Any]
) -> None:
    with pytest.raises(InvalidInput) as refused:
        upload(box, qcow2, **changes)
    assert refused.value.field == field


@pytest.mark.parametrize("point", points_of("image.import"))
@pytest.mark.parametrize("ending", ["run_dying", "give_up_at"])
def test_an_import_survives_its_worker(box: Box, qcow2: bytes, point: str, ending: str) -> None:
    image = upload(box, qcow2)
    getattr(box, ending)(point)
    image.refresh_from_db()
    assert image.status == ("available" if ending == "run_dying" else "failed")
    assert list(staging.folder().iterdir()) == []
    box.assert_nothing_orphaned()


# -- downloads


class Server:
    """An HTTP server that answers what a test says."""

    def __init__(self) -> None:
        self.answers: dict[str, Callable[[BaseHTTPRequestHandler], None]] = {}
        self.seen: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.seen.append(self.path)
                outer.answers[self.path](self)

            def log_message(self, *args: Any) -> None:
                """Keep the test's output clean."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"

    def serve(self, path: str, content: bytes, length: int | None = None) -> str:
        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(content) if length is None else length))
            handler.end_headers()
            handler.wfile.write(content)

        self.answers[path] = answer
        return self.url + path

    def redirect(self, path: str, target: str) -> str:
        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(302)
            handler.send_header("Location", target)
            handler.send_header("Content-Length", "0")
            handler.end_headers()

        self.answers[path] = answer
        return self.url + path

    def status(self, path: str, status: int) -> str:
        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(status)
            handler.send_header("Content-Length", "0")
            handler.end_headers()

        self.answers[path] = answer
        return self.url + path

    def close(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def server(settings: Any) -> Iterator[Server]:
    server = Server()
    settings.SCLOUD_IMPORT_PORTS = [server.server.server_port]
    yield server
    server.close()


def fetch(url: str, target: Path, **changes: Any) -> download.Fetched:
    places = Destinations(
        allowed=networks(changes.pop("allowed", ["127.0.0.0/8"])), ports=frozenset(range(1, 65536))
    )
    values: dict[str, Any] = {"max_bytes": 10_000_000, "destinations": places}
    return download.fetch(url, target, **{**values, **changes})


def test_an_image_comes_from_a_url(box: Box, server: Server, qcow2: bytes) -> None:
    server.serve("/real", qcow2)
    url = server.redirect("/image.qcow2?x=1", "/real")
    image = images.import_image_url(
        actor=box.actor, facts=facts(box), url=url, sha256=hashlib.sha256(qcow2).hexdigest()
    )
    run(box, image)
    assert (image.status, image.failure) == ("available", "")
    assert list(staging.folder().iterdir()) == []
    box.assert_nothing_orphaned()


def test_a_download_that_was_cut_is_no_image(box: Box, server: Server, qcow2: bytes) -> None:
    url = server.serve("/cut", qcow2[:1000], length=len(qcow2))
    image = run(box, images.import_image_url(actor=box.actor, facts=facts(box), url=url))
    assert image.status == "failed"
    assert list(staging.folder().iterdir()) == []


def test_a_download_that_ends_early_is_told_and_leaves_nothing(
    server: Server, tmp_path: Path
) -> None:
    """A raw file that was cut looks like a whole one."""
    with pytest.raises(HostError) as refused:
        fetch(server.serve("/cut", bytes(1024), length=4096), tmp_path / "out")
    assert refused.value.code == "download_failed"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("point", points_of("image.import")[:2])
def test_a_download_survives_its_worker(box: Box, server: Server, qcow2: bytes, point: str) -> None:
    url = server.serve("/image", qcow2)
    image = images.import_image_url(actor=box.actor, facts=facts(box), url=url)
    box.run_dying(point)
    image.refresh_from_db()
    assert image.status == "available"
    box.assert_nothing_orphaned()


def test_more_than_the_limit_is_not_taken_whatever_the_server_says(
    server: Server, tmp_path: Path
) -> None:
    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(bytes(300_000))

    server.answers["/endless"] = endless
    said = server.serve("/said", b"x", length=10**15)
    target = tmp_path / "out"
    for url in (server.url + "/endless", said):
        with pytest.raises(InvalidInput) as refused:
            fetch(url, target, max_bytes=100_000)
        assert refused.value.code == "download_too_large"
        assert not target.exists()


def test_progress_is_told(server: Server, tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    url = server.serve("/image", bytes(5000))
    done = fetch(url, tmp_path / "out", report=lambda *one: told.append(one))
    assert (done.size_bytes, told) == (5000, [(5000, 5000)])
    assert (tmp_path / "out").read_bytes() == bytes(5000)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "[::1]",
        "[::]",
        "[fe80::1]",
        "[fd00::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:169.254.169.254]",
        "[2002:7f00:1::]",
        "[64:ff9b::7f00:1]",
        "2130706433",
        "0x7f.1",
        "017700000001",
    ],
)
def test_addresses_inside_the_platform_are_refused_in_every_spelling(
    host: str, tmp_path: Path
) -> None:
    with pytest.raises(ScloudError) as refused:
        fetch(f"http://{host}/x", tmp_path / "out", allowed=[])
    assert refused.value.code in ("address_refused", "name_not_resolved")
    assert refused.value.code == "address_refused" or host.startswith("0x")


def test_a_redirection_into_the_platform_is_refused(server: Server, tmp_path: Path) -> None:
    inside = server.serve("/inside", b"secret").replace("127.0.0.1", "127.0.0.2")
    url = server.redirect("/out", inside)
    with pytest.raises(InvalidInput) as refused:
        fetch(url, tmp_path / "out", allowed=["127.0.0.1/32"])
    assert refused.value.code == "address_refused"
    assert server.seen == ["/out"]


def test_a_redirection_to_another_scheme_is_refused(server: Server, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput) as refused:
        fetch(server.redirect("/out", "file:///etc/passwd"), tmp_path / "out")
    assert refused.value.code == "url_invalid"


def test_a_name_is_judged_and_used_once(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name server that answers a private address the second time gains nothing."""
    answers = iter(["127.0.0.1", "127.0.0.2"])
    asked: list[str] = []

    def resolve(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    real_connect = socket.create_connection
    connected: list[str] = []

    def connect(address: tuple[str, int], timeout: float) -> socket.socket:
        connected.append(address[0])
        sock = socket.socket()
        sock.settimeout(timeout)
        sock.connect(address)
        return sock

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setattr(socket, "create_connection", connect)
    url = server.serve("/x", b"y").replace("127.0.0.1", "images.test")
    fetch(url, tmp_path / "out", allowed=["127.0.0.1/32"])
    assert (asked, connected) == (["images.test"], ["127.0.0.1"])
    assert real_connect is not connect


def test_a_name_with_one_private_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(host: str, port: int, **_: Any) -> list[Any]:
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port))
            for one in ("93.184.216.34", "10.0.0.1")
        ]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(InvalidInput):
        Destinations().resolve("mixed.test", 80)


@pytest.mark.parametrize(
    ("location", "path"),
    [
        (b"/with space.img", "/with%20space.img"),
        ("/größe/日本.img?n=ü".encode(), "/gr%C3%B6%C3%9Fe/%E6%97%A5%E6%9C%AC.img?n=%C3%BC"),
        (b"/latin-\xe9.img", "/latin-%E9.img"),
        (b"/kept%20as%2fit-is.img", "/kept%20as%2fit-is.img"),
        (b"  relative.img ", "/folder/relative.img"),
    ],
)
def test_a_redirection_is_followed_as_browsers_do_it(
    server: Server, tmp_path: Path, location: bytes, path: str
) -> None:
    server.serve(path, b"found")
    url = server.redirect("/folder/out", location.decode("latin-1"))
    assert fetch(url, tmp_path / "out").size_bytes == 5
    assert server.seen == ["/folder/out", path]


def test_a_redirection_to_another_port_is_refused(server: Server, box: Box) -> None:
    url = server.redirect("/out", "http://127.0.0.1:5432/")
    image = run(box, images.import_image_url(actor=box.actor, facts=facts(box), url=url))
    assert (image.status, server.seen) == ("failed", ["/out"])
    assert "Port 5432" in image.failure


def test_a_redirection_to_nowhere_is_told(server: Server, tmp_path: Path) -> None:
    with pytest.raises(ScloudError) as refused:
        fetch(server.status("/out", 302), tmp_path / "out")
    assert refused.value.code == "download_refused"


def test_other_ports_are_refused_at_once(box: Box) -> None:
    with pytest.raises(InvalidInput) as refused:
        images.import_image_url(
            actor=box.actor, facts=facts(box), url="https://example.org:22/image.qcow2"
        )
    assert (refused.value.code, refused.value.field) == ("url_port", "url")
    assert refused.value.numbers == {"port": 22, "allowed": [80, 443]}


def test_the_hosts_of_the_platform_are_refused_even_where_their_network_is_allowed(
    box: Box, settings: Any
) -> None:
    host = box.platform.hosts[0]
    settings.SCLOUD_IMPORT_ALLOWED_NETWORKS = [f"{host.address}/24"]
    url = f"http://{host.address}/image.qcow2"
    image = run(box, images.import_image_url(actor=box.actor, facts=facts(box), url=url))
    assert image.status == "failed"
    assert "not a public address" in image.failure


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://example.org/x",
        "file:///etc/passwd",
        "http://",
        "http://[::1",
        "http://exa mple.org/",
        "http://example.org/\r\nX: y",
        "http://example.org:99999/",
        "http://user:secret@example.org/",
        "https://example.org/" + "x" * 1000,
    ],
)
def test_what_is_no_plain_url_is_refused_at_once(box: Box, url: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        images.import_image_url(actor=box.actor, facts=facts(box), url=url)
    assert refused.value.field == "url"
    assert not Job.objects.filter(kind="image.import").exists()


def test_answers_that_are_no_file_are_told(server: Server, tmp_path: Path) -> None:
    with pytest.raises(ScloudError) as refused:
        fetch(server.status("/missing", 404), tmp_path / "out")
    assert refused.value.code == "download_refused"
    with pytest.raises(HostError):
        fetch(server.status("/broken", 503), tmp_path / "out")
    with pytest.raises(ScloudError) as refused:
        fetch(server.redirect("/loop", "/loop"), tmp_path / "out")
    assert refused.value.code == "too_many_redirects"
    with pytest.raises(HostError):
        fetch("http://127.0.0.1:1/nobody", tmp_path / "out")


# -- what happens to them


def test_an_image_in_use_stays_and_says_who_uses_it(box: Box, qcow2: bytes) -> None:
    image = run(box, upload(box, qcow2, min_disk_gib=1))
    vm = box.vm(image=image)
    with pytest.raises(Conflict) as refused:
        images.delete_image(actor=box.actor, image=image)
    assert (refused.value.code, refused.value.numbers) == ("image_in_use", {"vms": 1})
    from compute.actions.vms import lifecycle

    lifecycle.delete_vm(actor=box.actor, vm=vm)
    box.run()
    with pytest.raises(Conflict):
        images.delete_image(actor=box.actor, image=image)
    vm.refresh_from_db()
    lifecycle.destroy_vm(actor=box.actor, vm=vm)
    box.run()
    assert images.delete_image(actor=box.actor, image=image).status == "binned"


def test_an_image_goes_to_the_bin_comes_back_and_goes_for_good(box: Box, qcow2: bytes) -> None:
    image = run(box, upload(box, qcow2))
    images.delete_image(actor=box.actor, image=image)
    assert not QuotaClaim.objects.filter(resource_id=image.pk).exists()
    images.restore_image(actor=box.actor, image=image)
    assert image.status == "available"
    assert QuotaClaim.objects.filter(resource_id=image.pk).exists()
    images.delete_image(actor=box.actor, image=image)
    Image.objects.filter(pk=image.pk).update(destroy_at=timezone.now() - timedelta(seconds=1))
    assert image_sweeps.empty_image_bin() == 1
    run(box, image)
    assert image.status == "destroyed"
    box.assert_nothing_orphaned()


@pytest.mark.parametrize("point", points_of("image.destroy"))
@pytest.mark.parametrize("ending", ["run_dying", "give_up_at"])
def test_a_destruction_survives_its_worker(box: Box, qcow2: bytes, point: str, ending: str) -> None:
    image = run(box, upload(box, qcow2))
    images.delete_image(actor=box.actor, image=image)
    images.destroy_image(actor=box.actor, image=image)
    getattr(box, ending)(point)
    image.refresh_from_db()
    assert image.status == ("destroyed" if ending == "run_dying" else "binned")
    if image.status == "binned":
        images.destroy_image(actor=box.actor, image=image)
        box.run()
    box.assert_nothing_orphaned()


def test_base_images_are_not_the_tenants_to_change(box: Box) -> None:
    base = box.platform.image
    for verb in (
        images.delete_image,
        images.rename_image,
        images.download_image,
        images.restore_image,
        images.destroy_image,
    ):
        with pytest.raises(Forbidden):
            verb(actor=box.actor, image=base)
    assert images.rename_image(actor=Actor.system(None), image=base, name="New").name == "New"


def test_an_image_lies_ready_for_download(box: Box, qcow2: bytes) -> None:
    image = run(box, upload(box, qcow2))
    job = images.download_image(actor=box.actor, image=image)
    box.run()
    job.refresh_from_db()
    assert (job.status, job.result["file"]) == ("succeeded", export_path(image).name)
    assert export_path(image).read_bytes() == qcow2


def test_a_file_for_download_stays_for_a_day_however_old_its_image_is(
    box: Box, qcow2: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    image = run(box, upload(box, qcow2))
    of_the_pool = tmp_path / "old.qcow2"
    of_the_pool.write_bytes(qcow2)
    os.utime(of_the_pool, (0, 0))

    def linked(_storage: FakeStorage, _image_id: str, target: Path) -> None:
        os.link(of_the_pool, target)

    monkeypatch.setattr(FakeStorage, "export_image", linked)
    images.download_image(actor=box.actor, image=image)
    box.run()
    assert export_path(image).samefile(of_the_pool)
    assert image_sweeps.sweep_staging() == 0
    assert export_path(image).exists()


def test_no_part_of_a_file_for_download_stays(
    box: Box, qcow2: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = run(box, upload(box, qcow2))

    def fills_up(_storage: FakeStorage, _image_id: str, target: Path) -> None:
        target.write_bytes(qcow2[:10])
        raise StorageError("It cannot.")

    with monkeypatch.context() as patched:
        patched.setattr(FakeStorage, "export_image", fills_up)
        job = images.download_image(actor=box.actor, image=image)
        box.run()
    job.refresh_from_db()
    assert job.status == "failed"
    assert list(staging.exports().iterdir()) == []
    # What a worker left that was killed goes with the image.
    staging.export_part(image).write_bytes(qcow2[:10])
    images.delete_image(actor=box.actor, image=image)
    image.refresh_from_db()
    images.destroy_image(actor=box.actor, image=image)
    assert run(box, image).status == "destroyed"
    assert list(staging.exports().iterdir()) == []


def test_uploads_that_nobody_imported_go_after_a_day(
    box: Box, qcow2: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = upload(box, qcow2)
    staging.stage([b"forgotten"])
    assert image_sweeps.sweep_staging() == 0
    monkeypatch.setattr(staging, "KEEP_S", -1.0)
    assert image_sweeps.sweep_staging() == 1
    assert run(box, image).status == "available"

"""Images on their way in and out over HTTP: whose upload it is, and the file for download."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from asgiref.sync import sync_to_async
from django.core import signing
from django.http import StreamingHttpResponse

from compute.models import Image, StoragePool
from compute.rules import catalogue as catalog
from compute.tasks.images import export_path
from compute.transfer import staging
from scloud.lib.errors import Conflict, InvalidInput
from scloud.resources.models import Region
from scloud.tenancy.models import Tenant

SALT = "compute.image-upload"
CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class Upload:
    """A complete upload; ``token`` names it for a day, for its tenant only."""

    token: str
    size_bytes: int
    sha256: str


def receive(tenant: Tenant, chunks: Iterable[bytes]) -> Upload:
    """Write an upload down. Raises InvalidInput (``upload_too_large``, ``upload_empty``)."""
    staged = staging.stage(chunks)
    if not staged.size_bytes:
        staged.path.unlink(missing_ok=True)
        raise InvalidInput(
            "The upload is empty.", code="upload_empty", field="file", remedy="Choose a file."
        )
    token = signing.dumps({"tenant": tenant.pk, "file": staged.path.name}, salt=SALT)
    return Upload(token, staged.size_bytes, staged.sha256)


def path_of(tenant: Tenant, token: str) -> Path:
    """Return where a tenant's upload lies. Raises InvalidInput (``upload_missing``)."""
    missing = InvalidInput(
        "There is no such upload.",
        code="upload_missing",
        field="upload",
        remedy="Upload the file again.",
    )
    try:
        named = signing.loads(token, salt=SALT, max_age=int(staging.KEEP_S))
    except signing.BadSignature as error:
        raise missing from error
    if named["tenant"] != tenant.pk:
        raise missing
    try:
        return staging.check_staged(staging.folder() / named["file"])
    except InvalidInput as error:
        raise missing from error


def read_all(stream: Any) -> Iterator[bytes]:
    """Yield a request's body piece by piece."""
    while piece := stream.read(CHUNK_BYTES):
        yield piece


def pool_for(tenant: Tenant, region: Region, disk_type_id: str = "") -> StoragePool:
    """Return the pool that an import goes to: that of the disk type, or of the first one.

    Raises InvalidInput (``disk_type_unknown``).
    """
    types = catalog.disk_types(tenant, region)
    chosen = types.filter(pk=disk_type_id).first() if disk_type_id else types.first()
    if chosen is None:
        raise InvalidInput(
            "There is no such disk type here.", code="disk_type_unknown", field="disk_type"
        )
    return chosen.pool


def is_ready(image: Image) -> bool:
    """Whether the file for download lies ready."""
    return export_path(image).is_file()


def file_response(image: Image, *, asynchronous: bool) -> StreamingHttpResponse:
    """Return the download of an own image that lies ready. Raises Conflict (``not_ready``).

    ``asynchronous`` says that the server is an ASGI one, which would collect an ordinary iterator
    in memory.
    """
    path = export_path(image)
    try:
        size_bytes = path.stat().st_size
    except OSError as error:
        raise Conflict(
            f"{image.name} is not ready for download.",
            code="not_ready",
            remedy="Prepare the download first; the file stays for a day.",
        ) from error

    def pieces() -> Iterator[bytes]:
        with path.open("rb") as file:
            while piece := file.read(CHUNK_BYTES):
                yield piece

    async def pieces_async() -> AsyncIterator[bytes]:
        source = pieces()
        advance = sync_to_async(lambda: next(source, None), thread_sensitive=False)
        while (piece := await advance()) is not None:
            yield piece

    content = pieces_async() if asynchronous else pieces()
    response = StreamingHttpResponse(content, content_type="application/octet-stream")
    name = quote(f"{image.name}.qcow2")
    response.headers["Content-Length"] = str(size_bytes)
    response.headers["Content-Disposition"] = (
        f"attachment; filename=\"{image.pk}.qcow2\"; filename*=UTF-8''{name}"
    )
    response.headers["Cache-Control"] = "private, no-store"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response

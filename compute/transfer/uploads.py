"""Images on their way in and out over HTTP: whose upload it is, and the file for download."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from asgiref.sync import sync_to_async
from django.core import signing
from django.core.exceptions import RequestDataTooBig
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler
from django.db import connection
from django.http import HttpRequest, StreamingHttpResponse, UnreadablePostError
from django.utils.translation import gettext as _

from compute.models import Image, StoragePool
from compute.queries import catalogue
from compute.states.images import ImageStatus
from compute.transfer import staging
from compute.transfer.staging import export_path
from scloud.lib.bodies import BodyRule
from scloud.lib.errors import Conflict, InvalidInput, QuotaExceeded, TooLarge
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


def imported_files(tenant: Tenant) -> frozenset[str]:
    """Return the names of the uploads that a tenant's imports are working on."""
    sources = Image.objects.filter(tenant=tenant, status=ImageStatus.IMPORTING)
    return frozenset(Path(one).name for one in sources.values_list("import_source", flat=True))


def receive(tenant: Tenant, chunks: Iterable[bytes]) -> Upload:
    """Write an upload down.

    Raises InvalidInput (``upload_too_large``, ``upload_empty``), QuotaExceeded
    (``uploads_waiting``).
    """
    imported = imported_files(tenant)
    if not connection.in_atomic_block:
        connection.close()  # hours may go by; the connection is worth more elsewhere
    return accept(tenant, staging.stage(chunks, owner=tenant.pk, imported=imported))


def accept(tenant: Tenant, staged: staging.Staged) -> Upload:
    """Give a complete file to a tenant. Raises InvalidInput (``upload_empty``)."""
    if not staged.size_bytes:
        staged.path.unlink(missing_ok=True)
        raise InvalidInput(
            _("The upload is empty."), code="upload_empty", field="file", remedy=_("Choose a file.")
        )
    token = signing.dumps({"tenant": tenant.pk, "file": staged.path.name}, salt=SALT)
    return Upload(token, staged.size_bytes, staged.sha256)


def path_of(tenant: Tenant, token: str) -> Path:
    """Return where a tenant's upload lies. Raises InvalidInput (``upload_missing``)."""
    missing = InvalidInput(
        _("There is no such upload."),
        code="upload_missing",
        field="upload",
        remedy=_("Upload the file again."),
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
    """Yield a request's body piece by piece.

    Raises InvalidInput (``upload_interrupted``, ``upload_too_large``).
    """
    try:
        while piece := stream.read(CHUNK_BYTES):
            yield piece
    except UnreadablePostError as error:
        raise InvalidInput(
            _("The upload is incomplete."),
            code="upload_interrupted",
            field="file",
            remedy=_("Upload the file again."),
        ) from error
    except RequestDataTooBig as error:
        limit = staging.max_file_bytes()
        raise TooLarge(
            _("The file is larger than the %(gib)d GB allowed.") % {"gib": limit // 1024**3},
            code="upload_too_large",
            field="file",
            numbers={"max_bytes": limit},
        ) from error


class StagedFile(UploadedFile[bytes]):
    """A file of a form that already lies where it stays; closed without an owner it is removed.

    ``staged`` is the refusal where there was no space for the file, which is gone then.
    """

    def __init__(
        self, staged: staging.Staged | QuotaExceeded, name: str, content_type: str, size: int
    ) -> None:
        super().__init__(None, name, content_type, size)
        self._refused = staged if isinstance(staged, QuotaExceeded) else None
        self._staged = None if isinstance(staged, QuotaExceeded) else staged

    def take(self) -> staging.Staged:
        """Return the file, which from now on is the caller's. Raises QuotaExceeded."""
        if self._refused is not None:
            raise self._refused
        assert self._staged is not None
        staged, self._staged = self._staged, None
        return staged

    def close(self) -> None:
        """Called at the end of the request."""
        if self._staged is not None:
            self._staged.path.unlink(missing_ok=True)
            self._staged = None


class StagingHandler(FileUploadHandler):
    """Writes the files of a form to their place while they come in."""

    _stage: staging.Stage | None = None
    _refused: QuotaExceeded | None = None

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        """Begin a file. A refusal waits for the view, which knows how to tell it."""
        super().new_file(*args, **kwargs)
        actor = getattr(self.request, "actor", None)
        tenant: Tenant | None = getattr(actor, "tenant", None)
        imported = imported_files(tenant) if tenant is not None else frozenset[str]()
        if not connection.in_atomic_block:
            connection.close()  # as in receive()
        self._refused = None
        try:
            self._stage = staging.Stage(tenant.pk if tenant is not None else "", imported)
        except QuotaExceeded as error:
            self._refused = error

    def receive_data_chunk(self, raw_data: bytes, start: int) -> None:
        """Write a piece. Raises RequestDataTooBig, as Django does for forms."""
        if self._refused is not None:
            return
        assert self._stage is not None
        try:
            self._stage.write(raw_data)
        except QuotaExceeded as error:
            self._stage.discard()
            self._stage, self._refused = None, error
        except InvalidInput as error:
            raise RequestDataTooBig(error.message) from error

    def file_complete(self, file_size: int) -> StagedFile:
        name, content_type = self.file_name or "", self.content_type or ""
        if self._refused is not None:
            return StagedFile(self._refused, name, content_type, file_size)
        assert self._stage is not None
        staged, self._stage = self._stage.finish(), None
        return StagedFile(staged, name, content_type, staged.size_bytes)

    def upload_interrupted(self) -> None:
        """Leave nothing of a file that did not come to its end; called after each request."""
        if self._stage is not None:
            self._stage.discard()
            self._stage = None


def of_api() -> BodyRule:
    """Return what the API's upload takes: the bytes of a file."""
    return BodyRule(staging.max_file_bytes, streamed_type="application/octet-stream")


def of_form(*, staff: bool = False) -> BodyRule:
    """Return what an upload of the console takes, or of the administration: a form with a file."""

    def handler(request: HttpRequest) -> FileUploadHandler:
        return StagingHandler(request)

    return BodyRule(
        staging.max_file_bytes, streamed_type="multipart/form-data", handler=handler, staff=staff
    )


def pool_for(tenant: Tenant, region: Region, disk_type_id: str = "") -> StoragePool:
    """Return the pool that an import goes to: that of the disk type, or of the first one.

    Raises InvalidInput (``disk_type_unknown``).
    """
    types = catalogue.disk_types(tenant, region)
    chosen = types.filter(pk=disk_type_id).first() if disk_type_id else types.first()
    if chosen is None:
        raise InvalidInput(
            _("There is no such disk type here."), code="disk_type_unknown", field="disk_type"
        )
    return chosen.pool


def is_ready(image: Image) -> bool:
    """Whether the file for download is ready."""
    return export_path(image).is_file()


def file_response(image: Image, *, asynchronous: bool) -> StreamingHttpResponse:
    """Return the download of an own image that is ready. Raises Conflict (``not_ready``).

    ``asynchronous`` says that the server is an ASGI one, which would collect an ordinary iterator
    in memory.
    """
    path = export_path(image)
    try:
        size_bytes = path.stat().st_size
    except OSError as error:
        raise Conflict(
            _("%(name)s is not ready for download.") % {"name": image.name},
            code="not_ready",
            remedy=_("Prepare the download first. The file is kept for one day."),
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

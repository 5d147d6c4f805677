"""Images: the list, import by URL and upload, download, rename, delete."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.core.handlers.asgi import ASGIRequest
from django.db.models import QuerySet
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from compute.actions import images as verbs
from compute.models import Image
from compute.models.image import OsFamily
from compute.models.platform import Architecture
from compute.queries import disks as queries
from compute.states import images as image_states
from compute.states.images import ImageStatus
from compute.transfer import uploads
from compute.views.common import TONES, name_and_id, os_icon
from compute.views.verb_base import VerbAction
from scloud.lib.errors import Forbidden, NotFound
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from scloud.web import ui
from scloud.web.icons import icon
from scloud.web.lists import (
    BatchAction,
    Column,
    EmptyState,
    Filter,
    ListView,
    PageAction,
    RowAction,
)
from scloud.web.status import StatusView
from scloud.web.views import ActionView, BatchView, ConsoleView


def tenant_of(actor: Actor) -> Tenant:
    """Return the caller's tenant; console pages let nobody else in."""
    if actor.tenant is None:
        raise NotFound(_("There is no tenant."))
    return actor.tenant


def image_status(image: Image) -> StatusView:
    """Return an image's state as the pages show it."""
    tone = TONES.get(image_states.image_tone(image.status), "off")
    return StatusView(label=str(ImageStatus(image.status).label), tone=tone, detail=image.failure)


def image_refused(image: Image, verb: str, actor: Actor) -> str:
    """Return why the caller cannot use a verb on an image now; empty when it can."""
    if not actor.allows(f"compute.{verb}"):
        return _("Your role does not include this.")
    return queries.image_verb_refusal(image, verb) or ""


def system_of(image: Image) -> Any:
    words = f"{image.distribution.capitalize()} {image.version}".strip()
    return format_html("<span>{} {}</span>", icon(os_icon(image.distribution)), words)


def _of_kind(rows: QuerySet[Any], values: list[str]) -> QuerySet[Any]:
    if {"base", "own"} <= set(values):
        return rows
    return rows.filter(tenant__isnull="base" in values)


def image_actions(image: Image, actor: Actor) -> list[RowAction]:
    """Return the menu of an image: create a VM, rename, download, delete."""
    may_create = actor.allows("compute.create_vm")
    usable = image.status == ImageStatus.AVAILABLE
    reason = "" if usable else _("The image is not available.")
    lines = [
        RowAction(
            _("Create VM"),
            f"{reverse('vm-create')}?image={image.pk}",
            icon="server-2",
            how="link",
            reason=reason if may_create else _("Your role does not include this."),
        )
    ]
    for verb in ("rename_image", "download_image", "delete_image"):
        rule = image_states.image_rule(verb)
        slug = verb.removesuffix("_image")
        lines.append(
            RowAction(
                rule.label,
                reverse(f"image-{slug}", args=[image.pk]),
                icon=rule.icon,
                danger=rule.danger,
                reason=image_refused(image, verb, actor),
                separator=verb != "download_image",
            )
        )
    ready = not image.is_base and uploads.is_ready(image)
    if ready and not image_refused(image, "download_image", actor):
        url = reverse("image-file", args=[image.pk])
        lines.insert(3, RowAction(_("Save the file"), url, icon="file-download", how="link"))
    return lines


class ImageList(ListView):
    """Base images and the tenant's own."""

    kind = "image"
    permission = "compute.view_image"
    title = gettext_lazy("Images")
    default_sort = "name"
    has_row_menu = True
    page_template = "compute/images/list.html"
    columns = (
        name_and_id("image-detail"),
        Column(
            "status",
            gettext_lazy("Status"),
            value=image_status,
            sort="status",
            export=lambda image: str(image_status(image)),
            nowrap=True,
        ),
        Column("id", gettext_lazy("ID"), render=ui.ident, nowrap=True, default=False),
        Column(
            "kind",
            gettext_lazy("Kind"),
            value=lambda image: _("Base") if image.is_base else _("Own"),
            sort="tenant",
        ),
        Column(
            "system",
            gettext_lazy("System"),
            value=system_of,
            sort=("distribution", "version"),
            export=lambda image: f"{image.distribution} {image.version}",
            nowrap=True,
        ),
        Column(
            "architecture",
            gettext_lazy("Architecture"),
            value=lambda image: str(image.get_architecture_display()),
            sort="architecture",
        ),
        Column(
            "size",
            gettext_lazy("Size"),
            value="size_bytes",
            render=ui.size_bytes,
            sort="size_bytes",
            align="end",
        ),
        Column(
            "min_disk",
            gettext_lazy("System disk from"),
            value="min_disk_gib",
            render=ui.size_gib,
            sort="min_disk_gib",
            align="end",
        ),
        Column("account", gettext_lazy("Administrator"), value="admin_account", default=False),
        Column(
            "hot",
            gettext_lazy("Hot upgrade"),
            value="supports_hot_upgrade",
            render=ui.boolean,
            sort="supports_hot_upgrade",
        ),
        Column(
            "base",
            gettext_lazy("Base image"),
            value="base_image.name",
            sort="base_image__name",
            default=False,
        ),
        Column("remark", gettext_lazy("Description"), default=False),
        Column("sha256", gettext_lazy("SHA-256"), render=ui.ident, default=False),
        Column("created", gettext_lazy("Created"), value="created_at", sort="created_at"),
    )
    filters = (
        Filter(
            "kind",
            gettext_lazy("Kind"),
            choices=(("base", gettext_lazy("Base")), ("own", gettext_lazy("Own"))),
            apply=_of_kind,
        ),
        Filter(
            "status",
            gettext_lazy("Status"),
            choices=[
                choice
                for choice in ImageStatus.choices
                if choice[0] not in (ImageStatus.BINNED, ImageStatus.DESTROYED)
            ],
        ),
        Filter("family", gettext_lazy("System"), choices=OsFamily.choices, lookup="os_family__in"),
    )
    batch_actions = (
        BatchAction(
            gettext_lazy("Delete"),
            icon="trash",
            url_name="image-batch-delete",
            danger=True,
            permission="compute.delete_image",
        ),
    )
    page_actions = (
        PageAction(
            gettext_lazy("Import from URL"),
            "image-import",
            icon="cloud-download",
            primary=False,
            dialog=True,
            permission="compute.import_image",
        ),
        PageAction(
            gettext_lazy("Upload image"),
            "image-upload",
            icon="upload",
            dialog=True,
            permission="compute.import_image",
        ),
    )
    empty = EmptyState(
        gettext_lazy("No images yet"),
        gettext_lazy("Make one from a stopped VM, or import a QCOW2 or raw file of your own."),
        icon="photo",
        action_label=gettext_lazy("Upload image"),
        action_url_name="image-upload",
        action_permission="compute.import_image",
        dialog=True,
    )

    def get_queryset(self) -> QuerySet[Image]:
        """What the tenant may use in the region."""
        return queries.images(tenant_of(self.actor), self.request.region)

    def row_actions(self, obj: Any) -> list[RowAction]:
        """Create a VM, rename, download, delete."""
        return image_actions(obj, self.actor)


class FactsForm(forms.Form):
    """What people say of an image that they import."""

    name = forms.CharField(label=gettext_lazy("Name"), max_length=60)
    os_family = forms.ChoiceField(label=gettext_lazy("System family"), choices=OsFamily.choices)
    distribution = forms.CharField(
        label=gettext_lazy("Distribution"),
        max_length=30,
        initial="linux",
        help_text=gettext_lazy("Such as debian, ubuntu, centos, windows."),
    )
    version = forms.CharField(label=gettext_lazy("Version"), max_length=30, required=False)
    architecture = forms.ChoiceField(
        label=gettext_lazy("Architecture"), choices=Architecture.choices
    )
    admin_account = forms.CharField(
        label=gettext_lazy("Administrator"),
        max_length=32,
        required=False,
        help_text=gettext_lazy("Empty: the usual one of the distribution."),
    )
    min_disk_gib = forms.IntegerField(
        label=gettext_lazy("System disk from (GB)"), min_value=1, max_value=100_000, initial=10
    )
    supports_hot_upgrade = forms.BooleanField(
        label=gettext_lazy("The system supports hot upgrade"), required=False
    )
    sha256 = forms.CharField(label=gettext_lazy("SHA-256 checksum"), max_length=64, required=False)
    remark = forms.CharField(label=gettext_lazy("Description"), max_length=200, required=False)


class UrlForm(FactsForm):
    """From where."""

    field_order = ("url", "name")
    url = forms.CharField(
        label=gettext_lazy("URL"),
        max_length=1000,
        help_text=gettext_lazy("http or https, of a QCOW2 or raw file."),
    )


class UploadForm(FactsForm):
    """Which file."""

    field_order = ("file", "name")
    file = forms.FileField(
        label=gettext_lazy("File"), help_text=gettext_lazy("A QCOW2 or raw file.")
    )


class ImageImport(ActionView):
    """From a URL."""

    permission = "compute.import_image"
    title = gettext_lazy("Import image from URL")
    verb = gettext_lazy("Import")
    icon = "cloud-download"
    text = gettext_lazy("The platform downloads the file and looks at it before it can be used.")
    form_class: ClassVar[type[forms.Form] | None] = UrlForm
    success_text = gettext_lazy("The image is being imported.")

    def facts(self, data: dict[str, Any]) -> verbs.ImageFacts:
        """Return what the form says. Raises NotFound, InvalidInput."""
        region = self.request.region
        if region is None:
            raise NotFound(_("There is no region yet."))
        named = {name: value for name, value in data.items() if name in FactsForm.base_fields}
        named.pop("sha256")
        pool = uploads.pool_for(tenant_of(self.actor), region)
        return verbs.ImageFacts(region=region, pool=pool, **named)

    def perform(self, obj: Any, data: dict[str, Any]) -> Any:
        """Begin."""
        return verbs.import_image_url(
            actor=self.actor, facts=self.facts(data), url=data["url"], sha256=data["sha256"]
        )

    def success_url(self, obj: Any) -> Any:
        """The list, where the new row is."""
        return "image-list"


class ImageUpload(ImageImport):
    """From a file of the browser."""

    title = gettext_lazy("Upload image")
    verb = gettext_lazy("Upload")
    icon = "upload"
    text = gettext_lazy("Keep this page open until the file is sent.")
    form_class = UploadForm
    template_name = "compute/images/upload.html"
    body_rule = uploads.of_form()

    def perform(self, obj: Any, data: dict[str, Any]) -> Any:
        """Begin; the file lies in its place already."""
        facts = self.facts(data)
        file = data["file"].take().path
        try:
            return verbs.import_image_file(
                actor=self.actor, facts=facts, path=file, sha256=data["sha256"]
            )
        except Exception:
            file.unlink(missing_ok=True)
            raise


class ImageAction(VerbAction):
    """A verb of an image with its dialog."""

    permission = "compute.view_image"
    live_kind = "image"

    def get_object(self) -> Image:
        """The image of the address."""
        return queries.image(tenant_of(self.actor), self.kwargs["image_id"])

    def refusal(self, obj: Any) -> str:
        """By the image's state and the caller's role."""
        return image_refused(obj, self.rule, self.actor)


class TextsForm(forms.Form):
    """Name and description."""

    name = forms.CharField(label=gettext_lazy("Name"), max_length=60)
    remark = forms.CharField(label=gettext_lazy("Description"), max_length=200, required=False)


class ImageRename(ImageAction):
    """Name and description."""

    rule = "rename_image"
    title = gettext_lazy("Rename")
    verb = gettext_lazy("Save")
    form_class = TextsForm
    success_text = gettext_lazy("Saved.")

    def get_form_kwargs(self, obj: Any) -> dict[str, Any]:
        """What they are now."""
        return {"initial": {"name": obj.name, "remark": obj.remark}}

    def perform(self, obj: Any, data: dict[str, Any]) -> Any:
        """Save."""
        return verbs.rename_image(actor=self.actor, image=obj, **data)


class ImageDownload(ImageAction):
    """Laying the file ready."""

    rule = "download_image"
    title = gettext_lazy("Download")
    verb = gettext_lazy("Prepare the file")
    icon = "download"
    text = gettext_lazy(
        "The file is prepared in the background; then the menu of the image has it for a day."
    )
    success_text = gettext_lazy("%(name)s is being prepared for download.")

    def perform(self, obj: Any, data: dict[str, Any]) -> Any:
        """Begin."""
        return verbs.download_image(actor=self.actor, image=obj)


class ImageFile(ConsoleView):
    """The file that lies ready."""

    permission = "compute.download_image"

    def get(self, request: HttpRequest, image_id: str) -> HttpResponseBase:
        """Send it. Raises Forbidden for a base image, Conflict when it is not ready."""
        image = queries.image(tenant_of(self.actor), image_id)
        if image.is_base:
            raise Forbidden(_("Base images are the platform's."), code="base_image")
        return uploads.file_response(image, asynchronous=isinstance(request, ASGIRequest))


class ImageDelete(ImageAction):
    """To the recycle bin."""

    rule = "delete_image"
    title = verb = gettext_lazy("Delete")
    icon = "trash"
    danger = True
    text = gettext_lazy("The image moves to the recycle bin. Not while VMs rest on it.")
    success_text = gettext_lazy("%(name)s is deleted.")

    def perform(self, obj: Any, data: dict[str, Any]) -> Any:
        """Delete it."""
        return verbs.delete_image(actor=self.actor, image=obj)


class ImageBatchDelete(BatchView):
    """Several to the recycle bin."""

    permission = "compute.view_image"
    live_kind = "image"
    title = verb = gettext_lazy("Delete")
    danger = True
    text = gettext_lazy("The chosen images move to the recycle bin. Not while VMs rest on them.")

    def get_objects(self, ids: list[str]) -> list[Any]:
        """The chosen images that the tenant may see."""
        return list(queries.images(tenant_of(self.actor)).filter(pk__in=ids))

    def perform(self, obj: Any, data: dict[str, Any]) -> Any:
        """Delete one."""
        return verbs.delete_image(actor=self.actor, image=obj)


def url_patterns() -> list[URLPattern]:
    """Return the URLs of images."""
    of_one = "images/<str:image_id>/"
    return [
        path("images/", ImageList.as_view(), name="image-list"),
        path("images/import/", ImageImport.as_view(), name="image-import"),
        path("images/upload/", ImageUpload.as_view(), name="image-upload"),
        path("images/batch/delete/", ImageBatchDelete.as_view(), name="image-batch-delete"),
        path(of_one + "rename/", ImageRename.as_view(), name="image-rename"),
        path(of_one + "download/", ImageDownload.as_view(), name="image-download"),
        path(of_one + "file/", ImageFile.as_view(), name="image-file"),
        path(of_one + "delete/", ImageDelete.as_view(), name="image-delete"),
    ]

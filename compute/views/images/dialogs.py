"""The dialogs of images."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import URLPattern, path
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from compute.actions import images as verbs
from compute.models import Image
from compute.models.image import OsFamily
from compute.models.platform import Architecture
from compute.queries import images as image_queries
from compute.transfer import uploads
from compute.views.images.common import image_refused, tenant_of
from compute.views.images.list import ImageList
from compute.views.verb_base import VerbAction
from scloud.lib.errors import Forbidden, NotFound
from scloud.lib.form_fields import PlainIntegerField
from scloud.web.views import ActionView, BatchView, ConsoleView


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
    min_disk_gib = PlainIntegerField(
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
        return image_queries.image(tenant_of(self.actor), self.kwargs["image_id"])

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
        image = image_queries.image(tenant_of(self.actor), image_id)
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
        return list(image_queries.images(tenant_of(self.actor)).filter(pk__in=ids))

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

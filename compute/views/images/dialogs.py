"""The dialogs of images."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from compute.actions.images import ImageFacts, import_image_file, import_image_url
from compute.models.image import OsFamily
from compute.models.platform import Architecture
from compute.queries import images as image_queries
from compute.rules.storage import IMAGE_SKU
from compute.transfer import uploads
from compute.views.images.common import tenant_of
from compute.views.priced import metered_lines
from scloud.lib.errors import Forbidden, NotFound
from scloud.lib.form_fields import PlainIntegerField
from scloud.web import verbs
from scloud.web.views import ActionView, ConsoleView


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
        help_text=gettext_lazy("Leave empty for the distribution's default."),
    )
    min_disk_gib = PlainIntegerField(
        label=gettext_lazy("Minimum system disk (GB)"), min_value=1, max_value=100_000, initial=10
    )
    supports_hot_upgrade = forms.BooleanField(
        label=gettext_lazy("Supports hot upgrade"), required=False
    )
    watchdog = forms.BooleanField(
        label=gettext_lazy("Watchdog"),
        required=False,
        help_text=gettext_lazy("Resets the VM when a guest that feeds it stops doing so."),
    )
    sha256 = forms.CharField(label=gettext_lazy("SHA-256 checksum"), max_length=64, required=False)
    remark = forms.CharField(label=gettext_lazy("Description"), max_length=200, required=False)


class UrlForm(FactsForm):
    field_order = ("url", "name")
    url = forms.CharField(
        label=gettext_lazy("URL"),
        max_length=1000,
        help_text=gettext_lazy("An http or https URL of a QCOW2 or raw file."),
    )


class UploadForm(FactsForm):
    field_order = ("file", "name")
    file = forms.FileField(
        label=gettext_lazy("File"), help_text=gettext_lazy("A QCOW2 or raw file.")
    )


class ImageImport(ActionView):
    permission = "compute.import_image"
    title = gettext_lazy("Import image from URL")
    verb = gettext_lazy("Import")
    icon = "cloud-download"
    text = gettext_lazy("The file is downloaded and checked before it can be used.")
    form_class: ClassVar[type[forms.Form] | None] = UrlForm
    success_text = gettext_lazy("The image is being imported.")

    def get_dialog_context(self, obj: Any) -> dict[str, Any]:
        """What it will cost."""
        region = self.request.region or None
        if region is None:
            return {}
        return {"lines": metered_lines(tenant_of(self.actor), region, IMAGE_SKU)}

    def facts(self, data: dict[str, Any]) -> ImageFacts:
        """Return what the form says. Raises NotFound, InvalidInput."""
        region = self.request.region or None
        if region is None:
            raise NotFound(_("There is no region yet."))
        named = {name: value for name, value in data.items() if name in FactsForm.base_fields}
        named.pop("sha256")
        pool = uploads.pool_for(tenant_of(self.actor), region)
        return ImageFacts(region=region, pool=pool, **named)

    def perform(self, obj: Any, data: dict[str, Any]) -> Any:
        return import_image_url(
            actor=self.actor, facts=self.facts(data), url=data["url"], sha256=data["sha256"]
        )

    def success_url(self, obj: Any) -> Any:
        """The list, where the new row is."""
        return "image-list"


class ImageUpload(ImageImport):
    title = gettext_lazy("Upload image")
    verb = gettext_lazy("Upload")
    icon = "upload"
    text = gettext_lazy("Keep this page open until the upload is complete.")
    form_class = UploadForm
    template_name = "compute/images/upload.html"
    body_rule = uploads.of_form()

    def perform(self, obj: Any, data: dict[str, Any]) -> Any:
        """Begin; the file lies in its place already."""
        facts = self.facts(data)
        file = data["file"].take().path
        try:
            return import_image_file(
                actor=self.actor, facts=facts, path=file, sha256=data["sha256"]
            )
        except Exception:
            file.unlink(missing_ok=True)
            raise


verbs.register(
    verbs.Pages(
        kind="image",
        prefix="images",
        key="image_id",
        permission="compute.view_image",
        one=lambda request, pk, binned: image_queries.image(
            tenant_of(request.actor), pk, binned=binned
        ),
        several=lambda request, ids: image_queries.images(tenant_of(request.actor)).filter(
            pk__in=ids
        ),
        names=verbs.Names(longest=60, remark=gettext_lazy("Description")),
        home=lambda image: reverse("image-list"),
    )
)


class ImageFile(ConsoleView):
    permission = "compute.download_image"

    def get(self, request: HttpRequest, image_id: str) -> HttpResponseBase:
        """Send it. Raises Forbidden for a base image, Conflict when it is not ready."""
        image = image_queries.image(tenant_of(self.actor), image_id)
        if image.is_base:
            raise Forbidden(_("Base images are managed by the platform."), code="base_image")
        return uploads.file_response(image, asynchronous=isinstance(request, ASGIRequest))

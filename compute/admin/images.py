"""Images in Django admin: base images are added, replaced and withdrawn here."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from compute.actions import base_images, images
from compute.actions.vms import changes
from compute.models import VM, Image, StoragePool
from compute.models.image import OsFamily
from compute.models.platform import Architecture
from compute.states.images import ImageStatus
from compute.transfer import uploads
from scloud.adminsite.verbs import VerbAdmin
from scloud.lib.errors import InvalidInput, ScloudError
from scloud.lib.form_fields import PlainIntegerField
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.admintools import Button, administrator, needs, size_column
from scloud.tenancy.scoping import scopes_disabled
from scloud.web.forms import add_error

FILE, URL, FROM_VM = "file", "url", "vm"


class FactsForm(forms.Form):
    name = forms.CharField(label=gettext_lazy("Name"), max_length=200)
    remark = forms.CharField(label=gettext_lazy("Description"), max_length=200, required=False)
    distribution = forms.CharField(label=gettext_lazy("Distribution"), max_length=100)
    version = forms.CharField(label=gettext_lazy("Version"), max_length=100, required=False)
    admin_account = forms.CharField(
        label=gettext_lazy("Administrator account"),
        max_length=100,
        required=False,
        help_text=gettext_lazy("Leave empty for the distribution's default."),
    )
    min_disk_gib = PlainIntegerField(
        label=gettext_lazy("Minimum system disk (GB)"), min_value=1, initial=1
    )
    supports_hot_upgrade = forms.BooleanField(
        label=gettext_lazy("Supports hot upgrade"), required=False
    )
    accepts_user_data = forms.BooleanField(
        label=gettext_lazy("Supports user data (cloud-init)"), required=False, initial=True
    )
    accepts_ssh_keys = forms.BooleanField(
        label=gettext_lazy("Supports SSH public keys"), required=False, initial=True
    )
    watchdog = forms.BooleanField(
        label=gettext_lazy("Watchdog"),
        required=False,
        help_text=gettext_lazy("VMs have it from their next start."),
    )
    position = PlainIntegerField(
        label=gettext_lazy("Position in the list"), min_value=0, max_value=32_767, initial=0
    )


class AddForm(FactsForm):
    """A new base image, and where its content comes from."""

    region = forms.ModelChoiceField(Region.objects.all(), label=gettext_lazy("Region"))
    pool = forms.ModelChoiceField(StoragePool.objects.all(), label=gettext_lazy("Storage pool"))
    os_family = forms.ChoiceField(label=gettext_lazy("Family"), choices=OsFamily.choices)
    architecture = forms.ChoiceField(
        label=gettext_lazy("Architecture"), choices=Architecture.choices
    )
    source = forms.ChoiceField(
        label=gettext_lazy("Source"),
        choices=(
            (URL, gettext_lazy("a URL")),
            (FILE, gettext_lazy("an uploaded file")),
            (FROM_VM, gettext_lazy("a stopped VM (it supplies the other fields)")),
        ),
    )
    url = forms.CharField(label="URL", max_length=1000, required=False)
    file = forms.FileField(label=gettext_lazy("File"), required=False)
    vm = forms.CharField(label=gettext_lazy("ID of the VM"), max_length=20, required=False)
    sha256 = forms.CharField(
        label="SHA-256",
        max_length=100,
        required=False,
        help_text=gettext_lazy("Checksum of the file."),
    )
    field_order = (
        "source", "url", "file", "vm", "sha256", "region", "pool", "os_family", "architecture",
    )  # fmt: skip

    def clean(self) -> dict[str, Any]:
        """The field of the chosen source is needed."""
        data = super().clean() or {}
        source = data.get("source")
        if source and not data.get(source):
            self.add_error(source, _("This is needed for the chosen source."))
        return data


class ReplaceForm(forms.Form):
    by = forms.ModelChoiceField(Image.objects.none(), label=gettext_lazy("Replaced by"))

    def __init__(self, *args: Any, image: Image, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        rows = Image.objects.filter(
            tenant=None,
            region=image.region_id,
            os_family=image.os_family,
            architecture=image.architecture,
            status=ImageStatus.AVAILABLE,
        ).exclude(pk=image.pk)
        self.fields["by"].queryset = rows  # type: ignore[attr-defined]  # ModelChoiceField


def _made(actor: Actor, data: dict[str, Any]) -> Image:
    """Begin to make a base image as a valid AddForm says. Raises ScloudError."""
    if data["source"] == FROM_VM:
        with scopes_disabled():
            vm = VM.objects.select_related("tenant", "image").filter(pk=data["vm"].strip()).first()
        if vm is None:
            raise InvalidInput(_("There is no such VM."), code="vm_unknown", field="vm")
        acting = Actor.administrator(actor.user, vm.tenant, actor.ip)  # type: ignore[arg-type]  # an administrator is a user
        return changes.make_image(
            actor=acting, vm=vm, name=data["name"], remark=data["remark"], base=True
        )
    facts = images.ImageFacts(
        **{
            name: data[name]
            for name in (
                "region", "pool", "name", "os_family", "distribution", "version", "architecture",
                "admin_account", "min_disk_gib", "supports_hot_upgrade", "accepts_user_data",
                "accepts_ssh_keys", "watchdog", "position", "remark",
            )
        }
    )  # fmt: skip
    sha256 = data["sha256"] or None
    if data["source"] == URL:
        return images.import_image_url(actor=actor, facts=facts, url=data["url"], sha256=sha256)
    staged = data["file"].take()
    try:
        return images.import_image_file(actor=actor, facts=facts, path=staged.path, sha256=sha256)
    except ScloudError:
        staged.path.unlink(missing_ok=True)
        raise


def _withdraw(actor: Actor, image: Image) -> str:
    base_images.withdraw(actor=actor, image=image)
    return _("%(name)s is no longer offered.") % {"name": image.name}


def _offer(actor: Actor, image: Image) -> str:
    base_images.offer(actor=actor, image=image)
    return _("%(name)s is offered again.") % {"name": image.name}


def _only_base(image: Image) -> str:
    return "" if image.is_base else _("It is a tenant's own image.")


def _facts_of(image: Image) -> base_images.ChangedFacts:
    return base_images.ChangedFacts(
        **{name: getattr(image, name) for name in base_images.ChangedFacts.__dataclass_fields__}
    )


class ChangeForm(forms.ModelForm[Image]):
    """The facts of an image, checked as the action checks them."""

    class Meta:
        model = Image
        fields = tuple(base_images.ChangedFacts.__dataclass_fields__)

    def clean(self) -> dict[str, Any]:
        """Put what the action would refuse next to its field."""
        data = super().clean() or {}
        if not self.errors:
            # Not Meta.fields: the admin adds what it shows and does not edit.
            names = base_images.ChangedFacts.__dataclass_fields__
            wanted = {name: data.get(name, getattr(self.instance, name)) for name in names}
            try:
                base_images.check_facts(self.instance, base_images.ChangedFacts(**wanted))
            except ScloudError as error:
                self.add_error(error.field if error.field in self.fields else None, error.message)
        return data


@admin.register(Image)
class ImageAdmin(VerbAdmin):
    """Base images and the tenants' own."""

    kind = "image"
    list_display = (
        "name",
        "id",
        "region",
        "tenant",
        "status",
        "distribution",
        "version",
        "architecture",
        "withdrawn_at",
    )
    list_filter = ("status", "region", "os_family", "architecture", "tenant")
    list_select_related = ("region", "tenant")
    search_fields = ("name", "id", "distribution")
    fields = (
        ("name", "id"),
        "remark",
        ("tenant", "region", "pool"),
        ("os_family", "distribution", "version", "architecture"),
        ("admin_account", "min_disk_gib"),
        ("supports_hot_upgrade", "accepts_user_data", "accepts_ssh_keys", "watchdog"),
        "position",
        ("status", "failure", "failure_detail", "withdrawn_at"),
        ("size", "sha256", "base_image"),
        ("binned_at", "destroy_at", "destroyed_at"),
    )
    readonly_fields = (
        "id",
        "tenant",
        "region",
        "pool",
        "os_family",
        "architecture",
        "status",
        "withdrawn_at",
        "size",
        "sha256",
        "base_image",
        "failure",
        "failure_detail",
        "binned_at",
        "destroy_at",
        "destroyed_at",
    )
    buttons = (
        Button(
            "withdraw",
            gettext_lazy("Withdraw"),
            _withdraw,
            lambda image: (
                _only_base(image)
                or (_("It has already been withdrawn.") if image.withdrawn_at else "")
            ),
            confirm=gettext_lazy(
                "It can no longer be used for new VMs. Existing VMs are not affected."
            ),
            right="platform.withdraw_base_image",
        ),
        Button(
            "offer",
            gettext_lazy("Offer again"),
            _offer,
            lambda image: (
                _only_base(image) or ("" if image.withdrawn_at else _("It is already offered."))
            ),
            right="platform.offer_base_image",
        ),
    )
    size = size_column("size_bytes", gettext_lazy("size"))
    form = ChangeForm
    change_form_template = "compute/admin/image_change.html"

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Deleting is a verb: VMs may use its file as their backing."""
        return False

    def get_urls(self) -> list[URLPattern]:
        """Add the page of the replacement."""
        own = path(
            "<path:object_id>/replace/",
            self.admin_site.admin_view(self.replace_view),
            name="compute_image_replace",
        )
        return [own, *super().get_urls()]

    def save_model(self, request: HttpRequest, obj: Image, form: Any, change: bool) -> None:
        """Change the facts by the action. The form has been checked by the same rules."""
        fresh = Image.objects.get(pk=obj.pk)
        base_images.change_image(
            actor=administrator(request, None), image=fresh, facts=_facts_of(obj)
        )

    def add_view(
        self,
        request: HttpRequest,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Say what the image is and where it comes from (GET), begin to make it (POST)."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = AddForm(request.POST or None, request.FILES or None)
        if request.method == "POST" and form.is_valid():
            try:
                image = _made(administrator(request, None), form.cleaned_data)
            except ScloudError as error:
                add_error(form, error)
            else:
                self.message_user(
                    request, _("%(name)s is being made.") % {"name": image.name}, messages.SUCCESS
                )
                return HttpResponseRedirect(reverse("admin:compute_image_change", args=[image.pk]))
        return self._page(request, form, _("Add base image"), _("Add"), None)

    add_view.body_rule = uploads.of_form(staff=True)  # type: ignore[attr-defined]  # read by scloud.lib.bodies

    @needs("platform.replace_base_image")
    def replace_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Choose what takes its place (GET) and withdraw it (POST)."""
        image = self.get_object(request, object_id)
        if image is None or not image.is_base:
            raise Http404
        form = ReplaceForm(request.POST or None, image=image)
        if request.method == "POST" and form.is_valid():
            try:
                by = base_images.replace(
                    actor=administrator(request, None), image=image, by=form.cleaned_data["by"]
                )
            except ScloudError as error:
                add_error(form, error)
            else:
                self.message_user(
                    request, _("%(name)s is replaced.") % {"name": image.name}, messages.SUCCESS
                )
                return HttpResponseRedirect(reverse("admin:compute_image_change", args=[by.pk]))
        title = _("Replace %(name)s") % {"name": image.name}
        return self._page(request, form, title, _("Replace"), image)

    def _page(
        self, request: HttpRequest, form: forms.Form, title: str, verb: str, image: Image | None
    ) -> HttpResponse:
        back = (
            reverse("admin:compute_image_changelist")
            if image is None
            else reverse("admin:compute_image_change", args=[image.pk])
        )
        context = {
            **self.admin_site.each_context(request),
            "title": title,
            "verb": verb,
            "opts": Image._meta,
            "object": image,
            "form": form,
            "back": back,
        }
        return TemplateResponse(request, "compute/admin/image.html", context)

"""The pages and dialogs of images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from compute.models import Image
from scloud.tenancy.scoping import scopes_disabled
from tests.compute.console import page, send
from tests.compute.factories import Platform
from tests.compute.things import Things

FACTS = {
    "name": "Mine",
    "os_family": "linux",
    "distribution": "debian",
    "architecture": "x86_64",
    "min_disk_gib": "2",
}


def test_an_image_has_a_page_with_its_vms(
    console: Client, things: Things, platform: Platform
) -> None:
    html = page(console, "image-detail", platform.image.pk)
    assert things.vm.pk in html
    assert "Debian" in html
    own = page(console, "image-detail", things.image.pk)
    assert "golden" in own
    assert things.vm.pk not in own
    assert console.get(reverse("image-detail", args=["image-000000000"])).status_code == 404


def test_images_are_listed_imported_renamed_downloaded_deleted(
    console: Client, things: Things, platform: Platform, tmp_path: Path, settings: Any
) -> None:
    settings.MEDIA_ROOT = tmp_path
    html = page(console, "image-list")
    assert things.image.pk in html
    assert platform.image.pk in html
    assert platform.image.pk not in page(console, "image-list", query="?kind=own")
    answer = send(console, "image-import", **FACTS, url="file:///etc/passwd")
    assert answer.status_code == 422
    answer = send(console, "image-import", **FACTS, url="https://images.example.com/a.raw")
    assert answer.status_code < 300, answer.content
    file = SimpleUploadedFile("a.raw", b"\0" * 4096)
    answer = send(console, "image-upload", **{**FACTS, "name": "Sent"}, file=file)
    assert answer.status_code < 300, answer.content
    with scopes_disabled():
        assert set(Image.objects.filter(status="importing").values_list("name", flat=True)) == {
            "Mine",
            "Sent",
        }
    assert send(console, "image-rename", things.image.pk, name="gold").status_code == 204
    assert send(console, "image-download", things.image.pk).status_code == 204
    assert console.get(reverse("image-file", args=[things.image.pk])).status_code == 409
    assert send(console, "image-delete", platform.image.pk).status_code == 422
    # Something is being done to it; when that has ended it can go.
    answer = send(console, "image-delete", things.image.pk)
    assert answer.status_code == 204, answer.content

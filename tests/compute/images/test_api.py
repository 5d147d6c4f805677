"""Images, and the VM verbs with input, through the API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from compute.models import Image
from compute.transfer import staging
from compute.transfer.staging import export_path
from scloud.jobs.models import Job
from scloud.tenancy.scoping import scopes_disabled
from tests.api.client import Program
from tests.compute.factories import Platform, settle
from tests.compute.things import Things, fresh

FACTS = {"region": "box", "name": "Mine 1", "distribution": "debian", "min_disk_gib": 2}


@pytest.fixture(autouse=True)
def _own_media(tmp_path: Path, settings: Any) -> None:
    settings.MEDIA_ROOT = tmp_path


def send(program: Program, content: bytes) -> Any:
    response = program.http.generic(
        "POST",
        "/api/v1/images/upload",
        data=content,
        content_type="application/octet-stream",
        headers={"Authorization": f"Bearer {program.secret}"},
    )
    return response.status_code, response.json()


def test_an_image_is_imported_from_a_url(program: Program, things: Things) -> None:
    answer = program.post("/images", {**FACTS, "url": "https://images.example.com/a.qcow2"})
    assert answer.status == 201, answer.body
    assert (answer.body["status"], answer.body["is_base"]) == ("importing", False)
    program.post("/images", {**FACTS, "url": "file:///etc/passwd"}).error(400, "url_invalid", "url")
    program.post("/images", FACTS).error(400, "source_ambiguous")


def test_an_upload_is_imported_with_its_token_by_its_tenant_only(
    program: Program, rival: Program, things: Things
) -> None:
    status, upload = send(program, b"QFI\xfb" + b"\0" * 4096)
    assert status == 201
    assert upload["size_bytes"] == 4100
    body = {**FACTS, "upload": upload["upload"]}
    rival.post("/images", body).error(400, "upload_missing", "upload")
    answer = program.post("/images", body)
    assert answer.status == 201, answer.body
    source = fresh(Image(pk=answer.body["id"])).import_source
    assert Path(source).parent == staging.folder()
    program.post("/images", {**FACTS, "upload": "made-up"}).error(400, "upload_missing", "upload")
    assert send(program, b"")[1]["code"] == "upload_empty"


def test_an_own_image_is_downloaded_once_it_is_ready(program: Program, things: Things) -> None:
    path = f"/images/{things.image.pk}"
    program.get(path + "/file").error(409, "not_ready")
    assert program.post(path + "/download").body["job_id"]
    export_path(things.image).write_bytes(b"QFI\xfbcontent")
    response = program.http.get(
        "/api/v1" + path + "/file", headers={"Authorization": f"Bearer {program.secret}"}
    )
    assert response.status_code == 200
    assert response.headers["Content-Length"] == "11"
    assert f"{things.image.pk}.qcow2" in response.headers["Content-Disposition"]


def test_base_images_are_read_only(program: Program, things: Things, platform: Platform) -> None:
    path = f"/images/{platform.image.pk}"
    assert program.get(path).body["is_base"] is True
    program.call("DELETE", path).error(403, "base_image")
    program.call("PATCH", path, {"name": "mine"}).error(403, "base_image")
    program.get(path + "/file").error(403, "base_image")
    assert not any(row["allowed"] for row in program.get(path).body["allowed_actions"])


def test_an_image_is_renamed_deleted_restored_destroyed(program: Program, things: Things) -> None:
    path = f"/images/{things.image.pk}"
    assert program.call("PATCH", path, {"name": "gold"}).body["name"] == "gold"
    assert program.call("DELETE", path).body == {"job_id": None}
    assert things.image.pk not in str(program.get("/images").body)
    assert program.post(path + "/restore").body["status"] == "available"
    program.call("DELETE", path)
    answer = program.post(path + "/destroy", {"confirm_name": "gold"})
    assert answer.status == 202, answer.body


# --- verbs of a VM


def test_a_stopped_vm_is_modified_at_the_quoted_price(program: Program, things: Things) -> None:
    path = f"/vms/{things.vm.pk}"
    size = {"vcpus": 2, "memory_mib": 4096}
    quoted = program.post(path + "/modify/quote", size)
    assert quoted.status == 200, quoted.body
    program.post(path + "/hot-upgrade", {**size, "quote_token": quoted.body["token"]}).error(
        409, "vm_state"
    )
    answer = program.post(path + "/modify", {**size, "quote_token": quoted.body["token"]})
    assert answer.status == 202, answer.body
    assert fresh(things.vm).vcpus == 2
    program.post(path + "/modify/quote", {"vcpus": 3, "memory_mib": 64}).error(
        400, "spec_unknown", "vcpus"
    )


def test_a_running_vm_is_upgraded_hot(program: Program, things: Things) -> None:
    settle(things.vm)
    path = f"/vms/{things.vm.pk}/hot-upgrade"
    size = {"vcpus": 2, "memory_mib": 4096}
    token = program.post(path + "/quote", size).body["token"]
    assert program.post(path, {**size, "quote_token": token}).status == 202
    assert fresh(things.vm).task == "upgrading"


def test_a_password_is_reset_and_not_kept(program: Program, things: Things) -> None:
    path = f"/vms/{things.vm.pk}/reset-password"
    program.post(path, {"password": "Str0ng-other"}).error(409, "vm_state")
    settle(things.vm)
    program.post(path, {"password": "weak"}).error(400, "password_length", "password")
    answer = program.post(path, {"password": "Str0ng-other"}, key="once")
    assert answer.status == 202, answer.body
    with scopes_disabled():
        assert "Str0ng-other" not in str(list(Job.objects.values()))


def test_a_vm_is_reinstalled_and_made_an_image_of(
    program: Program, things: Things, platform: Platform
) -> None:
    path = f"/vms/{things.vm.pk}"
    program.post(path + "/reinstall", {"image": "image-aaaaaaaaa"}).error(
        400, "image_unknown", "image"
    )
    made = program.post(path + "/make-image", {"name": "web golden"})
    assert (made.status, made.body["status"]) == (201, "making"), made.body
    settle(things.vm, "stopped")
    answer = program.post(path + "/reinstall", {"image": platform.image.pk})
    assert answer.status == 202, answer.body
    assert fresh(things.vm).task == "reinstalling"


def test_security_groups_change_at_once(program: Program, things: Things) -> None:
    group = things.vm.internal_security_group
    path = f"/vms/{things.vm.pk}/change-security-groups"
    answer = program.post(path, {"internal": None, "external": None})
    assert answer.body == {"job_id": None}
    assert fresh(things.vm).internal_security_group == ""
    program.post(path, {"internal": group, "external": None})
    assert fresh(things.vm).internal_security_group == group
    program.post(path, {"internal": "sg-aaaaaaaaa", "external": None}).error(
        400, "internal_unknown", "internal"
    )


def test_vnc_information_is_new_each_time(program: Program, things: Things) -> None:
    path = f"/vms/{things.vm.pk}/vnc-information"
    program.post(path).error(409, "vm_state")
    settle(things.vm)
    first, second = program.post(path, key="same"), program.post(path, key="same")
    assert first.status == second.status == 200
    assert first.body["password"] != second.body["password"]
    assert first.headers["Cache-Control"] == "no-store"

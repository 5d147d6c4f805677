"""SSH keys that a tenant keeps: what is taken, where they are chosen, what outlives them."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

import pytest
from django.db import connection, connections
from django.test import Client
from django.urls import reverse

from compute.actions.ssh_keys import create_ssh_key, delete_ssh_key, rename_ssh_key
from compute.models import VM, SshKey
from compute.models.ssh_key import SSH_KEYS_PER_TENANT
from compute.queries import ssh_keys as queries
from scloud.audit.models import Event, Operation
from scloud.jobs.models import Job
from scloud.lib.errors import ScloudError
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant, User
from scloud.tenancy.scoping import scope, scopes_disabled
from tests.api.client import Program
from tests.compute.factories import Platform, make_order, make_vm
from tests.isolation.keys import OTHER_SSH_KEY, SSH_KEY

HX = {"HX-Request": "true"}
# What `ssh-keygen -lf` says of the first one.
FINGERPRINT = "SHA256:qH8baHrA5X0qCBovKCZyM02Q7TFtK4GMqVgOo4TZJAE"


def keep(actor: Actor, name: str = "laptop", key: str = SSH_KEY) -> SshKey:
    return create_ssh_key(actor=actor, name=name, public_key=key)


@pytest.mark.usefixtures("scoped")
def test_a_key_is_kept_with_what_openssh_shows_of_it(actor: Actor) -> None:
    key = keep(actor, key=f"\n  {SSH_KEY}  \r\n")
    assert key.public_key == SSH_KEY
    assert (key.key_type, key.fingerprint) == ("ssh-ed25519", FINGERPRINT)
    told = Operation.objects.get(verb="compute.create_ssh_key")
    assert told.after == {"name": "laptop", "fingerprint": FINGERPRINT}
    rename_ssh_key(actor=actor, ssh_key=key, name="desk")
    delete_ssh_key(actor=actor, ssh_key=key)
    assert not SshKey.objects.exists()
    kinds = Event.objects.filter(resource_id=key.pk).order_by("pk").values_list("kind", flat=True)
    assert list(kinds) == ["ssh_key.created", "ssh_key.renamed", "ssh_key.deleted"]


@pytest.mark.usefixtures("scoped")
@pytest.mark.parametrize(
    ("name", "key", "code", "field"),
    [
        ("a b", SSH_KEY, "name_invalid", "name"),
        ("x" * 31, SSH_KEY, "name_invalid", "name"),
        ("new", "", "ssh_key_missing", "public_key"),
        ("new", "hello", "ssh_key_invalid", "public_key"),
        ("new", SSH_KEY[:60], "ssh_key_cut_off", "public_key"),
        ("new", f"{SSH_KEY}\n{OTHER_SSH_KEY}", "ssh_key_several", "public_key"),
        ("new", "-----BEGIN OPENSSH PRIVATE KEY-----", "ssh_key_private", "public_key"),
        # Another comment makes no other key.
        ("new", SSH_KEY.replace(" one", " three"), "ssh_key_known", "public_key"),
    ],
)
def test_what_is_no_new_key_is_refused_beside_its_field(
    actor: Actor, name: str, key: str, code: str, field: str
) -> None:
    first = keep(actor)
    with pytest.raises(ScloudError) as refused:
        keep(actor, name, key)
    assert (refused.value.code, refused.value.field) == (code, field)
    assert list(SshKey.objects.all()) == [first]
    assert "PRIVATE" not in str(list(Operation.objects.values_list("error_message", flat=True)))


@pytest.mark.django_db(transaction=True)
def test_of_the_same_key_at_once_one_is_kept(actor: Actor, tenant: Tenant) -> None:
    gate = threading.Barrier(4, timeout=60)
    found: list[str] = []

    def run() -> None:
        try:
            connection.ensure_connection()
            gate.wait()
            keep(actor)
            found.append("kept")
        except ScloudError as error:
            found.append(error.code)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert Counter(found) == {"kept": 1, "ssh_key_known": 3}
    with scope(tenant=tenant):
        assert SshKey.objects.count() == 1


@pytest.mark.usefixtures("scoped")
def test_no_more_than_the_limit_are_kept(actor: Actor, tenant: Tenant) -> None:
    SshKey.objects.bulk_create(
        SshKey(tenant=tenant, name=f"k-{n}", public_key="x", key_type="x", fingerprint=str(n))
        for n in range(SSH_KEYS_PER_TENANT - 1)
    )
    keep(actor)
    with pytest.raises(ScloudError) as refused:
        keep(actor, "other", OTHER_SSH_KEY)
    assert refused.value.code == "too_many_ssh_keys"
    assert refused.value.numbers == {"limit": SSH_KEYS_PER_TENANT, "used": SSH_KEYS_PER_TENANT}
    assert SshKey.objects.count() == SSH_KEYS_PER_TENANT


def test_two_tenants_may_keep_the_same_key_and_see_their_own(
    actor: Actor, program: Program, rival: Program
) -> None:
    mine = keep(actor).pk
    made = rival.post("/ssh-keys", {"name": "theirs", "public_key": SSH_KEY})
    assert made.status == 201, made.body
    assert [one["name"] for one in rival.get("/ssh-keys").body["results"]] == ["theirs"]
    rival.get(f"/ssh-keys/{mine}").error(404, "not_found")
    rival.delete(f"/ssh-keys/{mine}").error(404, "not_found")
    assert program.get(f"/ssh-keys/{mine}").body["fingerprint"] == FINGERPRINT


def test_the_api_keeps_finds_renames_and_forgets(program: Program) -> None:
    made = program.post("/ssh-keys", {"name": "laptop", "public_key": SSH_KEY + "\n"})
    assert made.status == 201, made.body
    key = made.body
    assert (key["key_type"], key["fingerprint"]) == ("ssh-ed25519", FINGERPRINT)
    assert key["public_key"] == SSH_KEY
    assert key["allowed_actions"] == ["rename_ssh_key", "delete_ssh_key"]
    program.post("/ssh-keys", {"name": "again", "public_key": SSH_KEY}).error(
        409, "ssh_key_known", "public_key"
    )
    assert program.get("/ssh-keys?search=nothing").body["results"] == []
    found = program.get(f"/ssh-keys?search={FINGERPRINT[7:20]}")
    assert [one["id"] for one in found.body["results"]] == [key["id"]]
    renamed = program.call("PATCH", f"/ssh-keys/{key['id']}", {"name": "desk"})
    assert (renamed.status, renamed.body["name"]) == (200, "desk")
    assert program.delete(f"/ssh-keys/{key['id']}").status == 204
    program.get(f"/ssh-keys/{key['id']}").error(404, "not_found")


def test_a_vm_is_bought_with_kept_keys_and_keeps_them_when_they_are_gone(
    platform: Platform, actor: Actor, tenant: Tenant, program: Program
) -> None:
    from tests.billing.helpers import fund

    fund(tenant, cash="100")
    order = make_order(platform, tenant)
    first, second = keep(actor), keep(actor, "desk", OTHER_SSH_KEY)
    body = {
        "region": platform.region.pk,
        "cluster": platform.cluster.pk,
        "image": platform.image.pk,
        "vcpus": 1,
        "memory_mib": 2048,
        "system_disk_type": "ssd",
        "subnet": order.subnet.pk,
        # The same key again, with another comment, is given once.
        "ssh_public_key": SSH_KEY.replace(" one", " typed"),
        "ssh_keys": [first.pk, second.pk],
    }
    token = program.post("/vms/quote", body).body["token"]
    made = program.post("/vms", {**body, "quote_token": token})
    assert made.status == 201, made.body
    with scope(tenant=tenant):
        delete_ssh_key(actor=actor, ssh_key=second)
        kept = VM.objects.get().ssh_public_key.split("\n")
    assert kept == [SSH_KEY.replace(" one", " typed"), OTHER_SSH_KEY]
    program.post("/vms/quote", body).error(400, "ssh_keys_unknown", "ssh_keys")


def test_keys_of_others_cannot_be_chosen(
    platform: Platform, actor: Actor, tenant: Tenant, rival: Program, program: Program
) -> None:
    order = make_order(platform, tenant)
    foreign = rival.post("/ssh-keys", {"name": "x", "public_key": SSH_KEY}).body["id"]
    body = {
        "region": platform.region.pk,
        "cluster": platform.cluster.pk,
        "image": platform.image.pk,
        "vcpus": 1,
        "memory_mib": 2048,
        "system_disk_type": "ssd",
        "subnet": order.subnet.pk,
        "ssh_keys": [foreign],
    }
    program.post("/vms/quote", body).error(400, "ssh_keys_unknown", "ssh_keys")
    stopped = make_vm(platform, actor, "stopped")
    asked = {"image": platform.image.pk, "ssh_keys": [foreign]}
    program.post(f"/vms/{stopped.pk}/reinstall", asked).error(400, "ssh_keys_unknown", "ssh_keys")


def test_the_platform_chooses_among_the_keys_of_the_vms_tenant_only(
    actor: Actor, tenant: Tenant, other_tenant: Tenant
) -> None:
    mine = keep(actor)
    theirs = keep(Actor.system(other_tenant))
    with scopes_disabled():
        assert queries.chosen(tenant, [mine.pk]) == [mine]
        with pytest.raises(ScloudError) as refused:
            queries.chosen(tenant, [mine.pk, theirs.pk])
    assert refused.value.numbers == {"missing": [theirs.pk]}


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ({}, None),
        ({"ssh_keys": []}, None),
        ({"ssh_public_key": ""}, ""),
        ({"ssh_keys": ["first"]}, SSH_KEY),
        ({"ssh_public_key": OTHER_SSH_KEY, "ssh_keys": ["first"]}, f"{OTHER_SSH_KEY}\n{SSH_KEY}"),
    ],
)
def test_a_reinstallation_takes_kept_keys(
    platform: Platform,
    actor: Actor,
    program: Program,
    sent: dict[str, object],
    kept: str | None,
) -> None:
    stopped = make_vm(platform, actor, "stopped", ssh_public_key=OTHER_SSH_KEY)
    first = keep(actor)
    ids = {"ssh_keys": [first.pk]} if sent.get("ssh_keys") else {}
    body = {"image": platform.image.pk, **sent, **ids}
    answer = program.post(f"/vms/{stopped.pk}/reinstall", body)
    assert answer.status == 202, answer.body
    with scopes_disabled():
        job = Job.objects.get(pk=answer.body["job_id"])
    assert job.payload["ssh_public_key"] == kept


def test_the_console_reinstalls_with_kept_and_typed_keys(
    console: Client, platform: Platform, actor: Actor
) -> None:
    stopped = make_vm(platform, actor, "stopped")
    first = keep(actor)
    url = reverse("vm-reinstall", args=[stopped.pk])
    html = console.get(url, headers=HX).content.decode()
    assert 'name="ssh_keys"' in html
    assert "laptop" in html
    body = {"image": platform.image.pk, "ssh_keys": first.pk, "ssh_public_key": "rsa"}
    wrong = console.post(url, body, headers=HX)
    assert wrong.status_code == 422
    assert "Key 1 is not an OpenSSH public key." in wrong.content.decode()
    right = console.post(url, {**body, "ssh_public_key": OTHER_SSH_KEY}, headers=HX)
    assert right.status_code == 204
    with scopes_disabled():
        job = Job.objects.filter(target_id=stopped.pk, kind="vm.reinstall").get()
    assert job.payload["ssh_public_key"] == f"{OTHER_SSH_KEY}\n{SSH_KEY}"


def test_a_vm_without_an_image_to_reinstall_from_says_so(
    console: Client, platform: Platform, actor: Actor
) -> None:
    from django.utils import timezone

    stopped = make_vm(platform, actor, "stopped")
    platform.image.withdrawn_at = timezone.now()
    platform.image.save(update_fields=["withdrawn_at"])
    html = console.get(reverse("vm-reinstall", args=[stopped.pk]), headers=HX).content.decode()
    assert "There is no image that this VM can be reinstalled from." in html
    assert 'type="submit"' not in html


def test_the_console_adds_lists_renames_and_deletes(
    console: Client, tenant: Tenant, platform: Platform
) -> None:
    listed = reverse("ssh-key-list")
    assert "No SSH key yet" in console.get(listed).content.decode()
    add = reverse("ssh-key-create")
    wrong = console.post(add, {"name": "laptop", "public_key": "hello"}, headers=HX)
    assert wrong.status_code == 422
    assert "Key 1 is not an OpenSSH public key." in wrong.content.decode()
    made = console.post(add, {"name": "laptop", "public_key": SSH_KEY}, headers=HX)
    assert made.headers["HX-Redirect"] == listed
    html = console.get(listed).content.decode()
    assert FINGERPRINT in html
    with scope(tenant=tenant):
        key = SshKey.objects.get()
    rename = reverse("ssh-key-rename", args=[key.pk])
    assert FINGERPRINT in console.get(rename, headers=HX).content.decode()
    assert console.post(rename, {"name": "desk"}, headers=HX).status_code == 204
    assert "desk" in console.get(listed).content.decode()
    delete = reverse("ssh-key-delete", args=[key.pk])
    assert console.post(delete, {}, headers=HX).status_code == 204
    assert "No SSH key yet" in console.get(listed).content.decode()


def test_a_key_that_is_added_on_the_page_that_buys_leaves_it_open(
    console: Client, platform: Platform
) -> None:
    here = {**HX, "HX-Current-URL": "http://testserver" + reverse("vm-create")}
    body = {"name": "laptop", "public_key": SSH_KEY}
    made = console.post(reverse("ssh-key-create"), body, headers=here)
    assert made.status_code == 204
    assert "HX-Redirect" not in made.headers
    assert "dialog-close" in made.headers["HX-Trigger"]


@pytest.mark.parametrize("role", ["readonly", "finance"])
def test_roles_that_only_look_change_no_key(
    actor: Actor, tenant: Tenant, make_user: Callable[..., User], role: str
) -> None:
    key = keep(actor)
    client = Client()
    client.force_login(make_user(tenant, role))
    html = client.get(reverse("ssh-key-list")).content.decode()
    assert "laptop" in html
    assert "Add SSH key" not in html
    for name, args in (
        ("ssh-key-create", []),
        ("ssh-key-rename", [key.pk]),
        ("ssh-key-delete", [key.pk]),
    ):
        client.post(reverse(name, args=args), {"name": "x", "public_key": OTHER_SSH_KEY})
    with scope(tenant=tenant):
        assert list(SshKey.objects.values_list("name", flat=True)) == ["laptop"]

"""The search finds pages and what can be done, and puts the names that begin so first."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse

from compute.models import VM
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import User
from scloud.tenancy.permissions import Role
from scloud.tenancy.scoping import scope
from scloud.web import commands, search
from tests.compute.factories import Platform, make_vm


@pytest.mark.parametrize(
    ("words", "label", "url_name"),
    [
        ("create vm", "Create VM", "vm-create"),
        ("Create V", "Create VM", "vm-create"),
        ("new vm", "Create VM", "vm-create"),
        ("buy disk", "Create disk", "disk-create"),
        ("firewall", "Create security group", "security-group-create"),
        ("snapshots", "Snapshots", "snapshot-list"),
        ("recycle", "Recycle bin", "bin"),
        ("top up", "Top up", "billing"),
        ("time zone", "Profile", "profile"),
    ],
)
def test_words_lead_to_pages(actor: Actor, words: str, label: str, url_name: str) -> None:
    found = commands.find(actor, words.split(), 10)
    assert (label, reverse(url_name)) in [(one.label, one.url) for one in found]


@pytest.mark.parametrize("words", ["reate", "vm vm vm", "create spaceship", "x"])
def test_other_words_do_not(actor: Actor, words: str) -> None:
    found = commands.find(actor, words.split(), 50)
    assert "Create VM" not in [one.label for one in found]


def test_every_command_leads_to_a_page_that_its_right_opens(
    platform: Platform, console: Client, actor: Actor
) -> None:
    known = [one for one in commands._commands.values() if actor.allows(one.permission or "x.y")]
    assert len(known) > 10
    for command in known:
        answer = console.get(reverse(command.url_name))
        assert answer.status_code == 200, command.url_name
        assert "<html" in answer.content.decode(), command.url_name


def test_nothing_is_offered_that_a_role_does_not_include(
    actor: Actor, make_user: Callable[..., User]
) -> None:
    reader = make_user(actor.tenant, Role.READONLY)
    readonly = Actor(tenant=actor.tenant, user=reader, role=reader.role, via="console")
    assert commands.find(readonly, ["create"], 50) == []
    labels = [one.label for one in commands.find(actor, ["create"], 50)]
    assert "Create VM" in labels
    assert len(commands.find(actor, ["create"], 2)) == 2


def test_names_that_begin_so_come_before_those_that_contain_it(
    platform: Platform, actor: Actor
) -> None:
    # Made in an order in which ids alone would put them otherwise.
    ids = {}
    for number, name in enumerate(("the-web-front", "web-2", "web", "other")):
        vm = make_vm(platform, actor, name=name)
        with scope(tenant=vm.tenant):
            VM.objects.filter(pk=vm.pk).update(remark="web" if name == "other" else "")
        ids[name] = f"{number}"
    with scope(tenant=actor.tenant):
        groups = search.find(actor, "web", 10)
    (vms,) = [group for group in groups if group.label == "VMs"]
    names = [hit.name for hit in vms.hits]
    assert names[:2] == ["web", "web-2"]
    assert set(names[2:]) == {"the-web-front", "other"}


def test_the_kind_with_the_best_hit_comes_first(platform: Platform, actor: Actor) -> None:
    vm = make_vm(platform, actor, name="zebra")
    with scope(tenant=vm.tenant):
        groups = search.find(actor, vm.pk, 10)
    assert groups[0].label == "VMs"
    assert groups[0].hits[0].id == vm.pk


def test_pages_stand_above_what_is_found(platform: Platform, actor: Actor, console: Client) -> None:
    make_vm(platform, actor, name="create-vm")
    text = console.get("/search/", {"q": "create vm"}, HTTP_HX_REQUEST="true").content.decode()
    labels = re.findall(r'menu-head">([^<]+)<', text)
    assert labels[0] == "Pages and actions"
    assert reverse("vm-create") in text

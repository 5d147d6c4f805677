"""Django admin is for the platform's administrators alone."""

from collections.abc import Callable

import pytest
from django.contrib import admin
from django.db import models
from django.test import Client
from django.urls import NoReverseMatch, reverse

from scloud.tenancy.models import User
from scloud.tenancy.permissions import Role
from tests.isolation.world import Caller, fingerprint


def admin_urls(owner: Caller) -> list[str]:
    """Return every page of Django admin, with a real row where there is one."""
    found = [reverse("admin:index")]
    for model in admin.site._registry:
        name = f"{model._meta.app_label}_{model._meta.model_name}"
        found += [reverse(f"admin:{name}_{page}") for page in ("changelist", "add", "download")]
        for page in ("change", "delete", "history"):
            try:
                found.append(reverse(f"admin:{name}_{page}", args=[_row(model, owner)]))
            except NoReverseMatch:
                continue
    return found


def _row(model: type[models.Model], owner: Caller) -> str:
    kinds = {
        "vm": "vm",
        "job": "job",
        "order": "order",
        "vpc": "vpc",
        "subnet": "subnet",
        "eni": "eni",
        "externalip": "eip",
        "externalsegment": "segment",
    }
    return owner.samples.get(kinds.get(str(model._meta.model_name), ""), "1")


@pytest.mark.unmeasured
@pytest.mark.parametrize("role", [None, *Role])
def test_tenants_users_and_strangers_are_sent_away(
    role: str | None, owner: Caller, colleague: Callable[..., Caller]
) -> None:
    client = Client() if role is None else colleague(role).console
    before = fingerprint()
    urls = admin_urls(owner)
    assert len(urls) > 40
    wrong = []
    for url in urls:
        for method in ("get", "post"):
            response = getattr(client, method)(url)
            text = response.content.decode()
            if response.status_code not in {302, 403} or "zebra" in text:
                wrong.append((method, url, response.status_code))
            elif response.status_code == 302 and "/login" not in response.headers["Location"]:
                wrong.append((method, url, response.headers["Location"]))
    assert wrong == []
    assert fingerprint() == before


def test_a_staff_flag_alone_opens_no_admin_of_other_tenants(
    owner: Caller, intruder: Caller
) -> None:
    """Whoever belongs to a tenant stays inside its scope, even with a flag set by mistake."""
    User.objects.filter(pk=intruder.user.pk).update(is_staff=True)
    for url in admin_urls(owner):
        response = intruder.console.get(url)
        assert response.status_code in {302, 403, 404}, url
        assert "zebra" not in response.content.decode()

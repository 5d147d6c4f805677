"""The administration looks as the console does: one theme, chosen in one place, no script."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from scloud.tenancy.models import User


@pytest.fixture
def root(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root@platform.test", "a long secret 9"))
    return client


def test_the_theme_is_the_consoles(root: Client) -> None:
    index = reverse("admin:index")
    assert 'data-scheme="auto"' in root.get(index).content.decode()
    for theme in ("dark", "light", "auto"):
        answer = root.post(reverse("set-appearance"), {"theme": theme, "next": index})
        assert answer.headers["Location"] == index
        html = root.get(index).content.decode()
        assert f'data-scheme="{theme}"' in html
        assert html.count('aria-pressed="true"') == 1
        # Their second factor is a page of the console.
        html = root.get(reverse("second-factor"), follow=True).content.decode()
        assert f'data-theme="{theme}"' in html


def test_a_tenants_user_keeps_the_theme_of_the_profile(console: Client, user: User) -> None:
    console.cookies["scloud_theme"] = "dark"
    assert 'data-theme="auto"' in console.get("/tasks/").content.decode()
    User.objects.filter(pk=user.pk).update(theme="light")
    assert 'data-theme="light"' in console.get("/tasks/").content.decode()


def test_no_style_or_script_is_written_into_the_page(root: Client) -> None:
    for name in ("index", "tenancy_user_changelist", "tenancy_user_add", "compute_host_add"):
        answer = root.get(reverse(f"admin:{name}"))
        html = answer.content.decode()
        assert "css/tokens.css" in html
        assert "css/admin.css" in html
        assert "theme.js" not in html
        assert "dark_mode.css" not in html
        assert "unsafe-inline" not in answer.headers["Content-Security-Policy"]
        assert "<style" not in html
        assert ' style="' not in html

"""Fixtures that all tests share."""

from typing import Any

import pytest
from playwright.sync_api import expect

# Long enough for a machine that runs guests meanwhile; a page that is ready costs no time.
expect.set_options(timeout=20_000)

pytest_plugins = [
    "tests.database",
    "tests.fixtures",
    "tests.browser",
    "tests.lab_fixture",
    "tests.lab_platform",
]


@pytest.fixture(autouse=True)
def _fast_password_hashes(settings: Any) -> None:
    """Argon2 is slow on purpose; the tests that are about it ask for it."""
    settings.PASSWORD_HASHERS = [
        "django.contrib.auth.hashers.MD5PasswordHasher",
        "django.contrib.auth.hashers.Argon2PasswordHasher",
    ]

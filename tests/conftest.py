"""Fixtures that all tests share."""

import pytest

pytest_plugins = ["tests.fixtures", "tests.lab_fixture", "tests.lab_platform"]


@pytest.fixture(autouse=True)
def _fast_password_hashes(settings: pytest.FixtureRequest) -> None:
    """Argon2 is slow on purpose; the tests that are about it ask for it."""
    settings.PASSWORD_HASHERS = [  # type: ignore[attr-defined]
        "django.contrib.auth.hashers.MD5PasswordHasher",
        "django.contrib.auth.hashers.Argon2PasswordHasher",
    ]

"""Models and migrations say the same."""

from __future__ import annotations

import pytest
from django.core.management import call_command


@pytest.mark.django_db
def test_no_model_has_changed_without_a_migration() -> None:
    # Ends with SystemExit where one is missing, and prints it.
    call_command("makemigrations", check=True, dry_run=True)

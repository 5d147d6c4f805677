"""What is wrong with a list of breached passwords, told when a process starts."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error

from scloud.accounts.breached import LINE


def check_list(**_options: Any) -> list[CheckMessage]:
    """Refuse to start with a list that cannot be read or is none."""
    path: Path | None = settings.SCLOUD_BREACHED_PASSWORDS
    if path is None:
        return []
    try:
        with path.open("rb") as file:
            if LINE.fullmatch(file.readline(100)):
                return []
    except OSError as error:
        said = f"SCLOUD_BREACHED_PASSWORDS cannot be read: {error.strerror}."
    else:
        said = "SCLOUD_BREACHED_PASSWORDS is not a list of SHA-1 digests."
    return [Error(said, hint="Name a file of SHA-1 digests, ordered by hash.", id="scloud.E020")]

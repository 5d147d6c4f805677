"""``python -m tests.template``: migrate the database that test runs copy, before they begin.

It keeps one processor busy for most of a minute, in which ``make test`` checks types.
"""

from __future__ import annotations

import os

import django
from django.db import connection


def main() -> None:
    """Make the template of this checkout's migrations, unless it is there."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "scloud.settings")
    django.setup()
    from tests.database import make_template

    print(make_template(str(connection.settings_dict["TEST"]["NAME"])))


if __name__ == "__main__":
    main()

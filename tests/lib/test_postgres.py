"""Every process has bounds of its own, and none of them adds up to more than fifteen seconds."""

from __future__ import annotations

import pytest

from scloud.lib import postgres


@pytest.mark.parametrize(
    ("argv", "process"),
    [
        (["/x/bin/daphne", "-b", "127.0.0.1", "scloud.asgi:application"], "console"),
        (["/x/scloud/serve.py", "--listen", "127.0.0.1:8000"], "console"),
        (["manage.py", "runserver"], "console"),
        (["manage.py", "worker"], "worker"),
        (["manage.py", "sweeper"], "sweeper"),
        (["manage.py", "collector"], "collector"),
        (["/x/compute/vnc/__main__.py", "proxy"], "vnc"),
        (["/x/compute/vnc/__main__.py", "gateway"], "gateway"),
        (["manage.py", "migrate"], "command"),
        ([], "command"),
    ],
)
def test_a_process_knows_its_profile_by_its_command_line(argv: list[str], process: str) -> None:
    assert postgres.process_name(argv, {}) == process
    assert postgres.process_name(argv, {"SCLOUD_PROCESS": "sweeper"}) == "sweeper"


def test_an_unknown_profile_is_named() -> None:
    with pytest.raises(ValueError, match="SCLOUD_PROCESS is 'typo'"):
        postgres.options("typo")


@pytest.mark.parametrize("process", sorted(postgres.PROFILES))
def test_a_server_that_is_gone_is_noticed_in_fifteen_seconds(process: str) -> None:
    options = postgres.options(process)
    silent_s = options["keepalives_idle"] + (
        options["keepalives_interval"] * options["keepalives_count"]
    )
    unanswered_s = max(silent_s, options["tcp_user_timeout"] / 1000)
    assert unanswered_s + options["connect_timeout"] <= 12
    assert postgres.GONE_AFTER_S <= 12
    for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"):
        assert f"-c {name}=" in options["options"]


@pytest.mark.django_db
def test_the_servers_session_has_them() -> None:
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT name, setting FROM pg_settings WHERE name IN "
            "('statement_timeout', 'idle_in_transaction_session_timeout', 'jit', "
            "'application_name')"
        )
        found = dict(cursor.fetchall())
    assert found["jit"] == "off"
    assert found["statement_timeout"] == "600000"
    assert found["application_name"] == "scloud-tests"


def test_listeners_have_the_same_bounds() -> None:
    from compute.vnc.news import connection_parameters
    from scloud.web.listener import connection_options

    for found in (connection_parameters(), connection_options()):
        for name, value in postgres.TRANSPORT.items():
            assert found[name] == value
        assert "statement_timeout" in found["options"]

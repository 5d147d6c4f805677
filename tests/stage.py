"""Rows that most tests start from: written once, and met by each test as they were written.

``region``, ``tenant``, ``other_tenant``, ``user`` and ``platform`` are made in a transaction that
stays open from test to test for as long as the tests want the same of them; pytest-django rolls
each test back to a savepoint in it. A test gets copies of the objects, so that it cannot change
those of the next. Tests that commit (``transaction=True``) meet an empty database and rows of
their own, as ever.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection, transaction
from pytest_django import DjangoDbBlocker

from scloud.resources.models import Region
from scloud.tenancy.models import Tenant, User
from tests.compute.factories import Platform, make_platform
from tests.fixtures import new_user

Made = dict[str, Any]

# In the order in which they are made; each may rest on those before it.
BUILDERS: dict[str, Callable[[Made], Any]] = {
    "region": lambda made: Region.objects.create(id="box", name="Box"),
    "tenant": lambda made: Tenant.objects.create(name="Acme"),
    "other_tenant": lambda made: Tenant.objects.create(name="Rival"),
    "user": lambda made: new_user(made["tenant"]),
    "platform": lambda made: make_platform(made["region"]),
}


class Stage:
    """The open transaction of this process, and what was made in it."""

    def __init__(self, blocker: DjangoDbBlocker) -> None:
        self._blocker = blocker
        self._block: transaction.Atomic | None = None
        self._made: Made = {}

    def open(self, wanted: list[str]) -> Made:
        """Have exactly the rows of ``wanted`` there; return copies of the objects."""
        if list(self._made) != wanted or connection.needs_rollback:
            self.close()
        if wanted and self._block is None:
            with self._blocker.unblock():
                self._block = transaction.atomic()
                self._block.__enter__()
                for name in wanted:
                    self._made[name] = BUILDERS[name](self._made)
        return copy.deepcopy(self._made)

    def close(self) -> None:
        """Take everything back."""
        self._made = {}
        block, self._block = self._block, None
        if block is None:
            return
        with self._blocker.unblock():
            if connection.closed_in_transaction or not connection.in_atomic_block:
                raise AssertionError("the test before closed the connection of its transaction")
            transaction.set_rollback(True)
            block.__exit__(None, None, None)


@pytest.fixture(scope="session")
def stage(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Stage]:
    """The stage of this process."""
    made = Stage(django_db_blocker)
    yield made
    made.close()


def _commits(item: pytest.Item) -> bool:
    marker = item.get_closest_marker("django_db")
    names = getattr(item, "fixturenames", ())
    return "transactional_db" in names or bool(marker and marker.kwargs.get("transaction"))


def _wanted(item: pytest.Item) -> list[str]:
    """Return the names that a test wants on the stage, in their order."""
    names = getattr(item, "fixturenames", ())
    if _commits(item) or "module_transaction" in names:
        return []
    # Where a file has a fixture of its own by one of the names, that one makes its rows.
    found = item._fixtureinfo.name2fixturedefs if isinstance(item, pytest.Function) else {}
    return [
        name for name in BUILDERS if name in names and found[name][-1].func.__module__ == __name__
    ]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Within a file, let tests that want the same follow each other.

    Before pytest-django puts those that commit last.
    """
    order: dict[str, int] = {}
    for item in items:
        order.setdefault(item.nodeid.split("::", 1)[0], len(order))
    items.sort(key=lambda item: (order[item.nodeid.split("::", 1)[0]], _wanted(item)))


@pytest.fixture
def staged(request: pytest.FixtureRequest, stage: Stage) -> Made:
    """What this test finds on the stage."""
    return stage.open(_wanted(request.node))


@pytest.fixture
def _django_db_helper(staged: Made, _django_db_helper: None) -> None:
    """Set the stage before pytest-django opens the savepoint of the test, whose fixture this is."""


@pytest.fixture
def region(db: None, staged: Made) -> Region:
    """A region without hosts."""
    found: Region = staged.get("region") or BUILDERS["region"]({})
    return found


@pytest.fixture
def tenant(db: None, staged: Made) -> Tenant:
    """The tenant that most tests act for."""
    found: Tenant = staged.get("tenant") or BUILDERS["tenant"]({})
    return found


@pytest.fixture
def other_tenant(db: None, staged: Made) -> Tenant:
    """Somebody else."""
    found: Tenant = staged.get("other_tenant") or BUILDERS["other_tenant"]({})
    return found


@pytest.fixture
def user(tenant: Tenant, staged: Made) -> User:
    """The owner of the tenant."""
    found: User = staged.get("user") or new_user(tenant)
    return found


@pytest.fixture
def platform(region: Region, staged: Made) -> Platform:
    """Two hosts with room, sizes, an image and prices."""
    found: Platform = staged.get("platform") or make_platform(region)
    return found


@pytest.fixture(scope="module")
def module_transaction(
    stage: Stage, django_db_blocker: DjangoDbBlocker
) -> Iterator[Callable[[], Any]]:
    """A transaction around all tests of a file.

    What a fixture of module scope writes within ``with module_transaction():`` is there for each
    test of the file, as on the stage. Not for files with tests that commit.
    """
    stage.close()
    with django_db_blocker.unblock():
        block = transaction.atomic()
        block.__enter__()
    yield django_db_blocker.unblock
    with django_db_blocker.unblock():
        transaction.set_rollback(True)
        block.__exit__(None, None, None)

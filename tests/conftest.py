"""Fixtures that all tests share."""

import functools
import sys
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from typing import ParamSpec, TypeVar

import pytest
from django.db.models.sql import compiler
from django.test import override_settings
from playwright.sync_api import expect

# Long enough for a machine that runs guests meanwhile; a page that is ready costs no time.
expect.set_options(timeout=20_000)

pytest_plugins = [
    "tests.database",
    "tests.fixtures",
    "tests.stage",
    "tests.browser",
    "tests.lab_fixture",
    "tests.ceph_fixture",
    "tests.lab_platform",
]


_P = ParamSpec("_P")
_R = TypeVar("_R")

# Fixtures that bring up the region in a box, or one like it.
REGIONS = {"lab", "rig", "spare"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need hosts: ``make test`` runs the others of ``lab`` beside them."""
    for item in items:
        if item.get_closest_marker("lab") and REGIONS.intersection(
            getattr(item, "fixturenames", ())
        ):
            item.add_marker("region")
    _measure_first_cases(items)


# Cases of a parametrized test that coverage measures.
MEASURED_CASES = 3


def _measure_first_cases(items: list[pytest.Item]) -> None:
    """Let coverage watch the first cases of a parametrized test only.

    Under Python 3.11 it slows a test down, and the hundredth case runs the lines of the
    first ones. What is reported is a lower bound: lines that only a later case runs are missing.
    """
    seen: Counter[str] = Counter()
    for item in items:
        name = item.nodeid.partition("[")[0]
        seen[name] += 1
        if seen[name] > MEASURED_CASES:
            item.add_marker("unmeasured")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Stop measuring for a test that is not measured, its fixtures included.

    The marker of pytest-cov leaves fixtures measured, and they are most of many tests.
    """
    plugin = item.config.pluginmanager.getplugin("_cov")
    controller = plugin and plugin.cov_controller
    if not controller or not item.get_closest_marker("unmeasured"):
        return (yield)
    controller.pause()
    try:
        return (yield)
    finally:
        controller.resume()


def _untraced(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Let coverage look away while a library works that calls nothing of ours."""

    @functools.wraps(function)
    def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        tracer = sys.gettrace()
        if tracer is None:
            return function(*args, **kwargs)
        sys.settrace(None)
        try:
            return function(*args, **kwargs)
        finally:
            sys.settrace(tracer)

    return call


def pytest_configure() -> None:
    """Have queries compiled and sent untraced, which takes a seventh off the time of a test.

    The tracer is called for each line of Django, too, only to say that it is not ours.
    """
    for made in (compiler.SQLCompiler, compiler.SQLInsertCompiler, compiler.SQLUpdateCompiler):
        made.execute_sql = _untraced(made.execute_sql)  # type: ignore[assignment, method-assign]  # same


@pytest.fixture(scope="session", autouse=True)
def _settings_of_tests() -> Iterator[None]:
    """What tests that are not about it set otherwise than the product."""
    # Argon2 is slow on purpose.
    hashers = ["MD5PasswordHasher", "Argon2PasswordHasher"]
    with override_settings(
        PASSWORD_HASHERS=[f"django.contrib.auth.hashers.{name}" for name in hashers],
        # The thread that renews leases does not see a job in a test's transaction and takes it for
        # lost. It looks after a third of this, which no run of these tests lasts.
        SCLOUD_JOB_LEASE_S=36_000.0,
    ):
        yield

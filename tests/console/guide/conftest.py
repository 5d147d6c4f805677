"""What the user guide lists, and a tenant that has one of everything."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator

from scloud.tenancy.models import Tenant, User
from tests.compute.factories import Platform
from tests.isolation.world import furnish
from tests.outside import make_segment

MARK = "zebra"


@pytest.fixture(scope="session")
def guide() -> dict[str, Any]:
    """The list: for each page and part the guide's words and the console's."""
    with (Path(__file__).parent / "guide.toml").open("rb") as file:
        return tomllib.load(file)


@pytest.fixture
def world(platform: Platform, tenant: Tenant, user: User) -> dict[str, str]:
    """Ids of what the tenant has, by what they are."""
    make_segment(platform.region)
    return furnish(platform, tenant, user, MARK)


def words(found: Locator) -> list[str]:
    """Return the texts of all elements that are found, their white space reduced."""
    return [re.sub(r"\s+", " ", text).strip() for text in found.all_text_contents()]


def missing(expected: Iterable[str], found: Iterable[str]) -> list[str]:
    """Return which words of the console are not there."""
    there = set(found)
    return [one for one in expected if one not in there]

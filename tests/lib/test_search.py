"""Searches: bounded in words and characters, linear in SQL."""

from typing import Any

import pytest
from django.db.models import QuerySet

from billing.models import Order
from compute.models import Disk, Image, Snapshot
from scloud.lib import search
from scloud.lib.errors import InvalidInput
from scloud.tenancy.models import Tenant, User

LONG = "a" * 101
MANY = " ".join("abcdefghijk")


def statement(rows: QuerySet[Any]) -> str:
    """Return the SQL of a query."""
    return str(rows.query)


def test_words_are_told_apart_whatever_their_case_and_space() -> None:
    assert [word.lower() for word in search.words_of("  web\tWEB  Db\n")] == ["web", "db"]


@pytest.mark.parametrize(("text", "words", "characters"), [(LONG, 1, 101), (MANY, 11, 21)])
def test_a_search_that_is_too_long_names_its_field_and_the_numbers(
    text: str, words: int, characters: int
) -> None:
    with pytest.raises(InvalidInput) as refused:
        search.words_of(text)
    assert refused.value.code == "search_too_long"
    assert refused.value.field == "search"
    assert refused.value.numbers == {
        "max_words": 10,
        "max_characters": 100,
        "words": words,
        "characters": characters,
    }


def test_the_largest_search_is_allowed() -> None:
    assert len(search.words_of(" ".join("abcdefghij"))) == 10
    assert search.words_of("b" * 100) == ["b" * 100]


@pytest.mark.usefixtures("unscoped")
@pytest.mark.parametrize(
    ("model", "paths"),
    [
        (Disk, ("id", "name", "remark", "vm__name")),
        (Snapshot, ("id", "name", "remark", "disk__name", "disk__id", "disk__vm__name")),
        (Image, ("id", "name", "remark")),
        (Order, ("id", "note", "actor", "charges__resource_id", "charges__resource_name")),
    ],
)
def test_each_word_adds_the_same_and_no_join(
    db: None, model: type[Any], paths: tuple[str, ...]
) -> None:
    match = search.containing(model, paths)
    texts = [" ".join("abcdefghij"[:count]) for count in range(1, 11)]
    found = [statement(search.narrow(model.objects.all(), text, match)) for text in texts]
    joins = [sql.split(" WHERE ")[0].count(" JOIN ") for sql in found]
    assert len(set(joins)) == 1, joins
    # The first word opens the clause; from then on each one adds the same number of characters.
    growth = {len(found[count + 1]) - len(found[count]) for count in range(1, 9)}
    assert len(growth) == 1, growth


@pytest.mark.usefixtures("unscoped")
def test_a_row_with_many_matching_others_is_found_once(tenant: Tenant) -> None:
    for email in ("one@a.test", "two@a.test"):
        User.objects.create_user(email, "x", tenant=tenant, role="viewer")
    match = search.containing(Tenant, ("name", "users__email"))
    assert list(search.narrow(Tenant.objects.all(), "a.test", match)) == [tenant]

"""The field that an error names is one that the caller sent."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django import forms
from drf_spectacular.generators import SchemaGenerator

ROOT = Path(__file__).resolve().parents[2]
PLACES = ("billing", "compute", "network", "scloud/accounts", "scloud/jobs")
# What an administrator's buttons and programs inside the platform give, which no request carries.
OF_THE_PLATFORM = frozenset({"tenant", "address", "key", "discount", "sku", "resources"})


def sent() -> set[str]:
    """Every field of every request of the API and of every form of the console."""
    schema: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]  # spectacular's own
    names: set[str] = set()
    for shape in schema["components"]["schemas"].values():
        names |= set(shape.get("properties", {}))
    for path in schema["paths"].values():
        for operation in path.values():
            names |= {one["name"] for one in operation.get("parameters", [])}
            for content in operation.get("requestBody", {}).get("content", {}).values():
                names |= set(content["schema"].get("properties", {}))

    def of(form: type[forms.BaseForm]) -> Iterator[type[forms.BaseForm]]:
        for one in form.__subclasses__():
            yield one
            yield from of(one)

    for form in of(forms.BaseForm):
        names |= set(getattr(form, "base_fields", {}))
    return names


def named() -> Iterator[tuple[str, str]]:
    """Every literal ``field="..."`` of an error, with where it stands."""
    for place in PLACES:
        path = ROOT / place
        for file in [path] if path.is_file() else sorted(path.rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text())):
                if not isinstance(node, ast.Call):
                    continue
                for keyword in node.keywords:
                    if keyword.arg != "field" or not isinstance(keyword.value, ast.Constant):
                        continue
                    if isinstance(keyword.value.value, str):
                        yield keyword.value.value, f"{file.relative_to(ROOT)}:{node.lineno}"


@pytest.mark.django_db
def test_every_field_that_an_error_names_is_a_field_of_a_request() -> None:
    import compute.urls  # noqa: F401  # registers the console's forms

    known = sent() | OF_THE_PLATFORM
    strange = {field: where for field, where in named() if field not in known}
    assert strange == {}

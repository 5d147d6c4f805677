"""docs/api.yaml says what the product takes and answers."""

from __future__ import annotations

import json
from pathlib import Path

import yaml
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiJsonRenderer

DOCUMENT = Path(__file__).resolve().parents[2] / "docs/api.yaml"


def test_the_committed_document_is_current() -> None:
    """``make api`` writes it; docs/api-changes.md says what changed."""
    GENERATOR_STATS.reset()
    schema = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]  # spectacular's own
    made = OpenApiJsonRenderer().render(schema, renderer_context={})
    assert yaml.load(DOCUMENT.read_text(), Loader=yaml.CSafeLoader) == json.loads(made)

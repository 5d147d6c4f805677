"""A platform that has no region yet: pages say so, and none of them fails."""

import pytest
from django.test import Client
from django.urls import reverse

from tests.isolation.routes import all_routes


@pytest.mark.unmeasured
def test_every_page_answers(console: Client) -> None:
    """`request.region` is looked up when it is needed, so it is never None itself."""
    pages = [
        route
        for route in all_routes()
        if not route.api and "get" in route.methods and not route.params
    ]
    assert len(pages) > 40
    console.raise_request_exception = False
    failed = []
    for route in pages:
        answer = console.get(reverse(route.name))
        if answer.status_code >= 500:
            failed.append((route.name, answer.status_code))
    assert failed == []

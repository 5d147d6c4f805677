"""Answers that are not JSON: a text or a file, whatever the caller prefers."""

from __future__ import annotations

from collections.abc import Iterable

from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request


class WhateverIsAccepted(BaseContentNegotiation):
    """The answer has one type, whatever callers prefer; refusals have the form of all others."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser:
        """Return the first: the view takes no body."""
        return next(iter(parsers))

    def select_renderer(
        self,
        request: Request,
        renderers: Iterable[BaseRenderer],
        format_suffix: str | None = None,
    ) -> tuple[BaseRenderer, str]:
        """Return the first, with its own media type."""
        first = next(iter(renderers))
        return first, str(first.media_type)

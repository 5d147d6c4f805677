"""The document that describes the API: the same for everybody, so made once per language."""

import hashlib
import threading
from typing import Any

from django.http import HttpResponse
from django.utils.cache import get_conditional_response
from django.utils.translation import get_language, override
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiJsonRenderer
from drf_spectacular.utils import extend_schema
from rest_framework.permissions import AllowAny
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.views import APIView

_made: dict[str, tuple[bytes, str]] = {}
_lock = threading.Lock()


def document(language: str) -> tuple[bytes, str]:
    """Return the JSON and its ETag."""
    found = _made.get(language)
    if found is None:
        # Making it takes a second of processor time: never twice at once.
        with _lock:
            found = _made.get(language)
            if found is None:
                make: Any = SchemaGenerator  # untyped
                with override(language or None):
                    schema = make().get_schema(request=None, public=True)
                content = bytes(OpenApiJsonRenderer().render(schema))
                found = content, f'"{hashlib.sha256(content).hexdigest()[:32]}"'
                _made[language] = found
    return found


@extend_schema(exclude=True)
class SchemaView(APIView):
    """Anybody may read it; caches may keep it for a while."""

    permission_classes = (AllowAny,)
    # What callers may ask for; the first one carries refusals.
    renderer_classes = (JSONRenderer, OpenApiJsonRenderer)

    def get(self, request: Request) -> HttpResponse:
        """Send it, or say that the caller has it already."""
        content, etag = document(get_language() or "")
        answer = HttpResponse(content, content_type="application/vnd.oai.openapi+json")
        answer.headers["ETag"] = etag
        answer.headers["Cache-Control"] = "public, max-age=300"
        answer.headers["Vary"] = "Accept-Language"
        conditional = get_conditional_response(request._request, etag=etag, response=answer)
        assert isinstance(conditional, HttpResponse)
        return conditional

"""Idempotency keys: the second POST with the same key gets the first one's answer."""

import hashlib
import json
from collections.abc import Callable
from datetime import timedelta

from django.db import IntegrityError, transaction
from django.utils import timezone
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from scloud.lib.errors import Conflict, InvalidInput
from scloud.rest.models import IdempotentRequest
from scloud.tenancy.models import Tenant

HEADER = "Idempotency-Key"
KEEP = timedelta(days=1)
# A request that has not been answered after this long is taken for dead.
ABANDONED = timedelta(minutes=2)


def _digest(request: Request) -> str:
    content = json.dumps([request.method, request.path, request.data], sort_keys=True, default=str)
    return hashlib.sha256(content.encode()).hexdigest()


def once(request: Request, tenant: Tenant, answer: Callable[[], Response]) -> Response:
    """Answer a POST, once per key.

    The key row is taken in a transaction of its own before the work, so two requests at the same
    time cannot both do it. Refusals free the key: nothing was done, and the caller may try again
    with the same one. Raises Conflict (``idempotency_key_in_use``) while the first one is still
    running, InvalidInput when the key was used for something else.
    """
    key = request.headers.get(HEADER, "")
    if not key:
        return answer()
    if len(key) > 120 or not key.isprintable():
        raise InvalidInput(
            f"{HEADER} may have at most 120 printable characters.", field=HEADER, code="invalid_key"
        )
    digest = _digest(request)
    now = timezone.now()
    rows = IdempotentRequest.objects.filter(key=key)
    rows.filter(created_at__lt=now - KEEP).delete()
    rows.filter(status=None, created_at__lt=now - ABANDONED).delete()
    try:
        with transaction.atomic():
            row = IdempotentRequest.objects.create(tenant=tenant, key=key, request_digest=digest)
    except IntegrityError:
        earlier = rows.first()
        if earlier is None or earlier.request_digest != digest:
            raise InvalidInput(
                "This Idempotency-Key was used for another request.",
                code="idempotency_key_reused",
                field=HEADER,
                remedy="Use a new key for every new request.",
            ) from None
        if earlier.status is None:
            raise Conflict(
                "The first request with this Idempotency-Key is still running.",
                code="idempotency_key_in_use",
                remedy="Repeat the request in a few seconds.",
            ) from None
        return Response(earlier.body, status=earlier.status, headers={"Idempotent-Replay": "true"})
    try:
        with transaction.atomic():
            response = answer()
            body = json.loads(JSONRenderer().render(response.data) or b"null")
            # In the same transaction as the work: either both are remembered or neither.
            IdempotentRequest.objects.filter(pk=row.pk).update(
                status=response.status_code, body=body
            )
    except Exception:
        IdempotentRequest.objects.filter(pk=row.pk).delete()
        raise
    return response

"""Idempotency keys: the second POST with the same key gets the first one's answer."""

import hashlib
import json
from collections.abc import Callable
from datetime import timedelta

from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from scloud.lib.errors import Conflict, InvalidInput, ScloudError
from scloud.lib.locks import advisory_key
from scloud.rest.models import IdempotentRequest
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scopes_disabled

HEADER = "Idempotency-Key"
KEEP = timedelta(days=1)


def forget_old() -> int:
    """Delete answers that are no longer kept; return how many."""
    with scopes_disabled():
        deleted, _ = IdempotentRequest.objects.filter(_old()).delete()
    return int(deleted)


def _old() -> Q:
    return Q(created_at__lt=timezone.now() - KEEP)


def _digest(request: Request) -> str:
    content = json.dumps([request.method, request.path, request.data], sort_keys=True, default=str)
    return hashlib.sha256(content.encode()).hexdigest()


def lock_of(tenant: Tenant, key: str) -> int:
    """Return the number of the advisory lock that a request with the key holds while it runs."""
    return advisory_key(f"idempotency {tenant.pk} {key}")


def once(request: Request, tenant: Tenant, answer: Callable[[], Response]) -> Response:
    """Answer a POST, once per key.

    The work and the memory of its answer are one transaction, so either both are there or neither.
    An advisory lock of that transaction keeps a second request with the key out meanwhile; it goes
    with the connection, so a process that dies in the middle frees the key at once. Refusals free
    the key as well: nothing was done, and the caller may try again with the same one.

    Raises Conflict (``idempotency_key_in_use``) while the first one is still running, InvalidInput
    when the key was used for something else.
    """
    key = request.headers.get(HEADER, "")
    if not key:
        return answer()
    if len(key) > 120 or not key.isprintable():
        raise InvalidInput(
            f"{HEADER} may have at most 120 printable characters.", field=HEADER, code="invalid_key"
        )
    digest = _digest(request)
    with transaction.atomic():
        outcome = _alone(tenant, key, digest, answer)
    if isinstance(outcome, ScloudError):
        raise outcome
    return outcome


def _alone(
    tenant: Tenant, key: str, digest: str, answer: Callable[[], Response]
) -> Response | ScloudError:
    """Do it, or find the answer that was given; a refusal is returned, so that nothing rolls back.

    The action has taken its work back by itself then; its entry in the operation log is to stay.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [lock_of(tenant, key)])
        taken = cursor.fetchone()
    if not taken or not taken[0]:
        raise Conflict(
            "The first request with this Idempotency-Key is still running.",
            code="idempotency_key_in_use",
            remedy="Repeat the request in a few seconds.",
        )
    rows = IdempotentRequest.objects.filter(key=key)
    rows.filter(_old()).delete()
    earlier = rows.first()
    if earlier is None:
        try:
            response = answer()
        except ScloudError as error:
            return error
        body = json.loads(JSONRenderer().render(response.data) or b"null")
        IdempotentRequest.objects.create(
            tenant=tenant,
            key=key,
            request_digest=digest,
            status=response.status_code,
            body=body,
        )
        return response
    if earlier.request_digest != digest:
        raise InvalidInput(
            "This Idempotency-Key was used for another request.",
            code="idempotency_key_reused",
            field=HEADER,
            remedy="Use a new key for every new request.",
        )
    return Response(earlier.body, status=earlier.status, headers={"Idempotent-Replay": "true"})

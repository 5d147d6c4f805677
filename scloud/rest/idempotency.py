"""Idempotency keys: the second POST with the same key gets the first one's answer."""

import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from django.db import connection, transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from scloud.lib import keys
from scloud.lib.errors import Conflict, InvalidInput, ScloudError
from scloud.lib.locks import advisory_key
from scloud.rest.models import IdempotentRequest
from scloud.tenancy.actor import Actor, noting_rights
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scopes_disabled

HEADER = "Idempotency-Key"
MAX_LENGTH: Final = 120
# Printable ASCII; spaces at the ends are lost on the way.
PATTERN: Final = "[!-~]([ -~]*[!-~])?"
KEEP = timedelta(days=1)


def keeps_answer(method: str, handler: Callable[..., Any] | None) -> bool:
    """Return whether what a view answers is kept for the next request with the same key.

    It is for POST and DELETE, unless the handler has ``keeps_answer = False``: an answer that holds
    a secret is kept nowhere, and a stream is no answer that could be.
    """
    return method in {"POST", "DELETE"} and bool(getattr(handler, "keeps_answer", handler))


def forget_old() -> int:
    """Delete answers that are no longer kept; return how many."""
    with scopes_disabled():
        deleted, _rows = IdempotentRequest.objects.filter(_old()).delete()
    return int(deleted)


def _old() -> Q:
    return Q(created_at__lt=timezone.now() - KEEP)


def _digests(request: Request) -> list[str]:
    """Return the request's digests, the one by the present key first.

    They are keyed: a request may hold a password, which a bare digest would let anybody guess who
    sees the table.
    """
    content = json.dumps([request.method, request.path, request.data], sort_keys=True, default=str)
    return keys.digests(f"idempotency:{content}")


def lock_of(tenant: Tenant, key: str) -> int:
    """Return the number of the advisory lock that a request with the key holds while it runs."""
    return advisory_key(f"idempotency {tenant.pk} {key}")


def once(request: Request, actor: Actor, answer: Callable[[], Response]) -> Response:
    """Answer a POST, once per caller and key.

    The stored answer is given to the caller who got it first, and only while they still have the
    rights that the work needed; to everybody else the key is a new one.

    The work and the memory of its answer are one transaction, so either both are there or neither.
    An advisory lock of that transaction keeps a second request with the key out meanwhile; it goes
    with the connection, so a process that dies in the middle frees the key at once. Refusals free
    the key as well: nothing was done, and the caller may try again with the same one.

    Raises Conflict (``idempotency_key_in_use``) while the first one is still running, InvalidInput
    when the key was used for something else, Forbidden when a right was lost.
    """
    key = request.headers.get(HEADER)
    if key is None:
        return answer()
    if len(key) > MAX_LENGTH or not re.fullmatch(PATTERN, key):
        raise InvalidInput(
            _("%(header)s may have at most %(max)d printable ASCII characters.")
            % {"header": HEADER, "max": MAX_LENGTH},
            field=HEADER,
            code="invalid_key",
            numbers={"max": MAX_LENGTH, "asked": len(key)},
        )
    digests = _digests(request)
    with transaction.atomic():
        outcome = _alone(actor, key, digests, answer)
    if isinstance(outcome, ScloudError):
        raise outcome
    return outcome


def _alone(
    actor: Actor, key: str, digests: list[str], answer: Callable[[], Response]
) -> Response | ScloudError:
    """Do it, or find the answer that was given; a refusal is returned, so that nothing rolls back.

    The action has taken its work back by itself then; its entry in the operation log is to stay.
    """
    tenant = actor.tenant
    assert tenant is not None
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [lock_of(tenant, key)])
        taken = cursor.fetchone()
    if not taken or not taken[0]:
        raise Conflict(
            _("The first request with this Idempotency-Key is still running."),
            code="idempotency_key_in_use",
            remedy=_("Repeat the request in a few seconds."),
        )
    rows = IdempotentRequest.objects.filter(key=key, caller__in=[actor.caller, ""])
    rows.filter(_old()).delete()
    earlier = rows.first()
    if earlier is None:
        try:
            with noting_rights() as rights:
                response = answer()
        except ScloudError as error:
            return error
        body = json.loads(JSONRenderer().render(response.data) or b"null")
        IdempotentRequest.objects.create(
            tenant=tenant,
            key=key,
            caller=actor.caller,
            rights=sorted(rights),
            request_digest=digests[0],
            status=response.status_code,
            body=body,
        )
        return response
    if not earlier.caller:
        # Kept by an older version, which did not note whose it is. The work is not done again.
        raise Conflict(
            _("This Idempotency-Key was used before the platform was upgraded."),
            code="idempotency_answer_lost",
            remedy=_("Check whether the work was done. Use a new key for a new request."),
        )
    for right in earlier.rights or []:
        actor.require(right)
    if earlier.request_digest not in digests:
        raise InvalidInput(
            _("This Idempotency-Key was used for another request."),
            code="idempotency_key_reused",
            field=HEADER,
            remedy=_("Use a new key for every new request."),
        )
    return Response(earlier.body, status=earlier.status, headers={"Idempotent-Replay": "true"})

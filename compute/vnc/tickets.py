"""Tickets: the right to open one screen in a browser, once and within a minute."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db.models import Q
from django.utils import timezone

from compute.models import VM
from compute.models.vnc import VncTicket
from scloud.lib import keys
from scloud.lib.errors import Unauthenticated
from scloud.tenancy.actor import Actor
from scloud.tenancy.scoping import scopes_disabled

LIFETIME_S: Final = 60
KEEP_USED: Final = timedelta(days=183)


@dataclass(frozen=True, kw_only=True)
class IssuedTicket:
    """What the browser needs. ``path`` goes behind the public address of the proxy."""

    path: str
    expires_at: datetime


def session_digest(session_key: str) -> str:
    """Return what a ticket keeps of the browser session that asked for it."""
    return keys.digest(f"vnc:{session_key}")


def issue(*, actor: Actor, vm: VM, session_key: str | None) -> IssuedTicket:
    """Write a ticket for a signed-in browser. The action around it checks right and state.

    Raises Unauthenticated without a browser session: a program asks for a VNC lease instead.
    """
    if not session_key or actor.user is None:
        raise Unauthenticated(
            "The screen in the browser needs a browser session.",
            code="vnc_needs_session",
            remedy="Get the VNC information of the VM instead, for a VNC client.",
        )
    token = secrets.token_urlsafe(32)
    now = timezone.now()
    ticket = VncTicket.objects.create(
        tenant_id=vm.tenant_id,
        vm=vm,
        user=actor.user,
        token_digest=keys.digest(f"vnc:{token}"),
        session_digest=session_digest(session_key),
        ip=actor.ip,
        created_at=now,
        expires_at=now + timedelta(seconds=LIFETIME_S),
    )
    return IssuedTicket(path=f"/vnc/{vm.pk}?ticket={token}", expires_at=ticket.expires_at)


def claim(*, token: str, vm_id: str, user_id: int, session_key: str) -> VncTicket | None:
    """Use up the ticket if it fits in every respect, and return it; else None.

    One UPDATE decides, so that of two connections with one ticket exactly one gets it. A ticket
    in foreign hands is neither accepted nor used up.
    """
    now = timezone.now()
    with scopes_disabled():
        fitting = VncTicket.objects.filter(
            token_digest__in=keys.digests(f"vnc:{token}"),
            session_digest__in=keys.digests(f"vnc:{session_key}"),
            vm_id=vm_id,
            user_id=user_id,
        )
        if not fitting.filter(used_at=None, expires_at__gt=now).update(used_at=now):
            return None
        ticket: VncTicket = fitting.select_related("tenant", "user__custom_role", "vm").get()
        return ticket


def close(ticket_id: int, *, code: int) -> None:
    """Write down that the session of the ticket is over."""
    with scopes_disabled():
        VncTicket.objects.filter(pk=ticket_id).update(closed_at=timezone.now(), close_code=code)


def sweep() -> int:
    """Delete tickets that nobody used in time, and used ones after half a year."""
    now = timezone.now()
    with scopes_disabled():
        deleted, _ = VncTicket.objects.filter(
            Q(used_at=None, expires_at__lt=now - timedelta(hours=1))
            | Q(used_at__lt=now - KEEP_USED)
        ).delete()
    return int(deleted)

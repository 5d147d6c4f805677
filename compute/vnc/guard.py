"""Who may see which screen: tickets, rights and states, asked again while a screen is open."""

import asyncio
import logging
import re
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from urllib.parse import parse_qs

from django.contrib.auth import get_user
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.backends.db import SessionStore
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone

from compute.vnc import proxy, standing, tickets
from compute.vnc.proxy import Ending, Refused, Scope, Session
from compute.vnc.threads import in_database_thread
from scloud.audit.events import emit
from scloud.tenancy import sessions
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import PlatformSettings, Tenant, User, UserSession
from scloud.tenancy.scoping import in_scope_of

log = logging.getLogger(__name__)

PERMISSION: Final = "compute.open_vnc"
_PATH: Final = re.compile(r"/vnc/(vm-[a-z0-9]{1,17})/?\Z")
# The console notes a session's life no more often either.
_SEEN_AGAIN_S: Final = 30.0


@dataclass(frozen=True, kw_only=True)
class Grant:
    """What a session was let in with."""

    ticket_id: int
    tenant: Tenant
    user_id: int
    user_label: str
    session_key: str
    vm_id: str
    host_id: str | None
    ip: str | None


def _actor(user: User, tenant: Tenant, ip: str | None) -> Actor | None:
    """Return who the user is towards the VM's tenant; None if nobody (any more)."""
    if not user.is_active:
        return None
    if user.tenant_id is None:
        return Actor.administrator(user, tenant, ip) if user.is_staff else None
    if user.tenant_id != tenant.pk:
        return None
    return Actor(tenant=user.tenant, user=user, role=user.role, ip=ip, via="console")


def _signed_in_user(store: SessionStore) -> User | None:
    """Return the user of a browser session; None if it was ended or the password changed."""
    request = HttpRequest()
    request.session = store
    user = get_user(request)
    return user if isinstance(user, User) else None


def _session_ending(grant: Grant, *, input_seen: bool) -> Ending | None:
    """Tell why the browser session no longer carries the screen, and keep it alive on input."""
    store = SessionStore(grant.session_key)
    user = _signed_in_user(store)
    if user is None or user.pk != grant.user_id:
        return Ending(proxy.CLOSED_RIGHTS, "You were signed out.")
    actor = _actor(user, grant.tenant, grant.ip)
    if actor is None or not actor.allows(PERMISSION):
        return Ending(proxy.CLOSED_RIGHTS, "Your role no longer includes the screen of this VM.")
    limits = PlatformSettings.load()
    if sessions.lacks_factor(store, user, limits):
        return Ending(proxy.CLOSED_RIGHTS, "A second factor has to be set up first.")
    if sessions.is_too_old(store, limits) or sessions.lacks_code(store, user):
        return Ending(proxy.CLOSED_RIGHTS, "You were signed out.")
    now = timezone.now()
    idle_s = now.timestamp() - float(store.get(sessions.SEEN_KEY) or 0.0)
    if input_seen:
        # Whoever types into a VM is not idle, although no page is loaded.
        if idle_s > _SEEN_AGAIN_S:
            store[sessions.SEEN_KEY] = now.timestamp()
            try:
                store.save()
            except UpdateError:
                return Ending(proxy.CLOSED_RIGHTS, "You were signed out.")
            UserSession.objects.filter(session_key=grant.session_key).update(last_seen_at=now)
    elif idle_s > limits.idle_logout_min * 60:
        return Ending(proxy.CLOSED_RIGHTS, "Nobody used the screen for a while.")
    return None


def _vm_ending(grant: Grant) -> Ending | None:
    state = standing.look(grant.vm_id)
    if state is None:
        return Ending(proxy.CLOSED_GONE, "The VM does not exist any more.")
    if not state.running:
        return Ending(proxy.CLOSED_NOT_RUNNING, "The VM is not running.")
    if state.host_id != grant.host_id:
        return Ending(proxy.CLOSED_MOVED, "The VM moved to another host.")
    return None


class TicketGuard:
    """The guard of the production proxy."""

    async def admit(self, scope: Scope) -> Session:
        """Use up the ticket of a new connection. Raises Refused."""
        found = _PATH.search(scope["path"])
        tokens = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("ticket", [])
        user = scope.get("user")
        browser_session = scope.get("session")
        session_key = getattr(browser_session, "session_key", None)
        if found is None or len(tokens) != 1:
            raise Refused("no VM or no ticket in the address")
        if not isinstance(user, User) or not session_key:
            raise Refused("nobody is signed in")
        grant = await in_database_thread(
            partial(
                self._claim, token=tokens[0], vm_id=found[1], user=user, session_key=session_key
            )
        )
        return Session(vm_id=grant.vm_id, grant=grant)

    def _claim(self, *, token: str, vm_id: str, user: User, session_key: str) -> Grant:
        ticket = tickets.claim(token=token, vm_id=vm_id, user_id=user.pk, session_key=session_key)
        if ticket is None:
            raise Refused(f"no valid ticket of {user.pk} for {vm_id}")
        state = standing.look(vm_id)
        grant = Grant(
            ticket_id=ticket.pk,
            tenant=ticket.tenant,
            user_id=user.pk,
            user_label=user.email,
            session_key=session_key,
            vm_id=vm_id,
            host_id=state.host_id if state is not None else None,
            ip=ticket.ip,
        )
        ending = self._check(grant, input_seen=True)
        if ending is not None:
            tickets.close(ticket.pk, code=ending.code)
            raise Refused(ending.reason)
        return grant

    async def check(self, session: Session, *, input_seen: bool) -> Ending | None:
        """Tell why an open session has to end now; None if it may go on."""
        return await in_database_thread(partial(self._check, session.grant, input_seen=input_seen))

    def _check(self, grant: Grant, *, input_seen: bool) -> Ending | None:
        return _session_ending(grant, input_seen=input_seen) or _vm_ending(grant)

    async def opened(self, session: Session) -> None:
        """Write the event that the screen is on."""
        await in_database_thread(partial(self._tell, session.grant, "vm.vnc_opened", {}))

    async def closed(self, session: Session, ending: Ending) -> None:
        """Write down that the session is over, and why."""
        seconds = round(asyncio.get_running_loop().time() - session.opened_at)
        data = {"seconds": max(0, seconds), "code": ending.code, "reason": ending.reason}
        try:
            await in_database_thread(partial(self._close, session.grant, data))
        except Exception:
            # The session is over all the same; only its record is lost.
            log.exception("could not record the end of a session on %s", session.vm_id)

    def _close(self, grant: Grant, data: dict[str, Any]) -> None:
        with transaction.atomic():
            tickets.close(grant.ticket_id, code=data["code"])
            self._tell(grant, "vm.vnc_closed", data)

    def _tell(self, grant: Grant, kind: str, data: dict[str, Any]) -> None:
        with in_scope_of(grant.tenant), transaction.atomic():
            emit(
                tenant_id=grant.tenant.pk,
                kind=kind,
                resource_kind="vm",
                resource_id=grant.vm_id,
                data={"user": grant.user_label, "ip": grant.ip, **data},
            )

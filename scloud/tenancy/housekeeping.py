"""What is kept of sign-ins only for a while."""

from datetime import timedelta
from importlib import import_module
from typing import Final

from django.conf import settings
from django.contrib.sessions.models import Session
from django.utils import timezone

from scloud.tenancy.models import Invitation, LoginAttempt, SignInWait, UsedAnswer, UserSession
from scloud.tenancy.scoping import scopes_disabled

KEEP_ATTEMPTS: Final = timedelta(days=183)
KEEP_WAITS: Final = timedelta(hours=1)
# Much longer than a question to an identity provider is good for.
KEEP_ANSWERS: Final = timedelta(hours=6)


def forget_sign_ins() -> int:
    """Delete sessions that ran out, with what people see of them, and what is half a year old.

    That is sign-ins, and invitations that were valid then.

    Returns how many sessions and sign-ins people no longer see.
    """
    import_module(settings.SESSION_ENGINE).SessionStore.clear_expired()
    sessions, _ = UserSession.objects.exclude(
        session_key__in=Session.objects.values("session_key")
    ).delete()
    attempts, _ = LoginAttempt.objects.filter(at__lt=timezone.now() - KEEP_ATTEMPTS).delete()
    with scopes_disabled():
        Invitation.objects.filter(expires_at__lt=timezone.now() - KEEP_ATTEMPTS).delete()
    SignInWait.objects.filter(since__lt=timezone.now() - KEEP_WAITS).delete()
    UsedAnswer.objects.filter(at__lt=timezone.now() - KEEP_ANSWERS).delete()
    return int(sessions + attempts)

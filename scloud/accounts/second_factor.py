"""The second factor of a user: turned on and off, recovery codes, and how codes are used up.

No secret and no code stands in the operation log, in a mail or in the payload of a job. The secret
is sealed; of recovery codes only digests are kept.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

from cryptography.fernet import InvalidToken
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from scloud.accounts import onetime
from scloud.accounts.confirming import confirm_person
from scloud.accounts.mailing import TELL, What
from scloud.accounts.telling import tell
from scloud.audit import action as audit
from scloud.audit.action import action
from scloud.audit.models import Operation
from scloud.jobs.models import Job
from scloud.lib import keys
from scloud.lib.errors import Conflict, Forbidden, InvalidInput, NotFound, ScloudError
from scloud.tenancy import factors, lockout, sessions
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import LoginAttempt, RecoveryCode, SecondFactor, User
from scloud.tenancy.scoping import scopes_disabled

#: Codes of a set.
RECOVERY_CODES: Final = 10
#: How long a secret waits for the first code of the app.
SET_UP: Final = timedelta(minutes=30)
#: So many wrong codes in a day are told to the user, once.
TOLD_WRONG: Final = 5
_DAY: Final = timedelta(days=1)


class Used(StrEnum):
    """What a code was."""

    APP = "app"
    RECOVERY = "recovery"


# --- using codes up


def confirm_code(
    user: User, code: str, *, ip: str | None, source: str = "signed in", known_browser: bool = True
) -> Used:
    """Return what the code was, and use it up: no code is accepted twice.

    Guesses are counted as those of passwords are, but by themselves and whatever the platform's
    settings say: a password that is right does not take wrong codes back. The count must outlast
    the refusal: call it outside the transaction of what is confirmed. Raises InvalidInput
    (``code_wrong``) and TooManyRequests (``account_locked``).
    """
    attempt = lockout.begin(
        account=_account(user),
        email=user.email,
        ip=ip,
        source=source,
        known_browser=known_browser,
        # Of six digits three are right at any time: a million tries are few.
        always=True,
    )
    used = _use(user, onetime.cleaned(code), ip)
    if used is None:
        _tell_of_guesses(user, ip)
        raise InvalidInput(
            _("This code is wrong or was used before."),
            code="code_wrong",
            field="code",
            remedy=_("Enter the code that the app shows now, or a recovery code."),
        )
    lockout.succeeded(attempt)
    return used


def _tell_of_guesses(user: User, ip: str | None) -> None:
    """Tell a user whose password somebody knows, after several wrong codes.

    They need not be in a row: who stays below the lock is told of, too.
    """
    since = timezone.now() - _DAY
    attempts = LoginAttempt.objects.filter(account=_account(user), succeeded=False, at__gt=since)
    wrong = attempts.count()
    if wrong < TOLD_WRONG:
        return
    with scopes_disabled(), transaction.atomic():
        # Of several guesses at the same moment one tells.
        lock(user)
        told = Job.objects.filter(
            kind=TELL,
            target_id=str(user.pk),
            payload__what=What.WRONG_CODES.value,
            created_at__gt=since,
        )
        if not told.exists():
            tell(user, What.WRONG_CODES, ip=ip, count=str(wrong))


def _account(user: User) -> str:
    """Return what wrong codes are counted by."""
    return f"code:{user.pk}"


def _use(user: User, code: str, ip: str | None) -> Used | None:
    factor = SecondFactor.objects.filter(pk=user.pk).first()
    if factor is None:
        return None
    if onetime.is_of_app(code):
        # Of the factor that was read: it may be replaced meanwhile.
        rows = SecondFactor.objects.filter(pk=user.pk, turned_on_at=factor.turned_on_at)
        secret = keys.box().decrypt(bytes(factor.sealed_secret)).decode()
        for step in onetime.steps_of(secret, code, timezone.now()):
            # Compared and written in one statement: of two who bring the same code one is first.
            if rows.filter(last_step__lt=step).update(last_step=step):
                return Used.APP
        return None
    unused = RecoveryCode.objects.filter(factor=factor, used_at=None)
    with transaction.atomic():
        digest = onetime.recovery_digest(user.pk, code)
        if not unused.filter(digest=digest).update(used_at=timezone.now()):
            return None
        left = unused.count()
        _write(user, ip, "tenancy.use_recovery_code", after={"recovery_codes_left": left})
        tell(user, What.RECOVERY_CODE, ip=ip, left=str(left))
    return Used.RECOVERY


def lock(user: User) -> None:
    """Let nobody else change the user's second factor until the transaction ends."""
    User.objects.select_for_update(no_key=True).get(pk=user.pk)


def codes_left(user: User) -> int:
    """Return how many recovery codes have not been used."""
    return RecoveryCode.objects.filter(factor=user.pk, used_at=None).count()


# --- one's own


def begin(*, actor: Actor, password: str, code: str = "") -> str:
    """Return a new secret, sealed, for :func:`secret_of` and :func:`turn_on`.

    Nothing has changed yet. Where a second factor is on, which the new one will replace, a code of
    it is needed too. Raises InvalidInput (``wrong_password``, ``code_wrong``) and TooManyRequests.
    """
    user = _me(actor)
    with _logged(actor, "tenancy.set_up_second_factor"):
        confirm_person(actor, user, password, field="password")
        if factors.has_one(user):
            confirm_code(user, code, ip=actor.ip)
    held = {"user": user.pk, "secret": onetime.new_secret(), "replaces": _state(user)}
    return keys.box().encrypt(json.dumps(held).encode()).decode()


def secret_of(*, actor: Actor, pending: str) -> str | None:
    """Return the secret that :func:`begin` has made; None if it is too old or somebody else's."""
    held = _open(_me(actor), pending)
    return str(held["secret"]) if held is not None else None


def turn_on(*, actor: Actor, pending: str, code: str, keep_session: str | None) -> list[str]:
    """Turn the second factor on, after a code of the app, and return the recovery codes.

    One that was on is replaced. The caller's other sessions end. Raises InvalidInput
    (``set_up_expired``, ``code_wrong``).
    """
    user = _me(actor)
    with _logged(actor, "tenancy.turn_on_second_factor"), transaction.atomic():
        lock(user)
        held = _open(user, pending)
        if held is None:
            raise InvalidInput(
                _("The new secret is no longer valid."),
                code="set_up_expired",
                remedy=_("Begin again."),
            )
        secret = str(held["secret"])
        steps = onetime.steps_of(secret, onetime.cleaned(code), timezone.now())
        if not steps:
            raise InvalidInput(
                _("This is not the code of the new secret."),
                code="code_wrong",
                field="code",
                remedy=_("Enter the code that the app shows now. Check the clock of the device."),
            )
        factor, _made = SecondFactor.objects.update_or_create(
            user=user,
            defaults={
                "sealed_secret": keys.box().encrypt(secret.encode()),
                "last_step": steps[-1],
                "turned_on_at": timezone.now(),
            },
        )
        codes = _new_codes(factor)
        sessions.end_all(user, keep=keep_session)
        tell(user, What.SECOND_FACTOR_ON, ip=actor.ip)
    return codes


def turn_off(*, actor: Actor, password: str, code: str) -> None:
    """Turn the second factor off: from now on the password alone signs the caller in.

    Raises InvalidInput (``wrong_password``, ``code_wrong``), Conflict (``second_factor_off``,
    ``second_factor_required``) and TooManyRequests.
    """
    user = _me(actor)
    with _logged(actor, "tenancy.turn_off_second_factor"):
        error = refusal(user)
        if error is not None:
            raise error
        confirm_person(actor, user, password, field="password")
        confirm_code(user, code, ip=actor.ip)
        with transaction.atomic():
            lock(user)
            SecondFactor.objects.filter(pk=user.pk).delete()
            tell(user, What.SECOND_FACTOR_OFF, ip=actor.ip)


def renew_codes(*, actor: Actor, password: str, code: str) -> list[str]:
    """Return a new set of recovery codes; those of the set before are void.

    Raises InvalidInput (``wrong_password``, ``code_wrong``), Conflict (``second_factor_off``) and
    TooManyRequests.
    """
    user = _me(actor)
    with _logged(actor, "tenancy.renew_recovery_codes"):
        _require_on(user)
        confirm_person(actor, user, password, field="password")
        confirm_code(user, code, ip=actor.ip)
        with transaction.atomic():
            lock(user)
            factor = SecondFactor.objects.filter(pk=user.pk).first()
            if factor is None:
                raise _is_off()
            codes = _new_codes(factor)
            tell(user, What.RECOVERY_CODES, ip=actor.ip)
    return codes


def refusal(user: User) -> ScloudError | None:
    """Return why a user cannot turn the second factor off; None if they can."""
    if not factors.has_one(user):
        return _is_off()
    if factors.is_required(user):
        return Conflict(
            _("A second factor is required here."),
            code="second_factor_required",
            remedy=_("Move it to another device instead."),
        )
    return None


# --- somebody else's


def remove(user: User, *, by: str, ip: str | None) -> None:
    """Take a user's second factor away, end their sessions and tell them.

    For actions that reset it, within their transaction; they say in the log what was done. Raises
    Conflict (``second_factor_off``).
    """
    # A session that is about to begin after a code is there to be ended, or does not begin.
    lock(user)
    deleted, _rows = SecondFactor.objects.filter(pk=user.pk).delete()
    if not deleted:
        raise _is_off()
    ended = sessions.end_all(user)
    audit.note(after={"user": user.email, "second_factor": "reset", "ended_sessions": ended})
    tell(user, What.SECOND_FACTOR_RESET, ip=ip, who=by)


@action("platform.reset_second_factor")
def reset_second_factor(*, actor: Actor, user: User) -> None:
    """Take somebody's second factor away, who has lost app and recovery codes; sessions end.

    Raises Conflict (``own_account``, ``second_factor_off``), Forbidden (``administrator_needed``).
    """
    if actor.user is not None and actor.user.pk == user.pk:
        raise Conflict(
            _("You cannot reset your own second factor."),
            code="own_account",
            remedy=_("Turn it off, or move it to another device."),
        )
    if user.tenant_id is None and actor.user is not None and not actor.user.is_superuser:
        # Else the staff could take over an administrator whose password they know.
        raise Forbidden(
            _("Only an administrator of the platform can reset the second factor of staff."),
            code="administrator_needed",
            remedy=_("Ask an administrator of the platform."),
        )
    # Mails leave the platform: they name no administrator. The operation log does, as for all that
    # administrators do.
    remove(user, by=_("an administrator of the platform"), ip=None)


# --- what they share


def _me(actor: Actor) -> User:
    if actor.user is None or actor.api_key is not None:
        raise NotFound(_("Only a person who is signed in has a second factor."))
    return actor.user


def _state(user: User) -> str:
    since = factors.turned_on_at(user)
    return since.isoformat() if since is not None else ""


def _open(user: User, pending: str) -> dict[str, Any] | None:
    try:
        text = keys.box().decrypt(pending.encode(), ttl=int(SET_UP.total_seconds()))
    except InvalidToken:
        return None
    held: dict[str, Any] = json.loads(text)
    fits = held.get("user") == user.pk and held.get("replaces") == _state(user)
    return held if fits else None


def _new_codes(factor: SecondFactor) -> list[str]:
    codes = [onetime.new_recovery_code() for _number in range(RECOVERY_CODES)]
    factor.recovery_codes.all().delete()
    RecoveryCode.objects.bulk_create(
        RecoveryCode(
            factor=factor, digest=onetime.recovery_digest(factor.pk, onetime.cleaned(code))
        )
        for code in codes
    )
    return codes


def _is_off() -> Conflict:
    return Conflict(_("No second factor is turned on."), code="second_factor_off")


def _require_on(user: User) -> None:
    if not factors.has_one(user):
        raise _is_off()


@contextmanager
def _logged(actor: Actor, verb: str) -> Iterator[None]:
    """Write what is done within, or why it was refused, into the operation log."""
    user = _me(actor)
    try:
        yield
    except ScloudError as error:
        _write(user, actor.ip, verb, error=error, request_id=actor.request_id)
        raise
    _write(user, actor.ip, verb, request_id=actor.request_id)


def _write(
    user: User,
    ip: str | None,
    verb: str,
    *,
    after: dict[str, Any] | None = None,
    error: ScloudError | None = None,
    request_id: str = "",
) -> None:
    with scopes_disabled():
        Operation.objects.create(
            tenant=user.tenant,
            actor=user.email,
            user_id=user.pk,
            via="console" if user.tenant_id else "admin",
            ip=ip,
            verb=verb,
            after=after,
            succeeded=error is None,
            error_code=error.code if error else "",
            error_message=error.message if error else "",
            request_id=request_id,
        )

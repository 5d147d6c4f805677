"""Jobs that send what people are mailed about their account."""

import secrets
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from django.conf import settings
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from scloud.accounts.codes import address_code, may_reset, reset_code
from scloud.audit.models import Operation
from scloud.jobs.handlers import Context, Handler, Step, register
from scloud.jobs.models import Job
from scloud.lib import keys, mail
from scloud.lib.errors import ScloudError
from scloud.lib.mail import MailNotSent
from scloud.tenancy.models import Invitation, User

INVITE: Final = "user.invite"
# With a role of the tenant's own, which workers of an earlier release do not know.
INVITE_AS: Final = "user.invite_as"
RESET: Final = "user.send_reset"
ADDRESS: Final = "user.verify_address"
TELL: Final = "user.tell"
# Of linked identities, which workers of an earlier release do not know.
TELL_LINK: Final = "user.tell_of_link"
#: Waits between the tries while the mail server takes nothing, in seconds.
_RETRIES_S: Final = (30.0, 120.0, 600.0)
#: Of 24 random bytes: a code that nobody guesses, whatever the number of tries.
_CODE_BYTES: Final = 24


class What(StrEnum):
    """What users are told of."""

    SIGNED_IN = "signed_in"
    CREDENTIALS = "credentials"
    API_KEY = "api_key"
    ADDRESS = "address"
    SECOND_FACTOR_ON = "second_factor_on"
    SECOND_FACTOR_OFF = "second_factor_off"
    SECOND_FACTOR_RESET = "second_factor_reset"
    RECOVERY_CODES = "recovery_codes"
    RECOVERY_CODE = "recovery_code"
    WRONG_CODES = "wrong_codes"
    IDENTITY_LINKED = "identity_linked"
    IDENTITY_UNLINKED = "identity_unlinked"


class SendInvitation(Handler):
    """``user.invite``, ``user.invite_as``: a new code to the address of an invitation."""

    repeatable = False

    def steps(self, job: Job) -> Sequence[Step]:
        return [Step("send", _("Send the invitation"), _send_invitation)]


class SendReset(Handler):
    """``user.send_reset``: a code for a forgotten password, if somebody has the address."""

    repeatable = False

    def steps(self, job: Job) -> Sequence[Step]:
        return [Step("send", _("Send the code"), _send_reset)]


class SendAddressCode(Handler):
    """``user.verify_address``: a code to the address that a user wants to have."""

    repeatable = False

    def steps(self, job: Job) -> Sequence[Step]:
        return [Step("send", _("Send the code"), _send_address_code)]


class Tell(Handler):
    """``user.tell``, ``user.tell_of_link``: what happened to an account."""

    repeatable = False

    def steps(self, job: Job) -> Sequence[Step]:
        return [Step("send", _("Send the message"), _tell)]


def register_handlers() -> None:
    """Called once, when the app is ready."""
    register(INVITE, SendInvitation())
    register(INVITE_AS, SendInvitation())
    register(RESET, SendReset())
    register(ADDRESS, SendAddressCode())
    register(TELL, Tell())
    register(TELL_LINK, Tell())


def _send_invitation(context: Context) -> None:
    """The code is made here and nowhere kept but in the mail: the row has its digest."""
    invitations = Invitation.objects.filter(
        pk=context.job.target_id, accepted_at=None, withdrawn_at=None
    )
    invitation = invitations.select_related("tenant", "invited_by", "custom_role").first()
    if invitation is None or not invitation.tenant.is_active:
        return
    code = secrets.token_urlsafe(_CODE_BYTES)
    context.guard()
    if not invitations.update(digest=keys.digest(code)):
        return
    known = User.objects.by_email(invitation.email) is not None
    send(
        context,
        invitation.email,
        _("Invitation to %(account)s") % {"account": invitation.tenant.name},
        _known_text(invitation) if known else _text(invitation, code),
    )
    invitations.update(sent_at=timezone.now())


def _head(invitation: Invitation) -> str:
    who = invitation.invited_by.email if invitation.invited_by is not None else "SCloud"
    return _("%(who)s invites you to the account %(account)s on SCloud, as: %(role)s.") % {
        "who": who,
        "account": invitation.tenant.name,
        "role": invitation.role_name,
    }


def _text(invitation: Invitation, code: str) -> str:
    return _(
        "%(head)s\n\nOpen this link to set your name and password:\n%(link)s\n\n"
        "If the page asks for the code, enter:\n%(code)s\n\n"
        "It is valid until %(until)s (UTC), once. If you did not expect this, ignore this message."
    ) % {
        "head": _head(invitation),
        "link": _link("join", code),
        "code": code,
        "until": f"{invitation.expires_at:%Y-%m-%d %H:%M}",
    }


def _known_text(invitation: Invitation) -> str:
    """What only the owner of the address may know: it belongs to a user already."""
    return _(
        "%(head)s\n\nThis address belongs to another account of the platform, and an address can "
        "belong to one only. Ask for an invitation to another address. If you did not expect this, "
        "ignore this message."
    ) % {"head": _head(invitation)}


def _send_reset(context: Context) -> None:
    """Whether somebody has the address is looked up here, where no answer and no time tells it."""
    user = User.objects.by_email(str(context.payload["email"]))
    if user is None or not may_reset(user):
        return
    context.guard()
    if not context.memory:
        # Once, however often the mail is tried.
        Operation.objects.create(
            tenant=user.tenant,
            actor=user.email,
            user_id=user.pk,
            via="console",
            ip=context.payload.get("ip"),
            verb="tenancy.ask_reset",
            succeeded=True,
        )
    code = reset_code(user)
    text = _(
        "Somebody, most likely you, has forgotten the password of %(email)s.\n\n"
        "Open this link to set a new one:\n%(link)s\n\n"
        "If the page asks for the code, enter:\n%(code)s\n\n"
        "It is valid for half an hour, once. If it was not you, ignore this message: the password "
        "stays as it is."
    ) % {"email": user.email, "link": _link("password-reset", code), "code": code}
    send(context, user.email, _("Set a new password"), text)


def _send_address_code(context: Context) -> None:
    """The new address learns whether it is taken; who wants it does not."""
    user = User.objects.filter(pk=context.job.target_id, is_active=True).first()
    if user is None:
        return
    email = str(context.payload["email"])
    context.guard()
    if User.objects.by_email(email) is not None:
        text = _(
            "%(who)s wants to use this address on SCloud, where it belongs to a user already. "
            "Nothing has changed."
        ) % {"who": user.email}
    else:
        code = address_code(user, email)
        text = _(
            "%(who)s wants to use this address on SCloud.\n\n"
            "If that is you, open this link:\n%(link)s\n\n"
            "If the page asks for the code, enter:\n%(code)s\n\n"
            "It is valid for half an hour, once. If it is not you, ignore this message."
        ) % {"who": user.email, "link": _link("email-verify", code), "code": code}
    send(context, email, _("Verify your new address"), text)


def _tell(context: Context) -> None:
    payload = context.payload
    words = {
        **{name: str(value) for name, value in payload["facts"].items()},
        "at": payload["at"],
        "ip": payload["ip"],
        "link": f"{settings.SCLOUD_CONSOLE_URL}{reverse('profile')}",
    }
    subject, what = _news(What(payload["what"]))
    text = _(
        "%(what)s\n\nWhen: %(at)s\nFrom: %(ip)s\n\nIf it was not you, change your password and end "
        "the other sessions at once: %(link)s"
    ) % {**words, "what": what % words}
    context.guard()
    send(context, str(payload["to"]), subject, text)


def _news(what: What) -> tuple[str, str]:
    """Return the subject of a message and its first sentence, with places for the facts."""
    match what:
        case What.SIGNED_IN:
            return (
                _("New sign-in to your account"),
                _("Somebody has signed in with a browser that was not known: %(browser)s"),
            )
        case What.CREDENTIALS:
            return _("Your password was changed"), _("The password of your account was changed.")
        case What.API_KEY:
            return _("New API key"), _("An API key was created: %(name)s")
        case What.ADDRESS:
            return (
                _("Your address was changed"),
                _("The address of your account was changed to %(email)s."),
            )
        case What.SECOND_FACTOR_ON:
            return (
                _("Second factor turned on"),
                _("Signing in to your account now needs a code of an authenticator app."),
            )
        case What.SECOND_FACTOR_OFF:
            return (
                _("Second factor turned off"),
                _("Signing in to your account needs the password only."),
            )
        case What.SECOND_FACTOR_RESET:
            return (
                _("Second factor reset"),
                _("The second factor of your account was removed by %(who)s. Set up a new one."),
            )
        case What.RECOVERY_CODES:
            return (
                _("New recovery codes"),
                _("New recovery codes were made for your account. Earlier ones are void."),
            )
        case What.RECOVERY_CODE:
            return (
                _("Recovery code used"),
                _("A recovery code of your account was used. Recovery codes left: %(left)s."),
            )
        case What.WRONG_CODES:
            return (
                _("Wrong codes for your account"),
                _(
                    "Somebody has entered the right password of your account, and then wrong codes "
                    "of the second factor: %(count)s in a day."
                ),
            )
        case What.IDENTITY_LINKED:
            return (
                _("Another way to sign in"),
                _(
                    "An identity at %(provider)s was linked: it now signs in to your account, "
                    "whatever its password. Unlink it in your profile if it is not yours."
                ),
            )
        case What.IDENTITY_UNLINKED:
            return (
                _("Identity unlinked"),
                _("An identity at %(provider)s no longer signs in to your account."),
            )


def _link(url_name: str, code: str) -> str:
    # Behind the #, so that the code reaches no log of a server or proxy.
    return f"{settings.SCLOUD_CONSOLE_URL}{reverse(url_name)}#{code}"


def send(context: Context, address: str, subject: str, text: str) -> None:
    """Send a mail, or wait without a slot for the next try."""
    try:
        mail.send(name="", address=address, subject=subject, text=text, mark=context.job.pk)
    except MailNotSent as error:
        tries = int(context.memory.get("tries", 0))
        if error.lasting or tries >= len(_RETRIES_S):
            raise ScloudError(error.message, code="mail_not_sent") from error
        context.memory["tries"] = tries + 1
        context.park(_RETRIES_S[tries])

"""Checking what people and programs send: names, passwords, keys, user data."""

import re

from django.utils.translation import gettext as _

from compute.models.image import Image, OsFamily
from compute.rules import sshkeys
from scloud.lib.errors import InvalidInput
from scloud.lib.text import composed, is_name, unix_lines

PASSWORD_MIN, PASSWORD_MAX = 8, 30
SPECIALS = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
USER_DATA_MAX_BYTES = 16_384
MAX_SSH_KEYS = 10
SSH_KEY_MAX = 8192
# Accounts as useradd and Windows take them.
LINUX_ACCOUNT = re.compile(r"\A[a-z_][a-z0-9_-]{0,31}\Z")
WINDOWS_ACCOUNT_MAX = 20
WINDOWS_REFUSES = frozenset('"/\\[]:;|=,+*?<>@')


def check_name(name: str, *, field: str = "name") -> str:
    """Return the name; InvalidInput unless it is 1 to 30 letters, digits or ``-_.``."""
    name = composed(name)
    if not is_name(name):
        raise InvalidInput(
            _("A name has 1 to 30 letters of any script, digits or - _ ."),
            code="name_invalid",
            field=field,
            remedy=_("Leave out spaces and other signs."),
            numbers={"min": 1, "max": 30, "length": len(name)},
        )
    return name


def batch_names(name: str, count: int) -> list[str]:
    """Return the names of a batch: ``-1``, ``-2``, ... are added to more than one.

    Raises InvalidInput when they become longer than 30 characters.
    """
    names = [name] if count == 1 else [f"{name}-{number}" for number in range(1, count + 1)]
    return [check_name(one) for one in names]


def check_remark(remark: str, *, field: str = "remark") -> str:
    """Return the remark; InvalidInput above 200 characters or with control characters."""
    if len(remark) > 200 or any(ord(char) < 32 for char in remark):
        raise InvalidInput(
            _("A remark has at most 200 characters on one line."),
            code="remark_invalid",
            field=field,
            numbers={"max": 200, "length": len(remark)},
        )
    return remark


def check_account(account: str, *, os_family: str, field: str = "admin_account") -> str:
    """Return a login name of a guest; InvalidInput unless its system takes it as one."""
    if os_family == OsFamily.WINDOWS:
        fits = (
            1 <= len(account) <= WINDOWS_ACCOUNT_MAX
            and account.isprintable()
            and not WINDOWS_REFUSES & set(account)
            and account.strip(". ") == account
        )
        words = _('An account of Windows has 1 to 20 characters, without "/\\[]:;|=,+*?<>@.')
    else:
        fits = LINUX_ACCOUNT.match(account) is not None
        words = _(
            "An account has 1 to 32 lower-case letters, digits, - or _, and begins with a letter "
            "or _."
        )
    if not fits:
        raise InvalidInput(
            words, code="account_invalid", field=field, numbers={"length": len(account)}
        )
    return account


def check_password(password: str, *, os_family: str, account: str, field: str = "password") -> str:
    """Return the password; InvalidInput unless it follows the rules. The text never repeats it.

    8 to 30 characters with three of upper case, lower case, digits, special characters. Windows
    also refuses a password that has three consecutive characters of the account's name.
    """
    if not PASSWORD_MIN <= len(password) <= PASSWORD_MAX:
        raise InvalidInput(
            _("The password must have %(low)s to %(high)s characters.")
            % {"low": PASSWORD_MIN, "high": PASSWORD_MAX},
            code="password_length",
            field=field,
            numbers={"min": PASSWORD_MIN, "max": PASSWORD_MAX, "length": len(password)},
        )
    allowed = all(char.isascii() and (char.isalnum() or char in SPECIALS) for char in password)
    if not allowed:
        raise InvalidInput(
            _("The password may have ASCII letters, digits and punctuation only."),
            code="password_characters",
            field=field,
        )
    kinds = sum(
        (
            any(char.isupper() for char in password),
            any(char.islower() for char in password),
            any(char.isdigit() for char in password),
            any(char in SPECIALS for char in password),
        )
    )
    if kinds < 3:
        raise InvalidInput(
            _("The password needs three of: upper case, lower case, digits, special characters."),
            code="password_weak",
            field=field,
            numbers={"needed": 3, "found": kinds},
        )
    if os_family == OsFamily.WINDOWS:
        lowered, name = password.lower(), account.lower()
        if any(name[i : i + 3] in lowered for i in range(len(name) - 2)):
            raise InvalidInput(
                _("The password must not have three consecutive characters of the account's name."),
                code="password_has_account",
                field=field,
            )
    return password


def check_ssh_keys(text: str, *, field: str = "ssh_public_key") -> str:
    """Return OpenSSH public keys, one a line; InvalidInput, naming the key, for anything else."""
    keys = [line.strip(" \t") for line in unix_lines(text).split("\n")]
    keys = [key.replace("\t", " ") for key in keys if key]
    if len(keys) > MAX_SSH_KEYS:
        raise InvalidInput(
            _("At most %(max)d keys.") % {"max": MAX_SSH_KEYS},
            code="too_many_keys",
            field=field,
            numbers={"max": MAX_SSH_KEYS, "asked": len(keys)},
        )
    if any(line.startswith("-----BEGIN") and "PRIVATE" in line for line in keys):
        raise InvalidInput(
            _("This is a private key. Never share it."),
            code="ssh_key_private",
            field=field,
            remedy=_pub_file(),
        )
    for number, key in enumerate(keys, start=1):
        _check_ssh_key(key, number, field)
    return "\n".join(keys)


def _check_ssh_key(key: str, number: int, field: str) -> None:
    odd = next((one for one in key if one != " " and not one.isprintable()), None)
    if odd is not None:
        raise InvalidInput(
            _("Key %(number)d contains an invisible character (%(character)s).")
            % {"number": number, "character": f"U+{ord(odd):04X}"},
            code="ssh_key_white_space",
            field=field,
            remedy=_("Paste the key as one line, with single spaces between its parts."),
            numbers={"key": number},
        )
    if len(key) > SSH_KEY_MAX:
        raise InvalidInput(
            _("Key %(number)d has %(length)d characters; at most %(max)d are possible.")
            % {"number": number, "length": len(key), "max": SSH_KEY_MAX},
            code="ssh_key_too_long",
            field=field,
            numbers={"key": number, "length": len(key), "max": SSH_KEY_MAX},
        )
    parts = key.split(None, 2)
    if len(parts) < 2 or parts[0] not in sshkeys.TYPES:
        raise _no_key(number, field)
    try:
        sshkeys.check(*parts[:2])
    except sshkeys.CutOffError as error:
        named = f"{number} ({parts[2][:60]})" if len(parts) > 2 else str(number)
        raise InvalidInput(
            _("Key %(name)s is cut off: its end is missing.") % {"name": named},
            code="ssh_key_cut_off",
            field=field,
            remedy=_("Paste the whole key as one line, without line breaks."),
            numbers={"key": number},
        ) from error
    except ValueError as error:
        raise _no_key(number, field) from error


def _no_key(number: int, field: str) -> InvalidInput:
    return InvalidInput(
        _("Key %(number)d is not an OpenSSH public key.") % {"number": number},
        code="ssh_key_invalid",
        field=field,
        remedy=_pub_file(),
        numbers={"key": number},
    )


def _pub_file() -> str:
    return _("Paste the content of a .pub file, such as ~/.ssh/id_ed25519.pub.")


def check_understood(image: Image, *, user_data: str, ssh_public_key: str) -> None:
    """Raise InvalidInput for what the system of an image would do nothing with."""
    if user_data.strip() and not image.accepts_user_data:
        raise InvalidInput(
            _("%(image)s does not support user data.") % {"image": image.name},
            code="user_data_unsupported",
            field="user_data",
            remedy=_("Leave it empty, or choose an image that runs cloud-init."),
        )
    if ssh_public_key.strip() and not image.accepts_ssh_keys:
        raise InvalidInput(
            _("%(image)s does not support SSH public keys.") % {"image": image.name},
            code="ssh_key_unsupported",
            field="ssh_public_key",
            remedy=_("Leave it empty and set a password."),
        )


def check_user_data(text: str, *, field: str = "user_data") -> str:
    """Return cloud-init user data: a cloud-config or a script, at most 16 KiB."""
    text = unix_lines(text)
    if not text.strip():
        return ""
    size = len(text.encode())
    if size > USER_DATA_MAX_BYTES:
        raise InvalidInput(
            _("User data may have at most %(limit)s bytes.") % {"limit": USER_DATA_MAX_BYTES},
            code="user_data_too_long",
            field=field,
            numbers={"max": USER_DATA_MAX_BYTES, "bytes": size},
        )
    if not text.startswith(("#cloud-config", "#!")) or "\0" in text:
        raise InvalidInput(
            _("User data begins with #cloud-config or #!."),
            code="user_data_invalid",
            field=field,
        )
    return text


def check_confirmed(name: str, typed: str | None) -> None:
    """Raise InvalidInput (``confirmation_differs``) if something else than the name was typed.

    None is nothing typed: programs need not confirm.
    """
    if typed is not None and typed != name:
        raise InvalidInput(
            _("The name does not match."),
            code="confirmation_differs",
            field="confirm_name",
            remedy=_("Type %(name)s to confirm.") % {"name": name},
        )

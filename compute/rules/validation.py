"""Checking what people and programs send: names, passwords, keys, user data."""

import base64
import binascii
import re
import struct

from django.core.exceptions import ValidationError

from compute.models.image import OsFamily
from scloud.lib.errors import InvalidInput
from scloud.resources.models import name_validator

PASSWORD_MIN, PASSWORD_MAX = 8, 30
SPECIALS = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
USER_DATA_MAX_BYTES = 16_384
MAX_SSH_KEYS = 10
KEY_TYPES = frozenset(
    {
        "ssh-ed25519",
        "ssh-rsa",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
    }
)
TAG = re.compile(r"\A[\w.\-]{1,30}(=[\w.\-/ ]{0,29})?\Z")
MAX_TAGS = 20


def check_name(name: str, *, field: str = "name") -> str:
    """Return the name; InvalidInput unless it is 1 to 30 letters, digits or ``-_.``."""
    try:
        name_validator(name)
    except ValidationError as error:
        raise InvalidInput(
            "A name has 1 to 30 letters of any script, digits or - _ .",
            code="name_invalid",
            field=field,
            remedy="Leave out spaces and other signs.",
            numbers={"min": 1, "max": 30, "length": len(name)},
        ) from error
    return name


def batch_names(name: str, count: int) -> list[str]:
    """Return the names of a batch: ``-1``, ``-2``, ... are added to more than one.

    Raises InvalidInput when they become longer than 30 characters.
    """
    names = [name] if count == 1 else [f"{name}-{number}" for number in range(1, count + 1)]
    for one in names:
        check_name(one)
    return names


def check_remark(remark: str, *, field: str = "remark") -> str:
    """Return the remark; InvalidInput above 200 characters or with control characters."""
    if len(remark) > 200 or any(ord(char) < 32 for char in remark):
        raise InvalidInput(
            "A remark has at most 200 characters on one line.",
            code="remark_invalid",
            field=field,
            numbers={"max": 200, "length": len(remark)},
        )
    return remark


def check_tags(tags: list[str], *, field: str = "tags") -> list[str]:
    """Return the tags without repetition; each is ``word`` or ``key=value``."""
    unique = list(dict.fromkeys(tag.strip() for tag in tags if tag.strip()))
    if len(unique) > MAX_TAGS:
        raise InvalidInput(
            f"At most {MAX_TAGS} tags.",
            code="too_many_tags",
            field=field,
            numbers={"max": MAX_TAGS, "asked": len(unique)},
        )
    for tag in unique:
        if not TAG.match(tag):
            raise InvalidInput(
                "A tag is a word or key=value of letters, digits and - _ .",
                code="tag_invalid",
                field=field,
            )
    return unique


def check_password(password: str, *, os_family: str, account: str, field: str = "password") -> str:
    """Return the password; InvalidInput unless it follows the rules. The text never repeats it.

    8 to 30 characters with three of upper case, lower case, digits, specials. Windows also
    refuses a password that has three consecutive characters of the account's name.
    """
    if not PASSWORD_MIN <= len(password) <= PASSWORD_MAX:
        raise InvalidInput(
            f"The password must have {PASSWORD_MIN} to {PASSWORD_MAX} characters.",
            code="password_length",
            field=field,
            numbers={"min": PASSWORD_MIN, "max": PASSWORD_MAX, "length": len(password)},
        )
    allowed = all(char.isascii() and (char.isalnum() or char in SPECIALS) for char in password)
    if not allowed:
        raise InvalidInput(
            "The password may have ASCII letters, digits and punctuation only.",
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
            "The password needs three of: upper case, lower case, digits, special characters.",
            code="password_weak",
            field=field,
            numbers={"needed": 3, "found": kinds},
        )
    if os_family == OsFamily.WINDOWS:
        lowered, name = password.lower(), account.lower()
        if any(name[i : i + 3] in lowered for i in range(len(name) - 2)):
            raise InvalidInput(
                "The password must not have three consecutive characters of the account's name.",
                code="password_has_account",
                field=field,
            )
    return password


def check_ssh_keys(text: str, *, field: str = "ssh_public_key") -> str:
    """Return OpenSSH public keys, one a line; InvalidInput for anything else."""
    keys = [line.strip() for line in text.splitlines() if line.strip()]
    if len(keys) > MAX_SSH_KEYS:
        raise InvalidInput(
            f"At most {MAX_SSH_KEYS} keys.",
            code="too_many_keys",
            field=field,
            numbers={"max": MAX_SSH_KEYS, "asked": len(keys)},
        )
    for key in keys:
        parts = key.split(None, 2)
        if len(parts) < 2 or parts[0] not in KEY_TYPES or not _names_its_type(*parts[:2]):
            raise InvalidInput(
                "This is not an OpenSSH public key.",
                code="ssh_key_invalid",
                field=field,
                remedy="Paste the content of a .pub file, such as ~/.ssh/id_ed25519.pub.",
            )
        if len(key) > 8192 or not key.isprintable():
            raise InvalidInput("The key is too long.", code="ssh_key_invalid", field=field)
    return "\n".join(keys)


def _names_its_type(kind: str, body: str) -> bool:
    """Tell whether the key's body is base64 and begins with its own type (RFC 4253, 6.6)."""
    try:
        raw = base64.b64decode(body, validate=True)
        (length,) = struct.unpack(">I", raw[:4])
    except (binascii.Error, struct.error):
        return False
    return raw[4 : 4 + length] == kind.encode() and len(raw) > 4 + length


def check_user_data(text: str, *, field: str = "user_data") -> str:
    """Return cloud-init user data: a cloud-config or a script, at most 16 KiB."""
    if not text.strip():
        return ""
    size = len(text.encode())
    if size > USER_DATA_MAX_BYTES:
        raise InvalidInput(
            f"User data may have {USER_DATA_MAX_BYTES} bytes.",
            code="user_data_too_long",
            field=field,
            numbers={"max": USER_DATA_MAX_BYTES, "bytes": size},
        )
    if not text.startswith(("#cloud-config", "#!")) or "\0" in text:
        raise InvalidInput(
            "User data begins with #cloud-config or #!.",
            code="user_data_invalid",
            field=field,
        )
    return text

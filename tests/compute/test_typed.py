"""What people type for VMs and images: keys, accounts, limits of texts."""

from __future__ import annotations

import base64
import struct

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from compute.rules import validation
from compute.rules.validation import check_account, check_ssh_keys, check_user_data
from scloud.lib.errors import InvalidInput
from scloud.resources.tags import check_tags


def line(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def packed(*fields: bytes) -> str:
    return base64.b64encode(b"".join(struct.pack(">I", len(f)) + f for f in fields)).decode()


RSA = line(rsa.generate_private_key(65537, 2048))
KEYS = {
    "ed25519": line(ed25519.Ed25519PrivateKey.generate()),
    "rsa": RSA,
    "nistp256": line(ec.generate_private_key(ec.SECP256R1())),
    "nistp384": line(ec.generate_private_key(ec.SECP384R1())),
    "nistp521": line(ec.generate_private_key(ec.SECP521R1())),
    "sk-ed25519": "sk-ssh-ed25519@openssh.com "
    + packed(b"sk-ssh-ed25519@openssh.com", bytes(32), b"ssh:"),
    "sk-ecdsa": "sk-ecdsa-sha2-nistp256@openssh.com "
    + packed(b"sk-ecdsa-sha2-nistp256@openssh.com", b"nistp256", b"\x04" + bytes(64), b"ssh:"),
}


def refusal(text: str) -> InvalidInput:
    with pytest.raises(InvalidInput) as refused:
        check_ssh_keys(text)
    assert refused.value.field == "ssh_public_key"
    return refused.value


@pytest.mark.parametrize("kind", KEYS)
def test_a_whole_key_of_every_kind_is_taken(kind: str) -> None:
    key = f"{KEYS[kind]} alice@laptop"
    assert check_ssh_keys(f"\r\n  {key}  \r\n\r\n") == key


@pytest.mark.parametrize("kind", KEYS)
def test_a_key_that_is_cut_off_anywhere_is_refused_and_named(kind: str) -> None:
    whole, (name, body) = KEYS["ed25519"], KEYS[kind].split()
    for cut in range(24, len(body.rstrip("="))):
        found = refusal(f"{whole}\n{name} {body[:cut]} alice@laptop")
        assert found.code == "ssh_key_cut_off", cut
        assert found.numbers == {"key": 2}
        assert "2 (alice@laptop)" in found.message


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("ssh-ed25519", (b"ssh-ed25519", bytes(31))),
        ("ssh-ed25519", (b"ssh-ed25519", bytes(33))),
        ("ssh-ed25519", (b"ssh-ed25519", bytes(32), b"more")),
        ("ssh-rsa", (b"ssh-rsa", b"", b"\x00" + b"\xff" * 256)),
        ("ssh-rsa", (b"ssh-rsa", b"\x01\x00\x01", b"")),
        ("ssh-rsa", (b"ssh-rsa", b"\x01\x00\x01", b"\x7f" * 64)),
        ("ssh-rsa", (b"ssh-rsa", b"\x01\x00\x01", b"\xff" * 256)),
        ("ecdsa-sha2-nistp256", (b"ecdsa-sha2-nistp256", b"nistp384", b"\x04" + bytes(64))),
        ("ecdsa-sha2-nistp256", (b"ecdsa-sha2-nistp256", b"nistp256", b"\x04" + bytes(96))),
        ("ecdsa-sha2-nistp256", (b"ecdsa-sha2-nistp256", b"nistp256", b"\x02" + bytes(64))),
        ("ssh-rsa", (b"ssh-ed25519", bytes(32))),
        ("ssh-dss", (b"ssh-dss", bytes(32))),
    ],
)
def test_every_field_has_the_length_of_its_kind(kind: str, fields: tuple[bytes, ...]) -> None:
    assert refusal(f"{kind} {packed(*fields)}").code == "ssh_key_invalid"


@pytest.mark.parametrize("odd", ["\u00a0", "\u2028", "\u200b", "\x0b", "\ufeff", "\x1c"])
def test_white_space_that_cannot_be_seen_is_told_as_such(odd: str) -> None:
    name, body = KEYS["ed25519"].split()
    found = refusal(f"{name}{odd}{body}")
    assert found.code == "ssh_key_white_space"
    assert f"U+{ord(odd):04X}" in found.message


def test_a_tab_between_the_parts_is_a_blank() -> None:
    assert check_ssh_keys(KEYS["ed25519"].replace(" ", "\t")) == KEYS["ed25519"]


@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
def test_a_key_that_was_pasted_in_two_lines_or_with_a_blank_is_told_as_cut_off(kind: str) -> None:
    name, body = KEYS[kind].split()
    for between in ("\n", " "):
        assert refusal(f"{name} {body[:40]}{between}{body[40:]}").code == "ssh_key_cut_off"


def test_a_private_key_is_told_as_such() -> None:
    begin = "-----BEGIN OPENSSH PRIVATE" + " KEY-----"
    assert refusal(f"{begin}\nb3BlbnNzaC1rZXktdjEA\n").code == "ssh_key_private"


def test_a_key_that_is_too_long_is_told_with_the_numbers() -> None:
    found = refusal(f"{RSA} {'x' * 9000}")
    assert (found.code, found.numbers) == (
        "ssh_key_too_long",
        {"key": 1, "length": len(RSA) + 9001, "max": 8192},
    )


def test_ends_of_lines_count_once_in_user_data() -> None:
    lines = "#cloud-config\r\n" + "#\r\n" * 8000
    assert len(lines) > validation.USER_DATA_MAX_BYTES
    assert "\r" not in check_user_data(lines)
    with pytest.raises(InvalidInput):
        check_user_data("#cloud-config\n" + "#\n" * 9000)


@pytest.mark.parametrize("account", ["root", "ubuntu", "_svc", "a-b_c9", "x" * 32])
def test_a_login_name_of_linux(account: str) -> None:
    assert check_account(account, os_family="linux") == account


@pytest.mark.parametrize("account", ["", "9a", "-a", "Root", "a.b", "a b", "x" * 33, "rööt", "a:b"])
def test_no_login_name_of_linux(account: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_account(account, os_family="linux")
    assert refused.value.field == "admin_account"


@pytest.mark.parametrize(("account", "fits"), [
    ("Administrator", True), ("x" * 20, True), ("x" * 21, False), ("a:b", False), ("a.", False),
    ("", False), ("...", False), ("DOMAIN\\me", False),
])  # fmt: skip
def test_a_login_name_of_windows(account: str, fits: bool) -> None:
    if fits:
        assert check_account(account, os_family="windows") == account
    else:
        with pytest.raises(InvalidInput):
            check_account(account, os_family="windows")


def test_tags_take_letters_with_marks() -> None:
    assert check_tags(["विभाग=हिन्दी", "env=a/b c", "plain"]) == [
        "विभाग=हिन्दी",
        "env=a/b c",
        "plain",
    ]
    for tag in ("a=b=c", "=x", "a b", "x" * 31):
        with pytest.raises(InvalidInput):
            check_tags([tag])

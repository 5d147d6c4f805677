"""Password hashes of guests against the standard's own vectors; sealing and digests."""

import ctypes
import ctypes.util

import pytest
from cryptography.fernet import InvalidToken

from scloud.lib import crypto

# From "Unix crypt using SHA-256 and SHA-512", version 0.6: the vector with the default rounds.
STANDARD = (
    "Hello world!",
    "saltstring",
    (
        "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJu"
        "esI68u4OTLiBFdcbYEdFCoEOfaS35inz1"
    ),
)
# Made with glibc's crypt(3): a long password, a salt that is cut, an empty one, other scripts.
MORE = [
    ("", "abcdefgh"),
    ("a", "x"),
    ("x" * 64, "0123456789abcdef"),
    ("y" * 200, "0123456789abcdefTOO-LONG"),
    ("пароль密码", "saltstring"),
]


def test_the_vector_of_the_standard() -> None:
    password, salt, expected = STANDARD
    assert crypto.sha512_crypt(password, salt) == expected


@pytest.mark.parametrize(("password", "salt"), MORE)
def test_the_c_library_agrees(password: str, salt: str) -> None:
    name = ctypes.util.find_library("crypt")
    assert name, "libcrypt belongs to the base system"
    library = ctypes.CDLL(name)
    library.crypt.restype = ctypes.c_char_p
    known = library.crypt(password.encode(), f"$6${salt}$".encode())
    assert crypto.sha512_crypt(password, salt) == known.decode()


def test_each_hash_has_a_salt_of_its_own() -> None:
    first, second = crypto.sha512_crypt("secret"), crypto.sha512_crypt("secret")
    assert first != second
    assert len(first.split("$")[2]) == 16
    assert crypto.sha512_crypt("secret", first.split("$")[2]) == first


def test_other_rounds_are_refused() -> None:
    with pytest.raises(ValueError, match="5000"):
        crypto.sha512_crypt("a", "b", rounds=10_000)


def test_old_keys_still_open_and_the_new_one_seals() -> None:
    old, both, new = crypto.box(["old"]), crypto.box(["new", "old"]), crypto.box(["new"])
    assert both.decrypt(old.encrypt(b"kept")) == b"kept"
    sealed = both.encrypt(b"fresh")
    assert new.decrypt(sealed) == b"fresh"
    with pytest.raises(InvalidToken):
        old.decrypt(sealed)
    assert b"fresh" not in sealed


def test_a_digest_depends_on_value_and_key() -> None:
    digest = crypto.digest("token", "key")
    assert digest == crypto.digest("token", "key")
    assert len(digest) == 64
    assert digest not in {crypto.digest("token", "other"), crypto.digest("tokem", "key")}

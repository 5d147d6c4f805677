"""Separate keys: new ones reach what the old ones have sealed, signed and digested."""

from __future__ import annotations

import subprocess
import sys
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import InvalidToken
from django.core import signing
from django.core.management import CommandError, call_command
from django.utils import timezone

from billing import quotes
from compute.models import GuestLogin
from compute.rules import logins
from compute.vnc import leases, tickets
from scloud.lib import crypto, keys
from scloud.lib.errors import InvalidInput, Unauthenticated
from scloud.lib.keys import Purpose
from scloud.resources.models import Region
from scloud.tenancy import apikeys, sealed
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import ApiKey, SecondFactor, Tenant, User
from scloud.tenancy.scoping import in_scope_of, scopes_disabled
from tests.accounts.factor import Clock, comes_in, give
from tests.compute.factories import Platform, make_platform, make_vm

ONE_KEY = "the one key of an old installation, for everything"


@pytest.fixture(autouse=True)
def old_installation(settings: Any, tmp_path: Path) -> Path:
    """An installation from before: one key, no rings."""
    settings.SECRET_KEY = ONE_KEY
    settings.SECRET_KEY_FALLBACKS = ["an even older one"]
    settings.SCLOUD_KEYS = {}
    settings.SCLOUD_STATE_DIR = tmp_path
    return tmp_path


@pytest.fixture
def platform(region: Any) -> Platform:
    return make_platform(region)


def rotate(*options: str) -> str:
    out = StringIO()
    call_command("rotate_keys", *options, stdout=out)
    return out.getvalue()


def sealed_by(key: str, text: str) -> bytes:
    """Seal as the version before did."""
    return crypto.box([key]).encrypt(text.encode())


# --- rings


def test_without_rings_the_one_key_serves_as_before() -> None:
    for purpose in Purpose:
        assert keys.ring(purpose) == [ONE_KEY, "an even older one"]
        assert keys.is_shared(purpose)
    assert keys.digest("x") == crypto.digest("x", ONE_KEY)
    assert keys.box().decrypt(sealed_by("an even older one", "x")) == b"x"


def test_a_ring_of_the_environment_goes_before_the_file(settings: Any) -> None:
    keys.write(keys.file_of(Purpose.SEALING), ["of the file"])
    assert keys.ring(Purpose.SEALING) == ["of the file"]
    settings.SCLOUD_KEYS = {"sealing": ["of the environment", "old"]}
    assert keys.ring(Purpose.SEALING) == ["of the environment", "old"]
    assert keys.ring(Purpose.QUOTES)[0] == ONE_KEY


def test_a_file_is_read_again_when_it_changes_and_is_nobody_elses() -> None:
    path = keys.file_of(Purpose.DIGESTS)
    for number in range(5):
        keys.write(path, [f"key {number}".replace(" ", "-")])
        assert keys.ring(Purpose.DIGESTS) == [f"key-{number}"]
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [one.name for one in path.parent.iterdir()] == ["digests"]


def test_a_fingerprint_tells_keys_apart_and_not_what_they_are() -> None:
    first, second = keys.fingerprint("a"), keys.fingerprint("b")
    assert first != second
    assert len(first) == 16


def test_a_new_installation_has_a_key_for_each_purpose(tmp_path: Path) -> None:
    code = (
        "import django; django.setup()\n"
        "from django.conf import settings\n"
        "from scloud.lib import keys\n"
        "rings = [keys.ring(one) for one in keys.Purpose]\n"
        "print(len({settings.SECRET_KEY, *(ring[0] for ring in rings)}), *map(len, rings))\n"
    )
    state = tmp_path / "new"
    environment = {"SCLOUD_STATE_DIR": str(state), "DJANGO_SETTINGS_MODULE": "scloud.settings"}
    ran = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert ran.stdout.split() == ["4", "1", "1", "1"]
    assert {one.name: one.stat().st_mode & 0o777 for one in (state / "keys").iterdir()} == {
        "sealing": 0o600, "quotes": 0o600, "digests": 0o600
    }  # fmt: skip


# --- old data


def test_old_secrets_open_before_and_after_and_then_without_the_old_key(
    platform: Platform, actor: Actor
) -> None:
    vm = make_vm(platform, actor)
    with in_scope_of(vm.tenant):
        GuestLogin.objects.update_or_create(
            vm=vm,
            defaults={
                "tenant_id": vm.tenant_id,
                "sealed_hash": sealed_by("an even older one", "$6$hash"),
                "sealed_pending": sealed_by(ONE_KEY, "$6$pending"),
            },
        )
        lease = leases.issue(actor=actor, vm=vm)
        row = leases.waiting()[0]
        assert logins.open_hash(vm) == "$6$hash"
        said = rotate("--new")
        assert "3 sealed anew, 0 were up to date" in said
        assert not any(keys.is_shared(purpose) for purpose in Purpose)
        assert "0 sealed anew, 3 were up to date" in rotate("--drop-old")
        assert [len(keys.ring(purpose)) for purpose in Purpose] == [1, 1, 1]
        assert logins.open_hash(vm) == "$6$hash"
        assert logins.open_pending(vm) == "$6$pending"
        row.refresh_from_db()
        assert leases.password_of(row) == lease.password


def test_a_second_factor_outlives_the_key_that_sealed_it(user: User, clock: Clock) -> None:
    app = give(user, clock)
    factor = SecondFactor.objects.get()
    before = bytes(factor.sealed_secret)
    assert app.secret.encode() not in before
    assert "1 sealed anew, 0 were up to date" in rotate("--new")
    factor.refresh_from_db()
    assert bytes(factor.sealed_secret) != before
    assert "0 sealed anew, 1 were up to date" in rotate("--drop-old")
    assert [len(keys.ring(purpose)) for purpose in Purpose] == [1, 1, 1]
    # Sessions and half sign-ins hang on the key of the sessions, which stays.
    assert comes_in(user, app.code())
    # Digests of recovery codes have no key.
    assert comes_in(user, app.recovery[0])


def test_an_empty_column_stays_empty(platform: Platform, actor: Actor) -> None:
    vm = make_vm(platform, actor)
    with in_scope_of(vm.tenant):
        logins.keep_hash(vm, None)
        assert sealed.reseal() == sealed.Report(0, 0, [])
        assert logins.open_hash(vm) is None


def test_what_somebody_seals_anew_meanwhile_is_left_alone(
    platform: Platform, actor: Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    vm = make_vm(platform, actor)
    with in_scope_of(vm.tenant):
        GuestLogin.objects.update_or_create(
            vm=vm,
            defaults={"tenant_id": vm.tenant_id, "sealed_hash": sealed_by(ONE_KEY, "$6$old")},
        )
        keys.write(keys.file_of(Purpose.SEALING), [keys.new_key(), *keys.ring(Purpose.SEALING)])
        opens = sealed._opens

        def overtaken(cipher: Any, token: bytes) -> bool:
            newer = keys.box().encrypt(b"$6$new")
            GuestLogin.objects.filter(vm=vm).update(sealed_hash=newer)
            return opens(cipher, token)

        monkeypatch.setattr(sealed, "_opens", overtaken)
        assert sealed.reseal().resealed == 0
        assert logins.open_hash(vm) == "$6$new"


def test_what_no_key_opens_is_named_and_left_alone(platform: Platform, actor: Actor) -> None:
    vm = make_vm(platform, actor)
    lost = sealed_by("a key that is gone", "$6$hash")
    with in_scope_of(vm.tenant):
        logins.keep_pending(vm, "Correct.Horse8")
        GuestLogin.objects.filter(vm=vm).update(sealed_hash=lost)
        with pytest.raises(CommandError, match=r"compute\.GuestLogin"):
            rotate("--new", "sealing", "--drop-old")
        assert bytes(GuestLogin.objects.get(vm=vm).sealed_hash) == lost
        # Nothing was dropped, and the rest was done all the same.
        assert len(keys.ring(Purpose.SEALING)) == 3
        assert logins.open_pending(vm)


def test_an_old_api_key_follows_at_its_next_use(user: User) -> None:
    assert user.tenant is not None
    secret = "sck_of-an-old-installation"
    with in_scope_of(user.tenant):
        ApiKey.objects.create(
            tenant=user.tenant, user=user, name="old",
            digest=crypto.digest(secret, "an even older one"),
        )  # fmt: skip
    said = rotate("--new", "--drop-old")
    assert "1 are known by an old key" in said
    assert "the old keys stay for 1 API keys" in said
    assert len(keys.ring(Purpose.DIGESTS)) == 3
    assert len(keys.ring(Purpose.SEALING)) == 1
    key = apikeys.lookup(secret)
    with scopes_disabled():
        row = ApiKey.objects.get(pk=key.pk)
    assert row.digest == keys.digest(secret)
    assert "digests: old keys are forgotten." in rotate("--drop-old")
    assert apikeys.lookup(secret).pk == key.pk
    # A revoked or expired key holds nothing back.
    assert apikeys.revoke_all(user) == 1
    rotate("--new", "digests")
    assert apikeys.count_under_old_keys() == 0


def test_a_key_of_the_former_ring_is_refused_when_its_ring_is_gone(
    user: User, settings: Any
) -> None:
    settings.SCLOUD_KEYS = {"digests": ["first"]}
    _key, secret = apikeys.issue(user=user, name="k")
    settings.SCLOUD_KEYS = {"digests": ["second"]}
    with pytest.raises(Unauthenticated):
        apikeys.lookup(secret)


def test_a_quote_outlives_a_new_key_and_dies_with_the_old_one(
    platform: Platform, tenant: Tenant, region: Region
) -> None:
    def token() -> str:
        found = quotes.basis(tenant, region, [], timezone.now())
        return quotes.sign(tenant, {"verb": "purchase"}, found, Decimal(1))

    with in_scope_of(tenant):
        old = token()
        rotate("--new", "quotes")
        assert quotes.read(old).total == Decimal(1)
        new = token()
        rotate("--drop-old")
    assert quotes.read(new).total == Decimal(1)
    with pytest.raises(InvalidInput) as refusal:
        quotes.read(old)
    assert refusal.value.code == "quote_invalid"


def test_the_key_of_the_sessions_signs_no_quote_any_more(db: None) -> None:
    rotate("--new", "--drop-old")
    forged = signing.dumps({"total": "0"}, salt=quotes._SALT)
    with pytest.raises(InvalidInput):
        quotes.read(forged)
    with pytest.raises(InvalidToken):
        keys.box().decrypt(sealed_by(ONE_KEY, "x"))


def test_a_ticket_outlives_a_new_key(platform: Platform, actor: Actor, user: User) -> None:
    vm = make_vm(platform, actor)
    with in_scope_of(vm.tenant):
        ticket = tickets.issue(actor=actor, vm=vm, session_key="s")
        rotate("--new", "digests")
        token = ticket.path.partition("ticket=")[2]
        assert tickets.claim(token=token, vm_id=vm.pk, user_id=user.pk, session_key="s")


def test_keys_of_the_environment_are_changed_there(db: None, settings: Any) -> None:
    settings.SCLOUD_KEYS = {"sealing": ["a", "b"]}
    with pytest.raises(CommandError, match="come from the environment"):
        rotate("--new", "sealing")
    rotate("--drop-old")
    assert keys.ring(Purpose.SEALING) == ["a", "b"]

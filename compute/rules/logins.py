"""Keeping the hash of a guest's password, sealed with the site's key."""

from compute.models import VM, GuestLogin
from scloud.lib import crypto, keys

# No crypt(3) hash begins so.
PLAIN = "plain:"


def keep_hash(vm: VM, password: str | None) -> None:
    """Keep the hash of a new VM's password; without a password nothing can log in by one."""
    sealed = keys.box().encrypt(crypto.sha512_crypt(password).encode()) if password else b""
    GuestLogin.objects.update_or_create(
        vm=vm, defaults={"tenant_id": vm.tenant_id, "sealed_hash": sealed, "sealed_pending": b""}
    )


def keep_pending(vm: VM, password: str, *, plain: bool = False) -> None:
    """Keep what a job is about to set: the hash of a password.

    ``plain`` keeps the password itself, sealed and only until the job has ended, for guests whose
    agent takes no hash (Windows).
    """
    content = PLAIN + password if plain else crypto.sha512_crypt(password)
    sealed = keys.box().encrypt(content.encode())
    GuestLogin.objects.update_or_create(
        vm=vm, defaults={"tenant_id": vm.tenant_id, "sealed_pending": sealed}
    )


def open_hash(vm: VM) -> str | None:
    """Return the hash for the guest's seed, or None."""
    row = GuestLogin.objects.filter(vm=vm).first()
    if row is None or not row.sealed_hash:
        return None
    return keys.box().decrypt(bytes(row.sealed_hash)).decode()


def open_pending(vm: VM) -> str | None:
    """Return the hash that a job is about to set, or None.

    Where the password itself was kept it comes after :data:`PLAIN`.
    """
    row = GuestLogin.objects.filter(vm=vm).first()
    if row is None or not row.sealed_pending:
        return None
    return keys.box().decrypt(bytes(row.sealed_pending)).decode()


def settle_pending(vm: VM, *, accept: bool) -> None:
    """Make the pending hash the present one, or forget it."""
    row = GuestLogin.objects.filter(vm=vm).first()
    if row is None or not row.sealed_pending:
        return
    columns = {"sealed_pending": b""}
    plain = (open_pending(vm) or "").startswith(PLAIN)
    if accept and not plain:
        columns["sealed_hash"] = bytes(row.sealed_pending)
    GuestLogin.objects.filter(pk=row.pk).update(**columns)

"""Who holds certificates: hosts, workers, gateways and the OVN centre, each with its files.

Four authorities, so that no certificate opens what it is not for:

``hosts``    libvirt and migration: hosts, and workers as their clients.
``screens``  QEMU's VNC servers, and the gateways as their clients.
``network``  OVN's centre, and workers as its clients. A port of OVSDB without a role lets every
             certificate of its authority write everything, so no host has one of these.
``chassis``  what a host shows to the southbound database, which binds it to its chassis.

Each holder has a directory, ``hosts/h1`` or ``workers/worker``: a symbolic link to the files of
one issue, so that a certificate and its key always fit.
"""

from __future__ import annotations

import enum
import json
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

from cryptography import x509

from scloud.pki import store
from scloud.pki.authority import CLIENT, SERVER, Authority, Issued, Pair
from scloud.pki.store import PkiError

LIFETIME: Final = timedelta(days=365)
RENEW_WITHIN: Final = timedelta(days=30)
AUTHORITIES: Final = ("hosts", "screens", "network", "chassis")
#: Where the files of a host are on the host itself (see install-certificates.sh).
HOST_DIRECTORY: Final = "/etc/pki/scloud/current"
_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?", re.ASCII)
_ABOUT: Final = "holder.json"
#: Beside it once somebody said that these files are where the holder is.
_INSTALLED: Final = "installed"


class Kind(enum.StrEnum):
    """What a holder is."""

    HOST = "host"
    WORKER = "worker"
    GATEWAY = "gateway"
    CENTRE = "centre"

    @property
    def folder(self) -> str:
        """Where the holders of this kind are."""
        return f"{self.value}s"


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose certificates: ``addresses`` and ``names`` are what servers are reached by.

    ``system_id`` is how Open vSwitch calls a host, which is the name of its chassis. ``ends_at`` is
    when the first of its certificates ends.
    """

    kind: Kind
    name: str
    addresses: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    system_id: str = ""
    ends_at: datetime | None = None

    def check(self) -> None:
        """PkiError where it cannot be issued to."""
        for one in (self.name, *self.names):
            if not valid_name(one):
                raise PkiError(f"{one!r} is no name: lower-case letters, digits, dots and hyphens")
        for one in self.addresses:
            try:
                ip_address(one)
            except ValueError as error:
                raise PkiError(f"{one!r} is no IP address") from error
        if self.kind in (Kind.HOST, Kind.CENTRE) and not (self.addresses or self.names):
            raise PkiError(f"a {self.kind} needs an address or a name by which it is reached")
        if self.system_id and (self.kind is not Kind.HOST or not self.system_id.isprintable()):
            raise PkiError("only a host has a system-id, of printable characters")
        if len(self.system_id) > 64:
            raise PkiError("a system-id in a certificate has at most 64 characters")


def valid_name(name: str) -> bool:
    """Tell whether a holder or a server can have this name."""
    return _NAME.fullmatch(name) is not None


class Pki:
    """The authorities and holders below one directory."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def authority(self, name: str) -> Authority:
        """One of ``AUTHORITIES``."""
        return Authority(self.root / "authorities" / name)

    def directory(self, kind: Kind, name: str) -> Path:
        """Where a holder's present files are, or would be."""
        return self.root / kind.folder / name

    def exists(self) -> bool:
        """Whether anything was issued here."""
        return any(self.authority(one).certificate_file.exists() for one in AUTHORITIES)

    def holders(self) -> list[Holder]:
        """Return everybody who has files here. PkiError where some cannot be read."""
        return [_read_about(self.directory(*one) / _ABOUT) for one in self._names()]

    def _names(self) -> list[tuple[Kind, str]]:
        return [
            (kind, about.parent.name)
            for kind in Kind
            for about in sorted((self.root / kind.folder).glob(f"*/{_ABOUT}"))
            # One with a dot is what a link leads to, or led to.
            if not about.parent.name.startswith(".")
        ]

    def holder(self, kind: Kind, name: str) -> Holder | None:
        """Return one holder; None where there is none of this name."""
        about = self.directory(kind, name) / _ABOUT
        return _read_about(about) if about.exists() else None

    def issued(
        self, kind: str = "*", name: str = "*", *, problems: list[str] | None = None
    ) -> list[Issued]:
        """Return the certificates on the books of the authorities, also ended ones.

        Of everybody, or of one holder. PkiError for what cannot be read; who gives ``problems``
        gets that in words, and the rest. So it is below.
        """
        found: list[Issued] = []
        for authority in AUTHORITIES:
            if self.authority(authority).certificate_file.exists():
                with _noted(problems):
                    found += self.authority(authority).issued(kind, name, problems=problems)
        return found

    def ends(self, *, problems: list[str] | None = None) -> list[tuple[str, datetime]]:
        """Return when each authority and each holder's certificates end."""
        found = []
        for name in AUTHORITIES:
            if self.authority(name).certificate_file.exists():
                with _noted(problems):
                    ends_at = self.authority(name).own.not_valid_after_utc
                    found.append((f"authority {name}", ends_at))
        for kind, name in self._names():
            with _noted(problems):
                holder = _read_about(self.directory(kind, name) / _ABOUT)
                if holder.ends_at is not None:
                    found.append((f"{kind} {name}", holder.ends_at))
        return found

    def former(self, *, problems: list[str] | None = None) -> list[tuple[str, datetime]]:
        """Return for each holder when the first of its replaced certificates ends.

        They are what it uses until the present ones are installed. Left out are those of whom
        ``installed`` was said, what has ended, and what was revoked.
        """
        found = []
        # Read once: the books are long.
        books: dict[tuple[str, str], list[Issued]] = {}
        for one in self.issued(problems=problems):
            books.setdefault((one.kind, one.name), []).append(one)
        now = datetime.now(UTC)
        for kind, name in self._names():
            with _noted(problems):
                present = self._present(kind, name)
                if present is None:
                    continue
                ends = [
                    one.ends_at
                    for one in books.get((kind, name), [])
                    if one.serial not in present and one.revoked_at is None and one.ends_at > now
                ]
                if ends:
                    found.append((f"{kind} {name}", min(ends)))
        return found

    def _present(self, kind: Kind, name: str) -> set[int] | None:
        """Return the serial numbers of what a holder has here.

        None of one that has nothing any more, or has these files where it is. PkiError.
        """
        link = self.directory(kind, name)
        for _again in range(3):
            # Where the link leads to may be replaced meanwhile.
            place = link.resolve()
            try:
                serials = None if (place / _INSTALLED).exists() else _serials(place)
            except FileNotFoundError:
                continue
            if not link.exists():
                return None
            if link.resolve() == place:
                return serials
        raise PkiError(f"the files of {kind} {name} are being replaced")

    def installed(self, kind: Kind, name: str) -> Holder:
        """Note that a holder's present files are where it is. PkiError where it has none."""
        with store.locked(self.root):
            found = self.holder(kind, name)
            if found is None:
                raise PkiError(f"there is no {kind} {name}")
            store.write(self.directory(kind, name) / _INSTALLED, b"")
            return found

    def is_installed(self, kind: Kind, name: str) -> bool:
        """Whether it was said that a holder's present files are where it is."""
        return (self.directory(kind, name) / _INSTALLED).exists()

    def issue(self, holder: Holder, *, lifetime: timedelta = LIFETIME) -> Path:
        """Make new keys and certificates for a holder and return the directory with them.

        What it had before stays valid until it ends or is revoked. PkiError.
        """
        _check_lifetime(lifetime)
        holder.check()
        with store.locked(self.root):
            return self._issue(holder, lifetime)

    def renew(self, kind: Kind, name: str, *, lifetime: timedelta = LIFETIME) -> Path:
        """Issue anew what a holder has, for the same names and addresses.

        PkiError, also for one that was revoked meanwhile: nobody gets by a renewal what was taken
        back.
        """
        _check_lifetime(lifetime)
        with store.locked(self.root):
            found = self.holder(kind, name)
            if found is None:
                raise PkiError(f"there is no {kind} {name}")
            found.check()
            present = _serials(self.directory(kind, name))
            if any(one.revoked_at and one.serial in present for one in self.issued(kind, name)):
                raise PkiError(f"{kind} {name} was revoked: revoke it again, or issue it anew")
            return self._issue(found, lifetime)

    def due(self, within: timedelta = RENEW_WITHIN) -> list[Holder]:
        """Return the holders of whom a certificate ends within a time.

        Those whose files cannot be read are among them, with nothing but kind and name.
        """
        limit = datetime.now(UTC) + within
        found = []
        for kind, name in self._names():
            try:
                one = self.holder(kind, name)
            except PkiError:
                # It keeps nobody else from a renewal.
                one = Holder(kind, name)
            if one is not None and (one.ends_at is None or one.ends_at <= limit):
                found.append(one)
        return found

    def ensure(self, holder: Holder, *, within: timedelta = RENEW_WITHIN) -> bool:
        """Issue where a holder has nothing, something else, or what ends soon; whether it did."""
        holder.check()
        with store.locked(self.root):
            there = self.holder(holder.kind, holder.name)
            if (
                there is not None
                and replace(there, ends_at=None) == replace(holder, ends_at=None)
                and there.ends_at is not None
                and there.ends_at > datetime.now(UTC) + within
            ):
                return False
            self._issue(holder, LIFETIME)
            return True

    def revoke(self, kind: Kind, name: str) -> int:
        """Take back all certificates of a holder and remove its files; return how many.

        The revocation lists of all others are written anew: install them. PkiError for a name that
        nothing was ever issued to.
        """
        with store.locked(self.root):
            if not self.issued(kind, name):
                raise PkiError(f"nothing was ever issued to a {kind} {name}")
            count = 0
            for one in AUTHORITIES:
                if self.authority(one).certificate_file.exists():
                    count += self.authority(one).revoke(kind, name)
            # Its files last: who is interrupted before finds the holder still here, and repeats it.
            self._spread_lists()
            self._remove(kind, name)
            return count

    # -- with the lock held --------------------------------------------------------------------

    def _issue(self, holder: Holder, lifetime: timedelta) -> Path:
        for name in AUTHORITIES:
            self.authority(name).ensure()
        files = _FILES[holder.kind](self, holder, lifetime)
        ends_at = min(
            one.not_valid_after_utc
            for name, content in files.items()
            if _is_own(name)
            for one in x509.load_pem_x509_certificates(content)
        )
        link = self.directory(holder.kind, holder.name)
        store.directory(link.parent)
        version = f".{holder.name}~{secrets.token_hex(4)}"
        place = store.directory(link.parent / version)
        for name, content in files.items():
            store.directory((place / name).parent)
            is_key = name.endswith("key.pem")
            store.write(place / name, content, mode=store.KEY_MODE if is_key else store.PUBLIC_MODE)
        about = {
            "kind": holder.kind.value,
            "name": holder.name,
            "addresses": list(holder.addresses),
            "names": list(holder.names),
            "system_id": holder.system_id,
            "ends_at": ends_at.isoformat(),
        }
        store.write(place / _ABOUT, json.dumps(about).encode())
        store.point(link, version)
        self._remove_versions(holder.kind, holder.name, but=version)
        return link

    def _remove(self, kind: Kind, name: str) -> None:
        self.directory(kind, name).unlink(missing_ok=True)
        self._remove_versions(kind, name)

    def _remove_versions(self, kind: Kind, name: str, *, but: str = "") -> None:
        for old in (self.root / kind.folder).glob(f".{name}~*"):
            if old.name != but:
                shutil.rmtree(old, ignore_errors=True)

    def _spread_lists(self) -> None:
        """Write the present revocation lists into the files of every holder."""
        for kind, holder in self._names():
            place = self.directory(kind, holder)
            for name, authorities in _LISTS.get(kind, {}).items():
                store.write(place / name, self._trusted(*authorities))

    def _trusted(self, *parts: str) -> bytes:
        """Certificates and revocation lists, one after the other: ``hosts`` or ``hosts:crl``."""
        found = []
        for part in parts:
            name, _, which = part.partition(":")
            authority = self.authority(name)
            found.append(authority.revocations if which else authority.certificate)
        return b"".join(found)


def _check_lifetime(lifetime: timedelta) -> None:
    if lifetime <= timedelta(0):
        raise PkiError("a certificate has to be valid for a day at least")


def _serials(place: Path) -> set[int]:
    """The serial numbers of the certificates in a holder's directory. PkiError, OSError."""
    found: set[int] = set()
    for file in place.rglob("*cert.pem"):
        if _is_own(file.name):
            try:
                certificates = x509.load_pem_x509_certificates(file.read_bytes())
            except ValueError as error:
                raise PkiError(f"{file} cannot be read: {error}") from error
            found.update(one.serial_number for one in certificates)
    return found


@contextmanager
def _noted(problems: list[str] | None) -> Iterator[None]:
    """Note what cannot be read within the block, where somebody wants to know; else PkiError."""
    try:
        yield
    except (PkiError, OSError) as error:
        if problems is None:
            raise
        if str(error) not in problems:
            problems.append(str(error))


def _is_own(file: str) -> bool:
    """Whether a holder's file is a certificate of its own: not an authority's."""
    return file.endswith("cert.pem") and not file.endswith(("cacert.pem", "ca-cert.pem"))


def _read_about(about: Path) -> Holder:
    try:
        given: dict[str, Any] = json.loads(about.read_text())
        return Holder(
            kind=Kind(given["kind"]),
            name=given["name"],
            addresses=tuple(given["addresses"]),
            names=tuple(given["names"]),
            system_id=given["system_id"],
            ends_at=datetime.fromisoformat(given["ends_at"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PkiError(f"{about} cannot be read: {error}") from error


# -- the files of each kind ----------------------------------------------------------------------

#: Files that hold a revocation list, and what of: rewritten at each revocation.
_LISTS: Final[Mapping[Kind, Mapping[str, Sequence[str]]]] = {
    Kind.HOST: {
        "libvirt/cacrl.pem": ("hosts:crl",),
        "qemu/ca-crl.pem": ("hosts:crl",),
        "vnc/ca-crl.pem": ("screens:crl",),
    },
    Kind.WORKER: {"cacrl.pem": ("hosts:crl",)},
    Kind.GATEWAY: {"ca.pem": ("screens", "screens:crl")},
}


def _pair(
    pki: Pki,
    authority: str,
    holder: Holder,
    unit: str,
    lifetime: timedelta,
    *purposes: x509.ObjectIdentifier,
    common_name: str = "",
) -> Pair:
    server = SERVER in purposes
    return pki.authority(authority).issue(
        kind=holder.kind,
        name=holder.name,
        common_name=common_name or holder.name,
        unit=unit,
        purposes=purposes,
        addresses=holder.addresses if server else (),
        names=holder.names if server else (),
        lifetime=lifetime,
    )


def _lists(pki: Pki, kind: Kind) -> dict[str, bytes]:
    return {name: pki._trusted(*parts) for name, parts in _LISTS.get(kind, {}).items()}


def _host_files(pki: Pki, holder: Holder, lifetime: timedelta) -> dict[str, bytes]:
    daemon = _pair(pki, "hosts", holder, "host", lifetime, SERVER, CLIENT)
    # A key of its own: QEMU's processes can read it, and libvirt's daemons do not accept it.
    migration = _pair(pki, "hosts", holder, "migration", lifetime, SERVER, CLIENT)
    screen = _pair(pki, "screens", holder, "screen", lifetime, SERVER)
    chassis = _pair(
        pki, "chassis", holder, "chassis", lifetime, CLIENT,
        common_name=holder.system_id or holder.name,
    )  # fmt: skip
    return {
        "libvirt/cacert.pem": pki._trusted("hosts"),
        "libvirt/servercert.pem": daemon.certificate,
        "libvirt/serverkey.pem": daemon.key,
        "libvirt/clientcert.pem": daemon.certificate,
        "libvirt/clientkey.pem": daemon.key,
        "qemu/ca-cert.pem": pki._trusted("hosts"),
        "qemu/server-cert.pem": migration.certificate,
        "qemu/server-key.pem": migration.key,
        "qemu/client-cert.pem": migration.certificate,
        "qemu/client-key.pem": migration.key,
        "vnc/ca-cert.pem": pki._trusted("screens"),
        "vnc/server-cert.pem": screen.certificate,
        "vnc/server-key.pem": screen.key,
        "ovn/ca.pem": pki._trusted("network"),
        "ovn/cert.pem": chassis.certificate,
        "ovn/key.pem": chassis.key,
        **_lists(pki, Kind.HOST),
    }


def _worker_files(pki: Pki, holder: Holder, lifetime: timedelta) -> dict[str, bytes]:
    client = _pair(pki, "hosts", holder, "worker", lifetime, CLIENT)
    network = _pair(pki, "network", holder, "worker", lifetime, CLIENT)
    return {
        # Named as libvirt wants them below its pkipath.
        "cacert.pem": pki._trusted("hosts"),
        "clientcert.pem": client.certificate,
        "clientkey.pem": client.key,
        "ovn/ca.pem": pki._trusted("network"),
        "ovn/cert.pem": network.certificate,
        "ovn/key.pem": network.key,
        **_lists(pki, Kind.WORKER),
    }


def _gateway_files(pki: Pki, holder: Holder, lifetime: timedelta) -> dict[str, bytes]:
    client = _pair(pki, "screens", holder, "gateway", lifetime, CLIENT)
    return {
        "cert.pem": client.certificate,
        "key.pem": client.key,
        **_lists(pki, Kind.GATEWAY),
    }


def _centre_files(pki: Pki, holder: Holder, lifetime: timedelta) -> dict[str, bytes]:
    server = _pair(pki, "network", holder, "centre", lifetime, SERVER)
    return {
        "cert.pem": server.certificate,
        "key.pem": server.key,
        # Whom each database believes: hosts reach the southbound one only, by their role.
        "ca-nb.pem": pki._trusted("network"),
        "ca-sb.pem": pki._trusted("network", "chassis"),
    }


_FILES: Final = {
    Kind.HOST: _host_files,
    Kind.WORKER: _worker_files,
    Kind.GATEWAY: _gateway_files,
    Kind.CENTRE: _centre_files,
}

"""One certificate authority: its key, what it issued, and what it took back.

In its directory: ``ca.key`` and ``ca.pem``; ``issued/`` with every certificate, named after kind,
holder and serial number; ``revoked.json``, which is the truth about revocations; ``crl.pem``, made
from it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from scloud.pki import store
from scloud.pki.store import PkiError

ORGANISATION: Final = "SCloud"
AUTHORITY_YEARS: Final = 10
#: Clocks of hosts differ a little; one that is behind takes a new certificate all the same.
BACKDATED: Final = timedelta(hours=1)
SERVER: Final = ExtendedKeyUsageOID.SERVER_AUTH
CLIENT: Final = ExtendedKeyUsageOID.CLIENT_AUTH


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, as PEM."""

    certificate: bytes
    key: bytes


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate that was issued: to whom, and until when."""

    authority: str
    kind: str
    name: str
    serial: int
    ends_at: datetime
    revoked_at: datetime | None


class Authority:
    """Issues for one purpose. Callers hold the lock of :func:`scloud.pki.store.locked`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @property
    def name(self) -> str:
        """What it is for."""
        return self._directory.name

    @property
    def certificate_file(self) -> Path:
        """Where its own certificate is; it exists once anything was issued."""
        return self._directory / "ca.pem"

    @property
    def certificate(self) -> bytes:
        """Its own certificate. PkiError where it has none."""
        return self._read("ca.pem")

    @property
    def revocations(self) -> bytes:
        """Its certificate revocation list. PkiError where it has none."""
        return self._read("crl.pem")

    @property
    def own(self) -> x509.Certificate:
        """Its own certificate. PkiError where it has none, or one that cannot be read."""
        try:
            return x509.load_pem_x509_certificate(self.certificate)
        except ValueError as error:
            raise PkiError(f"{self.certificate_file} cannot be read: {error}") from error

    def _read(self, name: str) -> bytes:
        try:
            return (self._directory / name).read_bytes()
        except FileNotFoundError as error:
            raise PkiError(f"the authority {self.name} has no {name}") from error

    def ensure(self) -> None:
        """Make key, certificate and an empty revocation list where they are missing."""
        store.directory(self._directory / "issued")
        key_file = self._directory / "ca.key"
        if not self.certificate_file.exists():
            if not key_file.exists():
                key = ec.generate_private_key(ec.SECP256R1())
                store.write(key_file, _pem_of(key), mode=store.KEY_MODE)
            store.write(self.certificate_file, self._own_certificate(self._key()))
        if not (self._directory / "crl.pem").exists():
            self._write_list()

    def issue(
        self,
        *,
        kind: str,
        name: str,
        common_name: str,
        unit: str,
        purposes: Sequence[x509.ObjectIdentifier],
        addresses: Iterable[str] = (),
        names: Iterable[str] = (),
        lifetime: timedelta,
    ) -> Pair:
        """Return a new key with its certificate, which is on the books when this returns."""
        self.ensure()
        own = self.own
        now = datetime.now(UTC).replace(microsecond=0)
        if own.not_valid_after_utc <= now:
            raise PkiError(f"the authority {self.name} has expired; see docs/operations.md")
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            x509.CertificateBuilder()
            .subject_name(_subject(unit, common_name))
            .issuer_name(own.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(max(now - BACKDATED, own.not_valid_before_utc))
            .not_valid_after(min(now + lifetime, own.not_valid_after_utc))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key().public_key()), False
            )
        )
        alternatives: list[x509.GeneralName] = [x509.DNSName(one) for one in names]
        alternatives += [x509.IPAddress(ip_address(one)) for one in addresses]
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), False)
        made = builder.sign(self._key(), hashes.SHA256())
        certificate = made.public_bytes(serialization.Encoding.PEM)
        # Before anybody has it: what is not on the books could not be taken back.
        file = self._directory / "issued" / f"{kind}~{name}~{made.serial_number:x}.pem"
        store.write(file, certificate)
        return Pair(certificate, _pem_of(key))

    def issued(
        self, kind: str = "*", name: str = "*", *, problems: list[str] | None = None
    ) -> list[Issued]:
        """Return what is on the books, of everybody or of one holder.

        PkiError for what cannot be read; who gives ``problems`` gets that in words, and the rest.
        """
        revoked = self._revoked()
        found = []
        for file in sorted((self._directory / "issued").glob(f"{kind}~{name}~*.pem")):
            try:
                of_kind, of_name, _serial = file.stem.split("~")
                one = x509.load_pem_x509_certificate(file.read_bytes())
            except (OSError, ValueError) as error:
                words = f"{file} cannot be read: {error}"
                if problems is None:
                    raise PkiError(words) from error
                problems.append(words)
                continue
            found.append(
                Issued(
                    authority=self.name,
                    kind=of_kind,
                    name=of_name,
                    serial=one.serial_number,
                    ends_at=one.not_valid_after_utc,
                    revoked_at=revoked.get(one.serial_number),
                )
            )
        return found

    def revoke(self, kind: str, name: str) -> int:
        """Take back every certificate of a holder that is still valid; return how many.

        Earlier ones that a renewal replaced too: their keys may be what was lost.
        """
        now = datetime.now(UTC).replace(microsecond=0)
        revoked = self._revoked()
        found = [
            one.serial
            for one in self.issued(kind, name)
            if one.ends_at > now and one.revoked_at is None
        ]
        revoked.update(dict.fromkeys(found, now))
        if found:
            text = json.dumps({f"{serial:x}": at.isoformat() for serial, at in revoked.items()})
            store.write(self._directory / "revoked.json", text.encode())
        if revoked:
            # Also where there is nothing new: an earlier call may have ended before it.
            self._write_list()
        return len(found)

    def _revoked(self) -> dict[int, datetime]:
        file = self._directory / "revoked.json"
        try:
            given = json.loads(file.read_text())
            return {int(key, 16): datetime.fromisoformat(at) for key, at in given.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            raise PkiError(f"{file} cannot be read: {error}") from error

    def _write_list(self) -> None:
        own = self.own
        now = datetime.now(UTC).replace(microsecond=0)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(own.subject)
            .last_update(now - BACKDATED)
            # GnuTLS refuses everything by a list that is overdue, so none ever is.
            .next_update(own.not_valid_after_utc)
            .add_extension(x509.CRLNumber(time.time_ns()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key().public_key()), False
            )
        )
        for serial, at in sorted(self._revoked().items()):
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(at)
            builder = builder.add_revoked_certificate(entry.build())
        made = builder.sign(self._key(), hashes.SHA256())
        store.write(self._directory / "crl.pem", made.public_bytes(serialization.Encoding.PEM))

    def _key(self) -> ec.EllipticCurvePrivateKey:
        file = self._directory / "ca.key"
        text = store.read_key(file)
        try:
            key = serialization.load_pem_private_key(text, password=None)
        except ValueError as error:
            raise PkiError(f"{file} cannot be read") from error
        return cast(ec.EllipticCurvePrivateKey, key)

    def _own_certificate(self, key: ec.EllipticCurvePrivateKey) -> bytes:
        name = _subject("authority", self.name)
        now = datetime.now(UTC).replace(microsecond=0)
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATED)
            .not_valid_after(now + timedelta(days=365 * AUTHORITY_YEARS))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(authority=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .sign(key, hashes.SHA256())
        )
        return made.public_bytes(serialization.Encoding.PEM)


def _subject(unit: str, common_name: str) -> x509.Name:
    # In this order libvirt writes it too: O=SCloud,OU=host,CN=h1.
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, ORGANISATION),
            x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _usage(*, authority: bool) -> x509.KeyUsage:
    # GnuTLS's users ask for the encipherment of keys even of elliptic curves.
    return x509.KeyUsage(
        digital_signature=not authority,
        key_encipherment=not authority,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _pem_of(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )

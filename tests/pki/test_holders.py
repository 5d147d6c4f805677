"""Who gets which certificates, and what becomes of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, Self

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from scloud.pki import Holder, Kind, Pki, PkiError, authority, holders, store

HOST = Holder(Kind.HOST, "h1", ("192.0.2.11",), ("h1.example",), system_id="chassis-1")
EVERYBODY = (
    HOST,
    Holder(Kind.WORKER, "worker"),
    Holder(Kind.GATEWAY, "gateway"),
    Holder(Kind.CENTRE, "centre", ("192.0.2.1",)),
)


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    found = Pki(tmp_path / "pki")
    for holder in EVERYBODY:
        found.issue(holder)
    return found


def load(file: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(file.read_bytes())


def common_name(certificate: x509.Certificate) -> str:
    return str(certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value)


def unit(certificate: x509.Certificate) -> str:
    oid = x509.NameOID.ORGANIZATIONAL_UNIT_NAME
    return str(certificate.subject.get_attributes_for_oid(oid)[0].value)


def issuer(certificate: x509.Certificate) -> str:
    return str(certificate.issuer.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value)


def revoked_in(file: Path) -> set[int]:
    return {one.serial_number for one in x509.load_pem_x509_crl(file.read_bytes())}


def pairs(pki: Pki) -> list[tuple[Path, Path]]:
    """Every certificate that has a key beside it."""
    return [
        (key.with_name(key.name.replace("key", "cert")), key)
        for kind in Kind
        for link in (pki.root / kind.folder).glob("*")
        if link.is_symlink()
        for key in link.glob("**/*key.pem")
    ]


def test_nobody_else_reads_a_key(pki: Pki) -> None:
    files = [file for file in pki.root.rglob("*") if file.is_file()]
    secret = [file for file in files if b"PRIVATE KEY" in file.read_bytes()]
    assert len(secret) == 4 + 6 + 2 + 1 + 1
    assert {file.stat().st_mode & 0o777 for file in secret} == {0o600}
    folders = [path for path in pki.root.rglob("*") if path.is_dir() and not path.is_symlink()]
    assert {path.stat().st_mode & 0o777 for path in (pki.root, *folders)} == {0o700}


def test_every_key_fits_its_certificate_which_its_authority_signed(pki: Pki) -> None:
    found = pairs(pki)
    assert len(found) == 10
    for certificate_file, key_file in found:
        certificate = load(certificate_file)
        key = serialization.load_pem_private_key(key_file.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        assert certificate.public_key() == key.public_key()
        own = x509.load_pem_x509_certificate(pki.authority(issuer(certificate)).certificate)
        certificate.verify_directly_issued_by(own)
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
        assert usage.digital_signature
        assert usage.key_encipherment, "GnuTLS asks for it"
        assert not usage.key_cert_sign
        ca = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
        assert ca is False


@pytest.mark.parametrize(
    ("file", "authority_name", "who", "name"),
    [
        ("hosts/h1/libvirt/servercert.pem", "hosts", "host", "h1"),
        ("hosts/h1/libvirt/clientcert.pem", "hosts", "host", "h1"),
        # What QEMU can read is not what libvirt's daemons let in.
        ("hosts/h1/qemu/server-cert.pem", "hosts", "migration", "h1"),
        ("hosts/h1/qemu/client-cert.pem", "hosts", "migration", "h1"),
        ("hosts/h1/vnc/server-cert.pem", "screens", "screen", "h1"),
        ("hosts/h1/ovn/cert.pem", "chassis", "chassis", "chassis-1"),
        ("workers/worker/clientcert.pem", "hosts", "worker", "worker"),
        ("workers/worker/ovn/cert.pem", "network", "worker", "worker"),
        ("gateways/gateway/cert.pem", "screens", "gateway", "gateway"),
        ("centres/centre/cert.pem", "network", "centre", "centre"),
    ],
)
def test_each_certificate_is_of_the_authority_of_its_purpose(
    pki: Pki, file: str, authority_name: str, who: str, name: str
) -> None:
    found = load(pki.root / file)
    assert (issuer(found), unit(found), common_name(found)) == (authority_name, who, name)


def test_servers_are_named_by_what_they_are_reached_by(pki: Pki) -> None:
    for file in ("libvirt/servercert.pem", "qemu/server-cert.pem", "vnc/server-cert.pem"):
        found = load(pki.root / "hosts/h1" / file).extensions
        names = found.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == ["h1.example"]
        assert [str(one) for one in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.11"]
    client = load(pki.root / "workers/worker/clientcert.pem")
    with pytest.raises(x509.ExtensionNotFound):
        client.extensions.get_extension_for_class(x509.SubjectAlternativeName)


def test_no_host_is_believed_by_the_northbound_database(pki: Pki) -> None:
    def trusted(name: str) -> set[str]:
        certificates = (pki.root / "centres/centre" / name).read_bytes()
        return {common_name(one) for one in x509.load_pem_x509_certificates(certificates)}

    assert trusted("ca-nb.pem") == {"network"}
    assert trusted("ca-sb.pem") == {"network", "chassis"}


def test_what_ends_and_when(pki: Pki) -> None:
    now = datetime.now(UTC)
    ends = dict(pki.ends())
    assert sorted(ends) == [
        "authority chassis",
        "authority hosts",
        "authority network",
        "authority screens",
        "centre centre",
        "gateway gateway",
        "host h1",
        "worker worker",
    ]
    assert timedelta(days=364) < ends["host h1"] - now <= timedelta(days=365)
    assert ends["authority hosts"] - now > timedelta(days=3600)
    assert pki.due() == []
    pki.issue(HOST, lifetime=timedelta(days=29))
    assert [one.name for one in pki.due()] == ["h1"]
    assert pki.due(timedelta(days=28)) == []


def test_a_renewal_replaces_all_files_at_once_and_leaves_the_former_valid(pki: Pki) -> None:
    link = pki.directory(Kind.HOST, "h1")
    before = {file: load(file).serial_number for file, _key in pairs(pki)}
    place = link.resolve()
    pki.renew(Kind.HOST, "h1")
    assert link.is_symlink()
    assert link.resolve() != place
    assert not place.exists()
    for file, _key in pairs(pki):
        changed = load(file).serial_number != before[file]
        assert changed == ("/hosts/" in str(file))
    of_host = [one for one in pki.issued() if one.name == "h1"]
    assert len(of_host) == 8
    assert all(one.revoked_at is None for one in of_host)
    renewed = pki.holder(Kind.HOST, "h1")
    assert renewed is not None
    assert (renewed.addresses, renewed.names, renewed.system_id) == (
        HOST.addresses,
        HOST.names,
        "chassis-1",
    )
    with pytest.raises(PkiError, match="no host h2"):
        pki.renew(Kind.HOST, "h2")


def test_what_was_replaced_counts_until_the_new_is_installed(pki: Pki) -> None:
    assert pki.former() == [], "what is there first replaces nothing"
    pki.issue(HOST, lifetime=timedelta(days=20))
    former = dict(pki.former())
    assert set(former) == {"host h1"}
    assert former["host h1"] - datetime.now(UTC) > timedelta(days=364)
    pki.renew(Kind.HOST, "h1")
    former = dict(pki.former())
    assert former["host h1"] - datetime.now(UTC) <= timedelta(days=20)
    assert not pki.is_installed(Kind.HOST, "h1")
    noted = pki.installed(Kind.HOST, "h1")
    assert noted == pki.holder(Kind.HOST, "h1")
    assert pki.is_installed(Kind.HOST, "h1")
    assert pki.former() == []
    # The next renewal is not installed yet; others are not looked at for it.
    pki.renew(Kind.HOST, "h1")
    pki.installed(Kind.WORKER, "worker")
    assert [name for name, _ends_at in pki.former()] == ["host h1"]
    with pytest.raises(PkiError, match="no host h2"):
        pki.installed(Kind.HOST, "h2")


def test_the_books_are_read_once_however_many_holders_there_are(
    pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    issued = authority.Authority.issued

    def counting(self: authority.Authority, *given: str, **named: Any) -> list[authority.Issued]:
        read.append(self.name)
        return issued(self, *given, **named)

    monkeypatch.setattr(authority.Authority, "issued", counting)
    for number in range(5):
        pki.issue(Holder(Kind.HOST, f"more-{number}", ("192.0.2.30",)))
    pki.issue(HOST)
    read.clear()
    assert [name for name, _ends_at in pki.former()] == ["host h1"]
    assert sorted(read) == sorted(holders.AUTHORITIES)


@pytest.mark.parametrize("becomes", ["replaced", "revoked"])
def test_who_is_replaced_while_they_are_read_is_read_again(
    pki: Pki, monkeypatch: pytest.MonkeyPatch, becomes: str
) -> None:
    serials, calls = holders._serials, []

    def meanwhile(place: Path) -> set[int]:
        calls.append(place)
        if len(calls) == 1:
            if becomes == "replaced":
                pki.issue(Holder(Kind.CENTRE, "centre", ("192.0.2.1",)))
            else:
                pki.revoke(Kind.CENTRE, "centre")
        return serials(place)

    pki.renew(Kind.CENTRE, "centre")
    before = dict(pki.former())
    assert set(before) == {"centre centre"}
    monkeypatch.setattr(holders, "_serials", meanwhile)
    problems: list[str] = []
    found = dict(pki.former(problems=problems))
    assert problems == []
    assert set(found) == ({"centre centre"} if becomes == "replaced" else set())


def test_what_has_ended_or_was_revoked_is_not_waited_for(
    pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    pki.revoke(Kind.HOST, "h1")
    pki.issue(HOST)
    assert pki.former() == []

    class Later(datetime):
        """In two years."""

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Self:
            return cls.fromtimestamp(datetime.now(tz).timestamp() + 2 * 365 * 86400, tz)

    pki.renew(Kind.WORKER, "worker")
    assert [name for name, _ends_at in pki.former()] == ["worker worker"]
    monkeypatch.setattr(holders, "datetime", Later)
    assert pki.former() == []


def test_ensure_issues_what_is_missing_different_or_about_to_end(pki: Pki) -> None:
    assert pki.ensure(HOST) is False
    moved = Holder(Kind.HOST, "h1", ("192.0.2.99",), ("h1.example",), system_id="chassis-1")
    assert pki.ensure(moved) is True
    assert pki.ensure(moved) is False
    pki.issue(moved, lifetime=timedelta(days=10))
    assert pki.ensure(moved, within=timedelta(days=9)) is False
    assert pki.ensure(moved) is True
    assert pki.ensure(Holder(Kind.HOST, "h2", ("192.0.2.12",))) is True


def test_revoking_takes_back_the_replaced_ones_too_and_tells_all_others(pki: Pki) -> None:
    pki.renew(Kind.HOST, "h1")
    pki.issue(Holder(Kind.HOST, "h2", ("192.0.2.12",)))
    serials = {
        name: {one.serial for one in pki.issued() if (one.authority, one.name) == (name, "h1")}
        for name in holders.AUTHORITIES
    }
    assert [len(serials[name]) for name in holders.AUTHORITIES] == [4, 2, 0, 2]
    assert pki.revoke(Kind.HOST, "h1") == 8
    assert not pki.directory(Kind.HOST, "h1").exists()
    assert [one.name for one in pki.holders()] == ["h2", "worker", "gateway", "centre"]
    assert {one.serial for one in pki.issued() if one.revoked_at} == set().union(*serials.values())
    others = pki.root / "hosts/h2"
    assert revoked_in(others / "libvirt/cacrl.pem") == serials["hosts"]
    assert revoked_in(others / "qemu/ca-crl.pem") == serials["hosts"]
    assert revoked_in(others / "vnc/ca-crl.pem") == serials["screens"]
    assert revoked_in(pki.root / "workers/worker/cacrl.pem") == serials["hosts"]
    bundle = (pki.root / "gateways/gateway/ca.pem").read_bytes()
    assert {one.serial_number for one in x509.load_pem_x509_crl(bundle)} == serials["screens"]
    # Who comes later learns of it as well, and a list is never overdue.
    pki.issue(Holder(Kind.HOST, "h3", ("192.0.2.13",)))
    late = x509.load_pem_x509_crl((pki.root / "hosts/h3/libvirt/cacrl.pem").read_bytes())
    assert {one.serial_number for one in late} == serials["hosts"]
    own = x509.load_pem_x509_certificate(pki.authority("hosts").certificate)
    assert late.next_update_utc == own.not_valid_after_utc
    assert late.is_signature_valid(own.public_key())  # type: ignore[arg-type]  # of a kind that signs
    assert pki.revoke(Kind.HOST, "h1") == 0
    with pytest.raises(PkiError, match="nothing was ever issued to a worker h1"):
        pki.revoke(Kind.WORKER, "h1")
    # A new one of the same name is not one of those that were taken back.
    pki.issue(HOST)
    assert load(pki.root / "hosts/h1/libvirt/servercert.pem").serial_number not in serials["hosts"]


def test_a_revocation_that_was_interrupted_is_finished_by_the_next(
    pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(Exception):
        """What a killed process leaves behind."""

    def die(*_args: object) -> None:
        raise Killed

    steps: list[tuple[type, str]] = [
        (authority.Authority, "_write_list"),
        (Pki, "_spread_lists"),
        (Pki, "_remove"),
    ]
    for owner, step in steps:
        with monkeypatch.context() as patch:
            patch.setattr(owner, step, die)
            with pytest.raises(Killed):
                pki.revoke(Kind.HOST, "h1")
        assert pki.holder(Kind.HOST, "h1") is not None
    pki.revoke(Kind.HOST, "h1")
    assert all(one.revoked_at for one in pki.issued() if one.name == "h1")
    assert len(revoked_in(pki.root / "workers/worker/cacrl.pem")) == 2
    assert pki.holder(Kind.HOST, "h1") is None


def test_a_renewal_gives_nobody_back_what_is_revoked_meanwhile(
    pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = store.locked

    def revoked_before(root: Path) -> AbstractContextManager[None]:
        monkeypatch.setattr(store, "locked", locked)
        assert pki.revoke(Kind.HOST, "h1") == 4
        return locked(root)

    monkeypatch.setattr(store, "locked", revoked_before)
    with pytest.raises(PkiError, match="no host h1"):
        pki.renew(Kind.HOST, "h1")
    assert pki.holder(Kind.HOST, "h1") is None
    assert all(one.revoked_at for one in pki.issued("host", "h1"))


def test_what_a_revocation_did_not_end_with_is_not_renewed(
    pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Pki, "_remove", die)
        with pytest.raises(KeyboardInterrupt):
            pki.revoke(Kind.HOST, "h1")
    assert pki.holder(Kind.HOST, "h1") is not None
    with pytest.raises(PkiError, match="was revoked"):
        pki.renew(Kind.HOST, "h1")
    assert all(one.revoked_at for one in pki.issued("host", "h1"))
    # Whoever means it issues it anew, and that is renewed as any other.
    pki.issue(HOST)
    pki.renew(Kind.HOST, "h1")
    assert len([one for one in pki.issued("host", "h1") if not one.revoked_at]) == 8


def test_an_issue_that_was_interrupted_leaves_what_was_there(
    pki: Pki, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = load(pki.root / "hosts/h1/libvirt/servercert.pem").serial_number

    def die(*_args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store, "point", die)
        with pytest.raises(KeyboardInterrupt):
            pki.renew(Kind.HOST, "h1")
    assert load(pki.root / "hosts/h1/libvirt/servercert.pem").serial_number == before
    pki.renew(Kind.HOST, "h1")
    versions = [path for path in (pki.root / "hosts").iterdir() if not path.is_symlink()]
    assert len(versions) == 1
    # All of them are on the books: a copy may have been made.
    assert len([one for one in pki.issued() if one.name == "h1"]) == 12


def test_many_at_once(tmp_path: Path) -> None:
    pki = Pki(tmp_path / "pki")
    with ThreadPoolExecutor(4) as pool:
        for _ in pool.map(pki.issue, [HOST] * 8):
            pass
    assert len(pki.issued()) == 8 * 4
    for certificate_file, key_file in pairs(pki):
        key = serialization.load_pem_private_key(key_file.read_bytes(), None)
        assert load(certificate_file).public_key() == key.public_key()
    assert len([path for path in (pki.root / "hosts").iterdir() if not path.is_symlink()]) == 1


def test_a_key_that_others_may_read_issues_nothing(pki: Pki) -> None:
    (pki.root / "authorities/hosts/ca.key").chmod(0o640)
    with pytest.raises(PkiError, match="can be read by others"):
        pki.issue(Holder(Kind.WORKER, "worker2"))
    (pki.root / "authorities/hosts/ca.key").unlink()
    with pytest.raises(PkiError, match="cannot issue"):
        pki.issue(Holder(Kind.WORKER, "worker2"))
    assert len(dict(pki.ends())) == 8, "what is there can still be looked at"


def test_an_authority_outlives_what_it_issues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pki = Pki(tmp_path / "short")
    monkeypatch.setattr(authority, "AUTHORITY_YEARS", 1)
    pki.issue(Holder(Kind.WORKER, "worker"), lifetime=timedelta(days=3000))
    own = x509.load_pem_x509_certificate(pki.authority("hosts").certificate)
    ends_at = load(pki.root / "workers/worker/clientcert.pem").not_valid_after_utc
    assert ends_at <= own.not_valid_after_utc
    over = Pki(tmp_path / "over")
    monkeypatch.setattr(authority, "AUTHORITY_YEARS", 0)
    with pytest.raises(PkiError, match="has expired"):
        over.issue(Holder(Kind.WORKER, "worker"))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: Holder(Kind.HOST, "../h1", ("192.0.2.1",)), "no name"),
        (lambda: Holder(Kind.HOST, "h1~x", ("192.0.2.1",)), "no name"),
        (lambda: Holder(Kind.HOST, ".h1", ("192.0.2.1",)), "no name"),
        (lambda: Holder(Kind.HOST, "", ("192.0.2.1",)), "no name"),
        (lambda: Holder(Kind.HOST, "h1\n", ("192.0.2.1",)), "no name"),
        (lambda: Holder(Kind.HOST, "h1", ("300.0.2.1",)), "no IP address"),
        (lambda: Holder(Kind.HOST, "h1", (), ("*.example",)), "no name"),
        (lambda: Holder(Kind.HOST, "h1"), "needs an address"),
        (lambda: Holder(Kind.CENTRE, "centre"), "needs an address"),
        (lambda: Holder(Kind.WORKER, "w", system_id="x"), "only a host"),
        (lambda: Holder(Kind.HOST, "h1", ("192.0.2.1",), (), "x" * 65), "64"),
        (lambda: Holder(Kind.HOST, "h1", ("192.0.2.1",), (), "a\nb"), "printable"),
    ],
)
def test_nothing_is_issued_to_what_has_no_proper_name(
    tmp_path: Path, make: Callable[[], Holder], reason: str
) -> None:
    pki = Pki(tmp_path / "pki")
    with pytest.raises(PkiError, match=reason):
        pki.issue(make())
    assert not pki.exists()


def test_files_that_cannot_be_read_are_told(pki: Pki) -> None:
    about = pki.directory(Kind.HOST, "h1") / "holder.json"
    about.write_text(json.dumps({"kind": "host"}))
    with pytest.raises(PkiError, match="cannot be read"):
        pki.holders()

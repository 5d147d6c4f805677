"""``manage.py pki``."""

from __future__ import annotations

import logging
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from alarms.queries import platform as figures
from scloud.pki import Holder, Kind, Pki

DNS = ["--dns", "h1.example"]


@pytest.fixture
def root(settings: Any, tmp_path: Path) -> Path:
    settings.SCLOUD_PKI_DIR = tmp_path / "pki"
    return tmp_path / "pki"


def pki(*words: str) -> str:
    """Run it without a database, and look that it prints no key."""
    out = StringIO()
    call_command("pki", *words, stdout=out)
    assert "PRIVATE" not in out.getvalue()
    return out.getvalue()


def test_from_the_first_certificate_to_the_last(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    assert "Nothing was issued" in pki("list")
    said = pki("issue", "host", "h1", "--address", "192.0.2.11", *DNS, "--system-id", "ovs-1")
    assert str(root / "hosts/h1") in said
    assert "install-certificates.sh" in said
    assert Pki(root).holder(Kind.HOST, "h1") == Holder(
        Kind.HOST,
        "h1",
        ("192.0.2.11",),
        ("h1.example",),
        "ovs-1",
        dict(Pki(root).ends())["host h1"],
    )
    for kind in ("worker", "gateway"):
        assert str(root / f"{kind}s/{kind}") in pki("issue", kind)
    assert str(root / "centres/centre") in pki("issue", "centre", "--address", "192.0.2.1")
    assert "Nothing ends soon" in pki("renew")
    assert pki("list").count("valid") == 8
    assert "host h1" in pki("renew", "host", "h1")
    assert pki("list").count("valid") == 12
    assert "8 certificates revoked" in pki("revoke", "host", "h1")
    listed = pki("list")
    assert listed.count("revoked") == 8
    assert "host h1  " not in listed
    assert "PRIVATE" not in caplog.text


def test_what_ends_soon_is_renewed(root: Path) -> None:
    pki("issue", "host", "h1", "--address", "192.0.2.11", "--days", "20")
    pki("issue", "host", "h2", "--address", "192.0.2.12")
    said = pki("renew", "--within", "25")
    assert "host h1" in said
    assert "host h2" not in said
    assert "Nothing ends soon" in pki("renew", "--within", "25")


def test_who_cannot_be_renewed_keeps_nobody_from_it(root: Path) -> None:
    for number in (1, 2, 3):
        pki("issue", "host", f"h{number}", "--address", f"192.0.2.1{number}", "--days", "20")
    (root / "hosts/h1/holder.json").write_text("{}")
    out = StringIO()
    with pytest.raises(CommandError, match=r"Not renewed:\nhost h1: .*cannot be read") as refused:
        call_command("pki", "renew", stdout=out)
    assert "h2" not in str(refused.value)
    assert "host h2" in out.getvalue()
    assert "host h3" in out.getvalue()
    assert [one.name for one in Pki(root).due()] == ["h1"]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["issue", "host"], "A host has a name"),
        (["issue", "host", "h1"], "needs an address"),
        (["issue", "host", "h1", "--address", "here"], "no IP address"),
        (["issue", "worker", "--days", "0"], "a whole number of days"),
        (["issue", "worker", "--days", "x"], "a whole number of days"),
        (["issue", "king"], "invalid choice"),
        (["revoke", "host", "h9"], "nothing was ever issued"),
        (["renew", "host", "h9"], "no host h9"),
        (["renew", "host"], "A host has a name"),
        (["installed", "host", "h9"], "no host h9"),
        (["installed", "host"], "A host has a name"),
    ],
)
def test_what_cannot_be_done_is_told(root: Path, words: list[str], reason: str) -> None:
    with pytest.raises(CommandError, match=reason):
        pki(*words)


def test_operators_are_told_before_certificates_end(settings: Any, root: Path) -> None:
    settings.SCLOUD_CERTIFICATES = []
    settings.SCLOUD_DATES = {}
    assert figures.dates() == []
    made = Pki(root)
    made.issue(Holder(Kind.HOST, "h1", ("192.0.2.11",)), lifetime=timedelta(days=20))
    told = dict(figures.dates())
    assert set(told) == {
        "The certificate of host h1",
        *(f"The certificate of authority {one}" for one in ("hosts", "screens", "network")),
        "The certificate of authority chassis",
    }
    left = told["The certificate of host h1"] - timezone.now()
    assert timedelta(days=19) < left < timedelta(days=21)
    # One that nobody uses any more ends without a word.
    made.revoke(Kind.HOST, "h1")
    assert "The certificate of host h1" not in dict(figures.dates())


def test_operators_are_told_until_what_was_renewed_is_installed(settings: Any, root: Path) -> None:
    settings.SCLOUD_CERTIFICATES = []
    settings.SCLOUD_DATES = {}
    pki("issue", "host", "h1", "--address", "192.0.2.11", "--days", "20")
    assert "pki installed host h1" in pki("renew", "host", "h1")
    told = dict(figures.dates())
    former = "The former certificate of host h1, until the new one is installed"
    assert told[former] - timezone.now() < timedelta(days=20)
    assert told["The certificate of host h1"] - timezone.now() > timedelta(days=364)
    assert "for a former certificate" in pki("list")
    assert "noted" in pki("installed", "host", "h1")
    assert former not in dict(figures.dates())
    assert "for a former certificate" not in pki("list")
    pki("issue", "worker")
    assert "worker worker: noted" in pki("installed", "worker")


def test_files_that_cannot_be_read_end_no_round(
    settings: Any, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings.SCLOUD_CERTIFICATES = []
    settings.SCLOUD_DATES = {}
    Pki(root).issue(Holder(Kind.WORKER, "worker"))
    Pki(root).issue(Holder(Kind.GATEWAY, "gateway"))
    (root / "workers/worker/holder.json").write_text("{}")
    told = dict(figures.dates())
    assert "The certificate of gateway gateway" in told
    assert "The certificate of worker worker" not in told
    assert "cannot be read" in caplog.text


DAMAGED = (
    "hosts/h1/libvirt/servercert.pem", "authorities/chassis/ca.pem", "authorities/hosts/issued/*"
)  # fmt: skip


def damage(root: Path, what: str) -> None:
    """Let nothing sensible be in a file, of several in the first one."""
    min(root.glob(what)).write_bytes(b"x")


@pytest.mark.parametrize("what", DAMAGED)
def test_a_damaged_certificate_ends_no_warning_of_others(
    settings: Any, root: Path, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    settings.SCLOUD_CERTIFICATES = []
    settings.SCLOUD_DATES = {}
    for number in (1, 2):
        pki("issue", "host", f"h{number}", "--address", f"192.0.2.1{number}", "--days", "20")
        pki("renew", "host", f"h{number}")
    before = dict(figures.dates())
    damage(root, what)
    told = dict(figures.dates())
    former = "The former certificate of host h2, until the new one is installed"
    assert told["The certificate of host h2"] == before["The certificate of host h2"]
    assert told[former] == before[former]
    assert "cannot be read" in caplog.text
    # A name that only the damaged one has may be missing; nothing is invented.
    assert before.items() >= told.items()
    listed = pki("list")
    assert "damaged: " in listed
    assert "host h2" in listed


def test_a_damaged_certificate_keeps_nobody_from_a_renewal(root: Path) -> None:
    for number in (1, 2, 3):
        pki("issue", "host", f"h{number}", "--address", f"192.0.2.1{number}", "--days", "20")
    damage(root, "hosts/h1/libvirt/servercert.pem")
    damage(root, "authorities/screens/issued/host~h2~*")
    out = StringIO()
    with pytest.raises(CommandError, match=r"Not renewed:\nhost h1: .*cannot be read") as refused:
        call_command("pki", "renew", stdout=out)
    assert "host h2: " in str(refused.value)
    assert "host h3" in out.getvalue()
    assert "damaged: " in pki("list")
    # Others can still be taken back, whatever else is damaged.
    (root / "hosts/h1/holder.json").write_text("{}")
    lists = [root / "hosts" / name / "libvirt/cacrl.pem" for name in ("h1", "h2")]
    before = [file.read_bytes() for file in lists]
    assert "8 certificates revoked" in pki("revoke", "host", "h3")
    assert all(file.read_bytes() != was for file, was in zip(lists, before, strict=True))
    with pytest.raises(CommandError, match="cannot be read"):
        pki("revoke", "host", "h2")


@pytest.mark.parametrize("what", ["ca.pem", "ca.key", "revoked.json"])
def test_a_damaged_authority_is_told(root: Path, what: str) -> None:
    pki("issue", "worker")
    (root / "authorities/hosts" / what).write_bytes(b"x")
    with pytest.raises(CommandError, match="cannot be read"):
        pki("renew", "worker")

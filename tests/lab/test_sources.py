"""The machine's own apt sources, in both forms, are what images are built from."""

from __future__ import annotations

from pathlib import Path

import pytest

from scloud.lab.images import debian, disk, sources
from scloud.lab.images.sources import Source

KEYS = "/usr/share/keyrings/debian-archive-keyring.gpg"
STANZAS = f"""\
# Debian
Types: deb deb-src
URIs: http://mirror.example/debian http://second.example/debian/
Suites: bookworm bookworm-updates
  bookworm-backports
Components: main
# a remark inside
Signed-By: {KEYS}

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main contrib
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBFit2ioBEADhWpZ8
 -----END PGP PUBLIC KEY BLOCK-----

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main

Types: deb-src
URIs: http://code.example/debian
Suites: bookworm
Components: main

Types: deb
URIs: http://vendor.example/apt
Suites: stable
Components: main
"""
LINES = f"""\
# deb http://commented.example/debian bookworm main
deb http://mirror.example/debian bookworm main contrib # a remark
deb-src http://mirror.example/debian bookworm main
  deb [ arch=amd64,i386 signed-by={KEYS} ] http://mirror.example/debian-security bookworm-security main
deb [trusted=yes] cdrom:[Debian 12]/ bookworm main
deb http://vendor.example/apt ./

nonsense
"""  # noqa: E501 - a line of apt's cannot be broken


def test_stanzas() -> None:
    first, second, vendor = sources.parse_stanzas(STANZAS)
    assert first == Source(
        ("http://mirror.example/debian", "http://second.example/debian/"),
        ("bookworm", "bookworm-updates", "bookworm-backports"),
        ("main",),
        (("signed-by", KEYS),),
    )
    assert second.suites == ("bookworm-security",)
    assert second.components == ("main", "contrib")
    ((name, key),) = second.options
    assert name == "signed-by"
    assert key.splitlines() == [
        "",
        " -----BEGIN PGP PUBLIC KEY BLOCK-----",
        " .",
        " mQINBFit2ioBEADhWpZ8",
        " -----END PGP PUBLIC KEY BLOCK-----",
    ]
    assert vendor.uris == ("http://vendor.example/apt",)


def test_lines() -> None:
    plain, security, disc, flat = sources.parse_lines(LINES)
    assert plain == Source(("http://mirror.example/debian",), ("bookworm",), ("main", "contrib"))
    assert security == Source(
        ("http://mirror.example/debian-security",),
        ("bookworm-security",),
        ("main",),
        (("architectures", "amd64 i386"), ("signed-by", KEYS)),
    )
    assert disc.uris[0].startswith("cdrom:")
    assert flat == Source(("http://vendor.example/apt",), ("./",), ())


def test_what_was_read_is_written_so_that_it_reads_the_same(tmp_path: Path) -> None:
    for found in (sources.parse_stanzas(STANZAS), sources.parse_lines(LINES)[:2]):
        path = sources.write(found, tmp_path / "copy.sources")
        assert sources.parse_stanzas(path.read_text()) == found


def test_all_files_of_apt_are_read_in_its_order(tmp_path: Path) -> None:
    (tmp_path / "sources.list").write_text("deb http://one.example/debian bookworm main\n")
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    (parts / "b.list").write_text("deb http://three.example/debian bookworm main\n")
    (parts / "a.sources").write_text(
        "Types: deb\nURIs: http://two.example/debian\nSuites: bookworm\nComponents: main\n"
    )
    (parts / "c.list.disabled").write_text("deb http://four.example/debian bookworm main\n")
    found = [source.uris[0] for source in sources.of_machine(tmp_path)]
    assert found == [f"http://{name}.example/debian" for name in ("one", "two", "three")]
    assert sources.of_machine(tmp_path / "nowhere") == []


def test_a_release_comes_without_backports_discs_and_third_parties() -> None:
    found = sources.of_release(
        [*sources.parse_stanzas(STANZAS), *sources.parse_lines(LINES)], "bookworm"
    )
    assert [source.suites for source in found] == [
        ("bookworm", "bookworm-updates"),
        ("bookworm-security",),
        ("bookworm",),
        ("bookworm-security",),
    ]
    assert all("mirror.example" in source.uris[0] for source in found)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("deb http://m.example/debian trixie main", "bookworm"),
        ("deb http://m.example/debian stable-updates main", "bookworm-updates"),
        ("deb mirror+file:/etc/apt/mirrors/debian.list trixie main", "bookworm"),
        ("deb http://m.example/archive/debian/20250520T000000Z/ trixie main", "bookworm"),
        # Whoever is not Debian may have nothing for another release.
        ("deb http://vendor.example/apt trixie main", None),
        ("deb http://vendor.example/chrome/deb stable main", None),
        ("deb http://vendor.example/apt bookworm main", "bookworm"),
        ("deb http://vendor.example/apt bookworm-vendor main", None),
        ("deb http://m.example/debian bookworm contrib", None),
    ],
)
def test_another_release_of_debian_serves_too(line: str, expected: str | None) -> None:
    found = sources.of_release(
        sources.parse_lines(line), "bookworm", here=["trixie", *sources.ALIASES]
    )
    assert [source.suites for source in found] == ([(expected,)] if expected else [])


def test_images_are_built_from_the_servers_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sources.list").write_text(
        f"deb [signed-by={KEYS}] http://here.example/debian trixie main\n"
    )
    monkeypatch.setattr(sources.of_machine, "__defaults__", (tmp_path,))
    calls: list[tuple[str, ...]] = []

    def recorded(*command: str | Path, timeout_s: float) -> None:
        calls.append(tuple(str(word) for word in command))
        raise InterruptedError

    for module in (debian, disk):
        monkeypatch.setattr(module, "run", recorded)
    release = {"ID": "debian", "VERSION_CODENAME": "trixie"}
    monkeypatch.setattr(disk, "os_release", lambda: release)
    with pytest.raises(InterruptedError):
        debian.build(tmp_path, tmp_path / "raw")
    with pytest.raises(InterruptedError):
        disk.extract("trixie", ["busybox-static"], tmp_path / "mini")
    for call, suite in zip(calls, ("bookworm", "trixie"), strict=True):
        text = Path(call[-1]).read_text()
        assert "http://here.example/debian" in text
        assert f"Suites: {suite}\n" in text
        assert f"Signed-By: {KEYS}\n" in text
    # Ubuntu's servers have no Debian: mmdebstrap's own knowledge is used.
    release.update(ID="ubuntu", VERSION_CODENAME="noble")
    with pytest.raises(InterruptedError):
        debian.build(tmp_path, tmp_path / "raw")
    assert calls[-1][-2:] == ("bookworm", str(tmp_path / "root"))

"""The machine's own apt sources, which guest images are built from.

Both forms of sources.list(5) are read: stanzas (``*.sources``) and single lines (``*.list``).
Keys go along: whatever ``Signed-By`` names or holds.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

APT = Path("/etc/apt")
# What apt calls an option on a line and in a stanza, where they are spelt differently.
STANZA_FIELDS = {"arch": "architectures", "lang": "languages", "target": "targets"}
# What a release may be called besides its code name.
ALIASES = ("oldoldstable", "oldstable", "stable", "testing")
# What a distribution adds to a release under the same server. Backports are left out: nothing
# is taken from them unless it is asked for.
POCKETS = ("", "-updates", "-security", "/updates")
# How a server's folder of Debian itself is called everywhere, lists of mirrors included.
DEBIAN = re.compile(r"/debian(-security)?(\.list)?(/|$)")


@dataclass(frozen=True)
class Source:
    """One enabled source of binary packages."""

    uris: tuple[str, ...]
    suites: tuple[str, ...]
    components: tuple[str, ...]
    # Further fields in lower case with their values, such as signed-by; in their order.
    options: tuple[tuple[str, str], ...] = ()

    def stanza(self) -> str:
        """The source as a stanza of a ``*.sources`` file."""
        fields = [
            ("types", "deb"),
            ("uris", " ".join(self.uris)),
            ("suites", " ".join(self.suites)),
            ("components", " ".join(self.components)),
            *self.options,
        ]
        return "".join(f"{name.title()}: {value}\n" for name, value in fields)


def parse_lines(text: str) -> list[Source]:
    """The sources of a ``*.list`` file; lines that are no ``deb`` lines are passed over."""
    found = []
    for line in text.splitlines():
        match = re.match(
            r"\s*deb\s+(?:\[(?P<options>[^]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)(?P<rest>.*)",
            line.partition("#")[0],
        )
        if match is None:
            continue
        options = []
        for option in (match["options"] or "").split():
            name, _, value = option.partition("=")
            name = name.rstrip("+-").lower()
            options.append((STANZA_FIELDS.get(name, name), value.replace(",", " ")))
        found.append(
            Source((match["uri"],), (match["suite"],), tuple(match["rest"].split()), tuple(options))
        )
    return found


def parse_stanzas(text: str) -> list[Source]:
    """The sources of a ``*.sources`` file; disabled ones and sources of code are left out."""
    found = []
    kept = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for stanza in re.split(r"\n[ \t]*\n", kept):
        fields: dict[str, str] = {}
        name = ""
        for line in stanza.splitlines():
            if line[:1] in (" ", "\t") and name:
                # A key that stands in the file itself runs over many lines.
                fields[name] += f"\n{line}"
            elif ":" in line:
                name, _, value = line.partition(":")
                name = name.strip().lower()
                fields[name] = value.strip()
        enabled = fields.pop("enabled", "yes").lower() not in ("no", "false", "0", "off", "without")
        uris, suites, components, types = (
            tuple(fields.pop(key, "").split()) for key in ("uris", "suites", "components", "types")
        )
        if enabled and "deb" in types and uris and suites:
            found.append(Source(uris, suites, components, tuple(fields.items())))
    return found


def of_machine(apt: Path = APT) -> list[Source]:
    """All sources that apt itself would use here, in its order."""
    found = []
    single = apt / "sources.list"
    if single.is_file():
        found += parse_lines(single.read_text())
    for path in sorted((apt / "sources.list.d").glob("*")):
        if path.suffix == ".list":
            found += parse_lines(path.read_text())
        elif path.suffix == ".sources":
            found += parse_stanzas(path.read_text())
    return found


def of_release(
    sources: Iterable[Source], codename: str, *, here: Iterable[str] = ()
) -> list[Source]:
    """Those of a distribution's release, and none of third parties' suites.

    ``here`` are other names under which the machine may know its own release; its suites are
    turned into those of ``codename``, which Debian's servers have, too, but nobody else's need
    to. Discs are left out.
    """
    own = {f"{codename}{pocket}": f"{codename}{pocket}" for pocket in POCKETS}
    all_names = own | {
        f"{name}{pocket}": f"{codename}{pocket}" for name in here for pocket in POCKETS
    }
    found = []
    for source in sources:
        uris = tuple(uri for uri in source.uris if not uri.startswith("cdrom:"))
        names = all_names if all(DEBIAN.search(uri) for uri in uris) else own
        suites = tuple(dict.fromkeys(names[suite] for suite in source.suites if suite in names))
        if uris and suites and "main" in source.components:
            found.append(replace(source, uris=uris, suites=suites))
    return found


def write(sources: Iterable[Source], path: Path) -> Path:
    """Write a ``*.sources`` file and return its path."""
    path.write_text("\n".join(source.stanza() for source in sources))
    return path

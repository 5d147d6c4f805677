"""Static files: the allow-list of npm files, the icon sprite, and names with hashes."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from whitenoise.storage import CompressedManifestStaticFilesStorage

from scloud.web import icons, modules

BASE = Path(settings.BASE_DIR)
NODE_MODULES = BASE / "node_modules"
VENDOR = BASE / "static/vendor"


@dataclass(frozen=True)
class Asset:
    """Files of one npm package that browsers need, as globs below ``source``."""

    package: str
    source: str
    globs: tuple[str, ...]
    target: str


# Only what a page loads is published; everything else of a package stays private.
ASSETS = (
    Asset("htmx.org", "dist", ("htmx.min.js",), "htmx"),
    Asset("uplot", "dist", ("uPlot.esm.js", "uPlot.min.css"), "uplot"),
    # Names of keys, for typing; all else of the package is in the bundle below.
    Asset("@novnc/novnc", "core", ("input/keysymdef.js",), "novnc"),
    Asset(
        "@fontsource-variable/inter",
        "files",
        ("inter-latin-wght-normal.woff2", "inter-latin-ext-wght-normal.woff2"),
        "inter",
    ),
    Asset(
        "@fontsource-variable/jetbrains-mono",
        "files",
        ("jetbrains-mono-latin-wght-normal.woff2",),
        "jetbrains-mono",
    ),
)


@dataclass(frozen=True)
class Bundle:
    """A module of an npm package with all that it imports, published as one file."""

    package: str
    entry: str
    target: str


BUNDLES = (Bundle("@novnc/novnc", "core/rfb.js", "novnc/rfb.js"),)
LICENCES = re.compile(r"\A(LICENSE|LICENCE|COPYING)(\.\w+)?\Z", re.IGNORECASE)

_TEMPLATE_ICON = re.compile(r"""\bicon\s+"([a-z0-9-]+)"|\bicon="([a-z0-9-]+)\"""")
_PYTHON_ICON = re.compile(r"""\bicon(?:_name)?\s*[=(]\s*["']([a-z0-9-]+)["']""")
_CODE_DIRS = ("scloud", "billing", "network", "compute", "alarms")


class MissingAsset(Exception):
    """An npm package or a file of it is not installed: run ``npm ci``."""


def files_of(asset: Asset) -> Iterator[tuple[Path, Path]]:
    """Yield (source, target below VENDOR) of an asset, source maps included."""
    root = NODE_MODULES / asset.package / asset.source
    for glob in asset.globs:
        found = sorted(path for path in root.glob(glob) if path.is_file())
        if not found:
            raise MissingAsset(f"{asset.package}: nothing matches {asset.source}/{glob}")
        for path in found:
            target = Path(asset.target) / path.relative_to(root)
            yield path, target
            source_map = path.with_name(path.name + ".map")
            if source_map.is_file():
                yield source_map, target.with_name(target.name + ".map")


def icon_names() -> set[str]:
    names: set[str] = set()
    for path in (BASE / "templates").rglob("*.html"):
        for groups in _TEMPLATE_ICON.findall(path.read_text()):
            names.update(filter(None, groups))
    for folder in _CODE_DIRS:
        for path in (BASE / folder).rglob("*.py"):
            names.update(_PYTHON_ICON.findall(path.read_text()))
    return {name for name in names if (icons.OUTLINE / f"{name}.svg").is_file()}


def build_sprite(names: set[str]) -> str:
    """Return one SVG file with a symbol for each icon."""
    symbols = "".join(
        f'<symbol id="{name}" viewBox="0 0 24 24">{icons.drawing(name)}</symbol>'
        for name in sorted(names)
    )
    return f'<svg xmlns="http://www.w3.org/2000/svg">{symbols}</svg>\n'


def bundle_of(bundled: Bundle) -> str:
    """Return the one file of a bundle. Raises MissingAsset, ModuleError."""
    entry = NODE_MODULES / bundled.package / bundled.entry
    if not entry.is_file():
        raise MissingAsset(f"{bundled.package}: there is no {bundled.entry}")
    return modules.bundle(entry)


def build() -> int:
    """Fill ``static/vendor`` anew; return the number of files. Raises MissingAsset, ModuleError."""
    pairs = [pair for asset in ASSETS for pair in files_of(asset)]
    fresh = VENDOR.with_name("vendor.new")
    shutil.rmtree(fresh, ignore_errors=True)
    for source, target in pairs:
        destination = fresh / target
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, destination)
    for bundled in BUNDLES:
        destination = fresh / bundled.target
        destination.parent.mkdir(parents=True, exist_ok=True)
        destination.write_text(bundle_of(bundled))
    for one in (*ASSETS, *BUNDLES):
        for path in (NODE_MODULES / one.package).iterdir():
            if LICENCES.match(path.name):
                shutil.copyfile(path, fresh / Path(one.target).parts[0] / path.name)
    (fresh / "icons.svg").write_text(build_sprite(icon_names()))
    shutil.rmtree(VENDOR, ignore_errors=True)
    fresh.rename(VENDOR)
    return len(pairs) + len(BUNDLES) + 1


class HashedStaticStorage(CompressedManifestStaticFilesStorage):
    """Hashed names, also inside the ``import`` statements of JavaScript modules."""

    support_js_module_import_aggregation = True

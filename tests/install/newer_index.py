"""A package index on loopback in which every locked package has a newer release, too.

The packages are empty, but carry the names, versions and requirements (extras included) of the
real ones. One of them comes as source and tells which ``setuptools`` it was built with; ``uv``
hands over to the real one. So an installer can be run against it in seconds, without a network.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

NEWER = "9999.0"
FROM_SOURCE = "libvirt-python"

BACKEND = """
import importlib.metadata, pathlib, zipfile

def build_wheel(directory, config_settings=None, metadata_directory=None):
    name = "{file}-{version}-py3-none-any.whl"
    info = "{file}-{version}.dist-info"
    built_with = importlib.metadata.version("setuptools")
    text = pathlib.Path("PKG-INFO").read_text() + f"Summary: setuptools {{built_with}}\\n"
    with zipfile.ZipFile(pathlib.Path(directory, name), "w") as wheel:
        wheel.writestr(info + "/METADATA", text)
        wheel.writestr(info + "/WHEEL", "Wheel-Version: 1.0\\nTag: py3-none-any\\n")
        wheel.writestr(info + "/RECORD", "")
    return name
"""


@dataclass(frozen=True)
class Locked:
    """One line of a lock: ``name==version ; marker``, without its hashes."""

    requirement: Requirement

    @property
    def name(self) -> str:
        """Its canonical name."""
        return canonicalize_name(self.requirement.name)

    @property
    def version(self) -> str:
        """The one release that the lock allows."""
        (specifier,) = self.requirement.specifier
        assert specifier.operator == "=="
        return specifier.version

    @property
    def wanted_here(self) -> bool:
        """Whether it is meant for this interpreter and platform."""
        marker = self.requirement.marker
        return marker is None or marker.evaluate()


def read_lock(path: Path) -> list[Locked]:
    """What a lock names, in its order."""
    lines = path.read_text().replace("\\\n", " ").splitlines()
    return [
        Locked(Requirement(line.split(" --hash=")[0]))
        for line in lines
        if line.strip() and not line.lstrip().startswith("#")
    ]


@dataclass
class Index:
    """The files of all packages, and which of them were asked for."""

    real_uv: Path
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    fetched: list[str] = field(default_factory=list)
    url: str = ""
    # The installer's own environment, which all runs share.
    tools: Path = Path()

    def publish(self, locked: Locked) -> None:
        """Add the locked release of a package and a newer one."""
        for version in (locked.version, NEWER):
            name, content = self._release(locked.name, version)
            self.files.setdefault(locked.name, {})[name] = content

    def write_lock(self, source: Path, target: Path, *, pinned: bool = True) -> None:
        """Copy a lock with the hashes of the packages here; unpinned without any, as a control."""
        with target.open("w") as out:
            for locked in read_lock(source):
                marker = f" ; {locked.requirement.marker}" if locked.requirement.marker else ""
                if not pinned:
                    out.write(f"{locked.name}>={locked.version}{marker}\n")
                    continue
                name, _ = self._release(locked.name, locked.version)
                digest = hashlib.sha256(self.files[locked.name][name]).hexdigest()
                out.write(f"{locked.name}=={locked.version}{marker} --hash=sha256:{digest}\n")

    def _release(self, name: str, version: str) -> tuple[str, bytes]:
        info = _metadata(name, version)
        file = name.replace("-", "_")
        if name == FROM_SOURCE:
            return f"{file}-{version}.tar.gz", _source(file, version, info)
        scripts = {}
        if name == "uv":
            last = f'exec {self.real_uv} "$@"' if version != NEWER else "exit 97"
            scripts = {f"{file}-{version}.data/scripts/uv": f"#!/bin/sh\n{last}\n"}
        return f"{file}-{version}-py3-none-any.whl", _wheel(file, version, info, scripts)


def _metadata(name: str, version: str) -> str:
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    try:
        real = metadata(name)
    except PackageNotFoundError:  # meant for another platform
        real = None
    if real is not None:
        for key in ("Requires-Dist", "Provides-Extra"):
            lines += [f"{key}: {value}" for value in real.get_all(key) or []]
    return "\n".join(lines) + "\n"


def _wheel(file: str, version: str, info: str, scripts: dict[str, str]) -> bytes:
    folder = f"{file}-{version}.dist-info"
    content = {
        f"{folder}/METADATA": info,
        f"{folder}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        **scripts,
    }
    content[f"{folder}/RECORD"] = "".join(f"{name},,\n" for name in content)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as wheel:
        for name, text in content.items():
            member = zipfile.ZipInfo(name)
            member.external_attr = (0o100755 if name in scripts else 0o100644) << 16
            wheel.writestr(member, text)
    return buffer.getvalue()


def _source(file: str, version: str, info: str) -> bytes:
    content = {
        "PKG-INFO": info,
        "pyproject.toml": (
            "[build-system]\n"
            'requires = ["setuptools"]\nbuild-backend = "backend"\nbackend-path = ["."]\n'
        ),
        "backend.py": BACKEND.format(file=file, version=version),
    }
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, text in content.items():
            member = tarfile.TarInfo(f"{file}-{version}/{name}")
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
    # A fixed time, or the hash would change.
    return gzip.compress(packed.getvalue(), mtime=0)


@contextmanager
def serving(index: Index) -> Iterator[Index]:
    """Serve the index as PEP 503 has it, on a free port of loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = [part for part in self.path.split("/") if part]
            package = index.files.get(parts[1], {}) if len(parts) > 1 else {}
            if len(parts) == 2 and parts[0] == "simple" and package:
                links = "".join(
                    f'<a href="/files/{parts[1]}/{name}'
                    f'#sha256={hashlib.sha256(content).hexdigest()}">{name}</a>\n'
                    for name, content in package.items()
                )
                self._answer("text/html", f"<!DOCTYPE html><body>{links}</body>".encode())
            elif len(parts) == 3 and parts[0] == "files" and parts[2] in package:
                if self.command == "GET":
                    index.fetched.append(parts[2])
                self._answer("application/octet-stream", package[parts[2]])
            else:
                self.send_error(404)

        def _answer(self, kind: str, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    index.url = f"http://127.0.0.1:{server.server_port}/simple"
    try:
        yield index
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

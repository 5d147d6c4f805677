"""A client that openapi-python-client makes from the schema, as it comes: nothing is patched."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

NAME = "generated_scloud_client"


def generate(document: bytes, folder: Path) -> None:
    """Write the package into a folder. Raises AssertionError if the generator has a complaint."""
    schema, config = folder / "openapi.json", folder / "config.json"
    schema.write_bytes(document)
    # What it calls afterwards only makes the code prettier.
    # Of files it knows few types: docs/billing.md says how it takes a PDF as bytes.
    pdf = {"application/pdf": "application/octet-stream"}
    config.write_text(json.dumps({"post_hooks": [], "content_type_overrides": pdf}))
    command = [
        str(Path(sys.executable).with_name("openapi-python-client")), "generate",
        "--path", str(schema), "--config", str(config), "--output-path", str(folder / NAME),
        "--meta", "none", "--fail-on-warning",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "arning" not in said, said


@contextmanager
def imported(folder: Path) -> Iterator[Generated]:
    """Import the package from a folder; afterwards it is forgotten."""
    sys.path.insert(0, str(folder))
    try:
        yield Generated()
    finally:
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name.split(".")[0] == NAME]:
            del sys.modules[name]


class Generated:
    """The package, and its operations by name."""

    def __init__(self) -> None:
        self.models: Any = self._module("models")
        self._client = self._module("client")
        self.unset: Any = self._module("types").UNSET
        root = Path(str(self._client.__file__)).parent / "api"
        self._places = {
            file.stem: f"api.{file.parent.name}.{file.stem}"
            for file in root.glob("*/*.py")
            if file.stem != "__init__"
        }

    @staticmethod
    def _module(name: str) -> ModuleType:
        return importlib.import_module(f"{NAME}.{name}")

    @property
    def operations(self) -> set[str]:
        """The names of all operations."""
        return set(self._places)

    def module(self, operation: str) -> Any:
        """The module of an operation."""
        return self._module(self._places[operation])

    def client(self, url: str, secret: str, **more: Any) -> Caller:
        """A client with a key."""
        made = self._client.AuthenticatedClient(
            base_url=url, token=secret, raise_on_unexpected_status=True, **more
        )
        return Caller(self, made)


class Caller:
    """Calls operations by name: ``caller("get_vm", "vm-...")``."""

    def __init__(self, package: Generated, client: Any) -> None:
        self.package = package
        self.client = client

    def __call__(self, operation: str, *ids: str, **values: Any) -> Any:
        """Return the parsed answer: what was asked for, or an ``Error``."""
        return self.package.module(operation).sync(*ids, client=self.client, **values)

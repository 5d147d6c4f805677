"""The layers: named completely, without circles, and as the documents tell them."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest

from network.fabric.base import Kind
from network.models import Nic, SecurityGroup, Subnet, Vpc

ROOT = Path(__file__).parents[1]
APPS = ("scloud", "compute", "network", "billing", "alarms")


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """All imports of the product, those for the type checker and those in functions too."""
    return grimp.build_graph(*APPS, cache_dir=None)


def layers() -> list[list[str]]:
    """Return the modules of each layer of the contract, from the top down."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    (contract,) = (one for one in contracts["contracts"] if one["type"] == "layers")
    return [[name.strip() for name in line.split("|")] for line in contract["layers"]]


def layer_of(module: str) -> int | None:
    """Return the number of the layer that names a module or a package around it."""
    for number, names in enumerate(layers()):
        if any(module == name or module.startswith(f"{name}.") for name in names):
            return number
    return None


def test_every_module_is_in_a_layer(graph: grimp.ImportGraph) -> None:
    unnamed = {module for module in graph.modules - set(APPS) if layer_of(module) is None}
    assert unnamed == set()


def test_every_layer_exists(graph: grimp.ImportGraph) -> None:
    assert {name for names in layers() for name in names} <= graph.modules


def circles(graph: grimp.ImportGraph) -> Iterator[list[str]]:
    """Yield the sets of modules that import each other, directly or not."""
    for module in sorted(graph.modules):
        found = [
            other
            for other in graph.find_upstream_modules(module)
            if module in graph.find_upstream_modules(other)
        ]
        if found:
            yield sorted([module, *found])


def test_no_module_imports_in_a_circle(graph: grimp.ImportGraph) -> None:
    assert list(circles(graph)) == []


def test_the_roots_of_the_apps_have_only_wiring() -> None:
    wiring = {"__init__.py", "apps.py", "registry.py", "urls.py"}
    for app in ("compute", "network"):
        assert {path.name for path in (ROOT / app).glob("*.py")} <= wiring


def test_the_newcomers_walk_goes_down_only() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    walk = text[text.index("## What happens when I press Shut down") :].split("\n## ")[0:2]
    assert len(walk) == 2
    descents = [
        re.findall(r"^\d+\. `([^`]+)`", part, re.MULTILINE) for part in walk[0].split("### ")[1:]
    ]
    files = [file for descent in descents for file in descent]
    assert len(files) == len(set(files)) <= 12
    for descent in descents:
        assert all((ROOT / file).is_file() for file in descent)
        levels = [layer_of(file.removesuffix(".py").replace("/", ".")) for file in descent]
        assert None not in levels
        assert levels == sorted(levels, key=lambda level: level or 0)


def test_the_fabric_knows_what_rows_call_themselves() -> None:
    named = {model(pk="x").fabric_kind for model in (Vpc, Subnet, SecurityGroup, Nic)}
    assert named == {Kind.VPC, Kind.SUBNET, Kind.SECURITY_GROUP, Kind.PORT}
    nic = Nic(pk="nic-1")
    assert nic.fabric_id == str(nic.port_uuid)
    assert Vpc(pk="vpc-1").fabric_id == "vpc-1"

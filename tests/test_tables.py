"""The tables that tools read name what is there."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_areas_of_the_mutants_name_modules_and_tests_that_exist() -> None:
    with (ROOT / "tests/mutants.toml").open("rb") as file:
        areas = tomllib.load(file)["area"]
    assert {area["name"] for area in areas} >= {"states", "transitions", "actions", "jobs"}
    for area in areas:
        for glob in area["modules"]:
            assert [path for path in ROOT.glob(glob) if path.suffix == ".py"], glob
        for test in area["tests"]:
            found = ROOT / test
            assert found.is_file() or list(found.rglob("test_*.py")), test

"""What is said twice says the same: checks, version, decisions."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
VERSION: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def commands_of(target: str) -> list[str]:
    """The commands of a target of the Makefile and of the targets that it names before them."""
    text = (ROOT / "Makefile").read_text()
    match = re.search(rf"^{target}:([^#\n]*)(?:#.*)?\n((?:\t.*\n)*)", text, re.MULTILINE)
    assert match is not None, target
    before = [
        command
        for name in match[1].split()
        if not name.startswith("install")
        for command in commands_of(name)
    ]
    own = []
    for line in match[2].splitlines():
        # What is timed is the command behind the name of its part.
        command = re.sub(r"^@scripts/timed.sh (\"[^\"]*\"|\S+) ", "", line.strip())
        if command.startswith("$(MAKE)"):
            own += commands_of(command.split()[-1])
        else:
            own.append(command.replace("$(PY)", ".venv/bin/python"))
    return before + own


def test_pre_commit_runs_the_checks_of_make_check() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert [repository["repo"] for repository in config["repos"]] == ["local"]
    hooks = config["repos"][0]["hooks"]
    assert [hook["entry"].removeprefix("env ") for hook in hooks] == commands_of("check")
    assert all(hook["pass_filenames"] is False for hook in hooks)


def test_the_version_stands_in_one_place() -> None:
    changes = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert changes[0] == "Unreleased"
    assert changes[1] == VERSION
    assert "version" not in json.loads((ROOT / "package.json").read_text())
    lock = json.loads((ROOT / "package-lock.json").read_text())
    assert "version" not in lock
    assert "version" not in lock["packages"][""]


def test_decisions_are_numbered_without_gaps_and_say_their_status() -> None:
    records = sorted((ROOT / "docs" / "adr").glob("[0-9]*.md"))
    numbers = [int(path.name[:4]) for path in records]
    assert numbers == list(range(numbers[0], numbers[0] + len(records)))
    for number, path in zip(numbers, records, strict=True):
        text = path.read_text()
        assert text.startswith(f"# {number}. "), path.name
        assert re.search(r"^Status: \w+", text, re.MULTILINE), path.name
        assert re.search(r"^## Decision$", text, re.MULTILINE), path.name


def test_make_help_names_every_target_that_people_call() -> None:
    text = (ROOT / "Makefile").read_text()
    told = set(re.findall(r"^([a-z]+):.*##", text, re.MULTILINE))
    readme = (ROOT / "README.md").read_text()
    assert set(re.findall(r"\bmake ([a-z]+)", readme)) <= told

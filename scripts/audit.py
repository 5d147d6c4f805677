"""``make audit``: known holes in the locked Python and npm packages.

The tools pass when they could look nothing up ("No known vulnerabilities found", for a package
that their source of advisories does not have). So each is asked first about an old release that
is known to be vulnerable: who knows nothing of that has no data, and that is said.

Exit code: 0 nothing known, 1 holes, 2 at least one side could not be checked.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
# Releases with holes that every source of advisories has known for years.
OLD_PYTHON = ("django", "3.2.0")
OLD_NPM = ("lodash", "4.17.15")


class NoData(Exception):
    """A source of advisories did not answer, or has none; the message says what came instead."""


@dataclass(frozen=True)
class Report:
    """What is known about a set of packages."""

    holes: list[str]
    # Packages that the source does not have.
    unknown: list[str]


def python_report(lock: Path) -> Report:
    """Ask about every package of a lock. NoData when nobody answers."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "report.json")
        done = subprocess.run(
            [Path(sys.executable).parent / "pip-audit", "--requirement", lock, "--disable-pip",
             "--no-deps", "--progress-spinner", "off", "--format", "json", "--output", output],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        try:
            report = json.loads(output.read_text())
        except (OSError, json.JSONDecodeError):
            raise NoData(last_line(done.stderr)) from None
    return read_python(report)


def read_python(report: dict[str, Any]) -> Report:
    """Take a report of pip-audit apart."""
    holes, unknown = [], []
    for package in report["dependencies"]:
        if "skip_reason" in package:
            unknown.append(package["name"])
        for hole in package.get("vulns", []):
            fixed = ", ".join(hole["fix_versions"]) or "no release yet"
            holes.append(f"{package['name']} {package['version']}: {hole['id']}, mended in {fixed}")
    return Report(holes, unknown)


def npm_report(folder: Path) -> Report:
    """Ask about every package of a package-lock.json. NoData when nobody answers."""
    done = subprocess.run(
        ["npm", "audit", "--json", "--package-lock-only", "--audit"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    try:
        return read_npm(json.loads(done.stdout))
    except json.JSONDecodeError:
        raise NoData(last_line(done.stderr)) from None


def read_npm(report: dict[str, Any]) -> Report:
    """Take a report of ``npm audit`` apart; NoData when it is an error."""
    if "vulnerabilities" not in report:
        raise NoData(str(report.get("message") or report.get("error")))
    holes = [
        f"{name} {hole['range']}: {hole['severity']}"
        for name, hole in report["vulnerabilities"].items()
    ]
    return Report(holes, [])


def last_line(text: str) -> str:
    """What a tool said last; a word for silence."""
    lines = text.strip().splitlines()
    return lines[-1] if lines else "no answer"


def check_python() -> Report:
    """All locked Python packages; NoData when even old holes are unknown."""
    with tempfile.TemporaryDirectory() as folder:
        old = Path(folder, "old.txt")
        old.write_text("==".join(OLD_PYTHON) + "\n")
        known = python_report(old)
    if not known.holes:
        raise NoData(f"it knows of no hole in {' '.join(OLD_PYTHON)}")
    return python_report(ROOT / "requirements" / "dev.txt")


def check_npm() -> Report:
    """All locked npm packages; NoData when even old holes are unknown."""
    name, version = OLD_NPM
    with tempfile.TemporaryDirectory() as folder:
        root = {"name": "old", "version": "1.0.0", "dependencies": {name: version}}
        Path(folder, "package.json").write_text(json.dumps(root))
        packages = {"": root, f"node_modules/{name}": {"version": version}}
        lock = {**root, "lockfileVersion": 3, "requires": True, "packages": packages}
        Path(folder, "package-lock.json").write_text(json.dumps(lock))
        known = npm_report(Path(folder))
    if not known.holes:
        raise NoData(f"it knows of no hole in {' '.join(OLD_NPM)}")
    return npm_report(ROOT)


def main() -> int:
    """Print what is known; see the module for the exit code."""
    code = 0
    for what, check in (("Python", check_python), ("npm", check_npm)):
        try:
            report = check()
        except NoData as error:
            print(f"{what}: NOT CHECKED, no advisory data: {error}")
            code = 2
            continue
        for hole in report.holes:
            print(f"{what}: {hole}")
            code = code or 1
        if report.unknown:
            print(f"{what}: NOT CHECKED, no advisory data for {', '.join(report.unknown)}")
            code = 2
        if not report.holes and not report.unknown:
            print(f"{what}: no known holes")
    return code


if __name__ == "__main__":
    sys.exit(main())

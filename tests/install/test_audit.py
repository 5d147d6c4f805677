"""``make audit`` never passes for want of data."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scripts import audit

ROOT = Path(__file__).parents[2]


@pytest.mark.lab
def test_without_a_network_it_says_that_nothing_was_checked() -> None:
    """The real tools, in a network namespace that leads nowhere."""
    done = subprocess.run(
        ["unshare", "--net", sys.executable, ROOT / "scripts" / "audit.py"],
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    python, npm = done.stdout.splitlines()
    assert python.startswith("Python: NOT CHECKED, no advisory data: ")
    assert npm.startswith("npm: NOT CHECKED, no advisory data: ")


def test_a_package_that_the_source_does_not_have_is_not_taken_for_a_safe_one() -> None:
    report = audit.read_python(
        {
            "dependencies": [
                {"name": "django", "version": "3.2.0",
                 "vulns": [{"id": "CVE-1", "fix_versions": ["3.2.1", "4.0"]},
                           {"id": "CVE-2", "fix_versions": []}]},
                {"name": "elsewhere", "skip_reason": "Dependency not found"},
                {"name": "safe", "version": "1.0", "vulns": []},
            ]
        }
    )  # fmt: skip
    assert report == audit.Report(
        [
            "django 3.2.0: CVE-1, mended in 3.2.1, 4.0",
            "django 3.2.0: CVE-2, mended in no release yet",
        ],
        ["elsewhere"],
    )


def test_an_error_of_npm_is_no_clean_report() -> None:
    with pytest.raises(audit.NoData, match="405 Method Not Allowed"):
        audit.read_npm({"message": "405 Method Not Allowed", "statusCode": 405})
    assert audit.read_npm({"vulnerabilities": {}}) == audit.Report([], [])
    found = audit.read_npm(
        {"vulnerabilities": {"lodash": {"range": "<4.17.21", "severity": "high"}}}
    )
    assert found.holes == ["lodash <4.17.21: high"]


def test_a_source_that_knows_of_no_hole_at_all_has_no_data(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(audit, "python_report", lambda lock: audit.Report([], ["django"]))
    monkeypatch.setattr(audit, "npm_report", lambda folder: audit.Report([], []))
    assert audit.main() == 2
    assert capsys.readouterr().out.splitlines() == [
        "Python: NOT CHECKED, no advisory data: it knows of no hole in django 3.2.0",
        "npm: NOT CHECKED, no advisory data: it knows of no hole in lodash 4.17.15",
    ]


@pytest.mark.parametrize(
    ("holes", "unknown", "code"), [([], [], 0), (["a"], [], 1), ([], ["b"], 2), (["a"], ["b"], 2)]
)
def test_exit_codes(
    monkeypatch: pytest.MonkeyPatch, holes: list[str], unknown: list[str], code: int
) -> None:
    monkeypatch.setattr(audit, "check_python", lambda: audit.Report(holes, unknown))
    monkeypatch.setattr(audit, "check_npm", lambda: audit.Report([], []))
    assert audit.main() == code

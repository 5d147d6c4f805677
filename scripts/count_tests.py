"""Add up test reports; fail when a test was skipped or the real ones did not run."""

import sys

from lxml import etree

# Of reports of tests on real hosts or a real cluster: the last ones of the command line.
REAL_REPORTS, MIN_REAL = 3, 20


def main(paths: list[str]) -> int:
    """Print the closing line; 1 when something was skipped or too few real tests ran."""
    totals = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    per_file = []
    for path in paths:
        counts = dict.fromkeys(totals, 0)
        for suite in etree.parse(path).getroot().iter("testsuite"):
            for key in totals:
                counts[key] += int(suite.get(key, "0"))
        per_file.append(counts["tests"])
        for key in totals:
            totals[key] += counts[key]
    failed = totals["failures"] + totals["errors"]
    passed = totals["tests"] - failed - totals["skipped"]
    bad = failed > 0
    if totals["skipped"]:
        print(f"{totals['skipped']} tests were skipped; every test must run")
        bad = True
    for path, ran in list(zip(paths, per_file, strict=True))[-REAL_REPORTS:]:
        if ran < MIN_REAL:
            print(f"{path}: only {ran} tests ran on real hosts, at least {MIN_REAL} must")
            bad = True
    print(f"{passed} passed, {failed} failed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

#!/usr/bin/env bash
# Run all tests and fail if the ones on real hypervisors or in the browser did not run.
set -euo pipefail
cd "$(dirname "$0")/.."
py=.venv/bin/python
report=.scloud/test-report
mkdir -p "$report"
say() { printf '\033[1m==> %s\033[0m\n' "$*"; }

status=0
say "fast tests, on PostgreSQL only"
$py -m coverage erase
$py -m pytest -q -m "not lab and not browser and not bench" -n 2 --cov --cov-report= \
    --junitxml "$report/fast.xml" || status=1
say "tests on real hypervisors, with real guests, OVN and a browser"
$py -m pytest -q -m "(lab or browser) and not bench" --cov --cov-append --cov-report= \
    --junitxml "$report/real.xml" --durations 15 || status=1
say "coverage"
$py -m coverage report --fail-under="${SCLOUD_COVERAGE_FLOOR:-80}" | tail -n 40 || status=1
$py -m coverage report --fail-under=100 \
    --include 'billing/pricing.py,compute/states/*.py,compute/transitions/vms.py' || status=1
$py scripts/count_tests.py "$report/fast.xml" "$report/real.xml" || status=1
exit $status

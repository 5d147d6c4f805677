#!/usr/bin/env bash
# Run all tests and fail if the ones on real hypervisors or in the browser did not run.
set -euo pipefail
cd "$(dirname "$0")/.."
py=.venv/bin/python
report=.scloud/test-report
mkdir -p "$report"
say() { printf '\033[1m==> %s\033[0m\n' "$*"; }
# Bytecode is kept: every worker would compile some hundred modules anew.
unset PYTHONDONTWRITEBYTECODE

status=0
say "fast tests, on PostgreSQL only"
$py -m coverage erase
scripts/timed.sh "fast tests" $py -m pytest -q \
    -m "not lab and not browser and not install and not bench" \
    -n 2 --cov --cov-report= --junitxml "$report/fast.xml" --durations 25 \
    || status=1
say "environments made from the locks"
scripts/timed.sh "install tests" $py -m pytest -q -m install -n 2 \
    --junitxml "$report/install.xml" --durations 5 || status=1
say "tests on real hypervisors, with real guests, OVN and a browser"
scripts/timed.sh "tests on real hosts" $py -m pytest -q -m "(lab or browser) and not bench" \
    --cov --cov-append --cov-report= --junitxml "$report/real.xml" --durations 25 || status=1
say "coverage"
scripts/timed.sh "coverage report" scripts/coverage.sh || status=1
$py scripts/count_tests.py "$report/fast.xml" "$report/install.xml" "$report/real.xml" || status=1
say "seconds of each part"
scripts/timed.sh
exit $status

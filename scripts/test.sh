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

# What has a region in a box of its own, beside the stories, which wait for guests most of the time.
second="tests/lab tests/compute/drivers tests/network tests/alarms"
second="$second tests/compute/life/test_ipv6_on_real_hosts.py"

# Tests that need no host, then those of the second region.
beside() {
    local status=0
    say "environments made from the locks"
    scripts/timed.sh "install tests (beside)" $py -m pytest -q -m install \
        --junitxml "$report/install.xml" --durations 5 || status=1
    say "pages in a browser; OVN, QEMU and PostgreSQL without hosts"
    # One worker of xdist: it has a copy of the database of its own. What is called .coverage.*, the
    # other run would take for its own.
    SCLOUD_TEST_NO_REGION=1 COVERAGE_FILE="$report/beside.coverage" \
        scripts/timed.sh "tests without hosts (beside)" $py -m pytest -q \
        -m "(browser or lab) and not region and not bench and not soak" -n 1 \
        --cov --cov-report= --junitxml "$report/beside.xml" --durations 15 || status=1
    say "drivers, networks and guests on real hosts"
    # shellcheck disable=SC2086  # a list of words
    SCLOUD_TEST_LAB=second COVERAGE_FILE="$report/second.coverage" \
        scripts/timed.sh "drivers and networks on real hosts (beside)" $py -m pytest -q \
        -m "region and not bench and not soak" -n 1 --cov --cov-report= \
        --junitxml "$report/second.xml" --durations 15 $second || status=1
    return $status
}

status=0
say "fast tests, on PostgreSQL only"
$py -m coverage erase
scripts/timed.sh "fast tests" $py -m pytest -q \
    -m "not lab and not browser and not ceph and not install and not bench" \
    -n 2 --cov --cov-report= --junitxml "$report/fast.xml" --durations 25 \
    || status=1
say "tests on real hosts, with real guests; beside them what needs none"
# A report of an earlier run is not one of this.
rm -f "$report"/{install,beside,ceph,second,region}.xml "$report"/{beside,ceph,second}.coverage
beside > "$report/beside.log" 2>&1 &
lane=$!
trap 'kill $lane 2>/dev/null || true' EXIT
# shellcheck disable=SC2046,SC2086  # lists of words
scripts/timed.sh "stories on real hosts" $py -m pytest -q -m "region and not bench and not soak" \
    $(printf -- '--ignore=%s ' $second) \
    --cov --cov-append --cov-report= --junitxml "$report/region.xml" --durations 25 || status=1
# The lane beside is the longer one, and has the database of a worker of xdist: here is none.
say "storage driver on a Ceph cluster"
SCLOUD_TEST_NO_REGION=1 COVERAGE_FILE="$report/ceph.coverage" \
    scripts/timed.sh "storage on Ceph" $py -m pytest -q -m ceph \
    --cov --cov-report= --junitxml "$report/ceph.xml" --durations 15 || status=1
wait $lane || status=1
trap - EXIT
cat "$report/beside.log"
say "coverage"
$py -m coverage combine --append "$report"/{beside,ceph,second}.coverage || status=1
scripts/timed.sh "coverage report" scripts/coverage.sh || status=1
$py scripts/count_tests.py "$report/fast.xml" "$report/install.xml" "$report/beside.xml" \
    "$report/ceph.xml" "$report/second.xml" "$report/region.xml" || status=1
say "seconds of each part"
scripts/timed.sh
say "$((SECONDS / 60)) minutes for all tests"
exit $status

#!/usr/bin/env bash
# Say what the tests ran; fail under the minimum, or where money and states have a branch untried.
set -uo pipefail
cd "$(dirname "$0")/.."
py=.venv/bin/python
status=0
$py -m coverage report --fail-under="${SCLOUD_COVERAGE_FLOOR:-90}" | tail -n 40 || status=1
whole="billing/pricing/*.py,billing/ledger.py,billing/quotas.py,billing/orders.py"
whole="$whole,compute/states/*.py,compute/transitions/*.py,compute/verbs/*.py,scloud/verbs/catalogue.py"
$py -m coverage report --fail-under=100 --include "$whole" || status=1
exit $status

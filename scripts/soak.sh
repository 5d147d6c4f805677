#!/usr/bin/env bash
# Long random runs. STEPS and RULE_SETS say how long, SEED which: STEPS=2000 SEED=7 make soak
set -euo pipefail
cd "$(dirname "$0")/.."
py=.venv/bin/python
steps=${STEPS:-2000}
seed=${SEED:-$RANDOM}
say() { printf '\033[1m==> %s\033[0m\n' "$*"; }

status=0
say "verbs and faults on drivers in memory: STEPS=$steps SEED=$seed"
SCLOUD_MODEL_STEPS=$steps SCLOUD_MODEL_SEED=$seed $py -m pytest -q tests/model || status=1
sets=${RULE_SETS:-2000}
say "rules of security groups, decided by the product and by OVN: RULE_SETS=$sets SEED=$seed"
SCLOUD_RULE_SETS=$sets SCLOUD_RULE_SEED=$seed $py -m pytest -q tests/network/fabric/test_evaluator.py || status=1
exit $status

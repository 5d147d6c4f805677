#!/usr/bin/env bash
# Long random runs. STEPS says how long, SEED which: STEPS=2000 SEED=7 make soak
set -euo pipefail
cd "$(dirname "$0")/.."
py=.venv/bin/python
steps=${STEPS:-2000}
seed=${SEED:-$RANDOM}
say() { printf '\033[1m==> %s\033[0m\n' "$*"; }

status=0
say "verbs and faults on drivers in memory: STEPS=$steps SEED=$seed"
SCLOUD_MODEL_STEPS=$steps SCLOUD_MODEL_SEED=$seed $py -m pytest -q tests/model || status=1
exit $status

#!/usr/bin/env bash
# Long runs: verbs and faults on drivers in memory, histories of an account, rules of security groups
# decided by the product and by OVN, hostile texts in every field, volumes of overlays beside a model
# of their content, requests made from the API's description, and verbs on real hosts while processes
# are killed.
#   STEPS=2000 HISTORY=500 RULE_SETS=2000 TEXTS=1 OVERLAYS=1000 DEATHS=1 GUESTS=1 API_MINUTES=15
#   VERBS=600 SEED=7 make soak
# A length of 0 leaves a part out.
set -euo pipefail
cd "$(dirname "$0")/.."
py=.venv/bin/python
steps=${STEPS:-2000}
history=${HISTORY:-500}
sets=${RULE_SETS:-2000}
texts=${TEXTS:-1}
overlays=${OVERLAYS:-1000}
deaths=${DEATHS:-1}
guests=${GUESTS:-1}
minutes=${API_MINUTES:-15}
verbs=${VERBS:-600}
seed=${SEED:-$RANDOM}
say() { printf '\033[1m==> %s\033[0m\n' "$*"; }

status=0
if ((steps)); then
    say "verbs and faults on drivers in memory: STEPS=$steps SEED=$seed"
    SCLOUD_MODEL_STEPS=$steps SCLOUD_MODEL_SEED=$seed $py -m pytest -q tests/model || status=1
fi
if ((history)); then
    say "histories of an account, and the books held against each other: HISTORY=$history SEED=$seed"
    SCLOUD_HISTORY_STEPS=$history SCLOUD_HISTORY_SEED=$seed \
        $py -m pytest -q tests/billing/test_histories.py || status=1
fi
if ((sets)); then
    say "rules of security groups, decided by the product and by OVN: RULE_SETS=$sets SEED=$seed"
    SCLOUD_RULE_SETS=$sets SCLOUD_RULE_SEED=$seed \
        $py -m pytest -q tests/network/fabric/test_evaluator.py || status=1
fi
if ((texts)); then
    say "every hostile text in every field, what tenants read of every error, every URL as every role,"
    say "every page and dialog under axe"
    SCLOUD_SOAK=1 $py -m pytest -q tests/api/test_hostile.py tests/compute/test_tenants_words.py \
        tests/isolation/test_urls.py tests/web/test_accessibility.py ||
        status=1
fi
if ((overlays)); then
    say "volumes of overlays, and workers that are killed: OVERLAYS=$overlays SEED=$seed"
    SCLOUD_SOAK=1 SCLOUD_OVERLAY_STEPS=$overlays SCLOUD_OVERLAY_SEED=$seed \
        $py -m pytest -q tests/compute/drivers/test_overlays.py || status=1
fi
if ((deaths)); then
    say "every point at which a worker can die"
    SCLOUD_SOAK=1 $py -m pytest -q -m "not lab and not browser" tests/compute/vms \
        tests/compute/external tests/compute/{disks,images,snapshots}/test_tasks.py || status=1
fi
if ((guests)); then
    say "guests and faults on real hosts that make test has a part of"
    $py -m pytest -q -m soak || status=1
    SCLOUD_SOAK=1 $py -m pytest -q tests/e2e/test_faults.py tests/network/fabric \
        tests/compute/test_every_verb_over_http.py tests/compute/test_every_verb_in_every_state.py ||
        status=1
fi
if ((minutes)); then
    say "requests made from the API's description: API_MINUTES=$minutes SEED=$seed"
    SCLOUD_API_MINUTES=$minutes SCLOUD_API_SEED=$seed \
        $py -m pytest -q -s tests/api/test_generated_requests.py || status=1
fi
if ((verbs)); then
    say "verbs on real hosts while processes are killed: VERBS=$verbs SEED=$seed"
    $py -m tests.chaos --verbs "$verbs" --seed "$seed" || status=1
fi
exit $status

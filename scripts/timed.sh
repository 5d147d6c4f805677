#!/usr/bin/env bash
# Run a command and keep how many seconds it took and how it ended: scripts/timed.sh NAME COMMAND...
# Without a command: print what is kept, the latest run of each part.
set -uo pipefail
cd "$(dirname "$0")/.."
kept=.scloud/test-report/seconds.tsv
mkdir -p "$(dirname "$kept")"
if [ $# = 0 ]; then
    [ -e "$kept" ] && awk -F "\t" '
        { printf "%8d s  %s%s\n", $2, $1, $3 ? "  (failed: exit status " $3 ")" : "" }' "$kept"
    exit
fi
name=$1
shift
began=$(date +%s)
"$@"
status=$?
seconds=$(($(date +%s) - began))
# Where the tests ran as root, the file is not a user's to write.
if { [ ! -e "$kept" ] || awk -F '\t' -v name="$name" '$1 != name' "$kept"; } 2>/dev/null > "$kept.new.$$"; then
    printf '%s\t%s\t%s\n' "$name" "$seconds" "$status" >> "$kept.new.$$"
    mv -f "$kept.new.$$" "$kept"
fi
printf '\033[1m==> %s: %d s\033[0m\n' "$name" "$seconds"
exit $status

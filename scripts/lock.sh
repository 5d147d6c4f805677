#!/bin/sh
# Write requirements/*.txt from pyproject.toml. Releases that are locked stay unless uv is told
# otherwise: scripts/lock.sh --upgrade, scripts/lock.sh --upgrade-package NAME
set -eu
cd "$(dirname "$0")/.."
. scripts/lib/index.sh
follow_pip_settings .uv/bin/python

lock() { # NAME, then where the wishes stand
    output=requirements/$1.txt
    shift
    .uv/bin/uv pip compile --quiet --universal --generate-hashes --custom-compile-command "make lock" \
        --no-emit-index-url --no-emit-find-links --output-file "$output" "$@"
}
lock run pyproject.toml "$@"
lock dev pyproject.toml --group dev --constraint requirements/run.txt "$@"
lock build --group build --constraint requirements/run.txt "$@"
lock installer --group installer "$@"

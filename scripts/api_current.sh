#!/usr/bin/env bash
# Fail when docs/api.yaml is not what the code describes.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! .venv/bin/python manage.py spectacular --fail-on-warn | diff -u docs/api.yaml -; then
    echo "docs/api.yaml is not current: make api writes it"
    exit 1
fi

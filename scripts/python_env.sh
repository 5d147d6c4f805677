#!/bin/sh
# python_env.sh LOCK: make .venv hold exactly the packages of requirements/LOCK.txt (run or dev).
#
# Nothing is resolved here, so no release that appears later changes what is installed: pip
# fetches one file, the locked uv, and uv installs the locked files by their hashes. What builds
# packages that come as source is locked too (requirements/build.txt).
#
# LOCKS, VENV and UV_VENV move the folders (tests/install does).
set -eu
cd "$(dirname "$0")/.."
lock=$1
locks=${LOCKS:-requirements}
venv=${VENV:-.venv}
uv_venv=${UV_VENV:-.uv}
python=${PYTHON:-python3}
export UV_PYTHON_DOWNLOADS=never
say() { printf '\033[1m==> %s\033[0m\n' "$*"; }
stamp() { cat "$@" | sha256sum | cut -c1-16; }

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "Python 3.11 or newer is needed, $python is older (set PYTHON=...)." >&2
    exit 1
}
have=$(cat "$venv/.locked" 2>/dev/null || true)
# What the checks and tests need stays once it is there: make run does not take it away.
if [ "${have% *}" = dev ]; then lock=dev; fi
want="$lock $(stamp "$locks/$lock.txt" "$locks/build.txt" "$locks/installer.txt" "$0")"
if [ "$have" = "$want" ] && [ -x "$venv/bin/python" ]; then exit 0; fi

want_uv=$(stamp "$locks/installer.txt")
if [ "$(cat "$uv_venv/.locked" 2>/dev/null)" != "$want_uv" ] || [ ! -x "$uv_venv/bin/uv" ]; then
    say "pip: installing the locked uv"
    rm -rf "$uv_venv"
    "$python" -m venv "$uv_venv"
    "$uv_venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
        --require-hashes -r "$locks/installer.txt"
    printf %s "$want_uv" > "$uv_venv/.locked"
fi

say "uv: installing the locked packages ($lock) into $venv"
. scripts/lib/index.sh
follow_pip_settings "$uv_venv/bin/python"
[ -x "$venv/bin/python" ] || "$uv_venv/bin/uv" venv --quiet --clear --python "$python" "$venv"
rm -f "$venv/.locked"
# A user's environment is run by root, too (make run): nothing of root's may be left in it.
if [ "$(id -u)" != 0 ]; then export UV_COMPILE_BYTECODE=1; fi
"$uv_venv/bin/uv" pip sync --quiet --python "$venv/bin/python" --require-hashes \
    --build-constraints "$locks/build.txt" "$locks/$lock.txt"
printf %s "$want" > "$venv/.locked"

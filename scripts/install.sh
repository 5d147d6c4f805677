#!/bin/sh
# Install what is missing: apt packages, a virtual environment, the browser libraries.
#   install.sh          what the product needs
#   install.sh check    linters, type checker and test tools, too
#   install.sh tests    and the apt packages that only the tests need
# With STORAGE=ceph, and for the tests, the packages of a Ceph cluster too.
# Each part leaves a stamp of what it installed, so that a second run takes a second.
set -eu
cd "$(dirname "$0")/.."
state=${SCLOUD_STATE_DIR:-$PWD/.scloud}
mkdir -p "$state/stamps"
say() { printf '\033[1m==> %s\033[0m\n' "$*"; }
stamp() { cat "$@" | sha256sum | cut -c1-16; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Names that Debian and Ubuntu share; where they differ, a line holds the choices: a|b.
missing=""
lists=scloud/lab/packages.txt
lock=run
case ${1:-} in
    "") ;;
    check) lock=dev ;;
    tests) lock=dev lists="$lists tests/packages.txt" STORAGE=ceph ;;
    *) echo "usage: install.sh [check|tests]" >&2; exit 2 ;;
esac
case ${STORAGE:-directory} in
    directory) ;;
    ceph) lists="$lists scloud/lab/packages-ceph.txt" ;;
    *) echo "STORAGE is directory or ceph, not $STORAGE." >&2; exit 2 ;;
esac
# shellcheck disable=SC2086  # a list of files
for names in $(grep -hv '^#' $lists); do
    found=no
    for name in $(printf %s "$names" | tr '|' ' '); do
        if dpkg-query -W -f '${Status}' "$name" 2>/dev/null | grep -q 'ok installed'; then
            found=yes
        fi
    done
    [ $found = yes ] || missing="$missing $names"
done
command -v npm >/dev/null 2>&1 || missing="$missing nodejs npm"
if [ -n "$missing" ]; then
    say "apt: installing$missing"
    as_root apt-get update -q
    wanted=""
    for names in $missing; do
        for name in $(printf %s "$names" | tr '|' ' '); do
            if apt-cache show "$name" >/dev/null 2>&1; then wanted="$wanted $name"; break; fi
        done
    done
    # Their services are of no use here: the box runs daemons of its own in its namespaces.
    # (policy-rc.d is Debian's way to say so; it is removed again at once.)
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee /usr/sbin/policy-rc.d >/dev/null
        as_root chmod +x /usr/sbin/policy-rc.d
        trap 'as_root rm -f /usr/sbin/policy-rc.d' EXIT
    fi
    # shellcheck disable=SC2086  # a list of words
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $wanted
fi

scripts/python_env.sh "$lock"

# What only the tests need stays once it is there: make run does not take it away.
omit=--omit=dev
if [ "$lock" = dev ] || [ -d node_modules/axe-core ]; then omit=--include=dev; fi
want="$omit $(stamp package-lock.json)"
if [ "$(cat "$state/stamps/npm" 2>/dev/null)" != "$want" ] || [ ! -e node_modules/.package-lock.json ]; then
    say "npm: installing the locked browser libraries"
    npm ci --silent --no-audit --no-fund "$omit"
    printf %s "$want" > "$state/stamps/npm"
fi
want=$(stamp package-lock.json scloud/web/static_assets.py)
if [ "$(cat "$state/stamps/static" 2>/dev/null)" != "$want" ] || [ ! -d static/vendor ]; then
    .venv/bin/python manage.py build_static
    printf %s "$want" > "$state/stamps/static"
fi
say "installed"

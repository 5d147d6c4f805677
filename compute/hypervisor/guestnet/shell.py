"""What the scripts for Linux guests share. They run in any POSIX shell, busybox's included."""

from __future__ import annotations

import shlex

#: Exit codes of the scripts: done, something failed, and a NIC of the plan is not there (yet).
DONE, FAILED, NIC_MISSING = 0, 1, 3

#: ``name_nic MAC DEVICE`` sets ``nic`` to the interface of that MAC, whatever it is called. One
#: without addresses, such as a NIC that was just plugged in, gets its name.
PREAMBLE = """\
set -u
export PATH=/usr/sbin:/usr/bin:/sbin:/bin:$PATH LC_ALL=C
failed=0 missing=0 changed=0
fail() { failed=1; }
# By its path: busybox's shell may prefer a small "ip" of its own.
for path in /sbin /usr/sbin /bin /usr/bin; do [ -x $path/ip ] && ip=$path/ip; done
ip() { "$ip" "$@"; }
name_nic() {
    nic=
    for path in /sys/class/net/*; do
        # What rests on another interface, such as a bridge or a VLAN, may have its MAC.
        for lower in "$path"/lower_*; do [ -e "$lower" ] && continue 2; done
        read -r address <"$path/address" || continue
        [ "$address" = "$1" ] && nic=${path##*/}
    done
    if [ -z "$nic" ]; then
        echo "no NIC $1" >&2
        missing=1
        return 1
    fi
    if [ "$nic" != "$2" ] && [ ! -e "/sys/class/net/$2" ] &&
        [ -z "$(ip -o address show dev "$nic" scope global)" ]; then
        ip link set dev "$nic" down
        ip link set dev "$nic" name "$2" && nic=$2
    fi
    return 0
}
"""

#: Where a Linux guest keeps the digest of the plan that it has; it forgets it when it boots.
STAMP = "/run/scloud-network"

#: Two scripts at once would take away what the other adds, and the mark would tell a lie. Guests
#: without ``flock`` are rare, and there the next change puts it right.
ALONE = f"""\
if command -v flock >/dev/null 2>&1; then
    exec 9>{STAMP}.lock
    flock -w 60 9 || exit {FAILED}
fi
"""


def ending(digest: str) -> str:
    """Return the lines that end a script: with the stamp only if all went well."""
    return f"""\
[ "$failed" = 0 ] || exit {FAILED}
[ "$missing" = 0 ] || exit {NIC_MISSING}
printf %s {shlex.quote(digest)} >{STAMP}
"""


def write_file(path: str, text: str, *, mode: str) -> str:
    """Return lines that write a file whole and at once, and set ``changed`` if it was different."""
    where, quoted = shlex.quote(path), shlex.quote(text)
    return f"""\
mkdir -p "$(dirname {where})"
if ! printf %s {quoted} | cmp -s - {where}; then
    changed=1
    (umask 077 && printf %s {quoted} >{where}.new) && chmod {mode} {where}.new &&
        mv {where}.new {where} || fail
fi
"""

#!/bin/bash
# bare.sh [root] [user]: what a newcomer does, in a Debian tree in which nothing is installed yet.
#
# Runs the commands that README.md shows under "Try it", as root without sudo and as a user with
# sudo, then buys a VM through the API and waits for its guest agent. The tree has its own mounts,
# processes, cgroups and network (slirp4netns, so no rule of the machine's firewall is touched):
# it disturbs no demo, test or database that runs here. Packages come from where this machine gets
# them. BARE_DIR (/var/tmp/scloud-bare) holds the trees; it is emptied first and at the end.
set -euo pipefail
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || exec sudo --preserve-env "$0" "$@"
modes=${*:-root user}
work=${BARE_DIR:-/var/tmp/scloud-bare}
release=bookworm
controllers="cpu cpuacct cpuset memory devices freezer blkio pids"
groups=/sys/fs/cgroup
# Where this machine's package managers are sent, and whom they trust.
settings="PIP_INDEX_URL PIP_CERT UV_DEFAULT_INDEX SSL_CERT_FILE NODE_EXTRA_CA_CERTS
    npm_config_registry http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY"
say() { printf '\033[1m==> %s\033[0m\n' "$*"; }

# ---- inside: BARE_INSIDE is the tree, in namespaces of its own

if [ -n "${BARE_INSIDE:-}" ]; then
    tree=$BARE_INSIDE
    mount --make-rprivate /
    mount --bind "$tree" "$tree"
    mount -t proc proc "$tree/proc"
    mount -t sysfs sysfs "$tree/sys"
    mount -t tmpfs -o mode=755 dev "$tree/dev"
    mkdir "$tree"/dev/{pts,shm,net}
    for device in "null 1 3" "zero 1 5" "full 1 7" "random 1 8" "urandom 1 9" "tty 5 0" \
        "net/tun 10 200" "kvm 10 232"; do
        # shellcheck disable=SC2086  # name, major, minor
        set -- $device
        [ ! -e "/dev/$1" ] || mknod -m 666 "$tree/dev/$1" c "$2" "$3"
    done
    mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$tree/dev/pts"
    ln -s pts/ptmx "$tree/dev/ptmx"
    ln -s /proc/self/fd "$tree/dev/fd"
    for n in 0/stdin 1/stdout 2/stderr; do ln -s "/proc/self/fd/${n%/*}" "$tree/dev/${n#*/}"; done
    mount -t tmpfs -o mode=1777 shm "$tree/dev/shm"
    mount -t tmpfs -o mode=755 run "$tree/run"
    mount -t tmpfs -o mode=1777 tmp "$tree/tmp"
    mkdir "$tree/run/lock"
    if [ -e $groups/cgroup.controllers ]; then
        mount -t cgroup2 cgroup2 "$tree$groups"
    else
        mount -t tmpfs -o mode=755 cgroups "$tree$groups"
        for controller in $controllers; do
            mkdir "$tree$groups/$controller"
            mount -t cgroup -o "$controller" cgroup "$tree$groups/$controller" ||
                rmdir "$tree$groups/$controller"
        done
    fi
    ip link set lo up
    hostname bare
    until ip -o link show tap0 >/dev/null 2>&1; do sleep 0.1; done
    # A real change of the root: whoever enters this namespace later stands in the tree, too.
    mkdir -p "$tree/.outside"
    cd "$tree"
    pivot_root . .outside
    cd /
    umount -l /.outside
    exec "$BARE_SHELL" -e -u /newcomer.sh
fi

# ---- outside

missing=""
for name in slirp4netns mmdebstrap debian-archive-keyring; do
    dpkg-query -W -f '${Status}' $name 2>/dev/null | grep -q 'ok installed' || missing="$missing $name"
done
if [ -n "$missing" ]; then
    say "apt: installing$missing"
    apt-get update -q
    # shellcheck disable=SC2086  # a list of words
    DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing
fi

rm -rf --one-file-system "$work"
mkdir -p "$work"
network=""
finish() {
    [ -z "$network" ] || kill "$network" 2>/dev/null || true
    rm -rf --one-file-system "$work"
    # Last: a group that has just written to disk stays busy for a moment.
    for directory in "$groups" "$groups"/*/; do
        [ ! -e "${directory%/}/scloud-bare" ] ||
            find "${directory%/}/scloud-bare" -depth -type d -exec rmdir {} \; 2>/dev/null || true
    done
}
trap finish EXIT

enter_group() { # all that is started from here on is in a group of its own
    if [ -e $groups/cgroup.controllers ]; then
        mkdir -p $groups/scloud-bare
        # A group counts as one process, and this one is a whole machine.
        [ ! -e $groups/scloud-bare/cpu.weight ] || echo 800 >$groups/scloud-bare/cpu.weight
        echo $$ >$groups/scloud-bare/cgroup.procs
        return
    fi
    for controller in $controllers; do
        [ -e "$groups/$controller/cgroup.procs" ] || continue
        mkdir -p "$groups/$controller/scloud-bare"
        # A group counts as one process, and this one is a whole machine.
        [ "$controller" != cpu ] || echo 8192 >$groups/cpu/scloud-bare/cpu.shares
        if [ "$controller" = cpuset ]; then
            cat $groups/cpuset/cpuset.cpus >$groups/cpuset/scloud-bare/cpuset.cpus
            cat $groups/cpuset/cpuset.mems >$groups/cpuset/scloud-bare/cpuset.mems
        fi
        echo $$ >"$groups/$controller/scloud-bare/cgroup.procs"
    done
}

# The commands of the README, word for word.
commands=$(awk '/^## /{on = ($0 == "## Try it")} on && /^    /{print substr($0, 5)}' README.md)
[ "$(printf '%s\n' "$commands" | grep -c .)" = 2 ] || {
    echo "README.md shows something else than two commands under \"Try it\":" >&2
    printf '%s\n' "$commands" >&2
    exit 1
}

summary=""
for mode in $modes; do
    tree=$work/$mode
    say "a minimal Debian ($release) in $tree, for a newcomer who is $mode"
    found=$(PYTHONPATH=. python3 -c "
import pathlib, platform
from scloud.lab.images import sources
here = [platform.freedesktop_os_release().get('VERSION_CODENAME', '$release'), *sources.ALIASES]
found = sources.of_release(sources.of_machine(), '$release', here=here)
if found:
    print(sources.write(found, pathlib.Path('$work/machine.sources')))
")
    # shellcheck disable=SC2086  # no argument at all where apt knows no Debian
    set -- $found
    extra=passwd
    [ "$mode" = root ] || extra=passwd,sudo
    mmdebstrap --quiet --mode=root --variant=minbase --include="$extra" \
        "$release" "$tree" "$@"
    printf '127.0.0.1 localhost bare\n::1 localhost\n' >"$tree/etc/hosts"
    printf 'nameserver 10.0.2.3\n' >"$tree/etc/resolv.conf"
    echo bare >"$tree/etc/hostname"
    if compgen -G '/usr/local/share/ca-certificates/*.crt' >/dev/null; then
        mkdir -p "$tree/usr/local/share/ca-certificates"
        cp -L /usr/local/share/ca-certificates/*.crt "$tree/usr/local/share/ca-certificates/"
    fi
    for file in /etc/pip.conf /etc/uv/uv.toml /etc/npmrc; do
        if [ -e $file ]; then install -D -m 644 $file "$tree$file"; fi
    done
    home=/root
    as=""
    spoken=$(printf '%s\n' "$commands" | sed 's/\bsudo //g')
    if [ "$mode" = user ]; then
        chroot "$tree" useradd --create-home --shell /bin/bash newcomer
        echo "newcomer ALL=(ALL) NOPASSWD: ALL" >"$tree/etc/sudoers.d/newcomer"
        home=/home/newcomer
        as="setpriv --reuid newcomer --regid newcomer --init-groups"
        spoken=$commands
    fi
    mkdir "$tree$home/scloud"
    git -c safe.directory="$PWD" ls-files -z --cached --others --exclude-standard |
        while IFS= read -r -d '' name; do [ ! -e "$name" ] || printf '%s\0' "$name"; done |
        tar --null -T - -c | tar -x -C "$tree$home/scloud"
    [ "$mode" = root ] || chroot "$tree" chown -R newcomer: "$home/scloud"
    environment="HOME=$home PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8"
    for name in $settings; do
        if [ -n "${!name:-}" ]; then environment="$environment $name=${!name}"; fi
    done
    {
        echo "cd $home/scloud"
        echo 'timed() { before=$(date +%s); "$@"; echo "$(($(date +%s) - before)) s: $last" >>/took; }'
        printf '%s\nsudo .venv/bin/python -m scripts.first_vm\n' "$spoken" |
            if [ "$mode" = root ]; then sed 's/\bsudo //g'; else cat; fi |
            while IFS= read -r line; do
                printf 'last=%q\necho "newcomer\\$ $last"\n' "$line"
                printf 'timed env -i %s %s bash -e -c "$last"\n' "$environment" "$as"
            done
    } >"$tree/newcomer.sh"
    (
        enter_group
        BARE_INSIDE=$tree BARE_SHELL=/bin/bash exec unshare --mount --pid --fork --kill-child \
            --mount-proc --uts --ipc --net --cgroup "$0"
    ) &
    inside=$!
    # The child of unshare is the one in the new namespaces.
    until child=$(pgrep -P $inside -o) && [ -e "/proc/$child/ns/net" ] &&
        [ "$(readlink "/proc/$child/ns/net")" != "$(readlink /proc/self/ns/net)" ]; do
        kill -0 $inside
        sleep 0.1
    done
    slirp4netns --configure --mtu=1500 --disable-host-loopback "$child" tap0 \
        >"$work/network.log" 2>&1 &
    network=$!
    wait $inside
    kill $network 2>/dev/null || true
    network=""
    summary="$summary
as $mode:
$(sed 's/^/  /' "$tree/took")"
    rm -rf --one-file-system "$tree"
done
say "from nothing to a VM$summary"

#!/bin/sh
# Runs as the only child of PID 1 in a lab host's namespaces and becomes that host:
# private directories, a private /dev, then the daemons, each restarted when it dies.
# Expects: HOST_STATE HOST_RUN HOST_NAME HOST_ADDRESS TUNNEL_ADDRESS OVN_SB WITH_KVM
# LAB_GROUP PHYSICAL_NETWORK FORGET_UNSTARTED (a command to run before libvirtd)
# HEARTBEAT (a command to run beside it) SHARED_STORAGE (its directory)
# CERTIFICATES (a directory; empty without TLS) INSTALL_CERTIFICATES (a command to run with it)
set -eu

mount --make-rprivate /
hostname "$HOST_NAME"

# Cgroups of its own, or two hosts that hold the same domain during a migration collide: move
# into a group, make that the root of a cgroup namespace, and mount it as the only one there is.
controllers="cpu cpuacct cpuset memory devices freezer blkio pids"
groups=/sys/fs/cgroup
if [ "${1:-}" != inside ]; then
    if [ -e $groups/cgroup.controllers ]; then
        for controller in $(cat $groups/cgroup.controllers); do
            echo "+$controller" >$groups/cgroup.subtree_control || :
        done
        mkdir -p "$groups/$LAB_GROUP"
        echo 1 >"$groups/$LAB_GROUP/cgroup.procs"
        echo $$ >"$groups/$LAB_GROUP/cgroup.procs"
    else
        for controller in $controllers; do
            root=$groups/$controller
            [ -e "$root/cgroup.procs" ] || continue
            mkdir -p "$root/$LAB_GROUP"
            if [ "$controller" = cpuset ]; then
                cat "$root/cpuset.cpus" >"$root/$LAB_GROUP/cpuset.cpus"
                cat "$root/cpuset.mems" >"$root/$LAB_GROUP/cpuset.mems"
            fi
            echo 1 >"$root/$LAB_GROUP/cgroup.procs"
            echo $$ >"$root/$LAB_GROUP/cgroup.procs"
        done
    fi
    # Elsewhere hosts are machines of their own. Here their guests share the processors with what
    # controls them: a quarter of the usual weight, so that guests that boot do not starve it.
    [ ! -e "$groups/$LAB_GROUP/cpu.weight" ] || echo 25 >"$groups/$LAB_GROUP/cpu.weight"
    [ ! -e "$groups/cpu/$LAB_GROUP/cpu.shares" ] || echo 256 >"$groups/cpu/$LAB_GROUP/cpu.shares"
    exec unshare -C sh "$0" inside
fi

# /sys shows the interfaces of the network namespace in which it was mounted.
version_2=$([ -e $groups/cgroup.controllers ] && echo 1 || echo 0)
mount -t sysfs sysfs /sys
if [ "$version_2" = 1 ]; then
    mount -t cgroup2 cgroup2 $groups
    # Only a group without processes of its own can hand controllers on.
    mkdir -p $groups/init
    for pid in $(cat $groups/cgroup.procs); do echo "$pid" >$groups/init/cgroup.procs || :; done
    for controller in $(cat $groups/cgroup.controllers); do
        echo "+$controller" >$groups/cgroup.subtree_control || :
    done
else
    mount -t tmpfs -o mode=755 cgroups $groups
    for controller in $controllers; do
        mkdir $groups/$controller
        mount -t cgroup -o $controller cgroup $groups/$controller || rmdir $groups/$controller
    done
fi

# A small /dev. libvirt probes QEMU again at every start of a guest while a kvm device is
# there that does not work.
mkdir -p "$HOST_RUN/dev"
mount -t tmpfs -o mode=755 dev "$HOST_RUN/dev"
cd "$HOST_RUN/dev"
mkdir pts shm net
mknod -m 666 null c 1 3
mknod -m 666 zero c 1 5
mknod -m 666 full c 1 7
mknod -m 666 random c 1 8
mknod -m 666 urandom c 1 9
mknod -m 666 tty c 5 0
mknod -m 666 net/tun c 10 200
[ "$WITH_KVM" = 1 ] && mknod -m 666 kvm c 10 232
ln -s pts/ptmx ptmx
ln -s /proc/self/fd fd
mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts pts
mount -t tmpfs -o mode=1777 shm shm
cd /
mount --move "$HOST_RUN/dev" /dev

# An /etc of its own, whole: a bind over a single file such as /etc/passwd is gone as soon as the
# outer machine replaces that file, as the installation of any package with a user does.
etc=$HOST_RUN/etc
mkdir -p "$etc"
# Twice: a file may vanish under the first copy while the outer machine installs something.
cp -a /etc/. "$etc/" || cp -a /etc/. "$etc/"
cp "$HOST_STATE/hosts" "$etc/hosts"
# libvirt does not start without its packaged user, which only some of its packages make.
grep -q ^libvirt-qemu: "$etc/passwd" ||
    echo "libvirt-qemu:x:64055:64055::/var/lib/libvirt:/usr/sbin/nologin" >>"$etc/passwd"
grep -q ^libvirt-qemu: "$etc/group" || echo "libvirt-qemu:x:64055:" >>"$etc/group"
grep -q ^kvm: "$etc/group" || echo "kvm:x:64056:" >>"$etc/group"
mount --bind "$etc" /etc

private() { # directory-in-state  place
    mkdir -p "$HOST_STATE/$1" "$2"
    mount --bind "$HOST_STATE/$1" "$2"
}
private etc-libvirt /etc/libvirt
private lib-libvirt /var/lib/libvirt
private cache-libvirt /var/cache/libvirt
private log-libvirt /var/log/libvirt
private etc-openvswitch /etc/openvswitch
private log-openvswitch /var/log/openvswitch
private log-ovn /var/log/ovn
# Last: from here on /run is the host's own.
mount --bind "$HOST_RUN" /run
mkdir -p /run/libvirt /run/openvswitch /run/ovn /run/lock
[ -z "$CERTIFICATES" ] || "$INSTALL_CERTIFICATES" "$CERTIFICATES"

supervise() { # name command...
    name=$1
    shift
    while :; do
        while [ -e "/run/$name.hold" ]; do sleep 0.2; done
        "$@" >>"$HOST_STATE/$name.log" 2>&1 || :
        sleep 0.5
    done
}

libvirt() {
    "$FORGET_UNSTARTED" || :
    libvirtd --listen --timeout 0
}
supervise libvirtd libvirt &
supervise heartbeat "$HEARTBEAT" "$SHARED_STORAGE" &

rm -f "/etc/openvswitch/conf.db" /etc/openvswitch/.conf.db.~lock~
ovsdb-tool create /etc/openvswitch/conf.db /usr/share/openvswitch/vswitch.ovsschema
supervise ovsdb-server ovsdb-server /etc/openvswitch/conf.db \
    --remote=punix:/run/openvswitch/db.sock --unixctl=/run/openvswitch/ovsdb-server.ctl \
    -vconsole:warn -vsyslog:off &
until [ -S /run/openvswitch/db.sock ]; do sleep 0.05; done

# Its socket is there a moment before it listens.
ovs-vsctl --retry --timeout=20 --no-wait -- init -- set Open_vSwitch . \
    external-ids:system-id="$HOST_NAME" \
    external-ids:hostname="$HOST_NAME" \
    external-ids:ovn-remote="$OVN_SB" \
    external-ids:ovn-encap-type=geneve \
    external-ids:ovn-encap-ip="$TUNNEL_ADDRESS" \
    external-ids:ovn-bridge-datapath-type=netdev \
    external-ids:ovn-bridge-mappings="$PHYSICAL_NETWORK:br-ex" \
    external-ids:ovn-monitor-all=true \
    -- add-br br-phy -- set bridge br-phy datapath_type=netdev fail_mode=standalone \
    -- add-port br-phy phy0 \
    -- add-br br-ex -- set bridge br-ex datapath_type=netdev fail_mode=standalone \
    -- add-port br-ex ext0 \
    -- add-br br-int -- set bridge br-int datapath_type=netdev fail_mode=secure \
    other-config:disable-in-band=true
tls=/etc/pki/scloud/current/ovn
[ -z "$CERTIFICATES" ] || ovs-vsctl --no-wait set-ssl $tls/key.pem $tls/cert.pem $tls/ca.pem
supervise ovs-vswitchd ovs-vswitchd unix:/run/openvswitch/db.sock \
    --unixctl=/run/openvswitch/ovs-vswitchd.ctl -vconsole:warn -vsyslog:off &
until [ -d /sys/class/net/br-phy ]; do sleep 0.05; done
ip address replace "$TUNNEL_ADDRESS/24" dev br-phy
ip link set br-phy up
ip link set br-ex up

supervise ovn-controller ovn-controller unix:/run/openvswitch/db.sock \
    --pidfile=/run/ovn/ovn-controller.pid -vconsole:warn -vsyslog:off &
touch /run/ready
wait

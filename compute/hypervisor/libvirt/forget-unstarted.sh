#!/bin/sh
# Belongs on every host, to run before libvirtd (or virtqemud) starts: see docs/operations.md.
#
# libvirt writes down that it starts a domain before it knows the process. Killed in that moment,
# it finds a domain without a process when it comes back, does not look at it any more
# (qemuProcessReconnectHelper in src/qemu/qemu_process.c), and still keeps it as one that is being
# started: nothing can start, destroy or even ask it for statistics from then on. Seen with 9.0.
#
# Forgetting what was written is safe: the process of such a domain waits for a word of libvirt
# before it becomes QEMU, and ends when libvirt is gone.
set -eu

for state in "${1:-/run/libvirt/qemu}"/*.xml; do
    [ -e "$state" ] || continue
    grep -q "^<domstatus [^>]*pid='0'" "$state" || continue
    echo "forgetting the unfinished start of $(basename "$state" .xml)" >&2
    # What libvirt would have unplugged. Open vSwitch may be down itself: then it is not urgent.
    sed -n "s/.*<target dev='\(vnet[0-9]*\)'.*/\1/p" "$state" | while read -r tap; do
        ovs-vsctl --timeout=5 --if-exists del-port "$tap" || :
    done
    rm -f -- "$state" "${state%.xml}.pid"
done

#!/bin/sh
# Run on a host, as root, with the directory that `manage.py pki issue host NAME` made: see
# docs/operations.md. Repeat it after each renewal and each revocation.
#
# All files are replaced in one step, by a symbolic link, so that no daemon ever finds a certificate
# without its key. libvirt takes the certificates of another host without a word, and so does
# everybody who then connects to the wrong one; that is why they are looked at first.
set -eu

[ $# -eq 1 ] || {
    echo "usage: install-certificates.sh DIRECTORY" >&2
    exit 2
}
source=$1
home=/etc/pki/scloud
status=0

fail() {
    echo "install-certificates: $*; nothing was changed" >&2
    exit 1
}
warn() {
    echo "install-certificates: $*" >&2
    status=3
}

fits() { # certificate key
    [ -r "$source/$1" ] && [ -r "$source/$2" ] || fail "$source/$1 or $2 is missing"
    public=$(openssl pkey -in "$source/$2" -pubout 2>/dev/null) || fail "$2 is no key"
    [ "$public" = "$(openssl x509 -in "$source/$1" -noout -pubkey)" ] ||
        fail "$2 is not the key of $1"
}
trusted() { # certificate authority [revocation list]
    set -- "$1" -CAfile "$source/$2" ${3:+-crl_check -CRLfile "$source/$3"}
    file=$source/$1
    shift
    said=$(openssl verify -no-CApath -no-CAstore "$@" "$file" 2>&1) ||
        fail "$(basename "$file") is not valid: $(echo "$said" | grep -m 1 lookup)"
}
is_ours() { # certificate
    for name in "$(hostname)" "$(hostname -f 2>/dev/null || :)"; do
        [ -z "$name" ] || ! openssl x509 -in "$source/$1" -noout -checkhost "$name" |
            grep -q "does match" || return 0
    done
    for address in $(ip -o address show | awk '{sub("/.*", "", $4); print $4}'); do
        case $address in 127.* | ::1 | fe80:*) continue ;; esac
        ! openssl x509 -in "$source/$1" -noout -checkip "$address" | grep -q "does match" ||
            return 0
    done
    fail "$1 is for another host: it names no address and no name of this one"
}

fits libvirt/servercert.pem libvirt/serverkey.pem
fits libvirt/clientcert.pem libvirt/clientkey.pem
fits qemu/server-cert.pem qemu/server-key.pem
fits qemu/client-cert.pem qemu/client-key.pem
fits vnc/server-cert.pem vnc/server-key.pem
fits ovn/cert.pem ovn/key.pem
trusted libvirt/servercert.pem libvirt/cacert.pem libvirt/cacrl.pem
trusted libvirt/clientcert.pem libvirt/cacert.pem libvirt/cacrl.pem
trusted qemu/server-cert.pem qemu/ca-cert.pem qemu/ca-crl.pem
trusted qemu/client-cert.pem qemu/ca-cert.pem qemu/ca-crl.pem
trusted vnc/server-cert.pem vnc/ca-cert.pem vnc/ca-crl.pem
for one in libvirt/servercert.pem qemu/server-cert.pem vnc/server-cert.pem; do is_ours "$one"; done
if [ -S /run/openvswitch/db.sock ]; then
    chassis=$(ovs-vsctl --timeout=5 --if-exists get Open_vSwitch . external-ids:system-id |
        tr -d '"')
    subject=$(openssl x509 -in "$source/ovn/cert.pem" -noout -subject -nameopt multiline |
        sed -n 's/^ *commonName *= //p')
    [ -z "$chassis" ] || [ "$chassis" = "$subject" ] ||
        fail "ovn/cert.pem is for the chassis $subject, and this one is $chassis"
fi

version=$(date +%s)-$$
umask 022
mkdir -p "$home"
exec 9>"$home/.lock"
flock 9
# Nobody else reads a key, not even while it is being copied.
umask 077
mkdir "$home/$version"
cp -RL "$source/." "$home/$version"
umask 022
chown -R root:root "$home/$version"
find "$home/$version" -type f ! -name '*key.pem' -exec chmod 644 {} +
find "$home/$version" -type f -name '*key.pem' -exec chmod 600 {} +
find "$home/$version" -type d -exec chmod 755 {} +
# QEMU reads its keys itself, as a user of its own.
if getent group libvirt-qemu >/dev/null; then
    for key in "$home/$version"/qemu/*key.pem "$home/$version"/vnc/*key.pem; do
        chgrp libvirt-qemu "$key"
        chmod 640 "$key"
    done
fi
sync "$home/$version"/*/*.pem
ln -s "$version" "$home/.current.$$"
mv -T "$home/.current.$$" "$home/current"
for old in "$home"/*-*; do
    [ "$old" = "$home/$version" ] || rm -rf -- "$old"
done

# The places where libvirt looks by itself: renewals are told to a daemon for these only.
link() { # place file
    mkdir -p "$(dirname "$1")"
    [ "$(readlink "$1" || :)" = "$home/current/$2" ] && return
    [ -L "$1" ] || [ ! -e "$1" ] || mv "$1" "$1.before-scloud"
    ln -s "$home/current/$2" "$1.$$"
    mv -T "$1.$$" "$1"
}
link /etc/pki/CA/cacert.pem libvirt/cacert.pem
link /etc/pki/CA/cacrl.pem libvirt/cacrl.pem
link /etc/pki/libvirt/servercert.pem libvirt/servercert.pem
link /etc/pki/libvirt/clientcert.pem libvirt/clientcert.pem
link /etc/pki/libvirt/private/serverkey.pem libvirt/serverkey.pem
link /etc/pki/libvirt/private/clientkey.pem libvirt/clientkey.pem

for daemon in libvirtd virtproxyd; do
    socket=/run/libvirt/$([ $daemon = libvirtd ] && echo libvirt || echo $daemon)-admin-sock
    [ -S "$socket" ] || continue
    timeout 20 virt-admin -q -c "$daemon:///system" server-update-tls $daemon ||
        warn "$daemon did not take the certificates: restart it"
done
if [ -S /run/libvirt/libvirt-sock ] || [ -S /run/libvirt/virtqemud-sock ]; then
    # Screens of guests that run keep theirs until QEMU is told. It is an error, and of no
    # importance, for one that was started without TLS.
    reload='{"execute":"display-reload","arguments":{"type":"vnc","tls-certs":true}}'
    timeout 20 virsh -q -c qemu:///system list --name 2>/dev/null | while read -r domain; do
        [ -z "$domain" ] ||
            timeout 20 virsh -q -c qemu:///system qemu-monitor-command "$domain" "$reload" \
                >/dev/null 2>&1 || :
    done
fi
if [ -S /run/openvswitch/db.sock ]; then
    ovs-vsctl --timeout=5 set-ssl \
        "$home/current/ovn/key.pem" "$home/current/ovn/cert.pem" "$home/current/ovn/ca.pem" ||
        warn "Open vSwitch did not take the certificates"
fi
exit $status

#!/bin/sh
# Runs as the only child of PID 1 of the lab's OVN centre: two databases and northd.
# Expects: CENTRAL_STATE CENTRAL_RUN MANAGEMENT_ADDRESS CERTIFICATES (a directory; empty without TLS)
set -eu
mkdir -p "$CENTRAL_STATE" "$CENTRAL_RUN"
cd "$CENTRAL_STATE"
[ -s nb.db ] || ovsdb-tool create nb.db /usr/share/ovn/ovn-nb.ovsschema
# What is bound where is only true while hosts run: the southbound side always starts empty
# and northd fills it again, so that no chassis of a killed run is left.
rm -f sb.db .sb.db.~lock~ .nb.db.~lock~
ovsdb-tool create sb.db /usr/share/ovn/ovn-sb.ovsschema

supervise() { # name command...
    name=$1
    shift
    while :; do
        "$@" >>"$CENTRAL_STATE/$name.log" 2>&1 || :
        sleep 0.5
    done
}

database() { # nb|sb option...
    name=$1
    shift
    supervise "$name" ovsdb-server "$CENTRAL_STATE/$name.db" \
        --remote="punix:$CENTRAL_RUN/$name.sock" \
        --unixctl="$CENTRAL_RUN/$name.ctl" -vconsole:warn -vsyslog:off "$@"
}
encrypted() { # nb|sb option...
    name=$1
    shift
    database "$name" --private-key="$CERTIFICATES/key.pem" --certificate="$CERTIFICATES/cert.pem" \
        --ca-cert="$CERTIFICATES/ca-$name.pem" "$@"
}
rm -f "$CENTRAL_RUN"/*.sock "$CENTRAL_RUN"/*.ctl
if [ -n "$CERTIFICATES" ]; then
    # A port without a role lets whoever has a certificate write everything: workers only. Hosts
    # come by a connection of the database's own table, which gives them theirs.
    encrypted nb --remote="pssl:6641:$MANAGEMENT_ADDRESS" &
    encrypted sb --remote=db:OVN_Southbound,SB_Global,connections &
else
    database nb --remote="ptcp:6641:$MANAGEMENT_ADDRESS" &
    database sb --remote="ptcp:6642:$MANAGEMENT_ADDRESS" &
fi
until [ -S "$CENTRAL_RUN/nb.sock" ] && [ -S "$CENTRAL_RUN/sb.sock" ]; do sleep 0.05; done
ovn-nbctl --db="unix:$CENTRAL_RUN/nb.sock" --no-wait init
ovn-sbctl --db="unix:$CENTRAL_RUN/sb.sock" init
[ -z "$CERTIFICATES" ] || ovn-sbctl --db="unix:$CENTRAL_RUN/sb.sock" \
    set-connection role=ovn-controller "pssl:6642:$MANAGEMENT_ADDRESS"
supervise northd ovn-northd --ovnnb-db="unix:$CENTRAL_RUN/nb.sock" \
    --ovnsb-db="unix:$CENTRAL_RUN/sb.sock" --unixctl="$CENTRAL_RUN/northd.ctl" \
    -vconsole:warn -vsyslog:off &
touch "$CENTRAL_RUN/ready"
wait

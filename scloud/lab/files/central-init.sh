#!/bin/sh
# Runs as the only child of PID 1 of the lab's OVN centre: two databases and northd.
# Expects: CENTRAL_STATE CENTRAL_RUN MANAGEMENT_ADDRESS
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

database() { # nb|sb port
    supervise "$1" ovsdb-server "$CENTRAL_STATE/$1.db" \
        --remote="punix:$CENTRAL_RUN/$1.sock" \
        --remote="ptcp:$2:$MANAGEMENT_ADDRESS" \
        --unixctl="$CENTRAL_RUN/$1.ctl" -vconsole:warn -vsyslog:off
}
rm -f "$CENTRAL_RUN"/*.sock "$CENTRAL_RUN"/*.ctl
database nb 6641 &
database sb 6642 &
until [ -S "$CENTRAL_RUN/nb.sock" ] && [ -S "$CENTRAL_RUN/sb.sock" ]; do sleep 0.05; done
ovn-nbctl --db="unix:$CENTRAL_RUN/nb.sock" --no-wait init
ovn-sbctl --db="unix:$CENTRAL_RUN/sb.sock" init
supervise northd ovn-northd --ovnnb-db="unix:$CENTRAL_RUN/nb.sock" \
    --ovnsb-db="unix:$CENTRAL_RUN/sb.sock" --unixctl="$CENTRAL_RUN/northd.ctl" \
    -vconsole:warn -vsyslog:off &
touch "$CENTRAL_RUN/ready"
wait

is_wanted() { # interface: not one that ifupdown brings up after this one, and fails at if it is up
    [ -z "${boot:-}" ] || [ -n "$(ip -o link show dev "$1" up)" ]
}
ours='' tables='' rules='' routes4='' routes6='' default4='' default6='' nic0=''
used() { # table
    case " $tables " in *" $1 "*) ;; *) tables="$tables $1" ;; esac
}
rule() { # family address table
    used "$3"
    rules="$rules $2:$3"
    eval "shown=\$shown$1"
    case " $shown " in
        *" 10100: from $2 lookup $3 "*) ;;
        *) ip -"$1" rule add from "$2" table "$3" priority 10100 || fail ;;
    esac
}
look() {
    shown4=$(ip -4 rule show | tr '\n\t' '  ')
    shown6=$(ip -6 rule show 2>/dev/null | tr '\n\t' '  ')
}
fit() { # address/length: a DHCPv6 client may have it with another length, which replace keeps
    ip -6 -o address show dev "$nic" to "${1%/*}" | while read -r _ _ _ address _; do
        [ "$address" = "$1" ] || ip address del "$address" dev "$nic"
    done
}
forget_rules() { # family
    ip -"$1" rule show | while read -r number _ address _ table _; do
        [ "$number" = 10100: ] || continue
        case " $rules " in *" $address:$table "*) continue ;; esac
        ip -"$1" rule del from "$address" table "$table" priority 10100
        case " $tables " in *" $table "*) ;; *) ip -"$1" route flush table "$table" ;; esac
    done
}
forget_addresses() { # interface addresses-to-keep
    ip -o address show dev "$1" scope global | while read -r _ _ _ address _; do
        case " $2 " in *" $address "*) ;; *) ip address del "$address" dev "$1" ;; esac
    done
}
forget_routes() { # family routes-to-keep
    ip -"$1" route show proto 197 | while read -r to _ via _ device _; do
        case "$2" in *" $to,$via,$device "*) continue ;; esac
        [ "$to" = default ] || ip -"$1" route del "$to" via "$via" dev "$device" proto 197
    done
}
forget_defaults() { # family the-one-to-keep
    ip -"$1" route show default | while read -r _ word via _ device rest; do
        [ "$word" = via ] || continue
        case " $ours " in *" $device "*) ;; *) continue ;; esac
        [ "$via,$device" = "$2" ] && case " $rest " in *" metric 50 "*) continue ;; esac
        # Without an egress of ours, the first NIC's routes are the business of others.
        [ -z "$2" ] && [ "$device" = "$nic0" ] && continue
        metric=${rest##*metric }
        [ "$metric" = "$rest" ] && metric=
        ip -"$1" route del default via "$via" dev "$device" ${metric:+metric ${metric%% *}}
    done
}
add_0() {
    name_nic 52:54:00:00:00:01 eth0 || return 0
    is_wanted "$nic" || return 0
    ours="$ours $nic"
    nic0=$nic
    echo 0 >"/proc/sys/net/ipv6/conf/$nic/accept_ra" 2>/dev/null
    ip -6 route flush dev "$nic" proto ra 2>/dev/null
    fit fd12:3456:789a:0:5054:ff:fe00:1/64
    ip -force -batch - <<END || fail
link set dev $nic up
address replace 10.0.0.5/24 dev $nic
address replace fd12:3456:789a:0:5054:ff:fe00:1/64 dev $nic nodad
route replace 10.0.0.0/16 via 10.0.0.1 dev $nic proto 197
route replace 0.0.0.0/0 via 10.0.0.1 dev $nic src 10.0.0.5 metric 50 proto 197
route replace fd12:3456:789a::/48 via fd12:3456:789a::1 dev $nic proto 197
END
    read -r mtu <"/sys/class/net/$nic/mtu"
    [ "$mtu" = 1442 ] || ip link set dev "$nic" mtu 1442 || :
    routes4="$routes4 10.0.0.0/16,10.0.0.1,$nic"
    default4=10.0.0.1,$nic
    routes6="$routes6 fd12:3456:789a::/48,fd12:3456:789a::1,$nic"
}
add_1() {
    name_nic 52:54:00:00:00:02 eth1 || return 0
    is_wanted "$nic" || return 0
    ours="$ours $nic"
    echo 1 >"/proc/sys/net/ipv4/conf/$nic/promote_secondaries"
    echo 0 >"/proc/sys/net/ipv6/conf/$nic/accept_ra" 2>/dev/null
    ip -force -batch - <<END || fail
link set dev $nic up
END
    read -r mtu <"/sys/class/net/$nic/mtu"
    [ "$mtu" = 1500 ] || ip link set dev "$nic" mtu 1500 || :
}
look
add_0
add_1
forget_rules 4
forget_rules 6
name_nic 52:54:00:00:00:02 eth1 2>/dev/null && forget_addresses "$nic" ""
rules='' routes4='' routes6=''
look
add_0
add_1
forget_routes 4 " $routes4 "
forget_routes 6 " $routes6 "
forget_defaults 4 "$default4"
forget_defaults 6 "$default6"

"""Plain ``ip``: for guests whose own tools know no routing policy, and for the mini guest.

It adds first, then moves the routes, and only then takes away what is left over, so that
no address that stays is ever without its route. It touches nothing that it has not made: rules of
our priority, routes of our protocol number, addresses of the NICs after the first, and default
routes over the VM's own NICs.
"""

from __future__ import annotations

from collections.abc import Sequence

from network.rules.guest import (
    DEFAULT_ROUTE_METRIC,
    RULE_PRIORITY,
    IpNetwork,
    NicPlan,
    Route,
    routes_of,
    rules_of,
)

#: What ``ip route`` shows as the maker of our routes; numbers above 4 belong to no kernel part.
PROTOCOL = 197

_FUNCTIONS = """\
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
    eval "shown=\\$shown$1"
    case " $shown " in
        *" %(priority)s: from $2 lookup $3 "*) ;;
        *) ip -"$1" rule add from "$2" table "$3" priority %(priority)s || fail ;;
    esac
}
look() {
    shown4=$(ip -4 rule show | tr '\\n\\t' '  ')
    shown6=$(ip -6 rule show 2>/dev/null | tr '\\n\\t' '  ')
}
fit() { # address/length: a DHCPv6 client may have it with another length, which replace keeps
    ip -6 -o address show dev "$nic" to "${1%%/*}" | while read -r _ _ _ address _; do
        [ "$address" = "$1" ] || ip address del "$address" dev "$nic"
    done
}
forget_rules() { # family
    ip -"$1" rule show | while read -r number _ address _ table _; do
        [ "$number" = %(priority)s: ] || continue
        case " $rules " in *" $address:$table "*) continue ;; esac
        ip -"$1" rule del from "$address" table "$table" priority %(priority)s
        case " $tables " in *" $table "*) ;; *) ip -"$1" route flush table "$table" ;; esac
    done
}
forget_addresses() { # interface addresses-to-keep
    ip -o address show dev "$1" scope global | while read -r _ _ _ address _; do
        case " $2 " in *" $address "*) ;; *) ip address del "$address" dev "$1" ;; esac
    done
}
forget_routes() { # family routes-to-keep
    ip -"$1" route show proto %(protocol)s | while read -r to _ via _ device _; do
        case "$2" in *" $to,$via,$device "*) continue ;; esac
        [ "$to" = default ] || ip -"$1" route del "$to" via "$via" dev "$device" proto %(protocol)s
    done
}
forget_defaults() { # family the-one-to-keep
    ip -"$1" route show default | while read -r _ word via _ device rest; do
        [ "$word" = via ] || continue
        case " $ours " in *" $device "*) ;; *) continue ;; esac
        [ "$via,$device" = "$2" ] && case " $rest " in *" metric %(metric)s "*) continue ;; esac
        # Without an egress of ours, the first NIC's routes are the business of others.
        [ -z "$2" ] && [ "$device" = "$nic0" ] && continue
        metric=${rest##*metric }
        [ "$metric" = "$rest" ] && metric=
        ip -"$1" route del default via "$via" dev "$device" ${metric:+metric ${metric%%%% *}}
    done
}
"""


def body(plans: Sequence[NicPlan]) -> str:
    """Return the lines that bring the running network to the plan."""
    functions = _FUNCTIONS % {
        "priority": RULE_PRIORITY,
        "protocol": PROTOCOL,
        "metric": DEFAULT_ROUTE_METRIC,
    }
    # Twice: when the last address of a NIC's subnet goes, the kernel drops routes with it.
    calls = "".join(f"add_{nic.index}\n" for nic in plans)
    return (
        functions
        + "".join(_nic(nic) for nic in plans)
        + "look\n"
        + calls
        + "forget_rules 4\nforget_rules 6\n"
        + "".join(_forget(nic) for nic in plans if nic.index)
        + "rules='' routes4='' routes6=''\nlook\n"
        + calls
        + 'forget_routes 4 " $routes4 "\nforget_routes 6 " $routes6 "\n'
        + 'forget_defaults 4 "$default4"\nforget_defaults 6 "$default6"\n'
    )


def _nic(nic: NicPlan) -> str:
    """A function that adds all of one NIC: in one batch, for a process costs time in a guest."""
    lines = [
        f"add_{nic.index}() {{",
        f"    name_nic {nic.mac} {nic.device} || return 0",
        '    is_wanted "$nic" || return 0',
        '    ours="$ours $nic"',
    ]
    if nic.index == 0:
        lines.append("    nic0=$nic")
    else:
        # An address that goes takes no others of its subnet along.
        lines.append('    echo 1 >"/proc/sys/net/ipv4/conf/$nic/promote_secondaries"')
    six = [one.interface for one in nic.addresses if one.interface.version == 6]
    if nic.index or six:
        lines.append('    echo 0 >"/proc/sys/net/ipv6/conf/$nic/accept_ra" 2>/dev/null')
    if nic.index == 0 and six:
        # What its router announced until now: a default route that leads nowhere.
        lines.append('    ip -6 route flush dev "$nic" proto ra 2>/dev/null')
        lines.extend(f"    fit {one}" for one in six)
    lines.append("    ip -force -batch - <<END || fail")
    lines.append("link set dev $nic up")
    for one in nic.addresses:
        last = " nodad" if one.interface.version == 6 else ""
        lines.append(f"address replace {one.interface} dev $nic{last}")
    routes = routes_of(nic)
    lines.extend(_batched(route) for route in routes)
    lines.append("END")
    lines.append('    read -r mtu <"/sys/class/net/$nic/mtu"')
    # A device can be narrower than a network that is newer than the VM's start.
    lines.append(
        f'    [ "$mtu" = {nic.mtu_bytes} ] || ip link set dev "$nic" mtu {nic.mtu_bytes} || :'
    )
    lines.extend(f"    {_wanted(route)}" for route in routes if route.table is None)
    lines.extend(
        f"    rule {rule.source.version} {rule.source} {rule.table}" for rule in rules_of(nic)
    )
    return "\n".join([*lines, "}", ""])


def _batched(route: Route) -> str:
    """The line of a batch that sets a route; the family follows from its addresses."""
    words = [f"route replace {route.to}"]
    if route.via is not None:
        words.append(f"via {route.via}")
    words.append("dev $nic")
    if route.source is not None:
        words.append(f"src {route.source}")
    if route.metric is not None:
        words.append(f"metric {route.metric}")
    if route.table is not None:
        words.append(f"table {route.table}")
    if route.via is None and route.to.version == 4:
        words.append("scope link")
    if route.on_link:
        words.append("onlink")
    return " ".join([*words, f"proto {PROTOCOL}"])


def _wanted(route: Route) -> str:
    """The line that notes a route of the main table as one to keep."""
    family, to = route.to.version, _shown(route.to)
    if to == "default":
        return f"default{family}={route.via},$nic"
    return f'routes{family}="$routes{family} {to},{route.via},$nic"'


def _shown(network: IpNetwork) -> str:
    """A destination as ``ip route`` writes it, so that it is found again."""
    if network.prefixlen == 0:
        return "default"
    if network.prefixlen == network.max_prefixlen:
        return str(network.network_address)
    return str(network)


def _forget(nic: NicPlan) -> str:
    """The lines that take surplus addresses off a NIC."""
    keep = " ".join(str(one.interface) for one in nic.addresses)
    return f'name_nic {nic.mac} {nic.device} 2>/dev/null && forget_addresses "$nic" "{keep}"\n'

"""NetworkManager (CentOS, Rocky, Fedora): keyfiles for the next boot, ``nmcli`` for now.

https://networkmanager.dev/docs/api/latest/nm-settings-keyfile.html

The keyfiles are our own: cloud-init writes its profiles anew at every boot, and knows no tables.
Ours have a higher priority, so they win then. A running NIC that still has another profile keeps
it and gets ours written into it: changing the profile would interrupt the NIC for seconds, and
``nmcli device reapply`` interrupts nothing.
"""

from __future__ import annotations

import shlex
import uuid
from collections.abc import Sequence

from compute.hypervisor.guestnet import shell
from network.rules.guest import NicPlan, Route, Rule, routes_of, rules_of

DIRECTORY = "/etc/NetworkManager/system-connections"
_PRIORITY = 100
#: The link-local address that follows from the MAC: anti-spoofing lets no other one speak to
#: neighbours.
_LINK_LOCAL = "eui64"


def profile_uuid(nic: NicPlan) -> str:
    """The UUID of the profile of a NIC: always the same for the same MAC."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"scloud {nic.mac}"))


def keyfile(nic: NicPlan) -> str:
    """Return the profile of one NIC as a keyfile."""
    lines = [
        "[connection]",
        f"id=scloud {nic.device}",
        f"uuid={profile_uuid(nic)}",
        "type=ethernet",
        f"autoconnect-priority={_PRIORITY}",
        "",
        "[ethernet]",
        f"mac-address={nic.mac.upper()}",
        f"mtu={nic.mtu_bytes}",
    ]
    for family in (4, 6):
        addresses, routes, rules, dns = _parts(nic, family)
        lines += ["", f"[ipv{family}]", f"method={_method(nic, family)}"]
        if family == 6:
            lines.append(f"addr-gen-mode={_LINK_LOCAL}")
        lines += [f"address{n}={one}" for n, one in enumerate(addresses, 1)]
        if dns:
            lines.append(f"dns={''.join(f'{one};' for one in dns)}")
        for number, route in enumerate(routes, 1):
            words = [str(route.to)]
            if route.via is not None:
                words.append(str(route.via))
            if route.metric is not None:
                words.append(str(route.metric))
            lines.append(f"route{number}={','.join(words)}")
            options = _options(route)
            if options:
                lines.append(f"route{number}_options={','.join(options)}")
        lines += [f"routing-rule{n}={_rule(rule)}" for n, rule in enumerate(rules, 1)]
    return "\n".join(lines) + "\n"


def body(plans: Sequence[NicPlan]) -> str:
    """Return the lines that write the keyfiles and bring the running NICs to the plan."""
    parts = []
    for nic in plans:
        path = f"{DIRECTORY}/scloud-{nic.device}.nmconnection"
        parts.append(shell.write_file(path, keyfile(nic), mode="600"))
        parts.append(f"nmcli connection load {path} || fail\n")
    for nic in plans:
        words = " ".join(shlex.quote(word) for word in settings(nic))
        parts.append(f"""\
if name_nic {nic.mac} {nic.device}; then
    active=$(nmcli -g GENERAL.CON-UUID device show "$nic" 2>/dev/null)
    if [ -z "$active" ]; then
        nmcli connection up uuid {profile_uuid(nic)} ifname "$nic" >/dev/null || fail
    else
        if [ "$active" != {profile_uuid(nic)} ]; then
            nmcli connection modify uuid "$active" {words} || fail
        fi
        nmcli device reapply "$nic" >/dev/null || fail
    fi
fi
""")
    return "".join(parts)


def settings(nic: NicPlan) -> list[str]:
    """Return the words for ``nmcli connection modify`` that make any profile of the NIC ours."""
    words = ["802-3-ethernet.mtu", str(nic.mtu_bytes)]
    for family in (4, 6):
        addresses, routes, rules, dns = _parts(nic, family)
        for name, value in (
            ("addresses", ",".join(addresses)),
            ("gateway", ""),
            ("dns", ",".join(dns)),
            ("routes", ",".join(_modify_route(route) for route in routes)),
            ("routing-rules", ",".join(_rule(rule) for rule in rules)),
            ("method", _method(nic, family)),
        ):
            words += [f"ipv{family}.{name}", value]
    words += ["ipv6.addr-gen-mode", _LINK_LOCAL]
    return words


def _parts(nic: NicPlan, family: int) -> tuple[list[str], list[Route], list[Rule], list[str]]:
    """What the NIC has of one IP version: addresses, routes, rules, name servers."""
    return (
        [str(one.interface) for one in nic.addresses if one.interface.version == family],
        [route for route in routes_of(nic) if route.to.version == family],
        [rule for rule in rules_of(nic) if rule.source.version == family],
        [str(one) for one in nic.dns if one.version == family] if _has(nic, family) else [],
    )


def _has(nic: NicPlan, family: int) -> bool:
    return any(one.interface.version == family for one in nic.addresses)


def _method(nic: NicPlan, family: int) -> str:
    """``manual`` does not listen to router announcements."""
    if _has(nic, family):
        return "manual"
    return "disabled" if family == 4 else "link-local"


def _options(route: Route) -> list[str]:
    options = []
    if route.source is not None:
        options.append(f"src={route.source}")
    if route.table is not None:
        options.append(f"table={route.table}")
    if route.on_link:
        options.append("onlink=true")
    return options


def _modify_route(route: Route) -> str:
    words = [str(route.to)]
    if route.via is not None:
        words.append(str(route.via))
    if route.metric is not None:
        words.append(str(route.metric))
    return " ".join([*words, *_options(route)])


def _rule(rule: Rule) -> str:
    return f"priority {rule.priority} from {rule.source} table {rule.table}"

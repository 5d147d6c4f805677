"""Netplan, and NoCloud network configuration version 2, which is the same.

https://netplan.readthedocs.io/en/stable/netplan-yaml/
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv6Network
from typing import Any

from compute.hypervisor.guestnet import shell
from network.rules.guest import NicPlan, Route, Rule, routes_of, rules_of

#: cloud-init's own file. It must be this one: netplan adds up the addresses of several.
FILE = "/etc/netplan/50-cloud-init.yaml"


def network_config(plans: Sequence[NicPlan], *, tables: bool = True) -> dict[str, Any]:
    """Return the configuration, version 2; interfaces are found by MAC.

    Without ``tables``, routes of other tables than main and all rules are left out: every renderer
    of cloud-init but netplan's drops ``table`` and ``routing-policy`` without a word, and then has
    several default routes in the main table.
    """
    ethernets = {nic.device: _ethernet(nic, tables=tables) for nic in plans}
    return {"version": 2, "ethernets": ethernets}


def _ethernet(nic: NicPlan, *, tables: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "match": {"macaddress": nic.mac},
        "set-name": nic.device,
        "mtu": nic.mtu_bytes,
        "dhcp4": False,
        "dhcp6": False,
        # All that a router could announce is in the plan, and what it announces beside that would
        # be a second default route.
        "accept-ra": False,
        "addresses": [str(one.interface) for one in nic.addresses],
    }
    if nic.index:
        # A boot does not wait for a NIC that has no address yet.
        entry["optional"] = True
    routes = []
    for one in routes_of(nic):
        if tables:
            routes.append(_route(one))
        elif one.table is None and one.to == IPv6Network("::/0"):
            # Written as a route, the same renderers make ::/64 of it.
            entry["gateway6"] = str(one.via)
        elif one.table is None:
            routes.append(_route(replace(one, metric=None, source=None)))
    if routes:
        entry["routes"] = routes
    rules = [_rule(one) for one in rules_of(nic)] if tables else []
    if rules:
        entry["routing-policy"] = rules
    if nic.dns:
        entry["nameservers"] = {"addresses": [str(one) for one in nic.dns]}
    return entry


def _route(route: Route) -> dict[str, Any]:
    entry: dict[str, Any] = {"to": str(route.to)}
    if route.via is not None:
        entry["via"] = str(route.via)
    else:
        entry["scope"] = "link"
    if route.metric is not None:
        entry["metric"] = route.metric
    if route.source is not None:
        entry["from"] = str(route.source)
    if route.table is not None:
        entry["table"] = route.table
    if route.on_link:
        entry["on-link"] = True
    return entry


def _rule(rule: Rule) -> dict[str, Any]:
    return {
        "from": f"{rule.source}/{rule.source.max_prefixlen}",
        "table": rule.table,
        "priority": rule.priority,
    }


def body(plans: Sequence[NicPlan]) -> str:
    """Return the lines that replace cloud-init's file and let networkd take what has changed.

    ``networkctl reload`` leaves alone what is the same, and interrupts nothing; where there is none
    of it (before systemd 244, or with another back end), ``netplan apply`` does the work.
    """
    text = json.dumps({"network": network_config(plans)}, indent=1) + "\n"
    names = "".join(f"name_nic {nic.mac} {nic.device}\n" for nic in plans)
    return (
        names
        + shell.write_file(FILE, text, mode="600")
        + """\
if [ "$changed" = 1 ] || [ ! -e /run/scloud-network ]; then
    netplan generate || fail
    if systemctl -q is-active systemd-networkd && networkctl reload 2>/dev/null; then
        :
    else
        netplan apply || fail
    fi
fi
"""
    )

"""The fabric on OVN: a logical router per VPC, a logical switch per subnet or segment.

Security groups are port groups with ACLs, bandwidth bounds are QoS rows (meters), DHCP is OVN's
own. What each thing becomes in the northbound database:

======================  =========================================================================
VPC                     ``Logical_Router`` named by its id
subnet                  ``Logical_Switch`` named by its id, ``Logical_Router_Port`` ``<id>-gw`` on
                        the VPC's router with its peer ``<id>-router``, one ``DHCP_Options``
                        for each IP version
segment                 ``Logical_Switch`` named by its id with a ``localnet`` port ``<id>-phys``
security group          ``Port_Group`` named by its id with ``_`` for ``-``, and its ``ACL`` rows
port                    ``Logical_Switch_Port`` named by the NIC's port UUID, and ``QoS`` rows
======================  =========================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from network.fabric.base import (
    Changes,
    ChassisAnswer,
    FabricInUse,
    FabricMissing,
    ForeignRow,
    Inventory,
    Kind,
    OwnedRow,
    PortObservation,
    PortSpec,
    SecurityGroupSpec,
    SegmentSpec,
    SubnetIpv6Spec,
    SubnetSpec,
    UnownedRow,
    VpcSpec,
    router_mac,
)
from network.fabric.ovn.matches import group_acls, port_group_name, port_meter
from network.fabric.ovn.rows import PLAIN, Editor, Marks
from network.fabric.ovn.session import Columns, Session
from scloud.lib.lease import publishes

_WRITTEN: Final[Columns] = {
    "Logical_Router": ("name", "ports", "external_ids"),
    "Logical_Router_Port": ("name", "mac", "networks", "ipv6_ra_configs", "external_ids"),
    "Logical_Switch": ("name", "ports", "qos_rules", "external_ids"),
    "Logical_Switch_Port": (
        "name",
        "type",
        "addresses",
        "port_security",
        "enabled",
        "options",
        "dhcpv4_options",
        "dhcpv6_options",
        "tag",
        "up",
        "external_ids",
    ),
    "DHCP_Options": ("cidr", "options", "external_ids"),
    "Port_Group": ("name", "ports", "acls", "external_ids"),
    "ACL": ("direction", "priority", "match", "action", "external_ids"),
    "QoS": ("direction", "priority", "match", "bandwidth", "external_ids"),
    "NB_Global": ("nb_cfg",),
}
NB_COLUMNS: Final[Columns] = {
    table: (*columns, *(one for one in PLAIN.get(table, ()) if one not in columns))
    for table, columns in _WRITTEN.items()
}
SB_COLUMNS: Final[Columns] = {
    "Port_Binding": ("logical_port", "chassis"),
    "Chassis": ("name", "hostname"),
    "Chassis_Private": ("name", "chassis", "nb_cfg"),
}
#: What is looked at for foreign rows: the tables whose rows stand by themselves.
_ROOT_TABLES: Final = ("Logical_Router", "Logical_Switch", "Port_Group", "DHCP_Options")

Edit = Callable[[Editor], None]


class OvnFabric:
    """See :class:`network.fabric.base.Fabric` for the contract of every method."""

    def __init__(self, nb: str, *, owner: str, sb: str | None, timeout_s: float) -> None:
        self._marks = Marks(owner)
        self._nb = Session(nb, "OVN_Northbound", NB_COLUMNS, timeout_s)
        self._sb = Session(sb, "OVN_Southbound", SB_COLUMNS, timeout_s) if sb else None

    def close(self) -> None:
        """Give the connections back."""
        self._nb.close()
        if self._sb is not None:
            self._sb.close()

    def _run(self, edit: Edit, *, dry_run: bool = False) -> Changes:
        def work(txn: Any) -> Changes:
            editor = Editor(self._nb.tables, txn, self._marks, rehearsal=dry_run)
            edit(editor)
            return tuple(editor.changes)

        return self._nb.rehearse(work) if dry_run else self._nb.transact(work)

    # VPCs ---------------------------------------------------------------------------------------

    @publishes
    def ensure_vpc(self, spec: VpcSpec, *, dry_run: bool = False) -> Changes:
        """A router without ports."""
        marks = self._marks.ids(Kind.VPC, spec.id)

        def edit(rows: Editor) -> None:
            rows.ensure("Logical_Router", spec.id, marks, name=spec.id)

        return self._run(edit, dry_run=dry_run)

    @publishes
    def delete_vpc(self, vpc_id: str) -> None:
        """Remove the router unless a subnet's gateway is on it."""

        def edit(rows: Editor) -> None:
            router = rows.find("Logical_Router", vpc_id)
            if router is None:
                return
            router.verify("ports")
            if router.ports:
                raise FabricInUse(f"VPC {vpc_id} still has {len(router.ports)} subnets")
            router.delete()

        self._run(edit)

    # Subnets ------------------------------------------------------------------------------------

    @publishes
    def ensure_subnet(self, spec: SubnetSpec, *, dry_run: bool = False) -> Changes:
        """Switch, gateway, their link and the DHCP options, in one transaction."""
        marks = self._marks.ids(Kind.SUBNET, spec.id, vpc=spec.vpc_id)
        gateway_mac = router_mac(spec.id)
        gateway_name, peer_name = f"{spec.id}-gw", f"{spec.id}-router"

        def edit(rows: Editor) -> None:
            router = rows.find("Logical_Router", spec.vpc_id)
            if router is None:
                raise FabricMissing(f"VPC {spec.vpc_id} of subnet {spec.id} is not there")
            gateway, _ = rows.ensure(
                "Logical_Router_Port",
                spec.id,
                marks,
                name=gateway_name,
                mac=gateway_mac,
                networks=_router_networks(spec),
                ipv6_ra_configs=_announced(spec),
            )
            rows.link_only("Logical_Router", router, "ports", gateway, label=spec.vpc_id)
            switch, _ = rows.ensure("Logical_Switch", spec.id, marks, name=spec.id)
            peer, _ = rows.ensure(
                "Logical_Switch_Port",
                peer_name,
                marks,
                name=peer_name,
                type="router",
                addresses=["router"],
                options={"router-port": gateway_name},
            )
            rows.link_only("Logical_Switch", switch, "ports", peer, label=spec.id)
            rows.ensure(
                "DHCP_Options",
                spec.id,
                marks,
                cidr=str(spec.cidr),
                options=_dhcp_options(spec, gateway_mac),
            )
            if spec.ipv6 is None:
                rows.drop("DHCP_Options", _dhcpv6_key(spec.id))
            else:
                rows.ensure(
                    "DHCP_Options",
                    _dhcpv6_key(spec.id),
                    marks,
                    cidr=str(spec.ipv6.cidr),
                    options=_dhcpv6_options(spec.ipv6, gateway_mac),
                )

        return self._run(edit, dry_run=dry_run)

    @publishes
    def delete_subnet(self, subnet_id: str) -> None:
        """Remove all rows of the subnet unless a NIC's port is on its switch."""

        def edit(rows: Editor) -> None:
            self._drop_switch(rows, subnet_id, Kind.SUBNET)
            gateway = rows.find("Logical_Router_Port", subnet_id)
            if gateway is not None:
                for router in rows.holding("Logical_Router", "ports", gateway):
                    rows.unlink(router, "ports", gateway, label=subnet_id)
            for key in (subnet_id, _dhcpv6_key(subnet_id)):
                rows.drop("DHCP_Options", key)

        self._run(edit)

    def _drop_switch(self, rows: Editor, switch_id: str, kind: Kind) -> None:
        switch = rows.find("Logical_Switch", switch_id)
        if switch is None:
            return
        switch.verify("ports")
        others = [p for p in switch.ports if self._marks.kind_and_id(p) != (kind, switch_id)]
        if others:
            raise FabricInUse(f"{switch_id} still has {len(others)} ports")
        switch.delete()

    # Segments -----------------------------------------------------------------------------------

    @publishes
    def ensure_segment(self, spec: SegmentSpec, *, dry_run: bool = False) -> Changes:
        """A switch with one localnet port."""
        marks = self._marks.ids(Kind.SEGMENT, spec.id)
        name = f"{spec.id}-phys"

        def edit(rows: Editor) -> None:
            switch, _ = rows.ensure("Logical_Switch", spec.id, marks, name=spec.id)
            bridge, _ = rows.ensure(
                "Logical_Switch_Port",
                name,
                marks,
                name=name,
                type="localnet",
                addresses=["unknown"],
                options={"network_name": spec.physical_network},
                tag=[] if spec.vlan is None else [spec.vlan],
            )
            rows.link_only("Logical_Switch", switch, "ports", bridge, label=spec.id)

        return self._run(edit, dry_run=dry_run)

    @publishes
    def delete_segment(self, segment_id: str) -> None:
        """Remove the switch unless a NIC's port is on it."""
        self._run(lambda rows: self._drop_switch(rows, segment_id, Kind.SEGMENT))

    # Security groups ----------------------------------------------------------------------------

    @publishes
    def ensure_security_group(self, spec: SecurityGroupSpec, *, dry_run: bool = False) -> Changes:
        """The port group with exactly the ACLs of the rules."""
        return self._run(lambda rows: self._ensure_group(rows, spec), dry_run=dry_run)

    def _ensure_group(self, rows: Editor, spec: SecurityGroupSpec) -> None:
        marks = self._marks.ids(Kind.SECURITY_GROUP, spec.id)
        name = port_group_name(spec.id)
        group, created = rows.ensure("Port_Group", spec.id, marks, name=name)
        acls = []
        for acl in group_acls(spec):
            row, _ = rows.ensure(
                "ACL",
                f"{spec.id}/{acl.key}",
                marks | {"scloud:rule": acl.key},
                direction=acl.direction,
                priority=acl.priority,
                match=acl.match,
                action=acl.action,
            )
            acls.append(row)
        # The whole set, not single members: an ACL that somebody slipped in goes away.
        rows.put(group, "acls", acls, label=None if created else f"Port_Group {name}")

    @publishes
    def delete_security_group(self, security_group_id: str) -> None:
        """Remove the port group unless a port is a member; its ACLs go with it."""

        def edit(rows: Editor) -> None:
            group = rows.find("Port_Group", security_group_id)
            if group is None:
                return
            group.verify("ports")
            if group.ports:
                raise FabricInUse(f"{security_group_id} still has {len(group.ports)} ports")
            group.delete()

        self._run(edit)

    # Ports --------------------------------------------------------------------------------------

    @publishes
    def ensure_ports(
        self,
        specs: Sequence[PortSpec],
        *,
        groups: Sequence[SecurityGroupSpec] = (),
        dry_run: bool = False,
    ) -> Changes:
        """All groups, and all ports with their DHCP, group and meters, in one transaction."""

        def edit(rows: Editor) -> None:
            for group in groups:
                self._ensure_group(rows, group)
            for spec in specs:
                self._ensure_port(rows, spec)

        return self._run(edit, dry_run=dry_run)

    def _ensure_port(self, rows: Editor, spec: PortSpec) -> None:
        switch = rows.find("Logical_Switch", spec.switch_id)
        if switch is None:
            raise FabricMissing(f"{spec.switch_id}, the switch of {spec.nic_id}, is not there")
        more = {"nic": spec.nic_id, "switch": spec.switch_id}
        if spec.vm_id is not None:
            more["vm"] = spec.vm_id
        identity = " ".join([spec.mac, *map(str, spec.addresses)])
        options = rows.find("DHCP_Options", spec.switch_id) if spec.dhcp else None
        has_ipv6 = any(address.version == 6 for address in spec.addresses)
        v6_options = (
            rows.find("DHCP_Options", _dhcpv6_key(spec.switch_id))
            if spec.dhcp and has_ipv6
            else None
        )
        port, created = rows.ensure(
            "Logical_Switch_Port",
            spec.name,
            self._marks.ids(Kind.PORT, spec.name, **more),
            name=spec.name,
            type="",
            addresses=[identity],
            port_security=[" ".join([identity, *map(str, spec.forwards)])],
            # Port security without an address would let every address through.
            enabled=[bool(spec.addresses)],
            dhcpv4_options=[] if options is None else [options],
            dhcpv6_options=[] if v6_options is None else [v6_options],
        )
        if created:
            # Nothing refers to a new row: all sets of all switches need not be read for it.
            rows.link(switch, "ports", port, label=spec.switch_id)
        else:
            for earlier in rows.holding("Logical_Switch", "ports", port):
                if earlier.uuid != switch.uuid:
                    self._put_meters(rows, earlier, spec.name, ())
            rows.link_only("Logical_Switch", switch, "ports", port, label=spec.switch_id)
        self._put_group(rows, port, spec, created=created)
        self._put_meters(rows, switch, spec.name, spec.qos)

    def _put_group(self, rows: Editor, port: Any, spec: PortSpec, *, created: bool) -> None:
        wanted = None
        if spec.security_group_id is not None:
            wanted = rows.find("Port_Group", spec.security_group_id)
            if wanted is None:
                raise FabricMissing(f"{spec.security_group_id} of {spec.nic_id} is not there")
            rows.link(wanted, "ports", port, label=spec.security_group_id)
        if created:
            return
        for group in rows.holding("Port_Group", "ports", port):
            if wanted is None or group.uuid != wanted.uuid:
                rows.unlink(group, "ports", port, label=group.name)

    def _put_meters(self, rows: Editor, switch: Any, port_name: str, qos: Sequence[Any]) -> None:
        wanted = set()
        marks = self._marks.ids(Kind.PORT, port_name, port=port_name)
        for bound in qos:
            meter = port_meter(port_name, bound)
            row, _ = rows.ensure(
                "QoS",
                f"{switch.name}/{port_name}/{meter.key}",
                marks,
                direction=meter.direction,
                priority=meter.priority,
                match=meter.match,
                bandwidth={"rate": meter.rate_kbps, "burst": meter.rate_kbps},
            )
            rows.link(switch, "qos_rules", row, label=port_name)
            wanted.add(row.uuid)
        for row in rows.meters_of(port_name):
            if row.uuid not in wanted:
                rows.unlink(switch, "qos_rules", row, label=port_name)

    @publishes
    def delete_ports(self, names: Sequence[str]) -> None:
        """Take the ports off their switches; rows that nothing refers to vanish by themselves."""

        def edit(rows: Editor) -> None:
            for name in names:
                self._delete_port(rows, name)

        self._run(edit)

    def _delete_port(self, rows: Editor, name: str) -> None:
        port = rows.find("Logical_Switch_Port", name)
        if port is None:
            for other in rows.named("Logical_Switch_Port", name):
                raise ForeignRow(f"port {name} ({other.uuid}) belongs to somebody else")
            # Of one that somebody else took away, the meters are left on the switch.
            for meter in rows.meters_of(name):
                for switch in rows.holding("Logical_Switch", "qos_rules", meter):
                    rows.unlink(switch, "qos_rules", meter, label=name)
            return
        for switch in rows.holding("Logical_Switch", "ports", port):
            self._put_meters(rows, switch, name, ())
            rows.unlink(switch, "ports", port, label=switch.name)

    def port_observation(self, name: str) -> PortObservation:
        """``up`` from the northbound, the chassis from the southbound database if it is known."""
        with self._nb.reading() as tables:
            rows = Editor(tables, None, self._marks)
            port = rows.find("Logical_Switch_Port", name)
            if port is None:
                return PortObservation(exists=False)
            up = bool(port.up and port.up[0])
        return PortObservation(exists=True, up=up, chassis=self._chassis(name))

    def _chassis(self, name: str) -> str | None:
        if self._sb is None:
            return None
        with self._sb.reading() as tables:
            rows = tables["Port_Binding"].rows
            entry = rows.IndexEntry(logical_port=name)
            for binding in rows.indexes["logical_port"].irange(entry, entry):
                if binding.chassis:
                    return str(binding.chassis[0].hostname or binding.chassis[0].name)
        return None

    # Chassis ------------------------------------------------------------------------------------

    @publishes
    def ask_chassis(self) -> int:
        """Raise ``nb_cfg``: each ovn-controller writes it into its own row once it has seen it."""

        def work(_txn: Any) -> int:
            for row in self._nb.tables["NB_Global"].rows.values():
                # Somebody else may raise it too: no number is given twice.
                row.verify("nb_cfg")
                number = int(row.nb_cfg) + 1
                row.nb_cfg = number
                return number
            raise FabricMissing("the northbound database has not been set up by northd yet")

        return self._nb.transact(work)

    def chassis_answers(self) -> tuple[ChassisAnswer, ...]:
        """What ovn-controllers have written; a row without its chassis is of one that left."""
        if self._sb is None:
            raise FabricMissing("no address of the southbound database is known")
        with self._sb.reading() as tables:
            return tuple(
                ChassisAnswer(str(row.chassis[0].hostname or row.name), int(row.nb_cfg))
                for row in tables["Chassis_Private"].rows.values()
                if row.chassis
            )

    # Everything ---------------------------------------------------------------------------------

    def list_owned(self) -> Inventory:
        """Rows by mark; a thing is there while any of its rows is."""
        owned: set[OwnedRow] = set()
        foreign: list[UnownedRow] = []
        with self._nb.reading() as tables:
            for table in (*_ROOT_TABLES, "Logical_Switch_Port", "Logical_Router_Port"):
                for row in tables[table].rows.values():
                    found = self._marks.kind_and_id(row)
                    if found is not None:
                        owned.add(OwnedRow(*found))
                    else:
                        name = row.cidr if table == "DHCP_Options" else row.name
                        foreign.append(UnownedRow(table, name, str(row.uuid)))
            for row in tables["QoS"].rows.values():
                found = self._marks.kind_and_id(row)
                if found is not None:
                    owned.add(OwnedRow(*found))
        return Inventory(frozenset(owned), tuple(sorted(foreign, key=lambda r: (r.table, r.name))))


def _dhcpv6_key(subnet_id: str) -> str:
    """What stands for the DHCPv6 options of a subnet."""
    return f"{subnet_id}/6"


def _router_networks(spec: SubnetSpec) -> list[str]:
    """The router's addresses in a subnet; its link-local one OVN makes of its MAC."""
    networks = [f"{spec.gateway}/{spec.cidr.prefixlen}"]
    if spec.ipv6 is not None:
        networks.append(f"{spec.ipv6.gateway}/{spec.ipv6.cidr.prefixlen}")
    return networks


def _announced(spec: SubnetSpec) -> dict[str, str]:
    """What router advertisements of a subnet say; nothing is sent without it."""
    if spec.ipv6 is None:
        return {}
    configs = {
        "address_mode": "dhcpv6_stateful",
        "mtu": str(spec.mtu_bytes),
        # OVN announces itself as a default router in any case.
        "router_preference": "LOW",
        "send_periodic": "true",
    }
    if spec.ipv6.routes:
        configs["route_info"] = ",".join(f"HIGH-{network}" for network in spec.ipv6.routes)
    if spec.ipv6.dns:
        # OVN takes one here; DHCPv6 has them all.
        configs["rdnss"] = str(spec.ipv6.dns[0])
    return configs


def _dhcpv6_options(spec: SubnetIpv6Spec, server_mac: str) -> dict[str, str]:
    options = {"server_id": server_mac}
    if spec.dns:
        options["dns_server"] = "{" + ", ".join(map(str, spec.dns)) + "}"
    return options


def _dhcp_options(spec: SubnetSpec, server_mac: str) -> dict[str, str]:
    options = {
        "server_id": str(spec.gateway),
        "server_mac": server_mac,
        "router": str(spec.gateway),
        "lease_time": str(spec.lease_s),
        "mtu": str(spec.mtu_bytes),
    }
    if spec.dns:
        options["dns_server"] = "{" + ", ".join(map(str, spec.dns)) + "}"
    if spec.routes or spec.static_routes:
        pairs = [f"{network},{spec.gateway}" for network in spec.routes]
        pairs += [f"{route.to},{route.via}" for route in spec.static_routes]
        options["classless_static_route"] = "{" + ", ".join(pairs) + "}"
    return options

"""What is particular to OVN: looked at from outside with its own tools, and with its faults."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, ip_network
from pathlib import Path

import pytest

from network.fabric import ovn
from network.fabric.base import (
    Direction,
    Fabric,
    FabricUnreachable,
    ForeignRow,
    IpProtocol,
    Kind,
    OwnedRow,
    RouteSpec,
    RuleAction,
    RulePriority,
    RuleSpec,
    SecurityGroupSpec,
    VpcSpec,
    router_mac,
)
from scloud.lib.ids import new_id
from tests.network.fabric.conftest import SCHEMAS, Databases, dump
from tests.network.fabric.test_contract import OWN6, SIX, Things

pytestmark = pytest.mark.lab
TIMEOUT_S = 2.0


@pytest.fixture
def things() -> Things:
    return Things()


@pytest.fixture
def fabric(own_databases: Databases) -> Iterator[Fabric]:
    found = ovn.connect(own_databases.nb, owner="box", sb=own_databases.sb, timeout_s=TIMEOUT_S)
    yield found
    found.close()


def test_a_port_in_the_database(own_databases: Databases, fabric: Fabric, things: Things) -> None:
    things.ensure_all(fabric)
    get = own_databases.nbctl
    port = things.port.name
    assert get("lsp-get-addresses", port).strip() == "52:54:00:00:00:05 10.0.0.5"
    assert get("lsp-get-port-security", port).strip() == "52:54:00:00:00:05 10.0.0.5"
    assert get("get", "Logical_Switch_Port", port, "enabled").strip() == "true"
    options = get("lsp-get-dhcpv4-options", port).split()[0]
    assert things.subnet.id in get("get", "DHCP_Options", options, "external_ids")
    dhcp = get("dhcp-options-get-options", options).split()
    assert set(dhcp) >= {
        "server_id=10.0.0.1",
        f"server_mac={router_mac(things.subnet.id)}",
        "router=10.0.0.1",
        "mtu=1442",
        "classless_static_route={10.0.0.0/16,10.0.0.1}",
    }
    assert get("get", "Logical_Router_Port", f"{things.subnet.id}-gw", "networks").strip() == (
        '["10.0.0.1/24"]'
    )
    meters = get("qos-list", things.subnet.id)
    assert f'from-lport  1000 (inport == "{port}")' in meters
    assert f'to-lport  1000 (outport == "{port}")' in meters
    assert meters.count("rate=4000") == 2


def test_static_routes_in_the_database(
    own_databases: Databases, fabric: Fabric, things: Things
) -> None:
    """Told by DHCP; their next hop may receive and send for them, and nobody else."""
    things.ensure_all(fabric)
    get, port = own_databases.nbctl, things.port.name
    beyond = IPv4Network("192.0.2.0/24")
    static = (RouteSpec(beyond, things.port.addresses[0]),)  # type: ignore[arg-type]  # IPv4
    fabric.ensure_subnet(replace(things.subnet, static_routes=static))
    fabric.ensure_ports([replace(things.port, forwards=(beyond,))])
    options = get("lsp-get-dhcpv4-options", port).split()[0]
    told = get("get", "DHCP_Options", options, "options:classless_static_route").strip()
    assert told == '"{10.0.0.0/16,10.0.0.1, 192.0.2.0/24,10.0.0.5}"'
    allowed = get("lsp-get-port-security", port).strip()
    assert allowed == "52:54:00:00:00:05 10.0.0.5 192.0.2.0/24"
    assert get("lsp-get-addresses", port).strip() == "52:54:00:00:00:05 10.0.0.5"
    things.ensure_all(fabric)
    assert get("lsp-get-port-security", port).strip() == "52:54:00:00:00:05 10.0.0.5"


def test_ipv6_of_a_subnet_in_the_database(
    own_databases: Databases, fabric: Fabric, things: Things
) -> None:
    things.ensure_all(fabric)
    get, port = own_databases.nbctl, things.port.name
    gateway = f"{things.subnet.id}-gw"
    fabric.ensure_subnet(replace(things.subnet, ipv6=SIX))
    fabric.ensure_ports([replace(things.port, addresses=(*things.port.addresses, OWN6))])

    both = f"52:54:00:00:00:05 10.0.0.5 {OWN6}"
    assert get("lsp-get-addresses", port).strip() == both
    assert get("lsp-get-port-security", port).strip() == both
    networks = get("get", "Logical_Router_Port", gateway, "networks").strip()
    assert networks == '["10.0.0.1/24", "fd12:3456:789a:a0::1/64"]'
    announced = _pairs(get("get", "Logical_Router_Port", gateway, "ipv6_ra_configs"))
    assert announced == {
        "address_mode": "dhcpv6_stateful",
        "mtu": "1442",
        "rdnss": "fd12:3456:789a::53",
        "route_info": "HIGH-fd12:3456:789a::/48",
        "router_preference": "LOW",
        "send_periodic": "true",
    }
    options = get("lsp-get-dhcpv6-options", port).split()[0]
    assert things.subnet.id in get("get", "DHCP_Options", options, "external_ids")
    assert get("get", "DHCP_Options", options, "cidr").strip() == '"fd12:3456:789a:a0::/64"'
    assert _pairs(get("get", "DHCP_Options", options, "options")) == {
        "dns_server": "{fd12:3456:789a::53, 2001:db8::53}",
        "server_id": router_mac(things.subnet.id),
    }

    # What somebody else does to it is put right.
    get("set", "Logical_Router_Port", gateway, "ipv6_ra_configs:address_mode=slaac")
    get("remove", "Logical_Router_Port", gateway, "networks", '"fd12:3456:789a:a0::1/64"')
    get("set", "DHCP_Options", options, "options:dns_server=2001:db8::666")
    get("clear", "Logical_Switch_Port", port, "dhcpv6_options")
    time.sleep(0.2)
    assert fabric.ensure_subnet(replace(things.subnet, ipv6=SIX))
    assert fabric.ensure_ports([replace(things.port, addresses=(*things.port.addresses, OWN6))])
    assert _pairs(get("get", "Logical_Router_Port", gateway, "ipv6_ra_configs")) == announced
    assert get("get", "Logical_Router_Port", gateway, "networks").strip() == networks
    assert get("lsp-get-dhcpv6-options", port).split()[0] == options

    things.ensure_all(fabric)
    assert get("get", "Logical_Router_Port", gateway, "ipv6_ra_configs").strip() == "{}"
    assert get("get", "Logical_Router_Port", gateway, "networks").strip() == '["10.0.0.1/24"]'
    assert get("lsp-get-dhcpv6-options", port).strip() == ""
    assert len(get("--bare", "--columns=_uuid", "list", "DHCP_Options").split()) == 1


def _pairs(shown: str) -> dict[str, str]:
    """A map as ``ovn-nbctl get`` writes it."""
    found = re.findall(r'(\w+)=("[^"]*"|[^,}]*)', shown.strip().removeprefix("{"))
    return {key: value.strip('"') for key, value in found}


def test_rules_in_the_database(own_databases: Databases, fabric: Fabric) -> None:
    def rule(number: int, text: str, **values: object) -> RuleSpec:
        plain = RuleSpec(
            id=f"sgr-{number}",
            direction=Direction.IN,
            protocol=IpProtocol.ALL,
            remote=ip_network(text),
            action=RuleAction.ACCEPT,
            priority=RulePriority.MEDIUM,
        )
        return replace(plain, **values)  # type: ignore[arg-type]  # the fields of a rule

    rules = (
        rule(1, "0.0.0.0/0", protocol=IpProtocol.TCP, port_min=22, port_max=22),
        rule(2, "10.0.0.0/8", protocol=IpProtocol.UDP, port_min=1000, port_max=2000),
        rule(3, "::/0", protocol=IpProtocol.ICMPV6, priority=RulePriority.HIGH),
        rule(4, "192.0.2.7/32", action=RuleAction.DROP, priority=RulePriority.LOW),
        rule(5, "2001:db8::/32", direction=Direction.OUT, protocol=IpProtocol.TCP),
    )
    fabric.ensure_security_group(SecurityGroupSpec("sg-rules", rules))
    shown = {" ".join(line.split()) for line in own_databases.nbctl(
        "--type=port-group", "acl-list", "sg_rules"
    ).splitlines()}  # fmt: skip
    remote = "outport == @sg_rules && ip4.src == 10.0.0.0/8"
    assert shown == {
        "to-lport 2000 (outport == @sg_rules && ip4 && tcp.dst == 22) allow-related",
        f"to-lport 2000 ({remote} && 1000 <= udp.dst <= 2000) allow-related",
        "to-lport 3000 (outport == @sg_rules && ip6 && icmp6) allow-related",
        "to-lport 1001 (outport == @sg_rules && ip4.src == 192.0.2.7/32) drop",
        "from-lport 2000 (inport == @sg_rules && ip6.dst == 2001:db8::/32 && tcp) allow-related",
        "from-lport 4000 (inport == @sg_rules && ip4 && udp.src == 68 && udp.dst == 67) allow",
        (
            "from-lport 4000 (inport == @sg_rules && ip6.dst == ff02::1:2"
            " && udp.src == 546 && udp.dst == 547) allow"
        ),
        "from-lport 4000 (inport == @sg_rules && (nd || nd_rs)) allow",
        "to-lport 4000 (outport == @sg_rules && (nd || nd_ra)) allow",
        "from-lport 500 (inport == @sg_rules && ip) drop",
        "to-lport 500 (outport == @sg_rules && ip) drop",
    }


def test_a_port_without_addresses_carries_nothing(
    own_databases: Databases, fabric: Fabric, things: Things
) -> None:
    things.ensure_all(fabric)
    fabric.ensure_ports([replace(things.port, addresses=())])
    assert own_databases.nbctl("lsp-get-enabled", things.port.name).strip() == "disabled"
    fabric.ensure_ports([replace(things.port, addresses=(IPv4Address("10.0.0.9"),))])
    assert own_databases.nbctl("lsp-get-enabled", things.port.name).strip() == "enabled"


def test_what_somebody_meddled_with_is_put_right(
    own_databases: Databases, fabric: Fabric, things: Things
) -> None:
    things.ensure_all(fabric)
    meddle = own_databases.nbctl
    group = things.group.id.replace("-", "_")
    meddle(
        "--type=port-group", "acl-add", group, "to-lport", "5000", f"outport == @{group}", "allow"
    )
    meddle("lsp-set-port-security", things.port.name)
    meddle("lsp-set-addresses", things.port.name, "unknown")
    meddle("clear", "Port_Group", group, "ports")
    meddle("qos-del", things.subnet.id)
    meddle("lrp-del", f"{things.subnet.id}-gw")
    meddle("dhcp-options-del", meddle("dhcp-options-list").strip())
    time.sleep(0.2)

    assert fabric.ensure_security_group(things.group, dry_run=True)
    assert fabric.ensure_security_group(things.group)
    assert fabric.ensure_subnet(things.subnet)
    assert fabric.ensure_ports([things.port])

    assert "5000" not in meddle("--type=port-group", "acl-list", group)
    assert meddle("lsp-get-port-security", things.port.name).strip() == "52:54:00:00:00:05 10.0.0.5"
    assert meddle("get", "Port_Group", group, "ports").strip() != "[]"
    assert meddle("qos-list", things.subnet.id).count("rate=4000") == 2
    assert things.subnet.id in meddle("lrp-list", things.vpc.id)
    assert fabric.ensure_subnet(things.subnet) == ()
    assert fabric.ensure_ports([things.port]) == ()


#: What somebody does to a row of ours, and which call finds it. ``{port}`` and so on are names.
HUNG_ON: list[tuple[str, list[str], str]] = [
    ("vpc", ["lr-route-add", "{vpc}", "0.0.0.0/0", "10.0.0.9"], "static_routes"),
    ("vpc", ["lr-nat-add", "{vpc}", "snat", "192.0.2.1", "10.0.0.0/24"], "nat"),
    ("vpc", ["lr-policy-add", "{vpc}", "10", "ip4", "drop"], "policies"),
    ("vpc", ["set", "Logical_Router", "{vpc}", "enabled=false"], "enabled"),
    ("subnet", ["acl-add", "{subnet}", "to-lport", "5000", "ip", "allow"], "acls"),
    ("subnet", ["set", "Logical_Switch", "{subnet}", "other_config:mcast_snoop=true"],
     "other_config"),
    ("subnet", ["add", "Logical_Router", "{other_vpc}", "ports", "{gateway}"],
     "removed from ports"),
    ("subnet", ["set", "Logical_Router_Port", "{subnet}-gw", "enabled=false"], "enabled"),
    ("subnet", ["set", "Logical_Switch_Port", "{subnet}-router", "enabled=false"], "enabled"),
    ("group", ["set", "ACL", "{acl}", "log=true"], "log"),
    ("ports", ["set", "Logical_Switch_Port", "{port}", "options:requested-chassis=h9"],
     "options"),
    ("ports", ["set", "Logical_Switch_Port", "{port}", "tag=7"], "tag"),
    ("ports", ["set", "Logical_Switch_Port", "{port}", "external_ids:scloud\\:old=1"],
     "external_ids"),
    ("ports", ["add", "Logical_Switch", "{other_subnet}", "ports", "{port_uuid}"],
     "removed from ports"),
    ("ports", ["add", "Port_Group", "{other_group}", "ports", "{port_uuid}"],
     "removed from ports"),
    ("ports", ["set", "QoS", "{meter}", "action:dscp=5"], "action"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("call", "meddling", "told"), HUNG_ON, ids=[f"{c}-{t}-{m[0]}-{n}" for n, (c, m, t) in
                                                enumerate(HUNG_ON)]
)  # fmt: skip
def test_what_somebody_hung_on_a_row_is_taken_off_again(
    own_databases: Databases,
    fabric: Fabric,
    things: Things,
    call: str,
    meddling: list[str],
    told: str,
) -> None:
    other = Things()
    things.ensure_all(fabric)
    other.ensure_all(fabric)
    nbctl = own_databases.nbctl

    def found(table: str, *which: str) -> str:
        return nbctl("--bare", "--columns=_uuid", "find", table, *which).split()[0]

    names = {
        "vpc": things.vpc.id,
        "other_vpc": other.vpc.id,
        "subnet": things.subnet.id,
        "other_subnet": other.subnet.id,
        "other_group": other.group.id.replace("-", "_"),
        "port": things.port.name,
        "port_uuid": found("Logical_Switch_Port", f"name={things.port.name}"),
        "gateway": found("Logical_Router_Port", f"name={things.subnet.id}-gw"),
        "acl": found(
            "ACL",
            f"external_ids:scloud\\:id={things.group.id}",
            "external_ids:scloud\\:rule=deny-in",
        ),
        "meter": found("QoS", f"external_ids:scloud\\:port={things.port.name}"),
    }
    before = dump(own_databases)
    nbctl(*(word.format(**names) for word in meddling))
    time.sleep(0.2)

    def ensure(*, dry_run: bool = False) -> tuple[str, ...]:
        if call == "vpc":
            return fabric.ensure_vpc(things.vpc, dry_run=dry_run)
        if call == "subnet":
            return fabric.ensure_subnet(things.subnet, dry_run=dry_run)
        if call == "group":
            return fabric.ensure_security_group(things.group, dry_run=dry_run)
        return fabric.ensure_ports([things.port], dry_run=dry_run)

    rehearsed = ensure(dry_run=True)
    assert len(rehearsed) == 1
    assert told in rehearsed[0]
    assert ensure() == rehearsed
    assert ensure() == ()
    assert dump(own_databases) == before


def test_marks_of_others_on_a_row_stay(
    own_databases: Databases, fabric: Fabric, things: Things
) -> None:
    things.ensure_all(fabric)
    own_databases.nbctl("set", "Logical_Router", things.vpc.id, "external_ids:note=x")
    time.sleep(0.2)
    assert fabric.ensure_vpc(things.vpc) == ()
    assert "note=x" in own_databases.nbctl("get", "Logical_Router", things.vpc.id, "external_ids")


def test_meters_of_a_port_that_somebody_took_away_are_seen_and_removed(
    own_databases: Databases, fabric: Fabric, things: Things
) -> None:
    things.ensure_all(fabric)
    own_databases.nbctl("lsp-del", things.port.name)
    time.sleep(0.2)
    assert OwnedRow(Kind.PORT, things.port.name) in fabric.list_owned().owned
    fabric.delete_ports([things.port.name])
    assert fabric.list_owned().ids(Kind.PORT) == set()
    assert own_databases.nbctl("qos-list", things.subnet.id) == ""


def test_a_port_that_is_on_a_wrong_switch_is_deleted_all_the_same(
    own_databases: Databases, fabric: Fabric, things: Things
) -> None:
    things.ensure_all(fabric)
    own_databases.nbctl(
        "set", "Logical_Switch_Port", things.port.name, "external_ids:scloud\\:switch=elsewhere"
    )
    time.sleep(0.2)
    fabric.delete_ports([things.port.name])
    assert fabric.list_owned().ids(Kind.PORT) == set()


def test_a_cluster_that_was_restored_from_a_backup_is_used_again(things: Things) -> None:
    """A session that has seen a later state of a cluster would refuse it for ever."""
    folder = Path(tempfile.mkdtemp(prefix="ovncl"))
    found = Databases(folder, {})
    schema = SCHEMAS / "ovn-nb.ovsschema"
    here = f"unix:{folder}/raft.sock"

    def create(content: Path) -> None:
        subprocess.run(
            ["ovsdb-tool", "create-cluster", folder / "nb.db", content, here], check=True
        )
        found.start_server("nb")

    create(schema)
    fabric = ovn.connect(found.nb, owner="box", timeout_s=TIMEOUT_S)
    try:
        ensure_vpc_soon(fabric, things)
        backup = folder / "backup.db"
        with backup.open("wb") as file:
            subprocess.run(["ovsdb-client", "backup", found.nb], stdout=file, check=True)
        for _ in range(30):
            fabric.ensure_vpc(VpcSpec(new_id("vpc")))
        found.stop("nb")
        (folder / "nb.db").unlink()
        (folder / ".nb.db.~lock~").unlink(missing_ok=True)
        create(backup)
        end = time.monotonic() + 30
        while True:
            # Reading only, as the reconciler begins.
            try:
                owned = fabric.list_owned().owned
                break
            except FabricUnreachable:
                assert time.monotonic() < end
        assert {row.id for row in owned} == {things.vpc.id}
        assert fabric.ensure_subnet(things.subnet)
    finally:
        fabric.close()
        for name in list(found.pids):
            found.stop(name)
        shutil.rmtree(folder)


def ensure_vpc_soon(fabric: Fabric, things: Things) -> None:
    """Once the cluster of one has chosen its leader."""
    end = time.monotonic() + 15
    while True:
        try:
            fabric.ensure_vpc(things.vpc)
            return
        except FabricUnreachable:
            assert time.monotonic() < end
            time.sleep(0.1)


@pytest.mark.parametrize("name", ["router", "switch", "group", "port"])
def test_a_row_of_somebody_elses_is_neither_changed_nor_deleted(
    own_databases: Databases, fabric: Fabric, things: Things, name: str
) -> None:
    meddle = own_databases.nbctl
    meddle("ls-add", "theirs")
    if name == "router":
        meddle("lr-add", things.vpc.id)
    elif name == "switch":
        meddle("ls-add", things.subnet.id)
    elif name == "group":
        meddle("pg-add", things.group.id.replace("-", "_"))
    else:
        meddle("lsp-add", "theirs", things.port.name)
    before = meddle("show")
    with pytest.raises(ForeignRow):
        things.ensure_all(fabric)
    if name == "port":
        with pytest.raises(ForeignRow):
            fabric.delete_ports([things.port.name])
    things.port = replace(things.port, name="00000000-0000-4000-8000-000000000000")
    things.delete_all(fabric)
    assert meddle("show") == before
    assert {row.name for row in fabric.list_owned().foreign} >= {"theirs"}


def test_a_row_that_lost_its_mark_is_not_touched(
    own_databases: Databases, fabric: Fabric, things: Things
) -> None:
    things.ensure_all(fabric)
    own_databases.nbctl("clear", "Logical_Switch_Port", things.port.name, "external_ids")
    time.sleep(0.2)
    with pytest.raises(ForeignRow):
        fabric.ensure_ports([things.port])
    with pytest.raises(ForeignRow):
        fabric.delete_ports([things.port.name])


def test_nobody_there_is_said_at_once(own_databases: Databases, things: Things) -> None:
    for address in (f"unix:{own_databases.folder}/none.sock", "tcp:127.0.0.1:9", "udp:x", ""):
        fabric = ovn.connect(address, owner="box", timeout_s=TIMEOUT_S)
        begun = time.monotonic()
        with pytest.raises(FabricUnreachable):
            fabric.ensure_vpc(things.vpc)
        assert time.monotonic() - begun < TIMEOUT_S + 1
        fabric.close()


def ensure_soon(fabric: Fabric, things: Things) -> None:
    """Ensure the subnet again and again: what failed a moment ago is not dialled at once."""
    deadline = time.monotonic() + 15
    while True:
        try:
            fabric.ensure_subnet(things.subnet)
            return
        except FabricUnreachable:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_a_silent_server_is_waited_for_only_so_long_and_used_again_when_it_wakes(
    own_databases: Databases, fabric: Fabric, things: Things
) -> None:
    fabric.ensure_vpc(things.vpc)
    own_databases.signal("nb", signal.SIGSTOP)
    try:
        for _ in range(2):
            begun = time.monotonic()
            with pytest.raises(FabricUnreachable):
                fabric.ensure_subnet(things.subnet)
            assert time.monotonic() - begun < 2 * TIMEOUT_S + 1
    finally:
        own_databases.signal("nb", signal.SIGCONT)
    ensure_soon(fabric, things)
    assert fabric.ensure_subnet(things.subnet) == ()


def test_a_restarted_server_is_found_again(
    own_databases: Databases, fabric: Fabric, things: Things
) -> None:
    fabric.ensure_vpc(things.vpc)
    own_databases.stop("nb")
    with pytest.raises(FabricUnreachable):
        fabric.ensure_subnet(things.subnet)
    own_databases.start_server("nb")
    ensure_soon(fabric, things)
    assert {row.id for row in fabric.list_owned().owned} == {things.vpc.id, things.subnet.id}


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_gets_a_connection_of_its_own(fabric: Fabric, things: Things) -> None:
    fabric.ensure_vpc(things.vpc)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            fabric.ensure_subnet(things.subnet)
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    fabric.ensure_security_group(things.group)
    assert fabric.ensure_ports([things.port])
    assert fabric.ensure_subnet(things.subnet) == ()


def test_a_closed_fabric_opens_again(fabric: Fabric, things: Things) -> None:
    fabric.ensure_vpc(things.vpc)
    fabric.close()
    assert fabric.ensure_vpc(things.vpc) == ()

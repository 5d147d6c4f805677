"""Creating, renaming and deleting VPCs and subnets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import (
    AddressValueError,
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
)

from django.db.models import F
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from billing import quotas
from network.actions.common import (
    JOB_DEADLINE_S,
    bury_and_remove,
    changed,
    checked_name,
    checked_text,
    enqueue_sync,
    locked,
    rename,
    tell,
    tenant_of,
    usable,
)
from network.models import Nic, PrivateAddress, Subnet, Vpc
from network.models import cidr as ranges
from scloud.audit import action as audit
from scloud.audit.action import action
from scloud.jobs import service as jobs
from scloud.lib.errors import Conflict, InvalidInput
from scloud.lib.ids import new_id
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.scoping import scopes_disabled

MOST_DNS_SERVERS = 3
#: With the VPC's own range, what an option of DHCP can hold.
MOST_ROUTES = 20
_THIS_NETWORK = IPv4Network("0.0.0.0/8")
_RESERVED = IPv4Network("240.0.0.0/4")
#: IPv4 addresses as programs write them in IPv6 (RFC 4291, section 2.5.5.2); on no wire.
_MAPPED = IPv6Network("::ffff:0:0/96")
#: What no packet can be sent to through another VM.
_UNROUTABLE = (
    _THIS_NETWORK,
    IPv4Network("127.0.0.0/8"),
    IPv4Network("169.254.0.0/16"),
    IPv4Network("224.0.0.0/4"),
    _RESERVED,
)


@action("network.create_vpc")
def create_vpc(
    *,
    actor: Actor,
    region: Region,
    name: str,
    cidr: str,
    remark: str = "",
    is_default: bool = False,
) -> Vpc:
    """Create a VPC with a private IPv4 range, mask 16 to 29.

    Raises InvalidInput (``invalid_name``, ``cidr_invalid``, ``cidr_not_private``, ``cidr_mask``)
    and QuotaExceeded.
    """
    tenant = tenant_of(actor)
    network = ranges.parse_ipv4_network(cidr, check=ranges.check_vpc_range)
    ranges.check_vpc_range(network)
    vpc = Vpc(
        id=new_id("vpc"),
        tenant=tenant,
        region=usable(region),
        name=checked_name(name),
        remark=checked_text(remark, field="remark"),
        cidr=str(network),
        is_default=is_default,
    )
    quotas.take(tenant, region, {"vpcs": 1}, vpc.pk)
    vpc.save(force_insert=True)
    audit.note(vpc, after={"name": vpc.name, "cidr": vpc.cidr})
    tell(vpc, "created")
    enqueue_sync(vpc, actor=actor, title=_("Create VPC %(name)s") % {"name": vpc.name})
    return vpc


@action("network.rename_vpc")
def rename_vpc(
    *, actor: Actor, vpc: Vpc, name: str | None = None, remark: str | None = None
) -> Vpc:
    """Change name and remark; None leaves one as it is. Raises InvalidInput, NotFound."""
    return rename(vpc, name, remark)


@action("network.delete_vpc")
def delete_vpc(*, actor: Actor, vpc: Vpc) -> None:
    """Delete a VPC without subnets. Raises Conflict (``vpc_not_empty``), NotFound."""
    row: Vpc = locked(vpc)
    subnets = Subnet.objects.filter(vpc=row).count()
    if subnets:
        raise Conflict(
            _("VPC %(name)s still has %(subnets)s subnets.")
            % {"name": row.name, "subnets": subnets},
            code="vpc_not_empty",
            remedy=_("Delete its subnets first."),
            numbers={"subnets": subnets},
        )
    audit.note(before={"name": row.name, "cidr": row.cidr})
    tell(row, "deleted")
    quotas.free(row.pk)
    bury_and_remove(row, actor=actor, title=_("Delete VPC %(name)s") % {"name": row.name})


@action("network.create_subnet")
def create_subnet(
    *,
    actor: Actor,
    vpc: Vpc,
    name: str,
    cidr: str,
    remark: str = "",
    dns_servers: Sequence[str] = (),
    routes: Sequence[Mapping[str, str]] = (),
    ipv6: bool = False,
) -> Subnet:
    """Create a subnet in a VPC; its gateway is the first address.

    With ``ipv6`` it has a private /64 of the VPC's IPv6 range besides, as after
    :func:`turn_on_ipv6`. Raises InvalidInput (``invalid_name``, ``cidr_invalid``, ``cidr_mask``,
    ``cidr_outside_vpc``, and as :func:`configure_subnet` does), Conflict (``cidr_overlaps``),
    NotFound and QuotaExceeded.
    """
    tenant = tenant_of(actor)
    network = ranges.parse_ipv4_network(
        cidr, check=lambda meant: ranges.check_subnet_range(meant, vpc.network, _ranges_of(vpc))
    )
    subnet_id = new_id("subnet")
    dns, ipv6_dns = _checked_dns(dns_servers, network, ipv6=ipv6)
    static = _checked_routes(routes, network, vpc.network)
    quotas.take(tenant, vpc.region, {"subnets": 1}, subnet_id)
    # The lock keeps a second subnet of the same range, and the VPC's deletion, waiting.
    row: Vpc = locked(vpc)
    ranges.check_subnet_range(network, row.network, _ranges_of(row))
    subnet = Subnet(
        id=subnet_id,
        tenant=row.tenant,
        region=row.region,
        vpc=row,
        name=checked_name(name),
        remark=checked_text(remark, field="remark"),
        cidr=str(network),
        dns_servers=dns,
        routes=static,
        ipv6_cidr=_ipv6_range(row, network) if ipv6 else "",
        ipv6_dns_servers=ipv6_dns,
    )
    subnet.save(force_insert=True)
    after = {"name": subnet.name, "cidr": subnet.cidr, "vpc": row.pk}
    audit.note(subnet, after=after | ({"ipv6_cidr": subnet.ipv6_cidr} if ipv6 else {}))
    tell(subnet, "created", vpc=row.pk)
    enqueue_sync(subnet, actor=actor, title=_("Create subnet %(name)s") % {"name": subnet.name})
    return subnet


@action("network.rename_subnet")
def rename_subnet(
    *, actor: Actor, subnet: Subnet, name: str | None = None, remark: str | None = None
) -> Subnet:
    """Change name and remark; None leaves one as it is. Raises InvalidInput, NotFound."""
    return rename(subnet, name, remark)


@action("network.configure_subnet")
def configure_subnet(
    *,
    actor: Actor,
    subnet: Subnet,
    dns_servers: Sequence[str] | None = None,
    routes: Sequence[Mapping[str, str]] | None = None,
) -> Subnet:
    """Change the DNS servers and the static routes of a subnet; None leaves one as it is.

    A route is a ``destination`` and a ``next_hop``. The NIC that has the address of a next hop may
    from then on receive and send for the destination too. Guests are told by DHCP, and by their
    seed when they boot. Raises InvalidInput (``dns_invalid``, ``dns_unusable``, ``dns_needs_ipv6``,
    ``routes_too_many``; of one route, with its ``line``: ``route_destination_invalid``,
    ``route_destination_unusable``, ``route_within_vpc``, ``route_next_hop_invalid``,
    ``route_repeated``) and NotFound.
    """
    row: Subnet = locked(subnet)
    before = {"dns_servers": _servers_of(row), "routes": list(row.routes)}
    if dns_servers is not None:
        row.dns_servers, row.ipv6_dns_servers = _checked_dns(
            dns_servers, row.network, ipv6=bool(row.ipv6_cidr)
        )
    if routes is not None:
        row.routes = _checked_routes(routes, row.network, row.vpc.network)
    after = {"dns_servers": _servers_of(row), "routes": row.routes}
    if after == before:
        return row
    hops = {ranges.StaticRoute.parse(text).next_hop for text in {*before["routes"]} ^ {*row.routes}}
    row.save(update_fields=["dns_servers", "ipv6_dns_servers", "routes"])
    audit.note(row, before=before, after=after)
    changed(row)
    tell(row, "configured")
    enqueue_sync(row, actor=actor, title=_("Configure subnet %(name)s") % {"name": row.name})
    forwarding = Nic.objects.filter(
        addresses__subnet=row, addresses__address__in=[str(one) for one in hops]
    )
    for nic in forwarding:
        changed(nic)
        enqueue_sync(
            nic, actor=actor, title=_("Apply the routes through %(name)s") % {"name": nic.name}
        )
    return row


@action("network.turn_on_ipv6")
def turn_on_ipv6(*, actor: Actor, subnet: Subnet) -> Subnet:
    """Give a subnet a private IPv6 range, and each of its network interfaces an address of it.

    The range is a /64 of the VPC's, which gets a random one (RFC 4193) with its first such subnet
    and keeps it. Guests that run are told by their agents, others when they boot. Raises Conflict
    (``ipv6_is_on``) and NotFound.
    """
    # The VPC before its subnet, as everywhere: it may be given its range here.
    vpc: Vpc = locked(subnet.vpc)
    row: Subnet = locked(subnet)
    if row.ipv6_cidr:
        raise Conflict(
            _("IPv6 is already on in subnet %(name)s.") % {"name": row.name}, code="ipv6_is_on"
        )
    row.ipv6_cidr = _ipv6_range(vpc, row.network)
    row.save(update_fields=["ipv6_cidr"])
    audit.note(row, before={"ipv6_cidr": ""}, after={"ipv6_cidr": row.ipv6_cidr})
    changed(row)
    # All at once: a subnet may have thousands, and one job applies them. Locked by ID first, as
    # workers do that note what they have applied: otherwise each could wait for the other.
    wanted = Nic.objects.filter(subnet=row, port_wanted=True).order_by("pk")
    nic_ids = list(wanted.select_for_update(no_key=True).values_list("pk", flat=True))
    Nic.objects.filter(pk__in=nic_ids).update(
        generation=F("generation") + 1, sync_error="", sync_error_detail=""
    )
    tell(row, "ipv6_turned_on", ipv6_cidr=row.ipv6_cidr)
    jobs.enqueue(
        kind="network.sync_subnet_nics",
        tenant=row.tenant,
        title=_("Turn on IPv6 in subnet %(name)s") % {"name": row.name},
        target_kind=row.KIND,
        target_id=row.pk,
        deadline_s=JOB_DEADLINE_S,
        actor=actor,
        exclusive=False,
    )
    return row


@action("network.turn_off_ipv6")
def turn_off_ipv6(*, actor: Actor, subnet: Subnet) -> Subnet:
    """Take the private IPv6 range of a subnet away; the VPC keeps its own.

    Raises Conflict (``ipv6_is_off``, ``ipv6_in_use`` while network interfaces have addresses of it,
    those of binned VMs included, or guests are told of IPv6 DNS servers) and NotFound.
    """
    row: Subnet = locked(subnet)
    if not row.ipv6_cidr:
        raise Conflict(
            _("IPv6 is already off in subnet %(name)s.") % {"name": row.name}, code="ipv6_is_off"
        )
    nics = Nic.objects.filter(subnet=row).count()
    leaving = PrivateAddress.objects.filter(subnet=row, leaving__isnull=False).count()
    servers = len(row.ipv6_dns_servers)
    numbers = {"nics": nics, "leaving": leaving, "dns_servers": servers}
    if nics or leaving:
        raise Conflict(
            ngettext(
                "%(count)s network interface has an IPv6 address in subnet %(name)s.",
                "%(count)s network interfaces have IPv6 addresses in subnet %(name)s.",
                nics + leaving,
            )
            % {"name": row.name, "count": nics + leaving},
            code="ipv6_in_use",
            remedy=_(
                "Move the VMs to another subnet or destroy them, including those in the recycle "
                "bin, and delete the ENIs in the subnet."
            ),
            numbers=numbers,
        )
    if servers:
        raise Conflict(
            ngettext(
                "Subnet %(name)s has %(count)s IPv6 DNS server.",
                "Subnet %(name)s has %(count)s IPv6 DNS servers.",
                servers,
            )
            % {"name": row.name, "count": servers},
            code="ipv6_in_use",
            remedy=_("Remove them from its DNS servers first."),
            numbers=numbers,
        )
    audit.note(row, before={"ipv6_cidr": row.ipv6_cidr}, after={"ipv6_cidr": ""})
    row.ipv6_cidr = ""
    row.save(update_fields=["ipv6_cidr"])
    changed(row)
    tell(row, "ipv6_turned_off")
    enqueue_sync(row, actor=actor, title=_("Turn off IPv6 in subnet %(name)s") % {"name": row.name})
    return row


def _ipv6_range(vpc: Vpc, network: IPv4Network) -> str:
    """The IPv6 range of a subnet of a VPC that the caller has locked; gives that its own first."""
    outer = vpc.ipv6_network
    if outer is None:
        outer = ranges.random_ula()
        with scopes_disabled():
            # Of all tenants, so that no two VPCs that are connected one day have the same.
            while Vpc.objects.filter(ipv6_cidr=str(outer)).exists():
                outer = ranges.random_ula()
        vpc.ipv6_cidr = str(outer)
        vpc.save(update_fields=["ipv6_cidr"])
        audit.note(vpc)
    return str(ranges.ipv6_range_of(outer, vpc.network, network))


@action("network.delete_subnet")
def delete_subnet(*, actor: Actor, subnet: Subnet) -> None:
    """Delete a subnet without NICs, those of binned VMs included.

    Raises Conflict (``subnet_not_empty``), NotFound.
    """
    row: Subnet = locked(subnet)
    nics = Nic.objects.filter(subnet=row).count()
    held = PrivateAddress.objects.filter(subnet=row).count()
    if nics or held:
        raise Conflict(
            _("Subnet %(name)s is still used by %(limit)s network interfaces.")
            % {"name": row.name, "limit": max(nics, held)},
            code="subnet_not_empty",
            remedy=_("Destroy the VMs in it, also those in the recycle bin."),
            numbers={"nics": nics, "addresses": held},
        )
    audit.note(before={"name": row.name, "cidr": row.cidr, "vpc": row.vpc_id})
    tell(row, "deleted", vpc=row.vpc_id)
    quotas.free(row.pk)
    bury_and_remove(row, actor=actor, title=_("Delete subnet %(name)s") % {"name": row.name})


def _ranges_of(vpc: Vpc) -> list[IPv4Network]:
    return [one.network for one in Subnet.objects.filter(vpc=vpc)]


def _servers_of(subnet: Subnet) -> list[str]:
    return [*subnet.dns_servers, *subnet.ipv6_dns_servers]


def _checked_dns(
    servers: Sequence[str], network: IPv4Network, *, ipv6: bool
) -> tuple[list[str], list[str]]:
    """Return the DNS servers of IPv4 and of IPv6, each in its order and once."""
    cleaned = [text.strip() for text in servers if text.strip()]
    if len(cleaned) > MOST_DNS_SERVERS:
        raise InvalidInput(
            _("At most %(most_dns_servers)s DNS servers are allowed.")
            % {"most_dns_servers": MOST_DNS_SERVERS},
            code="dns_invalid",
            field="dns_servers",
            numbers={"max": MOST_DNS_SERVERS, "given": len(cleaned)},
        )
    found = dict.fromkeys(_checked_server(text, network) for text in cleaned)
    six = [one for one in found if one.version == 6]
    if six and not ipv6:
        raise InvalidInput(
            _("VMs in this subnet have no IPv6 address and cannot reach %(address)s.")
            % {"address": six[0]},
            code="dns_needs_ipv6",
            field="dns_servers",
            remedy=_("Turn on IPv6 in the subnet, or enter an IPv4 address."),
        )
    return [str(one) for one in found if one.version == 4], [str(one) for one in six]


def _checked_routes(
    routes: Sequence[Mapping[str, str]], network: IPv4Network, vpc: IPv4Network
) -> list[str]:
    """Return the routes as they are stored."""
    if len(routes) > MOST_ROUTES:
        raise InvalidInput(
            _("At most %(most)s static routes are allowed.") % {"most": MOST_ROUTES},
            code="routes_too_many",
            field="routes",
            numbers={"max": MOST_ROUTES, "given": len(routes)},
        )
    found: dict[IPv4Network, ranges.StaticRoute] = {}
    for line, route in enumerate(routes, 1):
        try:
            destination = _destination(route.get("destination", ""), vpc)
            if destination in found:
                raise InvalidInput(
                    _("%(destination)s has two routes.") % {"destination": destination},
                    code="route_repeated",
                    remedy=_("Keep one of them."),
                )
            hop = _next_hop(route.get("next_hop", ""), network)
        except InvalidInput as error:
            error.field = "routes"
            error.message = _("Line %(line)s: %(message)s") % {
                "line": line,
                "message": error.message,
            }
            error.numbers = {"line": line}
            raise
        found[destination] = ranges.StaticRoute(destination, hop)
    return [str(route) for route in found.values()]


def _destination(text: str, vpc: IPv4Network) -> IPv4Network:
    """A network that guests may be told to reach through another VM."""
    try:
        destination = ranges.parse_ipv4_network(text)
    except InvalidInput as error:
        error.code = "route_destination_invalid"
        raise
    if any(destination.overlaps(one) for one in _UNROUTABLE):
        raise InvalidInput(
            _("No route can lead to %(destination)s.") % {"destination": destination},
            code="route_destination_unusable",
            remedy=_(
                "Choose a narrower range. Where everything else goes follows from the default "
                "egress of each VM."
            ),
        )
    if destination.overlaps(vpc):
        raise InvalidInput(
            _("%(destination)s overlaps the VPC's range %(vpc)s.")
            % {"destination": destination, "vpc": vpc},
            code="route_within_vpc",
            remedy=_("Choose a range outside the VPC; its subnets reach each other already."),
        )
    return destination


def _next_hop(text: str, network: IPv4Network) -> IPv4Address:
    """An address of the subnet that a NIC can have."""
    try:
        hop = IPv4Address(text.strip())
    except AddressValueError:
        hop = None
    nobodys = (network.network_address, ranges.gateway_of(network), network.broadcast_address)
    if hop is None or hop not in network or hop in nobodys:
        raise InvalidInput(
            _("“%(text)s” cannot be a next hop in %(network)s.")
            % {"text": text.strip()[:60], "network": network},
            code="route_next_hop_invalid",
            remedy=_("Enter the address of a VM in this subnet."),
        )
    return hop


def _checked_server(text: str, network: IPv4Network) -> IPv4Address | IPv6Address:
    """An address that a guest can send to and get an answer from."""
    try:
        address = ip_address(text)
        if isinstance(address, IPv6Address) and address.scope_id is not None:
            raise ValueError(text)
    except ValueError as error:
        raise InvalidInput(
            _("“%(text)s” is not an IP address.") % {"text": text[:60]},
            code="dns_invalid",
            field="dns_servers",
            remedy=_("Enter the address of a DNS server, such as 192.0.2.53."),
        ) from error
    useless = (
        address.is_multicast
        or address.is_loopback
        or address.is_link_local
        or address.is_unspecified
        or address in _THIS_NETWORK
        or address in _RESERVED
        or address in _MAPPED
        or address in (network.network_address, network.broadcast_address)
    )
    if useless:
        raise InvalidInput(
            _("No DNS server can answer at %(address)s.") % {"address": address},
            code="dns_unusable",
            field="dns_servers",
            remedy=_("Enter the address of a DNS server that the VMs can reach."),
        )
    return address

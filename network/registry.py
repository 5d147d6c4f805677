"""What the app makes known when it starts: job handlers, the sweep, kinds of resource."""

from __future__ import annotations

from typing import Final

from django.utils.translation import gettext_lazy as _

from billing import hooks
from network.actions import defaults
from network.actions import enis as eni_actions
from network.actions import external_ips as external_ip_actions
from network.queries import segments as segment_queries
from network.queries import verbs as verb_queries
from network.rules import external_orders, targets
from network.rules.refusals import (
    eni_refusal,
    external_ip_refusal,
    rule_refusal,
    security_group_refusal,
    subnet_refusal,
    vpc_refusal,
)
from network.sweeps import enis as eni_sweeps
from network.sweeps import external_ips as external_ip_sweeps
from network.sweeps import jobs, reconcile
from network.tasks import enis as eni_tasks
from network.tasks import external_ips as external_ip_tasks
from network.tasks import sync, tracing
from network.verbs import enis, external_ips, security, vpcs
from scloud.jobs import periodic
from scloud.jobs.periodic import Lane
from scloud.lib import destinations
from scloud.recovery import freezing
from scloud.resources import kinds
from scloud.tenancy import welcome
from scloud.verbs import actions, refusals
from scloud.web import commands, nav
from scloud.web.commands import Command

RECONCILE_EVERY_S: Final = 60.0


def register_all() -> None:
    """Called once, when the app is ready."""
    # Imported for what they declare.
    assert vpcs
    assert security
    assert enis
    assert external_ips
    assert verb_queries
    actions.load("network.actions")
    refusals.register("vpc", vpc_refusal)
    refusals.register("eni", eni_refusal)
    refusals.register("external_ip", external_ip_refusal)
    refusals.register("subnet", subnet_refusal)
    refusals.register("security_group", security_group_refusal)
    refusals.register("security_group_rule", rule_refusal)
    sync.register_handlers()
    tracing.register_handlers()
    external_ip_tasks.register_handlers()
    targets.on_deletion("external_ip", external_ip_actions.let_go)
    eni_tasks.register_handlers()
    targets.on_deletion("eni", eni_actions.let_go)
    hooks.register(
        "eni",
        hooks.SubscriptionHooks(
            expired=eni_sweeps.expired,
            renewed=eni_sweeps.renewed,
            overdue=eni_sweeps.overdue,
            unbinds=True,
            binnable=False,
        ),
    )
    hooks.register(
        "external_ip",
        hooks.SubscriptionHooks(
            expired=external_ip_sweeps.expired,
            renewed=external_ip_sweeps.renewed,
            overdue=external_ip_sweeps.overdue,
            unbinds=True,
        ),
    )
    hooks.register_item(
        hooks.Item(
            "mbps",
            _("Bandwidth %(variant)s, Mb/s"),
            50,
            external_orders.segment_names,
            external_orders.every_segment_name,
        )
    )
    jobs.register_handlers()
    welcome.register(defaults.welcome)
    destinations.register_platform_addresses(segment_queries.vnc_addresses)
    freezing.expect_report("network")
    periodic.register("network.reconcile", RECONCILE_EVERY_S, reconcile.sweep, Lane.NETWORK)
    periodic.register("network.external_ip_bin", 30, external_ip_sweeps.empty_bin)
    periodic.register(
        "network.stuck_external_ips", 10, external_ip_sweeps.land_stuck, Lane.DEADLINES
    )
    periodic.register("network.unbind_expired", 20, external_ip_sweeps.unbind_expired)
    periodic.register("network.unbind_expired_enis", 20, eni_sweeps.unbind_expired)
    periodic.register("network.let_go", 60, external_ip_sweeps.let_go_of_the_gone)
    periodic.register("network.let_go_enis", 60, eni_sweeps.let_go_of_the_gone)
    periodic.register("network.stuck_enis", 10, eni_sweeps.land_stuck, Lane.DEADLINES)
    periodic.register("network.forget", 3600, reconcile.forget_resolved)
    new = _("new buy order add make")
    commands.register(
        Command(_("Create VPC"), "vpc-create", "sitemap", "network.create_vpc", new),
        Command(
            _("Buy external IP"), "external-ip-create", "world", "network.create_external_ip", new
        ),
        Command(_("Create ENI"), "eni-create", "network", "network.create_eni", new),
        Command(
            _("Create security group"),
            "security-group-create",
            "shield",
            "network.create_security_group",
            _("new add make firewall"),
        ),
    )
    nav.register(
        nav.NavItem(
            "network", _("VPCs"), "vpc-list", "sitemap", "network.view_vpc", 10, "/network/"
        )
    )
    nav.register(
        nav.NavItem(
            "network",
            _("External IPs"),
            "external-ip-list",
            "world",
            "network.view_external_ip",
            15,
        )
    )
    nav.register(nav.NavItem("network", _("ENIs"), "eni-list", "network", "network.view_eni", 17))
    nav.register(
        nav.NavItem(
            "network",
            _("Security groups"),
            "security-group-list",
            "shield",
            "network.view_security_group",
            20,
        )
    )
    nav.register(
        nav.NavItem(
            "network",
            _("Topology"),
            "network-topology",
            "topology-star-3",
            "network.view_vpc",
            40,
        )
    )
    nav.register(
        nav.NavItem(
            "network",
            _("Connection test"),
            "network-reach",
            "route",
            "network.view_security_group",
            30,
        )
    )
    kinds.register(
        kinds.Kind(
            kind="vpc",
            model="network.Vpc",
            label=_("VPC"),
            label_plural=_("VPCs"),
            icon="sitemap",
            url_name="vpc-detail",
            search_fields=("id", "name", "remark", "cidr"),
            view_permission="network.view_vpc",
        )
    )
    kinds.register(
        kinds.Kind(
            kind="subnet",
            model="network.Subnet",
            label=_("Subnet"),
            label_plural=_("Subnets"),
            icon="network",
            url_name="subnet-detail",
            search_fields=("id", "name", "remark", "cidr"),
            view_permission="network.view_subnet",
        )
    )
    kinds.register(
        kinds.Kind(
            kind="external_ip",
            model="network.ExternalIp",
            label=_("External IP"),
            label_plural=_("External IPs"),
            icon="world",
            url_name="external-ip-detail",
            search_fields=("id", "name", "remark", "address"),
            live=lambda rows: rows.exclude(status="destroyed"),
            bin=kinds.BinVerbs(
                restore=external_ip_actions.restore_external_ip,
                destroy=external_ip_actions.destroy_external_ip,
                order=30,
            ),
            view_permission="network.view_external_ip",
        )
    )
    kinds.register(
        kinds.Kind(
            kind="eni",
            model="network.Eni",
            label=_("ENI"),
            label_plural=_("ENIs"),
            icon="network",
            url_name="eni-detail",
            search_fields=("id", "name", "remark", "address"),
            live=lambda rows: rows.exclude(status="destroyed"),
            view_permission="network.view_eni",
        )
    )
    kinds.register(
        kinds.Kind(
            kind="security_group",
            model="network.SecurityGroup",
            label=_("Security group"),
            label_plural=_("Security groups"),
            icon="shield",
            url_name="security-group-detail",
            view_permission="network.view_security_group",
        )
    )

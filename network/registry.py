"""What the app makes known when it starts: job handlers, the sweep, kinds of resource."""

from __future__ import annotations

from typing import Final

from django.utils.translation import gettext_lazy as _

from network.actions import defaults
from network.rules.refusals import (
    rule_refusal,
    security_group_refusal,
    subnet_refusal,
    vpc_refusal,
)
from network.sweeps import jobs, reconcile
from network.tasks import sync, tracing
from network.verbs import security, vpcs
from scloud.jobs import periodic
from scloud.jobs.periodic import Lane
from scloud.recovery import freezing
from scloud.resources import kinds
from scloud.tenancy import welcome
from scloud.verbs import actions, refusals
from scloud.web import nav

RECONCILE_EVERY_S: Final = 60.0


def register_all() -> None:
    """Called once, when the app is ready."""
    # Imported for what they declare.
    assert vpcs
    assert security
    actions.load("network.actions")
    refusals.register("vpc", vpc_refusal)
    refusals.register("subnet", subnet_refusal)
    refusals.register("security_group", security_group_refusal)
    refusals.register("security_group_rule", rule_refusal)
    sync.register_handlers()
    tracing.register_handlers()
    jobs.register_handlers()
    welcome.register(defaults.welcome)
    freezing.expect_report("network")
    periodic.register("network.reconcile", RECONCILE_EVERY_S, reconcile.sweep, Lane.NETWORK)
    periodic.register("network.forget", 3600, reconcile.forget_resolved)
    nav.register(
        nav.NavItem(
            "network", _("VPCs"), "vpc-list", "sitemap", "network.view_vpc", 10, "/network/"
        )
    )
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
            kind="security_group",
            model="network.SecurityGroup",
            label=_("Security group"),
            label_plural=_("Security groups"),
            icon="shield",
            url_name="security-group-detail",
            view_permission="network.view_security_group",
        )
    )

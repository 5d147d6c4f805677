"""The services that people think in when they write a rule: a protocol and, mostly, a port."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from network.models import RuleProtocol, SecurityGroupRule


@dataclass(frozen=True, slots=True)
class Service:
    """``ports`` None means that they are written by hand."""

    key: str
    label: str | Promise
    protocol: str
    ports: str | None


SERVICES: tuple[Service, ...] = (
    Service("ssh", _("SSH (TCP 22)"), RuleProtocol.TCP, "22"),
    Service("rdp", _("RDP (TCP 3389)"), RuleProtocol.TCP, "3389"),
    Service("http", _("HTTP (TCP 80)"), RuleProtocol.TCP, "80"),
    Service("https", _("HTTPS (TCP 443)"), RuleProtocol.TCP, "443"),
    Service("ping", _("Ping (ICMP)"), RuleProtocol.ICMP, ""),
    Service("ping6", _("Ping (ICMPv6)"), RuleProtocol.ICMPV6, ""),
    Service("dns", _("DNS (UDP 53)"), RuleProtocol.UDP, "53"),
    Service("mysql", _("MySQL (TCP 3306)"), RuleProtocol.TCP, "3306"),
    Service("postgresql", _("PostgreSQL (TCP 5432)"), RuleProtocol.TCP, "5432"),
    Service("tcp", _("TCP, ports below"), RuleProtocol.TCP, None),
    Service("udp", _("UDP, ports below"), RuleProtocol.UDP, None),
    Service("all", _("Everything"), RuleProtocol.ALL, ""),
)
BY_KEY = {service.key: service for service in SERVICES}


def service_of(rule: SecurityGroupRule) -> Service:
    for service in SERVICES:
        if service.protocol == rule.protocol and service.ports == rule.ports:
            return service
    return BY_KEY["udp" if rule.protocol == RuleProtocol.UDP else "tcp"]

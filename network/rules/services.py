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
    Service("dhcp", _("DHCP server (UDP 67)"), RuleProtocol.UDP, "67"),
    Service("ntp", _("NTP (UDP 123)"), RuleProtocol.UDP, "123"),
    Service("ftp", _("FTP (TCP 21)"), RuleProtocol.TCP, "21"),
    Service("smtp", _("SMTP (TCP 25)"), RuleProtocol.TCP, "25"),
    Service("submission", _("Mail submission (TCP 587)"), RuleProtocol.TCP, "587"),
    Service("imaps", _("IMAP over TLS (TCP 993)"), RuleProtocol.TCP, "993"),
    Service("smb", _("SMB (TCP 445)"), RuleProtocol.TCP, "445"),
    Service("nfs", _("NFS (TCP 2049)"), RuleProtocol.TCP, "2049"),
    Service("mysql", _("MySQL (TCP 3306)"), RuleProtocol.TCP, "3306"),
    Service("postgresql", _("PostgreSQL (TCP 5432)"), RuleProtocol.TCP, "5432"),
    Service("mssql", _("SQL Server (TCP 1433)"), RuleProtocol.TCP, "1433"),
    Service("mongodb", _("MongoDB (TCP 27017)"), RuleProtocol.TCP, "27017"),
    Service("redis", _("Redis (TCP 6379)"), RuleProtocol.TCP, "6379"),
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

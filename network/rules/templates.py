"""Sets of rules for what people run: offered for a new group and to be added to one.

A set says which services it lets in and from where if nobody says it. Outbound traffic is a set of
its own, so that a group made of several has it once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from django.utils.functional import Promise
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from network.models import RuleDirection, RuleProtocol
from network.models.cidr import parse_remote
from network.rules.rule_values import RuleInput
from scloud.lib.errors import InvalidInput

ANYWHERE: Final = ("0.0.0.0/0", "::/0")
#: What VPCs are made of, and its counterpart in IPv6 (RFC 1918, RFC 4193).
PRIVATE: Final = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
_ICMP: Final = {4: RuleProtocol.ICMP, 6: RuleProtocol.ICMPV6}


@dataclass(frozen=True, slots=True)
class Opening:
    """A service that a set lets in; ``ports`` empty means all of the protocol.

    ``protocol`` None stands for the ICMP of the source's IP version.
    """

    protocol: RuleProtocol | None
    ports: str
    description: str


@dataclass(frozen=True, slots=True)
class Template:
    """A set of rules. ``sources`` are the ranges that it lets in unless others are named."""

    key: str
    label: str | Promise
    help: str | Promise
    openings: tuple[Opening, ...] = ()
    sources: tuple[str, ...] = ANYWHERE
    outbound: bool = False

    def rules(self, source: str = "") -> tuple[RuleInput, ...]:
        """The rules, for a source that replaces the usual ones. Raises InvalidInput."""
        sources = (str(parse_remote(source)),) if source.strip() else self.sources
        found = [
            RuleInput(
                direction=RuleDirection.IN,
                protocol=opening.protocol or _ICMP[parse_remote(cidr).version],
                ports=opening.ports,
                cidr=cidr,
                description=opening.description,
            )
            for opening in self.openings
            for cidr in sources
        ]
        if self.outbound:
            found += [
                RuleInput(direction=RuleDirection.OUT, protocol=RuleProtocol.ALL, cidr=cidr)
                for cidr in ANYWHERE
            ]
        return tuple(found)


def _tcp(ports: str, description: str) -> Opening:
    return Opening(RuleProtocol.TCP, ports, description)


PING: Final = Opening(None, "", "Ping")
TEMPLATES: Final = (
    Template(
        "default",
        _("Default"),
        _("In: SSH, RDP, HTTP, HTTPS, ping from anywhere. Out: everything."),
        (_tcp("22", "SSH"), _tcp("3389", "RDP"), _tcp("80", "HTTP"), _tcp("443", "HTTPS"), PING),
        outbound=True,
    ),
    Template(
        "web",
        _("Web server"),
        _("In: HTTP, HTTPS, ping from anywhere."),
        (_tcp("80", "HTTP"), _tcp("443", "HTTPS"), PING),
    ),
    Template(
        "ssh",
        _("SSH"),
        _("In: SSH from anywhere."),
        (_tcp("22", "SSH"),),
    ),
    Template(
        "remote-desktop",
        _("Remote desktop"),
        _("In: RDP (TCP and UDP 3389) from anywhere."),
        (_tcp("3389", "RDP"), Opening(RuleProtocol.UDP, "3389", "RDP")),
    ),
    Template(
        "database",
        _("Database"),
        _("In: MySQL, PostgreSQL, SQL Server, MongoDB, Redis from private addresses."),
        (
            _tcp("3306", "MySQL"),
            _tcp("5432", "PostgreSQL"),
            _tcp("1433", "SQL Server"),
            _tcp("27017", "MongoDB"),
            _tcp("6379", "Redis"),
        ),
        sources=PRIVATE,
    ),
    Template(
        "mail",
        _("Mail server"),
        _("In: SMTP, submission, IMAP from anywhere."),
        (
            _tcp("25", "SMTP"),
            _tcp("465", "SMTP over TLS"),
            _tcp("587", "Submission"),
            _tcp("143", "IMAP"),
            _tcp("993", "IMAP over TLS"),
        ),
    ),
    Template(
        "dns",
        _("DNS server"),
        _("In: DNS from private addresses."),
        (_tcp("53", "DNS"), Opening(RuleProtocol.UDP, "53", "DNS")),
        sources=PRIVATE,
    ),
    Template(
        "files",
        _("File server"),
        _("In: SMB, NFS from private addresses."),
        (_tcp("445", "SMB"), _tcp("2049", "NFS")),
        sources=PRIVATE,
    ),
    Template(
        "private",
        _("Private networks"),
        _("In: everything from private addresses."),
        (Opening(RuleProtocol.ALL, "", ""),),
        sources=PRIVATE,
    ),
    Template("outbound", _("Outbound"), _("Out: everything."), outbound=True),
)
BY_KEY: Final = {template.key: template for template in TEMPLATES}


def named(key: str) -> Template:
    """The template of this key. Raises InvalidInput (``template_unknown``)."""
    found = BY_KEY.get(key)
    if found is None:
        raise InvalidInput(
            gettext("There is no template “%(template)s”.") % {"template": key[:30]},
            code="template_unknown",
            field="template",
            remedy=gettext("Choose one of %(choices)s.") % {"choices": ", ".join(BY_KEY)},
        )
    return found

"""The console's forms: they parse; the actions decide."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _

from network.actions import RuleInput
from network.models import RuleAction, RuleDirection, RulePriority, SecurityGroupRule
from network.rules.csv_rules import LONGEST
from network.rules.services import BY_KEY, SERVICES, service_of
from network.rules.templates import TEMPLATES, Template
from scloud.lib.form_fields import PlainIntegerField
from scloud.web.forms import LinesField

# Longer than what is allowed, so that the action refuses with its own words.
_GENEROUS = 300
#: Bytes; a character has at most four.
LONGEST_FILE = 4 * LONGEST


def labelled(template: Template) -> Any:
    """What a choice says of a template."""
    return format_lazy("{} — {}", template.label, template.help)


class NameForm(forms.Form):
    name = forms.CharField(label=_("Name"), max_length=_GENEROUS)
    remark = forms.CharField(label=_("Remark"), max_length=_GENEROUS, required=False)


class VpcForm(NameForm):
    cidr = forms.CharField(
        label=_("Address range"),
        initial="10.0.0.0/16",
        max_length=_GENEROUS,
        help_text=_("Within 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16, mask 16 to 29."),
    )
    field_order = ("name", "cidr", "remark")


class SubnetForm(NameForm):
    cidr = forms.CharField(
        label=_("Address range"),
        max_length=_GENEROUS,
        help_text=_("Within the VPC's range, mask at most 29. The first address is the gateway."),
    )
    dns_servers = forms.CharField(
        label=_("DNS servers"),
        max_length=_GENEROUS,
        required=False,
        help_text=_("Up to three addresses, separated by commas. VMs get them by DHCP."),
    )
    ipv6 = forms.BooleanField(
        label=_("IPv6"),
        required=False,
        help_text=_("Each VM also gets a private IPv6 address. IPv6 can be turned on later."),
    )
    field_order = ("name", "cidr", "ipv6", "dns_servers", "remark")

    def clean_dns_servers(self) -> list[str]:
        """Return the addresses as they were written."""
        text: str = self.cleaned_data["dns_servers"]
        return text.replace(",", " ").split()


class SubnetOptionsForm(forms.Form):
    """DNS servers and static routes."""

    dns_servers = forms.CharField(
        label=_("DNS servers"),
        max_length=_GENEROUS,
        required=False,
        help_text=_("Up to three addresses, separated by commas. VMs get them by DHCP."),
    )
    routes = LinesField(
        label=_("Static routes"),
        max_length=4000,
        required=False,
        widget=forms.Textarea(attrs={"rows": 5, "class": "mono", "spellcheck": "false"}),
        help_text=_("One per line, at most 20: 192.0.2.0/24 via 10.0.0.9"),
    )

    def clean_dns_servers(self) -> list[str]:
        """Return the addresses as they were written."""
        text: str = self.cleaned_data["dns_servers"]
        return text.replace(",", " ").split()

    def clean_routes(self) -> list[dict[str, str]]:
        """Return destination and next hop of each line as they were written."""
        routes = []
        for line in self.cleaned_data["routes"].splitlines():
            destination, _via, next_hop = line.partition(" via ")
            if line.strip():
                routes.append({"destination": destination.strip(), "next_hop": next_hop.strip()})
        return routes


class SecurityGroupForm(NameForm):
    templates = forms.MultipleChoiceField(
        label=_("Initial rules"),
        choices=[(one.key, labelled(one)) for one in TEMPLATES],
        widget=forms.CheckboxSelectMultiple,
        initial=["default"],
        required=False,
        help_text=_("Without any, nothing passes until you add rules."),
    )


class CopyGroupForm(NameForm):
    """A copy of a security group."""


class TemplateForm(forms.Form):
    """Rules from a template."""

    template = forms.ChoiceField(
        label=_("Template"),
        choices=[(one.key, labelled(one)) for one in TEMPLATES],
    )
    cidr = forms.CharField(
        label=_("Source"),
        max_length=_GENEROUS,
        required=False,
        help_text=_("An address or a range instead of the template's own sources."),
    )


class RulesFileForm(forms.Form):
    """Rules from a CSV file, or pasted."""

    file = forms.FileField(label=_("File"), required=False)
    content = LinesField(
        label=_("Or paste the rules"),
        max_length=200_000,
        required=False,
        widget=forms.Textarea(attrs={"rows": 6, "class": "mono", "spellcheck": "false"}),
    )
    replace = forms.BooleanField(
        label=_("Replace all rules"),
        required=False,
        help_text=_("Rules that the file does not have are removed."),
    )

    def clean(self) -> dict[str, Any]:
        """Take the file's text, unless rules were pasted."""
        data: dict[str, Any] = super().clean() or {}
        sent = data.pop("file", None)
        if sent is not None and not data.get("content"):
            data["content"] = self._text(sent)
        if not data.get("content") and not self.errors:
            self.add_error("file", _("Choose a file, or paste the rules."))
        return data

    def _text(self, sent: Any) -> str:
        if sent.size > LONGEST_FILE:
            self.add_error("file", _("The file is too large."))
            return ""
        try:
            text: str = sent.read().decode("utf-8-sig")
        except UnicodeDecodeError:
            self.add_error("file", _("The file is not UTF-8. Save it as CSV in UTF-8."))
            return ""
        return text


class ReachForm(forms.Form):
    """Can A reach B?"""

    source = forms.CharField(
        label=_("Source"),
        max_length=_GENEROUS,
        widget=forms.TextInput(attrs={"list": "reach-ends", "autocomplete": "off"}),
        help_text=_("A VM, a network interface, or an IP address."),
    )
    destination = forms.CharField(
        label=_("Destination"),
        max_length=_GENEROUS,
        widget=forms.TextInput(attrs={"list": "reach-ends", "autocomplete": "off"}),
        help_text=_("A VM, a network interface, or an IP address."),
    )
    protocol = forms.ChoiceField(
        label=_("Protocol"),
        choices=(("tcp", _("TCP")), ("udp", _("UDP")), ("icmp", _("Ping"))),
        initial="tcp",
    )
    port = PlainIntegerField(
        label=_("Port"), required=False, initial=443, help_text=_("Empty for ping.")
    )


class RuleForm(forms.Form):
    direction = forms.ChoiceField(label=_("Direction"), choices=RuleDirection.choices)
    service = forms.ChoiceField(
        label=_("Service"), choices=[(service.key, service.label) for service in SERVICES]
    )
    ports = forms.CharField(
        label=_("Ports"),
        max_length=_GENEROUS,
        required=False,
        help_text=_("For TCP and UDP: 22, or 8000-8100, or empty for all."),
    )
    cidr = forms.CharField(
        label=_("Source or destination"),
        initial="0.0.0.0/0",
        max_length=_GENEROUS,
        help_text=_("An address or a range, IPv4 or IPv6. Everything: 0.0.0.0/0 or ::/0."),
    )
    action = forms.ChoiceField(label=_("Action"), choices=RuleAction.choices)
    priority = forms.ChoiceField(
        label=_("Priority"),
        choices=RulePriority.choices,
        initial=RulePriority.MEDIUM,
        help_text=_("The higher priority wins. At equal priority, drop wins."),
    )
    description = forms.CharField(label=_("Description"), max_length=_GENEROUS, required=False)

    @staticmethod
    def initial_of(rule: SecurityGroupRule) -> dict[str, Any]:
        return {
            "direction": rule.direction,
            "service": service_of(rule).key,
            "ports": rule.ports,
            "cidr": rule.cidr,
            "action": rule.action,
            "priority": rule.priority,
            "description": rule.description,
        }

    @staticmethod
    def rule(data: dict[str, Any]) -> RuleInput:
        """What the action takes; the ports of a named service are its own."""
        service = BY_KEY[data["service"]]
        return RuleInput(
            direction=data["direction"],
            protocol=service.protocol,
            ports=data["ports"] if service.ports is None else service.ports,
            cidr=data["cidr"],
            action=data["action"],
            priority=data["priority"],
            description=data["description"],
        )

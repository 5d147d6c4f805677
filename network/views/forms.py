"""The console's forms: they parse; the actions decide."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from network.actions import RuleInput
from network.models import RuleAction, RuleDirection, RulePriority, SecurityGroupRule
from network.rules.services import BY_KEY, SERVICES, service_of

# Longer than what is allowed, so that the action refuses with its own words.
_GENEROUS = 300


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
    field_order = ("name", "cidr", "dns_servers", "remark")

    def clean_dns_servers(self) -> list[str]:
        """Return the addresses as they were written."""
        text: str = self.cleaned_data["dns_servers"]
        return text.replace(",", " ").split()


class SecurityGroupForm(NameForm):
    template = forms.ChoiceField(
        label=_("Initial rules"),
        choices=(
            ("default", _("In: SSH, RDP, HTTP, HTTPS, ping. Out: everything.")),
            ("outbound", _("In: nothing. Out: everything.")),
            ("empty", _("None: no traffic allowed")),
        ),
        widget=forms.RadioSelect,
        initial="default",
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

"""Every URL of the product, found in the URLconf, and what the tests must know of each.

``KNOWN`` has one line per URL: which sample fills each parameter, and for each method that changes
something the permission it needs and a body that would be accepted. A URL without a line here makes
``test_every_url_is_known`` fail, so none can escape the tests.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone

from billing.models import month_text
from billing.statements import this_month
from tests.isolation.keys import OTHER_SSH_KEY
from tests.isolation.known import OPEN, Known, Write, asked, own
from tests.isolation.routes_alarms import ALARM_API, ALARM_CONSOLE
from tests.isolation.routes_outside import OUTSIDE_API, OUTSIDE_CONSOLE
from tests.isolation.routes_storage import STORAGE_API, STORAGE_CONSOLE


@dataclass(frozen=True)
class Route:
    """A URL of the URLconf."""

    name: str
    params: tuple[str, ...]
    methods: tuple[str, ...]
    api: bool


def _methods(pattern: URLPattern) -> tuple[str, ...]:
    mapping = getattr(pattern.callback, "actions", None)
    if mapping:
        # The first request to a viewset adds HEAD to its mapping.
        return tuple(name for name in mapping if name != "head")
    view = getattr(pattern.callback, "view_class", None) or getattr(pattern.callback, "cls", None)
    assert view is not None, f"{pattern} is not a class of views"
    return tuple(
        name
        for name in view.http_method_names
        if name != "options" and name != "head" and hasattr(view, name)
    )


def _walk(resolver: URLResolver, prefix: str) -> Iterator[tuple[str, URLPattern]]:
    for entry in resolver.url_patterns:
        text = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            if entry.namespace != "admin":
                yield from _walk(entry, text)
        else:
            yield text, entry


def all_routes() -> list[Route]:
    """Return every URL of console and API; those of Django admin are tested by themselves."""
    return [
        Route(
            name=pattern.name or text,
            params=tuple(pattern.pattern.regex.groupindex),
            methods=_methods(pattern),
            api=text.startswith("api/"),
        )
        for text, pattern in _walk(get_resolver(), "")
    ]


# Every tenant has the present month, so it is nobody's.
_MONTH = f"={month_text(this_month(timezone.now()))}"
_NAME = {"name": "renamed", "remark": "changed"}
_BUDGET = {"name": "new", "amount": "500.00", "warn_percents": [80], "time_zone": "UTC"}
_BUDGET_FORM = {"name": "new", "amount": "500", "warn_percents": "80", "time_zone": "UTC"}
_RULE = {"direction": "in", "protocol": "tcp", "ports": "22", "cidr": "192.0.2.0/24"}
_RULE_FORM = {
    "direction": "in",
    "service": "ssh",
    "ports": "",
    "cidr": "192.0.2.0/24",
    "action": "accept",
    "priority": "medium",
}
_TEMPLATE = {"template": "ssh"}
_RULES_FILE = {"content": "direction,protocol,ports,cidr\nin,tcp,22,192.0.2.0/24\n"}
_ORDER = {
    "region": "{region}",
    "cluster": "{cluster}",
    "image": "{base_image}",
    "vcpus": 1,
    "memory_mib": 2048,
    "system_disk_type": "{disk_type}",
    "system_disk_gib": 40,
    "subnet": "{subnet}",
    "internal_security_group": "{group}",
    "name": "bought",
    "password": "Str0ng-enough",
    "quote_token": "{quote_token}",
}
_WIZARD = {
    "cluster": "{cluster}",
    "image": "{base_image}",
    "subnet": "{subnet}",
    "internal_group": "{group}",
    "name": "bought",
    "password": "Str0ng-enough",
    "count": "1",
    "method": "hour",
    "periods": "1",
    "quote_token": "{quote_token}",
}


def _vm_verb(verb: str, body: dict[str, Any] | None = None, sample: str = "vm") -> Known:
    return own(sample, f"compute.{verb}", body, "vm_id")


_CONSOLE: dict[str, Known] = {
    # --- the shell
    "home": Known(),
    "login": Known(
        writes={"post": Write(OPEN, {"email": "x@y.test", "password": "no"})}, public=True
    ),
    "login-code": Known(writes={"post": Write(OPEN, {"code": "000000"})}, public=True),
    # No provider: what one answers has tests of its own.
    "identity-begin": Known(
        {"provider_id": "=idp-none"}, writes={"post": Write(OPEN)}, unknown=True, public=True
    ),
    "identity-answer": Known(
        {"provider_id": "=idp-none"}, writes={"post": Write(OPEN)}, unknown=True, public=True
    ),
    "identities": Known(people=True),
    "identity-unlink": Known({"pk": "identity"}, {"post": Write(OPEN)}, people=True),
    "join": Known(
        writes={
            "post": Write(OPEN, {"code": "x", "full_name": "A", "password": "another horse 7"})
        },
        public=True,
    ),
    # No address and no code: what is sent and changed by good ones has tests of its own.
    "password-forgot": Known(writes={"post": Write(OPEN, {"email": "x"})}, public=True),
    "password-reset": Known(
        writes={"post": Write(OPEN, {"code": "x", "new": "another horse 7 battery"})}, public=True
    ),
    "logout": Known(writes={"post": Write(OPEN)}, public=True),
    "set-region": Known(writes={"post": Write(OPEN, {"region": "{region}"})}, public=True),
    "acting-end": Known(writes={"post": Write(OPEN)}, public=True),
    "announcement-close": Known(writes={"post": Write(OPEN, {"announcement": "1"})}, public=True),
    "set-appearance": Known(writes={"post": Write(OPEN, {"theme": "dark"})}, public=True),
    "search": Known(),
    "tasks": Known(),
    "task-strip": Known(),
    "task-detail": Known({"job_id": "job"}),
    "operations": Known(),
    "operation-detail": Known({"pk": "operation"}),
    "profile": Known(
        writes={
            "post": Write(
                OPEN, {"full_name": "A", "time_zone": "UTC", "language": "", "theme": "auto"}
            )
        }
    ),
    "change-password": Known(
        writes={"post": Write(OPEN, {"current": "{password}", "new": "another horse 7 battery"})}
    ),
    "change-email": Known(
        writes={"post": Write(OPEN, {"email": "new@example.org", "password": "{password}"})}
    ),
    "email-verify": Known(writes={"post": Write(OPEN, {"code": "x"})}),
    "session-revoke": own("session", OPEN, {}, "handle"),
    # No app and no secret yet: what good codes do has tests of its own.
    "second-factor": Known(people=True),
    "second-factor-begin": Known(
        writes={"post": Write(OPEN, {"password": "{password}"})}, people=True
    ),
    "second-factor-confirm": Known(writes={"post": Write(OPEN, {"code": "000000"})}, people=True),
    "second-factor-codes": Known(
        writes={"post": Write(OPEN, {"password": "{password}", "code": "000000"})}, people=True
    ),
    "second-factor-off": Known(
        writes={"post": Write(OPEN, {"password": "{password}", "code": "000000"})}, people=True
    ),
    "list-view-save": Known(
        {"kind": "=vm"}, writes={"post": Write(OPEN, {"name": "mine", "query": "q=web"})}
    ),
    "list-view-delete": Known({"kind": "=vm"}, writes={"post": Write(OPEN, {"name": "mine"})}),
    "api-keys": Known(),
    "api-key-create": Known(
        writes={
            "post": Write("tenancy.manage_api_keys", {"name": "robot", "expires_in_days": "30"})
        }
    ),
    "api-key-networks": own(
        "key", "tenancy.manage_api_keys", {"networks": "192.0.2.0/24"}, "key_id"
    ),
    "api-key-revoke": own("key", "tenancy.manage_api_keys", {}, "key_id"),
    "users": Known(),
    "users-second-factor": Known(
        writes={"post": Write("tenancy.manage_users", {"required": "on"})}
    ),
    "user-reset-second-factor": own("colleague", "tenancy.manage_users", {}, "user_id"),
    "roles": Known(),
    "role-create": Known(
        writes={
            "post": Write(
                "tenancy.manage_users", {"name": "Night shift", "abilities": ["compute-view"]}
            )
        }
    ),
    "role-edit": own(
        "role", "tenancy.manage_users", {"name": "Nights", "abilities": ["compute-view"]}, "role_id"
    ),
    "role-delete": own("role", "tenancy.manage_users", {}, "role_id"),
    "user-invite": Known(
        writes={
            "post": Write("tenancy.manage_users", {"email": "new@example.org", "role": "readonly"})
        }
    ),
    "invitations": Known(),
    "invitation-send": own("invitation", "tenancy.manage_users", {}, "invitation_id"),
    "invitation-withdraw": own("invitation", "tenancy.manage_users", {}, "invitation_id"),
    "user-change-role": own("colleague", "tenancy.manage_users", {"role": "readonly"}, "user_id"),
    "user-deactivate": own("colleague", "tenancy.manage_users", {}, "user_id"),
    "user-activate": own("former_colleague", "tenancy.manage_users", {}, "user_id"),
    "user-hand-over": own(
        "colleague",
        "tenancy.manage_users",
        {"own_role": "administrator", "password": "{password}"},
        "user_id",
    ),
    "styleguide": Known(unlisted=True),
    "styleguide-dialog": Known(
        writes={"post": Write(OPEN, {"name": "a", "size_gib": "40", "kind": "ssd"})}, unlisted=True
    ),
    # --- VMs
    "vm-list": Known(),
    "vm-create": Known(writes={"post": Write("compute.create_vm", _WIZARD)}),
    "vm-create-quote": Known(writes={"post": Write("compute.create_vm", _WIZARD)}),
    "vm-batch-start": Known(writes={"post": Write("compute.start_vm", {"ids": ["{stopped_vm}"]})}),
    "vm-batch-shut-down": Known(writes={"post": Write("compute.shut_down_vm", {"ids": ["{vm}"]})}),
    "vm-batch-resume": Known(writes={"post": Write("compute.resume_vm", {"ids": ["{paused_vm}"]})}),
    "vm-batch-power-off": Known(writes={"post": Write("compute.power_off_vm", {"ids": ["{vm}"]})}),
    "vm-batch-restart": Known(writes={"post": Write("compute.restart_vm", {"ids": ["{vm}"]})}),
    "vm-batch-delete": Known(writes={"post": Write("compute.delete_vm", {"ids": ["{vm}"]})}),
    "vm-start": _vm_verb("start_vm", sample="stopped_vm"),
    "vm-shut-down": _vm_verb("shut_down_vm"),
    "vm-restart": _vm_verb("restart_vm"),
    "vm-power-off": _vm_verb("power_off_vm"),
    "vm-resume": _vm_verb("resume_vm", sample="paused_vm"),
    "vm-vnc-information": _vm_verb("get_vnc_information"),
    "vm-renew": own(
        "vm",
        "billing.renew_resource",
        {"periods": "1", "quote_token": "{renewal_token}"},
        "vm_id",
    ),
    "vm-rename": _vm_verb("rename_vm", _NAME),
    "vm-protect": _vm_verb("protect_vm", {"protected": "on"}),
    "vm-delete": _vm_verb("delete_vm"),
    "vm-restore": _vm_verb("restore_vm", sample="binned_vm"),
    "vm-destroy": _vm_verb("destroy_vm", {"typed_name": "{binned_vm_name}"}, "binned_vm"),
    "vm-detail": Known({"vm_id": "vm"}),
    "vm-name": _vm_verb("rename_vm", _NAME),
    "vm-disks": Known({"vm_id": "vm"}),
    "vm-network": Known({"vm_id": "vm"}),
    "vm-log": Known({"vm_id": "vm"}),
    "vm-events": Known({"vm_id": "vm"}),
    "vm-charts": Known({"vm_id": "vm"}),
    "vm-charts-csv": Known({"vm_id": "vm"}),
    "busiest-vms": Known(),
    "recent-usage": Known(query="ids={vm}"),
    "vm-screen": Known({"vm_id": "vm"}),
    "vm-guest-part": Known({"vm_id": "vm", "part": "=system"}),
    "vm-look": Known({"vm_id": "vm", "what": "=console"}, {"post": Write("compute.look_at_guest")}),
    "vm-look-facts": _vm_verb("view_vm"),
    "vm-screenshot": Known({"vm_id": "vm"}),
    "vm-console-log": Known({"vm_id": "vm"}),
    "vm-rdp": Known({"vm_id": "vm"}),
    "vm-screen-ticket": _vm_verb("open_vnc"),
    "vm-screen-part": Known({"vm_id": "vm", "part": "=status"}),
    # --- SSH keys
    "ssh-key-list": Known(),
    "ssh-key-create": Known(
        writes={
            "post": Write("compute.create_ssh_key", {"name": "new", "public_key": OTHER_SSH_KEY})
        }
    ),
    "ssh-key-rename": own("ssh_key", "compute.rename_ssh_key", {"name": "renamed"}),
    "ssh-key-delete": own("ssh_key", "compute.delete_ssh_key"),
    # --- the recycle bin
    "bin": Known(),
    "bin-kind": Known({"kind": "=vm"}),
    "bin-batch-restore": Known(
        {"kind": "=vm"}, {"post": Write("compute.restore_vm", {"ids": ["{binned_vm}"]})}
    ),
    "bin-batch-destroy": Known(
        {"kind": "=vm"},
        {"post": Write("compute.destroy_vm", {"ids": ["{binned_vm}"], "typed_count": "1"})},
    ),
    "bin-restore": Known({"kind": "=vm", "pk": "binned_vm"}, {"post": Write("compute.restore_vm")}),
    "bin-renew": Known(
        {"kind": "=vm", "pk": "binned_vm"},
        {
            "post": Write(
                "billing.renew_resource", {"periods": "1", "quote_token": "{binned_renewal_token}"}
            )
        },
    ),
    "bin-destroy": Known(
        {"kind": "=vm", "pk": "binned_vm"},
        {"post": Write("compute.destroy_vm", {"typed_name": "{binned_vm_name}"})},
    ),
    # --- the network
    "vpc-list": Known(),
    "vpc-create": Known(
        writes={"post": Write("network.create_vpc", {"name": "new", "cidr": "10.99.0.0/16"})}
    ),
    "vpc-detail": Known({"pk": "vpc"}),
    "vpc-rename": own("vpc", "network.rename_vpc", _NAME),
    "vpc-delete": own("empty_vpc", "network.delete_vpc", {"typed_name": "{empty_vpc_name}"}),
    "subnet-create": own(
        "empty_vpc", "network.create_subnet", {"name": "new", "cidr": "10.88.1.0/24"}
    ),
    "subnet-detail": Known({"pk": "subnet"}),
    "subnet-rename": own("subnet", "network.rename_subnet", _NAME),
    "subnet-delete": own("subnet", "network.delete_subnet"),
    "subnet-configure": own(
        "subnet", "network.configure_subnet", {"dns_servers": "192.0.2.53", "routes": ""}
    ),
    "subnet-turn-on-ipv6": own("subnet", "network.turn_on_ipv6"),
    "subnet-turn-off-ipv6": own("subnet", "network.turn_off_ipv6"),
    "security-group-list": Known(),
    "security-group-create": Known(
        writes={"post": Write("network.create_security_group", {"name": "new"})}
    ),
    "security-group-detail": Known({"pk": "group"}),
    "security-group-rename": own("group", "network.rename_security_group", _NAME),
    "security-group-delete": own("empty_group", "network.delete_security_group"),
    "security-group-rules-csv": Known({"pk": "group"}),
    "security-group-add-template": own("group", "network.add_template", _TEMPLATE),
    "security-group-import-rules": own("group", "network.import_rules", _RULES_FILE),
    "security-group-copy": own("group", "network.copy_security_group", _NAME),
    "network-reach": Known(),
    "network-topology": Known(),
    "rule-add": own("group", "network.add_rule", _RULE_FORM),
    "rules-remove": Known(writes={"post": Write("network.remove_rule", {"ids": ["{rule}"]})}),
    "rule-edit": own("rule", "network.edit_rule", _RULE_FORM),
    "rule-remove": own("rule", "network.remove_rule"),
    # --- billing
    "billing-history": Known(),
    "billing": Known(),
    "billing-recharge": Known(
        writes={"post": Write("billing.recharge", {"amount": "10", "key": "{uuid}"})}
    ),
    "billing-renew": own(
        "vm",
        "billing.renew_resource",
        {"periods": "1", "quote_token": "{renewal_token}"},
        "resource_id",
    ),
    "billing-renew-together": Known(
        writes={
            "post": Write(
                "billing.renew_resources",
                {"ids": ["{subscription}"], "extent": "1", "quote_token": "{together_token}"},
            )
        },
        query="ids={subscription}",
    ),
    "billing-default-renew": Known(
        writes={"post": Write("billing.set_default_auto_renew", {"auto_renew": "off"})}
    ),
    "billing-low-balance": Known(
        writes={"post": Write("billing.set_low_balance", {"below": "50"})}
    ),
    "billing-auto-renew": Known(
        {"resource_id": "vm", "wanted": "=off"}, {"post": Write("billing.set_auto_renew")}
    ),
    "budget-list": Known(),
    "budget-create": Known(writes={"post": Write("billing.create_budget", _BUDGET_FORM)}),
    "budget-edit": own("budget", "billing.edit_budget", _BUDGET_FORM),
    "budget-delete": own("budget", "billing.delete_budget"),
    "orders": Known(),
    "order-detail": Known({"order_id": "order"}),
    "order-charge": Known({"order_id": "order", "number": "=1"}),
    "transactions": Known(),
    "billing-address": Known(
        writes={"post": Write("billing.set_address", {"name": "New Ltd.", "lines": "1 Road"})}
    ),
    "statements": Known(),
    "statement-detail": Known({"month": _MONTH}),
    "statement-pdf": Known({"month": _MONTH}),
    "statement-charges": Known({"month": _MONTH}),
    "billing-pay": Known(
        writes={"post": Write("billing.start_payment", {"amount": "10", "key": "{uuid}"})}
    ),
    "payments": Known(),
    "payment-detail": Known({"payment_id": "payment"}),
    # Believed by its signature alone; without one it is refused.
    "payment-events": Known(
        {"provider": "=sandbox"}, {"post": Write(OPEN)}, public=True, unknown=True
    ),
    "payment-sandbox": Known(
        {"token": "=unknown"}, {"post": Write(OPEN)}, public=True, unknown=True
    ),
    "prices": Known(),
    "quotas": Known(),
    "quota-request": Known(
        writes={"post": Write("billing.request_quota", {"item": "vms", "limit_wanted": "999"})}
    ),
}

_API: dict[str, Known] = {
    "openapi": Known(public=True),
    "api-api-key-list": Known(
        writes={"post": Write("tenancy.manage_api_keys", {"name": "robot"})}, person=True
    ),
    "api-api-key-detail": Known({"pk": "key"}, person=True),
    "api-api-key-set-networks": Known(
        {"pk": "key"},
        {"post": Write("tenancy.manage_api_keys", {"networks": ["192.0.2.0/24"]})},
        person=True,
    ),
    "api-api-key-revoke": Known(
        {"pk": "key"}, {"post": Write("tenancy.manage_api_keys")}, person=True
    ),
    "api-account": Known(),
    "api-recharge": Known(writes={"post": Write("billing.recharge", {"amount": "10.00"})}),
    "api-account-set-auto-renew": Known(
        writes={"post": Write("billing.set_default_auto_renew", {"auto_renew": False})}
    ),
    "api-account-set-low-balance": Known(
        writes={"post": Write("billing.set_low_balance", {"below": "50.00"})}
    ),
    "api-budget-list": Known(writes={"post": Write("billing.create_budget", _BUDGET)}),
    "api-budget-detail": Known(
        {"pk": "budget"},
        {
            "put": Write("billing.edit_budget", _BUDGET),
            "delete": Write("billing.delete_budget"),
        },
    ),
    "api-prices": Known(),
    "api-quotas": Known(),
    "api-order-list": Known(),
    "api-order-detail": Known({"pk": "order"}),
    "api-order-charges": Known({"pk": "order", "number": "=1"}),
    "api-billing-address": Known(
        writes={"put": Write("billing.set_address", {"name": "New Ltd.", "lines": ["1 Road"]})}
    ),
    "api-statement-list": Known(),
    "api-statement-detail": Known({"month": _MONTH}),
    "api-statement-pdf": Known({"month": _MONTH}),
    "api-transaction-list": Known(),
    "api-transaction-detail": Known({"pk": "transaction"}),
    "api-subscription-list": Known(),
    "api-subscription-detail": Known({"resource_id": "vm"}),
    "api-payment-list": Known(writes={"post": Write("billing.start_payment", {"amount": "10.00"})}),
    "api-payment-detail": Known({"pk": "payment"}),
    "api-subscription-renew": own(
        "vm",
        "billing.renew_resource",
        {"periods": 1, "quote_token": "{renewal_token}"},
        "resource_id",
    ),
    "api-subscription-renewal-quote": own("vm", "billing.quote", {"periods": 1}, "resource_id"),
    "api-subscription-renewal-quotes": Known(
        writes={"post": Write("billing.quote", {"resources": ["{vm}"], "periods": 1})}
    ),
    "api-subscription-renew-together": Known(
        writes={
            "post": Write(
                "billing.renew_resources",
                {"resources": ["{vm}"], "periods": 1, "quote_token": "{together_token}"},
            )
        }
    ),
    "api-subscription-end-quote": own("vm", "billing.quote", {}, "resource_id"),
    "api-subscription-set-auto-renew": own(
        "vm", "billing.set_auto_renew", {"auto_renew": False}, "resource_id"
    ),
    "api-quota-request-list": Known(
        writes={
            "post": Write(
                "billing.request_quota", {"region": "{region}", "item": "vms", "limit_wanted": 999}
            )
        }
    ),
    "api-quota-request-detail": Known({"pk": "quota_request"}),
    "api-vpc-list": Known(
        writes={
            "post": Write(
                "network.create_vpc",
                {"region": "{region}", "name": "new", "cidr": "10.99.0.0/16"},
            )
        }
    ),
    "api-vpc-detail": Known(
        {"pk": "empty_vpc"},
        {
            "patch": Write("network.rename_vpc", {"name": "renamed"}),
            "delete": Write("network.delete_vpc"),
        },
    ),
    "api-subnet-list": Known(
        writes={
            "post": Write(
                "network.create_subnet",
                {"vpc": "{empty_vpc}", "name": "new", "cidr": "10.88.1.0/24"},
            )
        }
    ),
    "api-subnet-detail": Known(
        {"pk": "subnet"},
        {
            "patch": Write("network.rename_subnet", {"name": "renamed"}),
            "delete": Write("network.delete_subnet"),
        },
    ),
    "api-subnet-configure": own(
        "subnet", "network.configure_subnet", {"dns_servers": ["192.0.2.53"]}
    ),
    "api-subnet-turn-on-ipv6": own("subnet", "network.turn_on_ipv6"),
    "api-subnet-turn-off-ipv6": own("subnet", "network.turn_off_ipv6"),
    "api-security-group-list": Known(
        writes={
            "post": Write("network.create_security_group", {"region": "{region}", "name": "new"})
        }
    ),
    "api-security-group-detail": Known(
        {"pk": "empty_group"},
        {
            "patch": Write("network.rename_security_group", {"name": "renamed"}),
            "delete": Write("network.delete_security_group"),
        },
    ),
    "api-security-group-rules": own("group", "network.add_rule", _RULE),
    "api-security-group-rules-csv": Known({"pk": "group"}),
    "api-security-group-add-template": own("group", "network.add_template", _TEMPLATE),
    "api-security-group-import-rules": own("group", "network.import_rules", _RULES_FILE),
    "api-security-group-copy": own("group", "network.copy_security_group", _NAME),
    "api-security-group-templates": Known(),
    "api-metrics-prometheus": Known(),
    "api-metrics": Known(),
    "api-vm-metrics": Known({"pk": "vm"}, query="metrics=cpu_usage_ratio"),
    "api-external-ip-metrics": Known(
        {"pk": "eip"}, query="metrics=external_ip_receive_bytes_per_second"
    ),
    "api-reachability": Known(query="source={vm}&destination=192.0.2.1&protocol=icmp"),
    "api-security-group-rule": Known(
        {"pk": "rule"},
        {
            "put": Write("network.edit_rule", _RULE),
            "delete": Write("network.remove_rule"),
        },
    ),
    "api-vm-list": Known(writes={"post": Write("compute.create_vm", _ORDER)}),
    "api-vm-batch": Known(
        writes={"post": Write("compute.start_vm", {"verb": "start_vm", "ids": ["{stopped_vm}"]})}
    ),
    "api-vm-quote": Known(writes={"post": Write("billing.quote", asked(_ORDER))}),
    "api-vm-detail": Known(
        {"pk": "vm"},
        {
            "patch": Write("compute.rename_vm", {"name": "renamed"}),
            "delete": Write("compute.delete_vm"),
        },
    ),
    "api-vm-destroy-for-good": own("binned_vm", "compute.destroy_vm"),
    "api-vm-power-off": own("vm", "compute.power_off_vm"),
    "api-vm-resume": own("paused_vm", "compute.resume_vm"),
    "api-vm-restart": own("vm", "compute.restart_vm"),
    "api-vm-restore": own("binned_vm", "compute.restore_vm"),
    "api-vm-shut-down": own("vm", "compute.shut_down_vm"),
    "api-vm-start": own("stopped_vm", "compute.start_vm"),
    "api-ssh-key-list": Known(
        writes={
            "post": Write("compute.create_ssh_key", {"name": "new", "public_key": OTHER_SSH_KEY})
        }
    ),
    "api-ssh-key-detail": Known(
        {"pk": "ssh_key"},
        {
            "patch": Write("compute.rename_ssh_key", {"name": "renamed"}),
            "delete": Write("compute.delete_ssh_key"),
        },
    ),
    "api-region-list": Known(),
    "api-region-detail": Known({"pk": "=box"}),
    "api-job-list": Known(),
    "api-job-detail": Known({"pk": "job"}),
    "api-models": Known(),
    "api-disk-types": Known(),
}

KNOWN: dict[str, Known] = {
    **_CONSOLE,
    **_API,
    **STORAGE_API,
    **STORAGE_CONSOLE,
    **OUTSIDE_API,
    **OUTSIDE_CONSOLE,
    **ALARM_API,
    **ALARM_CONSOLE,
}

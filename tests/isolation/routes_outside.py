"""What the tests know of the URLs of external IPs and segments."""

from __future__ import annotations

from typing import Any

from tests.isolation.known import Known, Write, asked, own

_BUY = {
    "region": "{region}",
    "segment": "{segment}",
    "bandwidth_mbps": 5,
    "quote_token": "{quote_token}",
}
_FORM = {
    "segment": "{segment}",
    "bandwidth_mbps": "5",
    "count": "1",
    "name": "new",
    "duration": "hour:1",
    "quote_token": "{quote_token}",
}
_MBPS = {"bandwidth_mbps": 9, "quote_token": "{quote_token}"}


def _eip(verb: str, body: dict[str, Any] | None = None, sample: str = "eip") -> Known:
    return own(sample, f"network.{verb}", body)


def _eni(verb: str, body: dict[str, Any] | None = None, sample: str = "eni") -> Known:
    return own(sample, f"network.{verb}", body)


_BUY_ENI = {"region": "{region}", "subnet": "{subnet}", "name": "new"}
_ENI_FORM = {
    "where": "{subnet}",
    "security_group": "{group}",
    "name": "new",
    "duration": "hour:1",
}

OUTSIDE_API: dict[str, Known] = {
    "api-eni-list": Known(writes={"post": Write("network.create_eni", _BUY_ENI)}),
    "api-eni-quote": Known(writes={"post": Write("billing.quote", asked(_BUY))}),
    "api-eni-detail": Known(
        {"pk": "eni"},
        {
            "patch": Write("network.rename_eni", {"name": "renamed"}),
            "delete": Write("network.delete_eni"),
        },
    ),
    "api-eni-bind": _eni("bind_eni", {"vm": "{stopped_vm}"}),
    "api-eni-unbind": _eni("unbind_eni", {}, "bound_eni"),
    "api-eni-set-default-egress": _eni("set_eni_egress", {}, "external_eni"),
    "api-eni-change-security-group": _eni("change_eni_group", {"security_group": "{group}"}),
    "api-eni-change-bandwidth": _eni("resize_eni", _MBPS, "external_eni"),
    "api-eni-quote-eni-bandwidth": own("external_eni", "billing.quote", {"bandwidth_mbps": 9}),
    "api-vm-bind-eni": own("stopped_vm", "network.bind_eni", {"eni": "{eni}"}),
    "api-vm-unbind-eni": own("vm", "network.unbind_eni", {"eni": "{bound_eni}"}),
    "api-segments": Known(),
    "api-external-ip-list": Known(writes={"post": Write("network.create_external_ip", _BUY)}),
    "api-external-ip-quote": Known(writes={"post": Write("billing.quote", asked(_BUY))}),
    "api-external-ip-detail": Known(
        {"pk": "eip"},
        {
            "patch": Write("network.rename_external_ip", {"name": "renamed"}),
            "delete": Write("network.delete_external_ip"),
        },
    ),
    "api-external-ip-bind": _eip("bind_external_ip", {"target": "{stopped_vm}"}),
    "api-external-ip-unbind": _eip("unbind_external_ip", {}, "bound_eip"),
    "api-external-ip-set-default-egress": _eip("set_default_egress", {}, "bound_eip"),
    "api-external-ip-change-bandwidth": _eip("resize_external_ip", _MBPS),
    "api-external-ip-quote-bandwidth": own("eip", "billing.quote", {"bandwidth_mbps": 9}),
    "api-external-ip-restore": _eip("restore_external_ip", {}, "binned_eip"),
    "api-external-ip-destroy-for-good": _eip("destroy_external_ip", {}, "binned_eip"),
    "api-vm-bind-external-ip": own(
        "stopped_vm", "network.bind_external_ip", {"external_ip": "{eip}"}
    ),
    "api-vm-unbind-external-ip": own(
        "vm", "network.unbind_external_ip", {"external_ip": "{bound_eip}"}
    ),
}

OUTSIDE_CONSOLE: dict[str, Known] = {
    "eni-list": Known(),
    "eni-create": Known(writes={"post": Write("network.create_eni", _ENI_FORM)}),
    "eni-detail": Known({"pk": "bound_eni"}),
    "eni-bind": _eni("bind_eni", {"vm": "{stopped_vm}"}),
    "eni-unbind": _eni("unbind_eni", {}, "bound_eni"),
    "eni-set-default-egress": _eni("set_eni_egress", {}, "external_eni"),
    "eni-change-security-group": _eni("change_eni_group", {"group": "{group}"}),
    "eni-change-bandwidth": _eni("resize_eni", _MBPS, "external_eni"),
    "eni-rename": _eni("rename_eni", {"name": "renamed", "remark": "changed"}),
    "eni-renew": own(
        "external_eni",
        "billing.renew_resource",
        {"periods": "1", "quote_token": "{eni_renewal_token}"},
    ),
    "eni-delete": _eni("delete_eni"),
    "eni-batch-unbind": Known(
        writes={"post": Write("network.unbind_eni", {"ids": ["{bound_eni}"]})}
    ),
    "eni-batch-delete": Known(writes={"post": Write("network.delete_eni", {"ids": ["{eni}"]})}),
    "vm-bind-eni": own("stopped_vm", "network.bind_eni", {"eni": "{eni}"}, "vm_id"),
    "vm-unbind-eni": own("vm", "network.unbind_eni", {"eni": "{bound_eni}"}, "vm_id"),
    "external-ip-list": Known(),
    "external-ip-create": Known(writes={"post": Write("network.create_external_ip", _FORM)}),
    "external-ip-detail": Known({"pk": "bound_eip"}),
    "external-ip-bind": _eip("bind_external_ip", {"target": "{stopped_vm}"}),
    "external-ip-unbind": _eip("unbind_external_ip", {}, "bound_eip"),
    "external-ip-set-default-egress": _eip("set_default_egress", {}, "bound_eip"),
    "external-ip-change-bandwidth": _eip("resize_external_ip", _MBPS),
    "external-ip-rename": _eip("rename_external_ip", {"name": "renamed", "remark": "changed"}),
    "external-ip-renew": own(
        "eip",
        "billing.renew_resource",
        {"periods": "1", "quote_token": "{eip_renewal_token}"},
    ),
    "external-ip-delete": _eip("delete_external_ip"),
    "external-ip-batch-unbind": Known(
        writes={"post": Write("network.unbind_external_ip", {"ids": ["{bound_eip}"]})}
    ),
    "external-ip-batch-delete": Known(
        writes={"post": Write("network.delete_external_ip", {"ids": ["{eip}"]})}
    ),
    "vm-bind-external-ip": own(
        "stopped_vm", "network.bind_external_ip", {"external_ip": "{eip}"}, "vm_id"
    ),
    "vm-unbind-external-ip": own(
        "vm", "network.unbind_external_ip", {"external_ip": "{bound_eip}"}, "vm_id"
    ),
}

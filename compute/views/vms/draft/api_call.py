"""The purchase that the wizard shows, as the call of the API that makes it."""

from __future__ import annotations

import json
import shlex
from typing import Any

from compute.rules.orders import VmOrder

# What people put in themselves: a key of the API, and the password, which is never sent back.
KEY = "YOUR_API_KEY"
PASSWORD = "YOUR_PASSWORD"  # noqa: S105  # a placeholder


def body_of(order: VmOrder, quote_token: str) -> dict[str, Any]:
    """Return the body of ``POST /vms`` that buys exactly this order at the quoted price.

    A password stands in it as a placeholder, and only where no SSH key lets anybody in.
    """
    body: dict[str, Any] = {
        "region": order.region.pk,
        "cluster": order.cluster.pk,
        "image": order.image.pk,
        "vcpus": order.spec.vcpus,
        "memory_mib": order.spec.memory_mib,
        "system_disk_type": order.system_disk_type.pk,
        "system_disk_gib": order.system_disk_gib,
        "subnet": order.subnet.pk,
        # null is none; left out, it would be the default group.
        "internal_security_group": order.internal_group.pk if order.internal_group else None,
        "external_security_group": order.external_group.pk if order.external_group else None,
        "name": order.name,
        "billing_method": order.method,
        "periods": order.periods,
        "count": order.count,
        "auto_renew": order.auto_renew,
    }
    if order.data_disk_type is not None:
        body["data_disk_type"] = order.data_disk_type.pk
        body["data_disk_gib"] = order.data_disk_gib
    if order.external_segment is not None:
        body["external_segment"] = order.external_segment.pk
        body["external_bandwidth_mbps"] = order.external_bandwidth_mbps
    if order.placement_group is not None:
        body["placement_group"] = order.placement_group.pk
    more = {
        "gpu_count": order.gpu_count,
        "private_ips": list(order.private_ips),
        "names": list(order.names),
        "remark": order.remark,
        "tags": list(order.tags),
        "ssh_public_key": order.ssh_public_key,
        "user_data": order.user_data,
    }
    body |= {name: value for name, value in more.items() if value}
    if not order.ssh_public_key.strip():
        body["password"] = PASSWORD
    return {**body, "quote_token": quote_token}


def command_of(url: str, body: dict[str, Any]) -> str:
    """Return the call as a command of a shell, with a placeholder for the key."""
    text = json.dumps(body, ensure_ascii=False, indent=2)
    return " \\\n  ".join(
        (
            f"curl -X POST {shlex.quote(url)}",
            f"-H 'Authorization: Bearer {KEY}'",
            "-H 'Content-Type: application/json'",
            f"--data-raw {shlex.quote(text)}",
        )
    )

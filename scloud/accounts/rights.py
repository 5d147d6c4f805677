"""What rights are called: the scopes of API keys, and what tenants make roles of their own from."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from scloud.tenancy.permissions import SPEND, matches

Text = str | Promise

SCOPES: Final[Mapping[str, Text]] = {
    "compute.*": _("Manage VMs, disks, snapshots and images"),
    "compute.view*": _("See VMs, disks, snapshots and images"),
    "network.*": _("Manage networks and external IPs"),
    "network.view*": _("See networks and external IPs"),
    "billing.*": _("Manage billing, and spend money"),
    "billing.view*": _("See costs and quotas"),
    "alarms.*": _("Manage alarms and notifications"),
    "alarms.view*": _("See alarms and measurements"),
    "resources.*": _("See regions and the recycle bin"),
    "resources.view*": _("See regions and the recycle bin"),
    "jobs.*": _("See running tasks"),
    "jobs.view*": _("See running tasks"),
    "audit.*": _("See the operation log"),
    "audit.view*": _("See the operation log"),
    SPEND: _("Spend money: buy, renew, upgrade"),
}


def scope_words(scope: str) -> str:
    """Return what people read for a scope; a scope that has no words is shown as it is."""
    return str(SCOPES.get(scope, scope))


@dataclass(frozen=True)
class Ability:
    """A line of the form of a role: words for some permissions, or for patterns of them.

    ``key`` is what forms send. Roles keep the permissions, so that one never grows because an
    ability has got another permission.
    """

    key: str
    label: Text
    permissions: tuple[str, ...]


def _all_of(app: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{app}.{name}" for name in names)


ABILITIES: Final[Sequence[Ability]] = (
    Ability("compute-view", _("See VMs, disks, snapshots and images"), ("compute.view*",)),
    Ability(
        "compute-power",
        _("Start, stop and restart VMs"),
        _all_of(
            "compute", "start_vm", "shut_down_vm", "power_off_vm", "restart_vm", "resume_vm"
        ),
    ),
    Ability(
        "compute-screen",
        _("Use the screens of VMs"),
        _all_of("compute", "open_vnc", "get_vnc_information", "look_at_guest"),
    ),
    Ability(
        "compute-snapshots",
        _("Create, schedule and delete snapshots"),
        _all_of(
            "compute", "create_snapshot", "rename_snapshot", "delete_snapshot",
            "set_snapshot_schedule", "delete_snapshot_schedule",
        ),
    ),
    Ability(
        "compute-create",
        _("Create VMs and disks; needs spending money as well"),
        _all_of(
            "compute", "create_vm", "create_disk", "clone_disk", "create_disk_from_snapshot",
            "attach_disk", "detach_disk", "view_catalogue",
        ),
    ),
    Ability("compute-all", _("Manage VMs, disks, snapshots and images"), ("compute.*",)),
    Ability("network-view", _("See networks and external IPs"), ("network.view*",)),
    Ability(
        "network-rules",
        _("Change the rules of security groups"),
        _all_of(
            "network", "add_rule", "add_template", "edit_rule", "import_rules", "remove_rule",
            "change_security_group",
        ),
    ),
    Ability(
        "network-addresses",
        _("Bind and unbind external IPs"),
        _all_of("network", "bind_external_ip", "unbind_external_ip", "set_default_egress"),
    ),
    Ability("network-all", _("Manage networks and external IPs"), ("network.*",)),
    Ability("billing-view", _("See costs, balance and quotas"), ("billing.view*",)),
    Ability(
        "billing-spend",
        _("Spend money: see prices, buy, renew, upgrade"),
        ("billing.quote", SPEND, "billing.renew_resource", "billing.renew_resources"),
    ),
    Ability(
        "billing-all",
        _("Manage billing, and spend money: top up, buy, budgets, addresses"),
        ("billing.*",),
    ),
    Ability("alarms-view", _("See alarms and measurements"), ("alarms.view*",)),
    Ability(
        "alarms-answer",
        _("Acknowledge alarms and silence them"),
        _all_of("alarms", "acknowledge_alarm", "create_silence", "end_silence"),
    ),
    Ability("alarms-all", _("Manage alarms and notifications"), ("alarms.*",)),
    Ability(
        "resources-view",
        _("See running tasks, regions and the recycle bin"),
        ("resources.view*", "jobs.view*"),
    ),
    Ability("audit-view", _("See the operation log"), ("audit.view*",)),
    Ability("api-keys", _("Create API keys of one's own"), ("tenancy.manage_api_keys",)),
)  # fmt: skip


def permissions_of(keys: Iterable[str]) -> list[str]:
    """Return the permissions of abilities, in order and each once. Raises KeyError."""
    wanted = set(keys)
    unknown = wanted - {ability.key for ability in ABILITIES}
    if unknown:
        raise KeyError(min(unknown))
    found = [one for ability in ABILITIES if ability.key in wanted for one in ability.permissions]
    return sorted(set(found), key=found.index)


def abilities_in(permissions: Sequence[str]) -> list[Ability]:
    """Return the abilities that permissions include wholly."""
    return [
        ability
        for ability in ABILITIES
        if all(
            any(given == wanted or matches(given, wanted.rstrip("*")) for given in permissions)
            for wanted in ability.permissions
        )
    ]

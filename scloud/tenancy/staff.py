"""Roles of the platform's staff, and what each may do in Django admin.

One table for pages and verbs: a page needs Django's permission of its model, such as
``compute.view_vm``, a verb the right of its action, such as ``platform.migrate_vm``. Patterns end
in ``*``. What no role is given is for administrators alone, who have no role.
"""

from typing import Final, Protocol

from django.db import models
from django.utils.translation import gettext_lazy as _

from scloud.tenancy.permissions import matches


class Member(Protocol):
    """What counts of a user."""

    @property
    def is_active(self) -> bool: ...
    @property
    def is_staff(self) -> bool: ...
    @property
    def is_superuser(self) -> bool: ...
    @property
    def tenant_id(self) -> str | None: ...
    @property
    def staff_role(self) -> str: ...


class StaffRole(models.TextChoices):
    """What a member of the staff does; nothing means administrator."""

    SUPPORT = "support", _("Support")
    FINANCE = "finance", _("Finance")
    OPERATIONS = "operations", _("Operations")


_LOOK: Final = (
    "compute.view*", "network.view*", "alarms.view*", "audit.view*", "jobs.view*",
    "resources.view*", "recovery.view*", "tenancy.view*", "billing.view*",
)  # fmt: skip

GRANTS: Final[dict[str, tuple[str, ...]]] = {
    # Helps tenants: sees everything, runs their VMs, and changes nothing of the platform.
    StaffRole.SUPPORT: (
        *_LOOK,
        "compute.start_vm",
        "compute.shut_down_vm",
        "compute.restart_vm",
        "compute.power_off_vm",
        "compute.resume_vm",
        "platform.acknowledge_job",
        "platform.retry_job",
        "platform.trace_packet",
        "platform.reset_second_factor",
        "platform.act_as",
    ),
    # Sees what tenants have and pay, decides about money and requests for quota. Above which amount
    # two people decide is none of their settings.
    StaffRole.FINANCE: (
        "billing.view*",
        "billing.add_account",
        *(
            f"billing.{verb}_{model}"
            for verb in ("add", "change", "delete")
            for model in ("pricelist", "price", "discount")
        ),
        "audit.view*",
        "resources.view*",
        "tenancy.view_tenant",
        "tenancy.view_user",
        "compute.view_vm",
        "compute.view_disk",
        "compute.view_snapshot",
        "compute.view_image",
        "network.view_externalip",
        "platform.enter_top_up",
        "platform.decide_top_up",
        "platform.enter_payment_refund",
        "platform.decide_payment_refund",
        "platform.copy_price_list",
        "platform.publish_price_list",
        "platform.decide_quota_request",
    ),
    # Runs hosts, storage and network; neither money nor people.
    StaffRole.OPERATIONS: (
        *(pattern for pattern in _LOOK if not pattern.startswith("billing.")),
        "billing.view_quota*",
        "compute.*",
        "network.*",
        "alarms.*",
        "jobs.*",
        "resources.*",
        "recovery.*",
        "platform.abort_maintenance",
        "platform.accept_host",
        "platform.acknowledge_alarm",
        "platform.acknowledge_job",
        "platform.add_host",
        "platform.add_operator_contact",
        "platform.add_operator_webhook",
        "platform.adopt_pool",
        "platform.announce",
        "platform.apply_network",
        "platform.cancel_job",
        "platform.change_image",
        "platform.change_vm_placement",
        "platform.confirm_host_off",
        "platform.continue_roll",
        "platform.create_operators_group",
        "platform.delete_external_segment",
        "platform.delete_fence_device",
        "platform.delete_operators_group",
        "platform.enter_maintenance",
        "platform.fail_over_vm",
        "platform.fence_host",
        "platform.leave_maintenance",
        "platform.lock_host",
        "platform.migrate_vm",
        "platform.offer_base_image",
        "platform.power_off_host",
        "platform.power_on_host",
        "platform.reconcile_network",
        "platform.release_sweeps",
        "platform.remove_host",
        "platform.rename_operators_group",
        "platform.replace_base_image",
        "platform.retry_job",
        "platform.return_host",
        "platform.save_external_segment",
        "platform.save_fence_device",
        "platform.save_pool",
        "platform.start_roll",
        "platform.stop_roll",
        "platform.test_fence_device",
        "platform.test_host",
        "platform.test_pool",
        "platform.trace_packet",
        "platform.unlock_host",
        "platform.withdraw_base_image",
    ),
}


def may(user: Member, right: str) -> bool:
    """Tell whether a member of the staff has a right; without a name only administrators do."""
    if not (user.is_active and user.is_staff and user.tenant_id is None):
        return False
    if user.is_superuser:
        return True
    return bool(right) and any(matches(one, right) for one in GRANTS.get(user.staff_role, ()))


def sees_app(user: Member, app_label: str) -> bool:
    """Tell whether a member of the staff sees any page of an app."""
    if not (user.is_active and user.is_staff and user.tenant_id is None):
        return False
    if user.is_superuser:
        return True
    return any(one.startswith(f"{app_label}.") for one in GRANTS.get(user.staff_role, ()))

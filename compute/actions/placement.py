"""Placement groups: which VMs stay on different hosts, or on one."""

from __future__ import annotations

from typing import Final

from django.utils.translation import gettext as _

from compute.hosts import placement
from compute.hosts.groups import GroupRule, members_of
from compute.models import VM, Cluster, PlacementGroup
from compute.models.placement import GroupPolicy
from compute.rules.validation import check_name, check_remark
from compute.states.vms import FailoverPriority, VmStatus
from compute.transitions.vms import VMS
from scloud.audit import action as audit
from scloud.audit import events
from scloud.audit.action import action
from scloud.lib.errors import Conflict, InvalidInput, NotFound
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant

GROUPS_PER_TENANT: Final = 50
VMS_PER_GROUP: Final = 100


def check_group(group: PlacementGroup | None, region: Region) -> None:
    """Raise InvalidInput (``region_differs``) for a group of another region."""
    if group is not None and group.region_id != region.pk:
        raise InvalidInput(
            _("The placement group %(name)s is in another region.") % {"name": group.name},
            code="region_differs",
            field="placement_group",
        )


def join_group(group: PlacementGroup, cluster: Cluster, more: int = 1) -> None:
    """Lock a group until the transaction ends, and see that so many VMs more may be in it.

    Locks the group before the hosts. Raises NotFound, Conflict (``group_full``,
    ``cluster_differs``).
    """
    fresh = _locked(group)
    # A platform row has members of all tenants; a tenant's only its own.
    living = members_of(fresh).exclude(status=VmStatus.DESTROYED)
    used = living.count()
    if used + more > VMS_PER_GROUP:
        raise Conflict(
            _("A placement group has at most %(limit)s VMs.") % {"limit": VMS_PER_GROUP},
            code="group_full",
            field="placement_group",
            remedy=_("Use another placement group, or none."),
            numbers={"limit": VMS_PER_GROUP, "used": used, "asked": more},
        )
    if fresh.policy == GroupPolicy.TOGETHER and living.exclude(cluster=cluster).exists():
        raise Conflict(
            _("The VMs of %(name)s are of another model, so they cannot share a host.")
            % {"name": fresh.name},
            code="cluster_differs",
            field="placement_group",
            remedy=_("Choose the same model, or another placement group."),
        )


def _locked(group: PlacementGroup) -> PlacementGroup:
    fresh: PlacementGroup | None = (
        PlacementGroup.objects.select_for_update(no_key=True).filter(pk=group.pk).first()
    )
    if fresh is None:
        raise NotFound(
            _("There is no placement group %(group)s.") % {"group": group.pk},
            field="placement_group",
        )
    return fresh


@action("compute.create_placement_group")
def create_placement_group(
    *,
    actor: Actor,
    region: Region,
    name: str,
    policy: str,
    required: bool = True,
    remark: str = "",
) -> PlacementGroup:
    """Create a group without VMs. Its policy never changes.

    Raises InvalidInput (``name_invalid``, ``policy_invalid``, ``region_disabled``), Conflict
    (``too_many_groups``).
    """
    if actor.tenant is None:
        raise InvalidInput(_("A tenant is needed."), code="tenant_missing", field="tenant")
    if not region.enabled:
        raise InvalidInput(
            _("Region %(name)s accepts no new resources.") % {"name": region.name},
            code="region_disabled",
            field="region",
        )
    # Two at once would both see room for one more.
    Tenant.objects.select_for_update(no_key=True).get(pk=actor.tenant.pk)
    used = PlacementGroup.objects.filter(tenant=actor.tenant).count()
    if used >= GROUPS_PER_TENANT:
        raise Conflict(
            _("There are at most %(limit)s placement groups.") % {"limit": GROUPS_PER_TENANT},
            code="too_many_groups",
            remedy=_("Delete a placement group that no VM uses."),
            numbers={"limit": GROUPS_PER_TENANT, "used": used},
        )
    return _made(actor.tenant, region, name, policy, required, remark)


@action("platform.create_operators_group")
def create_operators_group(
    *, actor: Actor, region: Region, name: str, policy: str, required: bool, remark: str = ""
) -> PlacementGroup:
    """Create a group of the operators, for VMs of any tenants. Raises InvalidInput."""
    return _made(None, region, name, policy, required, remark)


def _made(
    tenant: Tenant | None, region: Region, name: str, policy: str, required: bool, remark: str
) -> PlacementGroup:
    if policy not in GroupPolicy.values:
        raise InvalidInput(
            _("Choose one of %(choices)s.") % {"choices": ", ".join(GroupPolicy.values)},
            code="policy_invalid",
            field="policy",
        )
    group = PlacementGroup(
        tenant=tenant,
        region=region,
        name=check_name(name),
        remark=check_remark(remark),
        policy=policy,
        required=required,
    )
    group.save(force_insert=True)
    audit.note(group, after={"name": group.name, "policy": policy, "required": required})
    _tell(group, "created")
    return group


@action("compute.rename_placement_group")
def rename_placement_group(
    *, actor: Actor, group: PlacementGroup, name: str | None = None, remark: str | None = None
) -> PlacementGroup:
    """Change name and remark; None leaves one as it is. Raises InvalidInput, NotFound."""
    return _renamed(group, name, remark)


@action("platform.rename_operators_group")
def rename_operators_group(
    *, actor: Actor, group: PlacementGroup, name: str, remark: str
) -> PlacementGroup:
    """Change name and remark of a group of the operators. Raises InvalidInput, NotFound."""
    return _renamed(_operators(group), name, remark)


def _renamed(group: PlacementGroup, name: str | None, remark: str | None) -> PlacementGroup:
    fresh = _locked(group)
    audit.note(fresh, before={"name": fresh.name, "remark": fresh.remark})
    if name is not None:
        fresh.name = check_name(name)
    if remark is not None:
        fresh.remark = check_remark(remark)
    fresh.save(update_fields=["name", "remark"])
    audit.note(after={"name": fresh.name, "remark": fresh.remark})
    _tell(fresh, "renamed")
    return fresh


@action("compute.delete_placement_group")
def delete_placement_group(*, actor: Actor, group: PlacementGroup) -> None:
    """Delete a group without VMs, those in the recycle bin included.

    Raises Conflict (``placement_group_in_use``), NotFound.
    """
    _delete(group)


@action("platform.delete_operators_group")
def delete_operators_group(*, actor: Actor, group: PlacementGroup) -> None:
    """Delete a group of the operators. Raises as :func:`delete_placement_group`."""
    _delete(_operators(group))


def _delete(group: PlacementGroup) -> None:
    fresh = _locked(group)
    used = members_of(fresh).exclude(status=VmStatus.DESTROYED).count()
    if used:
        raise Conflict(
            _("Placement group %(name)s has %(vms)s VMs.") % {"name": fresh.name, "vms": used},
            code="placement_group_in_use",
            remedy=_("Take its VMs out of it, or destroy those in the recycle bin."),
            numbers={"vms": used},
        )
    audit.note(fresh, before={"name": fresh.name, "policy": fresh.policy})
    _tell(fresh, "deleted")
    fresh.delete()


def _operators(group: PlacementGroup) -> PlacementGroup:
    if group.tenant_id is not None:
        raise InvalidInput(
            _("%(name)s is a placement group of a tenant.") % {"name": group.name},
            code="group_of_a_tenant",
            field="operators_group",
        )
    return group


def _tell(group: PlacementGroup, what: str) -> None:
    if group.tenant_id is None:
        return
    events.emit(
        tenant_id=group.tenant_id,
        kind=f"placement_group.{what}",
        resource_kind=group.KIND,
        resource_id=group.pk,
    )


# -- VMs in groups -----------------------------------------------------------------------------


@action("compute.change_placement_group")
def change_placement_group(*, actor: Actor, vm: VM, group: PlacementGroup | None) -> VM:
    """Put a VM into a placement group, or take it out of its own with None.

    A stopped VM whose host does not fit goes to another one when it starts next. A running one has
    to fit where it runs. Raises Conflict (``vm_state``, ``group_full``, ``cluster_differs``,
    ``placement_rule``), InvalidInput (``region_differs``), NotFound.
    """
    VMS.guard(vm, "change_placement_group")
    if group is not None and group.tenant_id is None:
        raise NotFound(_("There is no placement group %(group)s.") % {"group": group.pk})
    before = vm.placement_group_id
    vm = _put_into(vm, group, "placement_group")
    audit.note(
        vm,
        before={"placement_group": before},
        after={"placement_group": group.pk if group else None},
    )
    events.emit(
        tenant_id=vm.tenant_id,
        kind="vm.placement_group_changed",
        resource_kind="vm",
        resource_id=vm.pk,
        data={"message": group.name if group else ""},
    )
    return vm


@action("platform.change_vm_placement")
def change_vm_placement(
    *, actor: Actor, vm: VM, priority: int, operators_group: PlacementGroup | None
) -> VM:
    """Say when a VM is started again after failures, and which group of the operators it is in.

    Raises Conflict and NotFound as :func:`change_placement_group`, InvalidInput (also
    ``priority_invalid``, ``group_of_a_tenant``).
    """
    if priority not in FailoverPriority.values:
        raise InvalidInput(_("Choose a priority."), code="priority_invalid", field="priority")
    if operators_group is not None:
        _operators(operators_group)
    if (operators_group.pk if operators_group else None) != vm.operators_group_id:
        VMS.guard(vm, "change_placement_group")
        vm = _put_into(vm, operators_group, "operators_group")
    VM.objects.filter(pk=vm.pk).update(failover_priority=priority)
    vm.failover_priority = priority
    # Which groups of the operators there are is not the tenant's business.
    audit.note(
        detail=f"Priority {FailoverPriority(priority).name}, "
        f"operators' group {operators_group.name if operators_group else 'none'}."
    )
    return vm


def _put_into(vm: VM, group: PlacementGroup | None, column: str) -> VM:
    """Change one of a VM's groups under the locks of the group, the hosts and the VM."""
    if group is not None:
        check_group(group, vm.region)
        if group.pk != getattr(vm, f"{column}_id"):
            join_group(group, vm.cluster)
        # No other VM of the cluster is given a host, or moved, until this is written.
        placement.candidates(vm.cluster, None, lock=True)
    fresh: VM = VM.objects.select_for_update(of=("self",)).select_related("host").get(pk=vm.pk)
    VMS.guard(fresh, "change_placement_group")
    setattr(fresh, column, group)
    fresh.save(update_fields=[column])
    # A VM with a GPU does not move, not even while it is stopped.
    stays = fresh.status != VmStatus.STOPPED or fresh.gpu_count > 0
    if group is not None and stays and fresh.host is not None:
        rule = GroupRule.of(group, without=fresh)
        if rule.refusal(fresh.host.pk) is not None:
            raise Conflict(
                _("%(name)s is not on a host that %(group)s allows.")
                % {"name": fresh.name, "group": group.name},
                code="placement_rule",
                field="group",
                remedy=_(
                    "Shut the VM down, change the group and start it: it starts on another host."
                )
                if not fresh.gpu_count
                else _("A VM with a GPU cannot change its host. Choose another group."),
                detail=rule.words(fresh.host.pk),
            )
    setattr(vm, column, group)
    return vm

"""Buying VMs: rows, money, quota and addresses in one transaction, for all of a batch or none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from django.utils.translation import gettext as _

from billing import quotas, services
from billing.quotes import Quote
from billing.services import ResourceRef
from compute.actions.placement import check_group, join_group
from compute.hosts import gpu, placement, pools
from compute.models import VM, Disk
from compute.models.disk import disk_id
from compute.models.vm import vm_id
from compute.rules import catalogue as rules_catalogue
from compute.rules import sizes
from compute.rules.hostnames import hostname_for
from compute.rules.logins import keep_hash
from compute.rules.orders import VmOrder
from compute.rules.targets import DATA_TARGETS, SYSTEM_TARGET
from compute.rules.validation import (
    batch_names,
    check_name,
    check_password,
    check_remark,
    check_ssh_keys,
    check_understood,
    check_user_data,
)
from compute.states.images import ImageStatus
from compute.transitions.vms import VMS
from network.actions import addresses, external_addresses
from network.actions.external_ips import bind_bought
from network.actions.external_ips import insert as insert_external_ips
from network.actions.nics import NicRequest, create_nics, external_nic
from network.models import SecurityGroup
from network.models.external_ip import external_ip_id
from network.rules import external_orders as rules_external
from scloud.audit import action as audit
from scloud.audit.action import action
from scloud.lib.errors import InvalidInput, ScloudError
from scloud.resources.tags import check_tags
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import in_scope_of

MAX_BATCH = 10


def quote_vms(*, actor: Actor, order: VmOrder) -> Quote:
    """Return the price of an order; changes nothing. Raises InvalidInput as the purchase does."""
    actor.require("billing.quote")
    tenant = _tenant(actor)
    with in_scope_of(tenant):
        checked = check_order(tenant, order, complete=False)
        quotas.check_wanted(tenant, order.region, order.whole_quota)
    return services.quote(
        tenant=tenant,
        region=order.region,
        items=order.items,
        method=order.method,
        periods=order.periods,
        count=order.count,
        tags={rules_catalogue.MAIN: checked.tags},
    )


def _tenant(actor: Actor) -> Tenant:
    if actor.tenant is None:
        raise InvalidInput(_("A VM belongs to a tenant."), code="tenant_missing")
    return actor.tenant


def check_order(tenant: Tenant, order: VmOrder, *, complete: bool = True) -> VmOrder:
    """Return the order as it is stored; raise what quote and purchase both refuse.

    An order that is not ``complete`` may still lack the password and the key. Takes no lock: that
    an address, quota or host is still free when it is bought is seen then.
    """
    for check in _checks(tenant, order, complete=complete):
        check()
    return replace(
        order,
        names=_names_of(order),
        remark=check_remark(order.remark),
        tags=check_tags(order.tags),
        ssh_public_key=check_ssh_keys(order.ssh_public_key),
        user_data=check_user_data(order.user_data),
    )


def refusals(tenant: Tenant, order: VmOrder, *, complete: bool = True) -> list[ScloudError]:
    """Return all that :func:`check_order` would refuse, not only the first of it."""
    found = []
    for check in _checks(tenant, order, complete=complete):
        try:
            check()
        except ScloudError as error:
            found.append(error)
    return found


def _checks(tenant: Tenant, order: VmOrder, *, complete: bool) -> list[Callable[[], object]]:
    """Return the checks of an order, each about one thing, in the order of the page."""
    return [
        partial(_check_count, order),
        *(partial(_check_region, order, name) for name in ("cluster", "image")),
        *(partial(_check_region, order, name) for name in ("system_disk_type", "subnet")),
        partial(_check_spec, order),
        partial(_check_image, order),
        partial(rules_catalogue.check_gpu, order.cluster, order.spec, order.gpu_count),
        partial(_check_system_disk, order),
        partial(_check_pool, order),
        partial(_check_data_disk, order),
        partial(_names_of, order),
        partial(_check_login, order, complete=complete),
        partial(_check_private_ips, order),
        partial(check_understood, order.image, user_data=order.user_data, ssh_public_key=""),
        partial(check_understood, order.image, user_data="", ssh_public_key=order.ssh_public_key),
        partial(_check_group, order, "internal_security_group", order.internal_group),
        partial(_check_group, order, "external_security_group", order.external_group),
        partial(check_group, order.placement_group, order.region),
        partial(_check_segment, tenant, order),
        partial(_check_bandwidth, order),
        partial(addresses.check_all, order.subnet, order.private_ips, field="private_ips"),
        partial(check_remark, order.remark),
        partial(check_tags, order.tags),
        partial(check_ssh_keys, order.ssh_public_key),
        partial(check_user_data, order.user_data),
    ]


def _check_group(order: VmOrder, field: str, group: SecurityGroup | None) -> None:
    if group is not None and group.region_id != order.region.pk:
        raise InvalidInput(
            _("Security group %(name)s is in another region.") % {"name": group.name},
            code="region_differs",
            field=field,
        )


def _check_segment(tenant: Tenant, order: VmOrder) -> None:
    """Check that the segment is offered and has an address for each VM."""
    if order.external_segment is not None:
        rules_external.check_segment(
            tenant, order.external_segment, order.region, field="external_segment"
        )
        external_addresses.check_all(
            order.external_segment, [], order.count, field="external_segment"
        )


def _check_bandwidth(order: VmOrder) -> None:
    if order.external_segment is not None:
        rules_external.check_bandwidth(
            order.external_segment, order.external_bandwidth_mbps, field="external_bandwidth_mbps"
        )


def _check_count(order: VmOrder) -> None:
    if not 1 <= order.count <= MAX_BATCH:
        raise InvalidInput(
            _("1 to %(limit)s VMs can be created at once.") % {"limit": MAX_BATCH},
            code="count_out_of_range",
            field="count",
            numbers={"min": 1, "max": MAX_BATCH, "asked": order.count},
        )


def _check_region(order: VmOrder, name: str) -> None:
    if getattr(order, name).region_id != order.region.pk:
        raise InvalidInput(
            _("What was chosen is in another region."),
            code="region_differs",
            field=name,
        )


def _check_spec(order: VmOrder) -> None:
    if order.spec.cluster_id != order.cluster.pk or not order.spec.enabled:
        raise InvalidInput(
            _("%(alias)s does not offer this size.") % {"alias": order.cluster.alias},
            code="spec_unknown",
            field="spec",
        )


def _check_image(order: VmOrder) -> None:
    if order.image.architecture != order.cluster.architecture:
        raise InvalidInput(
            _("The image is for %(architecture)s, the model is %(wanted)s.")
            % {
                "architecture": order.image.architecture,
                "wanted": order.cluster.architecture,
            },
            code="architecture_differs",
            field="image",
            remedy=_("Choose an image of the model's architecture."),
        )
    if order.image.withdrawn_at is not None:
        raise InvalidInput(
            _("The image is no longer available."), code="image_not_available", field="image"
        )
    if order.image.status != ImageStatus.AVAILABLE:
        raise InvalidInput(
            _("The image is %(status)s.") % {"status": order.image.get_status_display().lower()},
            code="image_not_available",
            field="image",
        )


def _check_system_disk(order: VmOrder) -> None:
    rules_catalogue.check_disk_size(
        order.system_disk_type, order.system_disk_gib, system=True, field="system_disk_gib"
    )
    if order.system_disk_gib < order.image.min_disk_gib:
        raise InvalidInput(
            _("The image needs a system disk of at least %(min_disk_gib)s GB.")
            % {"min_disk_gib": order.image.min_disk_gib},
            code="disk_smaller_than_image",
            field="system_disk_gib",
            numbers={"min": order.image.min_disk_gib, "asked": order.system_disk_gib},
        )


def _check_pool(order: VmOrder) -> None:
    if order.image.pool_id != order.system_disk_type.pool_id:
        raise InvalidInput(
            _("The image is not available for this disk type."),
            code="image_in_other_pool",
            field="system_disk_type",
            remedy=_("Choose another disk type for the system disk."),
        )


def _check_data_disk(order: VmOrder) -> None:
    if order.data_disk_type is None:
        return
    if order.data_disk_type.region_id != order.region.pk:
        raise InvalidInput(
            _("This disk type is in another region."),
            code="region_differs",
            field="data_disk_type",
        )
    rules_catalogue.check_disk_size(
        order.data_disk_type, order.data_disk_gib, system=False, field="data_disk_gib"
    )


def _names_of(order: VmOrder) -> list[str]:
    """Return the names of the batch."""
    if not order.names:
        return batch_names(order.name, order.count)
    if len(order.names) != order.count:
        raise InvalidInput(
            _("Enter one name per VM."),
            code="names_count",
            field="names",
            numbers={"asked": order.count, "given": len(order.names)},
        )
    return [check_name(one, field="names") for one in order.names]


def _check_login(order: VmOrder, *, complete: bool) -> None:
    if order.password:
        check_password(
            order.password,
            os_family=order.image.os_family,
            account=order.image.admin_account,
        )
    elif complete:
        require_login(order.password, order.ssh_public_key)


def require_login(password: str | None, ssh_public_key: str) -> None:
    """Raise InvalidInput (``login_missing``) unless there is a password or a key."""
    if not password and not ssh_public_key.strip():
        raise InvalidInput(
            _("Enter a password or an SSH public key."),
            code="login_missing",
            field="password",
        )


def _check_private_ips(order: VmOrder) -> None:
    if order.private_ips and len(order.private_ips) != order.count:
        raise InvalidInput(
            _("Enter one private IP per VM, or none."),
            code="private_ips_count",
            field="private_ips",
            numbers={"asked": order.count, "given": len(order.private_ips)},
        )


@action("compute.create_vm")
def create_vms(*, actor: Actor, order: VmOrder, quote_token: str) -> list[VM]:
    """Buy and begin to create ``order.count`` VMs at exactly the quoted price.

    Locks are taken in the documented order: account, quota, addresses, placement group, hosts,
    pools. Raises InvalidInput, StaleQuote, InsufficientBalance, QuotaExceeded, NoCapacity, Conflict
    (``subnet_exhausted``, ``segment_exhausted``, ``address_taken``, ``group_full``); nothing has
    changed then.
    """
    tenant = _tenant(actor)
    order = check_order(tenant, order)
    names = list(order.names)
    ids = [vm_id() for _one in names]
    system_ids = [disk_id() for _one in names]
    data_ids = [disk_id() for _one in names] if order.data_disk_type is not None else []
    resources = [
        ResourceRef("vm", one, name, rules_catalogue.MAIN, tuple(order.tags))
        for one, name in zip(ids, names, strict=True)
    ] + [
        ResourceRef("disk", one, f"{name}-data", rules_catalogue.DATA_DISK)
        for one, name in zip(data_ids, names if data_ids else [], strict=True)
    ]
    outside = order.external_ips
    external_ids = [external_ip_id() for _one in names] if outside is not None else []
    external_names = [f"{name[:26]}-eip" for name in names]
    resources += [
        ResourceRef("external_ip", one, name, rules_external.EXTERNAL_IP)
        for one, name in zip(external_ids, external_names, strict=False)
    ]
    services.purchase(
        actor=actor,
        region=order.region,
        quote_token=quote_token,
        items=order.items,
        method=order.method,
        periods=order.periods,
        resources=resources,
        auto_renew=order.auto_renew,
    )
    claims = [(one, order.vm_quota) for one in ids]
    claims += [(one, sizes.disk_quota(order.data_disk_gib)) for one in data_ids]
    claims += [
        (one, rules_external.quota_of(order.external_bandwidth_mbps)) for one in external_ids
    ]
    quotas.take_many(tenant, order.region, claims)
    create_nics(
        subnet=order.subnet,
        requests=[
            NicRequest(
                vm_id=one,
                index=0,
                address=order.private_ips[number] if order.private_ips else None,
                security_group=order.internal_group,
            )
            for number, one in enumerate(ids)
        ],
        field="private_ips",
    )
    outer = [
        external_nic(tenant=tenant, region=order.region, vm_id=one, group=order.external_group)
        for one in ids
    ]
    bought = []
    if outside is not None:
        bought = insert_external_ips(tenant, outside, external_ids, external_names)
    group = order.placement_group
    if group is not None:
        join_group(group, order.cluster, order.count)
    hosts = placement.place(
        order.cluster,
        tenant,
        vcpus=order.spec.vcpus,
        memory_mib=order.spec.memory_mib,
        gpus=order.gpu_count,
        count=order.count,
        group=group,
    )
    _require_room(order)
    max_vcpus, max_memory_mib = sizes.headroom(
        order.image, order.cluster, order.spec.vcpus, order.spec.memory_mib
    )
    vms = []
    for number, name in enumerate(names):
        vm = VM(
            id=ids[number],
            tenant=tenant,
            region=order.region,
            name=name,
            hostname=hostname_for(name, ids[number]),
            remark=order.remark,
            tags=list(order.tags),
            cluster=order.cluster,
            host=hosts[number],
            placement_group=group,
            image=order.image,
            vcpus=order.spec.vcpus,
            memory_mib=order.spec.memory_mib,
            max_vcpus=max_vcpus,
            max_memory_mib=max_memory_mib,
            gpu_count=order.gpu_count,
            admin_account=order.image.admin_account,
            ssh_public_key=order.ssh_public_key,
            user_data=order.user_data,
            internal_security_group=order.internal_group.pk if order.internal_group else "",
            external_security_group=order.external_group.pk if order.external_group else "",
        )
        vm.save(force_insert=True)
        gpu.allocate(vm, hosts[number])
        keep_hash(vm, order.password)
        _add_disks(vm, order, system_ids[number], data_ids[number] if data_ids else None)
        audit.note(vm)
        job = VMS.begin(vm, "create_vm", actor=actor)
        if bought:
            bind_bought(bought[number], nic=outer[number], vm_id=vm.pk, job=job, actor=actor)
        vms.append(vm)
    audit.note(
        after={
            "image": order.image.pk,
            "spec": str(order.spec),
            "system_disk_gib": order.system_disk_gib,
            "data_disk_gib": order.data_disk_gib,
            "external_ips": [row.address for row in bought],
            "method": order.method,
            "periods": order.periods,
        }
    )
    return vms


def _require_room(order: VmOrder) -> None:
    """Raise NoCapacity unless the pools have room for the disks of all VMs of an order."""
    each = order.count * pools.GIB
    wanted = [pools.Wanted(order.system_disk_type.pool, order.system_disk_gib * each)]
    if order.data_disk_type is not None:
        wanted.append(pools.Wanted(order.data_disk_type.pool, order.data_disk_gib * each))
    pools.require_room(wanted, field="system_disk_type")


def _add_disks(vm: VM, order: VmOrder, system_id: str, data_id: str | None) -> None:
    Disk(
        id=system_id,
        tenant=vm.tenant,
        region=vm.region,
        name=f"{vm.name}-system",
        disk_type=order.system_disk_type,
        pool=order.system_disk_type.pool,
        size_gib=order.system_disk_gib,
        is_system=True,
        image=order.image,
        vm=vm,
        target=SYSTEM_TARGET,
    ).save(force_insert=True)
    if data_id is not None and order.data_disk_type is not None:
        Disk(
            id=data_id,
            tenant=vm.tenant,
            region=vm.region,
            name=f"{vm.name}-data",
            disk_type=order.data_disk_type,
            pool=order.data_disk_type.pool,
            size_gib=order.data_disk_gib,
            vm=vm,
            target=DATA_TARGETS[0],
            format_at_boot=order.image.os_family == "linux",
        ).save(force_insert=True)

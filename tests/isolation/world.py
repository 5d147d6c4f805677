"""Two tenants with one of everything, and callers of every sort."""

from __future__ import annotations

import re
from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from http.cookies import SimpleCookie
from typing import Any
from uuid import uuid4

from django.db import connection, transaction
from django.http import HttpResponse
from django.test import Client, override_settings
from django.urls import reverse
from django.utils import timezone

from alarms.actions.templates import create_alarm_template
from billing import paying, services
from billing.actions import request_quota
from billing.budgeting import create_budget
from billing.models import LedgerTransaction, Order, Subscription
from compute.actions.disks import create_disk, quote_disk
from compute.actions.placement import create_placement_group
from compute.actions.snapshots import set_snapshot_schedule
from compute.actions.ssh_keys import create_ssh_key
from compute.actions.vms.create import quote_vms
from compute.models import VM, Disk, Host, Image, Snapshot
from compute.rules.orders import DiskOrder
from compute.states.disks import Damage, DiskStatus
from compute.states.snapshots import SnapshotStatus
from compute.states.vms import PauseReason, VmStatus
from network.actions import RuleInput, add_rule, create_security_group, create_subnet, create_vpc
from network.actions.enis import bind_eni, create_eni, quote_eni
from network.actions.external_ips import bind_external_ip, delete_external_ip
from network.models import Eni, ExternalIp, ExternalSegment, Subnet
from network.rules.eni_orders import EniOrder
from scloud.audit.models import Operation
from scloud.jobs.models import Job, JobStatus
from scloud.tenancy import apikeys
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import (
    CustomRole,
    Identity,
    IdentityProvider,
    Invitation,
    SecondFactor,
    Tenant,
    User,
    UserSession,
)
from scloud.tenancy.permissions import Role
from scloud.tenancy.scoping import scope, scopes_disabled
from scloud.web.profile import session_handle
from tests.compute.factories import Platform, give_network, make_order, make_vm
from tests.fixtures import PASSWORD
from tests.isolation.alarms import RULE, furnish_alarms, furnish_notices, open_alarm
from tests.isolation.keys import SSH_KEY
from tests.isolation.known import Known
from tests.isolation.routes import KNOWN, Route
from tests.outside import buy_ips

# Written at every request, whatever becomes of it: who was there, what was tried, how often.
BOOKKEEPING = frozenset(
    {
        "audit_operation",
        "django_session",
        "tenancy_usersession",
        "tenancy_loginattempt",
        "tenancy_ratecounter",
        "tenancy_apikey",
        "rest_idempotentrequest",
    }
)


def fingerprint(*also: str) -> dict[str, str]:
    """Return a digest of every table of the product; of bookkeeping only those named."""
    return _digests(
        name
        for name in connection.introspection.table_names()
        if name not in BOOKKEEPING - set(also)
    )


def _digests(tables: Iterable[str]) -> dict[str, str]:
    parts = " UNION ALL ".join(
        f"SELECT '{name}', count(*)::text || coalesce(md5(string_agg(md5(t::text), '' "
        f"ORDER BY md5(t::text))), '') FROM \"{name}\" t"
        for name in tables
    )
    if not parts:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(parts)
        return {str(name): str(value) for name, value in cursor.fetchall()}


Counts = dict[str, tuple[int, ...]]


def writes() -> Counts:
    """Return how many rows this transaction has written so far, taken back or not, by table.

    The figures of ``pg_stat_xact_user_tables``, which takes four times as long.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT * FROM (SELECT relname, pg_stat_get_xact_tuples_inserted(oid) AS ins, "
            "pg_stat_get_xact_tuples_updated(oid) AS upd, "
            "pg_stat_get_xact_tuples_deleted(oid) AS del FROM pg_class "
            "WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace) AS counted "
            "WHERE ins + upd + del > 0"
        )
        return {str(name): tuple(counts) for name, *counts in cursor.fetchall()}


def changed(before: dict[str, str], written: Counts | None = None) -> list[str]:
    """Return the tables whose content differs from before.

    With ``written``, which was counted at that time, only those are read that were written since:
    nearly every request writes bookkeeping, nearly none anything else.
    """
    touched = list(before)
    if written is not None:
        touched = [
            name
            for name, counts in writes().items()
            if name in before and counts != written.get(name)
        ]
    after = _digests(touched)
    return sorted(name for name in touched if before[name] != after[name])


@dataclass
class Caller:
    """Somebody who sends requests: by session to the console, by key to the API."""

    user: User
    samples: dict[str, str]
    secret: str
    console: Client = field(default_factory=Client)

    def anew(self, **samples: str) -> Caller:
        """Return a caller of its own for a test, signed in as this one, with further samples."""
        console = Client()
        console.cookies = SimpleCookie(
            {name: morsel.value for name, morsel in self.console.cookies.items()}
        )
        user = copy(self.user)
        return Caller(user, {**self.samples, **samples}, self.secret, console)


@dataclass
class Answer:
    """What came back, and what had changed until it was rolled back."""

    status: int
    text: str
    headers: Any
    changed: list[str]
    forbidden: bool

    def refused(self, permission: str) -> bool:
        """Whether the right was missing: told by the status, the log, or a row of a batch."""
        said = f"Your role does not include {permission}." in self.text
        return self.status == 403 or self.forbidden or said


class Rollback(Exception):
    """Ends a request's savepoint."""


def fill(value: Any, samples: dict[str, str]) -> Any:
    """Put samples into a body."""
    if isinstance(value, str):
        return re.sub(r"\{(\w+)\}", lambda found: samples[found[1]], value)
    if isinstance(value, list):
        return [fill(one, samples) for one in value]
    if isinstance(value, dict):
        return {key: fill(one, samples) for key, one in value.items()}
    return value


def address(route: Route, known: Known, samples: dict[str, str]) -> str:
    """Return the URL with samples for its parameters."""
    values = {
        name: known.params[name][1:]
        if known.params[name].startswith("=")
        else samples[known.params[name]]
        for name in route.params
    }
    return reverse(route.name, kwargs=values)


def send(
    route: Route,
    url: str,
    method: str,
    *,
    caller: Caller | None,
    body: Any = None,
    before: dict[str, str] | None = None,
    client: Client | None = None,
) -> Answer:
    """Send one request, look at what it changed, and take that back."""
    extra: dict[str, Any] = {}
    if route.api:
        if caller is not None and KNOWN[route.name].person:
            client = client or caller.console
        client = client or Client()
        if caller is not None and not KNOWN[route.name].person:
            extra["headers"] = {"Authorization": f"Bearer {caller.secret}"}
        if method in {"post", "put", "patch"}:
            extra.update(data=body or {}, content_type="application/json")
    else:
        client = client or (caller.console if caller else Client())
        if method == "post":
            extra["data"] = body or {}
    kept = client.cookies.copy()
    answer: Answer | None = None
    try:
        with transaction.atomic():
            seen, written = _operations(), writes()
            response: HttpResponse = getattr(client, method)(url, **extra)
            text = b"".join(response).decode(errors="replace")
            news = [row for row in _operations() if row not in seen]
            answer = Answer(
                status=response.status_code,
                text=text,
                headers=response.headers,
                changed=changed(before, written) if before is not None else [],
                forbidden=any(code == "forbidden" for _pk, code in news),
            )
            raise Rollback
    except Rollback:
        pass
    client.cookies.clear()
    client.cookies.update(kept)
    assert answer is not None
    return answer


def _operations() -> list[tuple[int, str]]:
    with scopes_disabled():
        return list(Operation.objects.order_by("-pk").values_list("pk", "error_code")[:20])


def _identity(user: User) -> str:
    """Return the link of a user to a provider that nobody can ask."""
    provider, _made = IdentityProvider.objects.get_or_create(
        label="Example ID", issuer="https://id.example.org", client_id="scloud"
    )
    return str(
        Identity.objects.create(
            provider=provider, issuer=provider.issuer, subject=str(user.pk), user=user
        ).pk
    )


def make_caller(user: User, samples: dict[str, str], mark: str) -> Caller:
    """Sign a user in, give it a key, and note both as its samples."""
    assert user.tenant is not None
    with scope(tenant=user.tenant):
        key, secret = apikeys.issue(user=user, name=f"{mark}-key")
    client = Client()
    client.force_login(user)
    session = UserSession.objects.create(
        session_key=uuid4().hex, user=user, ip="192.0.2.9", user_agent=f"{mark}-browser"
    )
    mine = {**samples, "key": key.pk, "session": session_handle(session), "password": PASSWORD}
    mine |= {
        "colleague": _colleague(user.tenant, mark, True),
        "former_colleague": _colleague(user.tenant, mark, False),
        "invitation": _invitation(user.tenant, mark),
        "role": _role(user.tenant, mark),
        "identity": _identity(user),
    }
    return Caller(user=user, samples=mine, secret=secret, console=client)


def _colleague(tenant: Tenant, mark: str, active: bool) -> str:
    """Return the id of one more user of a tenant, the same one for all its callers."""
    user, _made = User.objects.get_or_create(
        email=f"{mark}-{'works' if active else 'left'}@{mark}.test",
        defaults={"tenant": tenant, "role": Role.OPERATOR, "is_active": active},
    )
    if active:
        # What can be reset.
        SecondFactor.objects.get_or_create(user=user, defaults={"sealed_secret": b""})
    return str(user.pk)


def _invitation(tenant: Tenant, mark: str) -> str:
    """Return the id of an open invitation of a tenant, the same one for all its callers."""
    with scope(tenant=tenant):
        invitation, _made = Invitation.objects.get_or_create(
            tenant=tenant,
            email=f"{mark}-invited@{mark}.test",
            defaults={"role": Role.READONLY, "expires_at": timezone.now() + timedelta(days=3)},
        )
    return str(invitation.pk)


def _role(tenant: Tenant, mark: str) -> str:
    """Return the id of a role that a tenant has made, the same one for all its callers."""
    with scope(tenant=tenant):
        role, _made = CustomRole.objects.get_or_create(
            tenant=tenant, name=f"{mark}-role", defaults={"permissions": ["compute.view*"]}
        )
    return str(role.pk)


def furnish(platform: Platform, tenant: Tenant, owner: User, mark: str) -> dict[str, str]:
    """Give a tenant one of everything, named after a mark; return the ids by sample name."""
    actor = Actor(tenant=tenant, user=owner, role=owner.role, via="console", ip="192.0.2.7")
    network = give_network(tenant, platform.region)
    assert network.subnet is not None
    assert network.vpc is not None
    with scope(tenant=tenant):
        vm = make_vm(platform, actor, name=f"{mark}-runs")
        stopped = make_vm(platform, actor, VmStatus.STOPPED, name=f"{mark}-stopped")
        # There is a newer machine type than it has.
        VM.objects.filter(pk=stopped.pk).update(machine_type="pc-q35-7.1")
        Host.objects.update(machine_types="pc-q35-7.1 pc-q35-7.2")
        paused = make_vm(
            platform,
            actor,
            name=f"{mark}-paused",
            columns={"pause_reason": PauseReason.BY_HAND, "paused_at": timezone.now()},
        )
        binned = make_vm(platform, actor, VmStatus.STOPPED, name=f"{mark}-binned")
        services.set_in_bin(binned.pk, True)
        VM.objects.filter(pk=binned.pk).update(
            status=VmStatus.BINNED,
            host=None,
            binned_at=timezone.now(),
            destroy_at=timezone.now() + timedelta(days=3),
        )
        empty_vpc = create_vpc(
            actor=actor, region=platform.region, name=f"{mark}-vpc", cidr="10.88.0.0/16"
        )
        empty_group = create_security_group(
            actor=actor, region=platform.region, name=f"{mark}-group", rules=()
        )
        placement_group = create_placement_group(
            actor=actor, region=platform.region, name=f"{mark}-placement", policy="spread"
        )
        rule = add_rule(
            actor=actor,
            group=network.security_group,
            rule=RuleInput(
                direction="in",
                protocol="tcp",
                ports="4242",
                cidr="192.0.2.0/25",
                description=f"{mark}-rule",
            ),
        )
        image = Image.objects.create(
            tenant=tenant,
            region=platform.region,
            pool=platform.pool,
            name=f"{mark}-image",
            distribution="debian",
        )
        binned_image = Image.objects.create(
            tenant=tenant,
            region=platform.region,
            pool=platform.pool,
            name=f"{mark}-image-2",
            distribution="debian",
            status="binned",
            binned_at=timezone.now(),
        )
        disks = furnish_disks(platform, actor, vm, mark)
        outside = furnish_external_ips(platform, actor, vm, mark)
        request = request_quota(
            actor=actor,
            region=platform.region,
            item="disks",
            limit_wanted=5000,
            reason=f"{mark}-reason",
        )
        budget = create_budget(
            actor=actor, name=f"{mark}-budget", amount=Decimal(1_000_000), tag=f"{mark}-tag"
        )
        ssh_key = create_ssh_key(actor=actor, name=f"{mark}-key", public_key=SSH_KEY)
        with override_settings(SCLOUD_PAYMENT_SANDBOX=True):
            payment = paying.start_payment(actor=actor, amount=Decimal(100))
        return {
            "payment": payment.pk,
            "budget": budget.pk,
            "ssh_key": ssh_key.pk,
            "vm": vm.pk,
            "stopped_vm": stopped.pk,
            "paused_vm": paused.pk,
            "binned_vm": binned.pk,
            "binned_vm_name": binned.name,
            "job": Job.objects.filter(target_id=vm.pk).latest("created_at").pk,
            "operation": str(Operation.objects.latest("pk").pk),
            "vpc": network.vpc.pk,
            "subnet": network.subnet.pk,
            "group": network.security_group.pk,
            "empty_vpc": empty_vpc.pk,
            "empty_vpc_name": empty_vpc.name,
            "empty_group": empty_group.pk,
            "placement_group": placement_group.pk,
            "rule": rule.pk,
            "image": image.pk,
            "binned_image": binned_image.pk,
            **disks,
            **outside,
            **furnish_alarms(actor, vm, mark),
            "quota_request": request.pk,
            "order": Order.objects.earliest("created_at").pk,
            "subscription": str(Subscription.objects.get(resource_id=vm.pk).pk),
            "transaction": LedgerTransaction.objects.latest("created_at").pk,
            "region": platform.region.pk,
            "larger_spec": str(platform.specs[1].pk),
            "cluster": platform.cluster.pk,
            "base_image": platform.image.pk,
            "disk_type": platform.disk_type.pk,
            "uuid": str(uuid4()),
        }


def quote_anew(platform: Platform, caller: Caller) -> dict[str, str]:
    """Return the samples that are quotes: they grow stale after ten minutes."""
    user = caller.user
    assert user.tenant is not None
    actor = Actor(tenant=user.tenant, user=user, role=user.role, via="console", ip="192.0.2.7")
    with scope(tenant=user.tenant):
        quote = quote_vms(actor=actor, order=make_order(platform, user.tenant))
        renewals = {
            name: services.quote_renewal(
                tenant=user.tenant, resource_id=caller.samples[vm], periods=1
            ).token
            for name, vm in (
                ("renewal_token", "vm"),
                ("binned_renewal_token", "binned_vm"),
                ("eip_renewal_token", "eip"),
                ("eni_renewal_token", "external_eni"),
            )
        }
        together = services.quote_renewals(
            tenant=user.tenant,
            resource_ids=[caller.samples["vm"]],
            extent=services.Extent(periods=1),
        )
    return {"quote_token": quote.token, "together_token": together.token, **renewals}


def furnish_more(platform: Platform, owner: User, mark: str) -> None:
    """Give a furnished tenant more of what lists show."""
    tenant = owner.tenant
    assert tenant is not None
    actor = Actor(tenant=tenant, user=owner, role=owner.role, via="console", ip="192.0.2.7")
    with scope(tenant=tenant):
        for number in range(2):
            vm = make_vm(platform, actor, name=f"{mark}-vm-{number}")
            furnish_disks(platform, actor, vm, f"{mark}-{number}")
            furnish_external_ips(platform, actor, vm, f"{mark}-{number}")
            template = create_alarm_template(actor=actor, name=f"{mark}-{number}", rules=[RULE] * 2)
            open_alarm(vm, template)
            furnish_notices(actor, f"{mark}-{number}")
            create_budget(actor=actor, name=f"{mark}-{number}", amount=Decimal(10**6), tag=mark)
            binned = make_vm(platform, actor, VmStatus.STOPPED, name=f"{mark}-binned-{number}")
            services.set_in_bin(binned.pk, True)
            VM.objects.filter(pk=binned.pk).update(
                status=VmStatus.BINNED,
                host=None,
                binned_at=timezone.now(),
                destroy_at=timezone.now() + timedelta(days=3),
            )
            vpc = create_vpc(
                actor=actor,
                region=platform.region,
                name=f"{mark}-vpc-{number}",
                cidr="10.89.0.0/16",
            )
            create_subnet(actor=actor, vpc=vpc, name=f"{mark}-subnet", cidr="10.89.1.0/24")
            create_placement_group(
                actor=actor, region=platform.region, name=f"{mark}-{number}", policy="together"
            )
            group = create_security_group(
                actor=actor, region=platform.region, name=f"{mark}-group-{number}", rules=()
            )
            for cidr in ("192.0.2.0/25", "192.0.2.128/25"):
                add_rule(
                    actor=actor,
                    group=group,
                    rule=RuleInput(
                        direction="in", protocol="tcp", ports="22", cidr=cidr, description=mark
                    ),
                )
            for status in ("available", "binned"):
                Image.objects.create(
                    tenant=tenant,
                    region=platform.region,
                    pool=platform.pool,
                    name=f"{mark}-image-{number}-{status}",
                    distribution="debian",
                    status=status,
                    binned_at=timezone.now() if status == "binned" else None,
                )
            apikeys.issue(user=owner, name=f"{mark}-key-{number}")


def furnish_external_ips(platform: Platform, actor: Actor, vm: VM, mark: str) -> dict[str, str]:
    """Buy external IPs: a free one, two on the VM, one in the bin."""
    segment = ExternalSegment.objects.get(region=platform.region, ip_version=4)
    free, egress, bound, binned = buy_ips(actor, segment, count=4, name=f"{mark}-eip")
    for one in (egress, bound):
        bind_external_ip(actor=actor, external_ip=one, target=vm)
    Job.objects.filter(target_id__in=[egress.pk, bound.pk]).update(status=JobStatus.SUCCEEDED)
    ExternalIp.objects.filter(pk__in=[egress.pk, bound.pk]).update(
        status="bound", task="", task_job="", task_deadline=None
    )
    delete_external_ip(actor=actor, external_ip=binned)
    subnet = Subnet.objects.filter(vpc__is_default=True).first()
    assert subnet is not None
    order = EniOrder(region=platform.region, subnet=subnet, name=f"{mark}-eni")
    loose, plugged = (create_eni(actor=actor, order=order) for _ in range(2))
    outside = EniOrder(
        region=platform.region, segment=segment, bandwidth_mbps=5, name=f"{mark}-eni-2"
    )
    quote = quote_eni(actor=actor, order=outside)
    assert quote is not None
    external = create_eni(actor=actor, order=outside, quote_token=quote.token)
    bind_eni(actor=actor, eni=plugged, vm=vm)
    bind_eni(actor=actor, eni=external, vm=vm)
    Job.objects.filter(target_id__in=[plugged.pk, external.pk]).update(status=JobStatus.SUCCEEDED)
    Eni.objects.filter(pk__in=[plugged.pk, external.pk]).update(
        status="bound", task="", task_job="", task_deadline=None
    )
    return {
        "eni": loose.pk,
        "bound_eni": plugged.pk,
        "external_eni": external.pk,
        "segment": segment.pk,
        "eip": free.pk,
        "bound_eip": bound.pk,
        "binned_eip": binned.pk,
    }


def furnish_disks(platform: Platform, actor: Actor, vm: VM, mark: str) -> dict[str, str]:
    """Buy disks: unbound, on the VM, with a schedule, damaged, in the bin; and a snapshot."""
    assert actor.tenant is not None
    made: dict[str, str] = {}
    for name in ("disk", "bound_disk", "scheduled_disk", "damaged_disk", "binned_disk"):
        order = DiskOrder(
            region=platform.region,
            disk_type=platform.disk_type,
            size_gib=20,
            name=f"{mark}-{name}",
        )
        token = quote_disk(actor=actor, order=order).token
        made[name] = create_disk(actor=actor, order=order, quote_token=token).pk
    Job.objects.filter(target_id__in=made.values()).update(status=JobStatus.SUCCEEDED)
    rows = Disk.objects.filter(pk__in=made.values())
    rows.update(status=DiskStatus.UNBOUND, task="", task_job="", task_deadline=None)
    rows.filter(pk=made["bound_disk"]).update(status=DiskStatus.BOUND, vm=vm, target="vdb")
    rows.filter(pk=made["damaged_disk"]).update(
        damage=Damage.ERRORS, damage_errors=3, damaged_since=timezone.now()
    )
    services.set_in_bin(made["binned_disk"], True)
    rows.filter(pk=made["binned_disk"]).update(
        status=DiskStatus.BINNED,
        binned_at=timezone.now(),
        destroy_at=timezone.now() + timedelta(days=3),
    )
    disk = Disk.objects.get(pk=made["disk"])
    snapshot = Snapshot(
        tenant=actor.tenant,
        region=platform.region,
        name=f"{mark}-snapshot",
        disk=disk,
        size_gib=disk.size_gib,
        status=SnapshotStatus.AVAILABLE,
    )
    snapshot.save(force_insert=True)
    set_snapshot_schedule(
        actor=actor,
        disk=Disk.objects.get(pk=made["scheduled_disk"]),
        hours=[3],
        weekdays=[1],
        keep_count=3,
    )
    return {**made, "snapshot": snapshot.pk, "snapshot_name": snapshot.name}

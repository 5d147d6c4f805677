"""The resources that alarms are about: which there are, what they are called, whether they run."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from django.db.models import Exists, OuterRef, QuerySet

from alarms.catalogue import Subject
from alarms.models import AlarmBinding, AlarmTemplate
from compute.models import VM
from compute.states.vms import VmStatus
from network.models import ExternalIp
from network.states.external_ips import ExternalIpStatus

#: Their templates are kept in the recycle bin, where they may come back from.
_GONE = {Subject.VM: VmStatus.DESTROYED, Subject.EXTERNAL_IP: ExternalIpStatus.DESTROYED}
_MEASURED = {Subject.VM: VmStatus.RUNNING, Subject.EXTERNAL_IP: ExternalIpStatus.BOUND}


@dataclass(frozen=True, slots=True)
class Resource:
    """What alarms need of a resource."""

    id: str
    name: str
    subject: str
    tenant_id: str


def rows_of(subject: str) -> QuerySet[Any]:
    """Return the resources of a kind that are not destroyed, within the open scope."""
    rows: QuerySet[Any] = (VM if subject == Subject.VM else ExternalIp).objects.all()
    return rows.exclude(status=_GONE[Subject(subject)])


def measured(subject: str) -> QuerySet[Any]:
    """Return those that the collector measures now: running VMs, bound external IPs."""
    return rows_of(subject).filter(status=_MEASURED[Subject(subject)])


def measured_with(templates: Collection[str]) -> dict[Resource, str]:
    """Return what is measured now and has one of the templates, with the template's id."""
    found: dict[Resource, str] = {}
    for subject in (Subject.VM, Subject.EXTERNAL_IP):
        bound = dict(
            AlarmBinding.objects.filter(subject=subject, template__in=list(templates)).values_list(
                "resource_id", "template_id"
            )
        )
        if not bound:
            continue
        for pk, tenant_id, name in measured(subject).values_list("pk", "tenant_id", "name"):
            if pk in bound:
                found[Resource(pk, name, subject, tenant_id)] = bound[pk]
    return found


def without_binding(subject: str) -> QuerySet[Any]:
    """Return the resources that have not been given a template yet, nor none."""
    bound = AlarmBinding.objects.filter(resource_id=OuterRef("pk"))
    return rows_of(subject).filter(~Exists(bound))


def bound_to(template: AlarmTemplate) -> QuerySet[Any]:
    """Return the resources of a tenant that have a template, by name."""
    bound = AlarmBinding.objects.filter(template=template).values("resource_id")
    return rows_of(template.subject).filter(pk__in=bound).order_by("name", "pk")

"""Gives new resources the default template of their tenant, and tenants their first one.

A purchase does not wait for this and cannot fail by it: a resource without a row counts as one with
the default template until it has its row.
"""

from __future__ import annotations

from typing import Final

from django.db.models import Exists, OuterRef

from alarms.actions.defaults import ensure_default_template
from alarms.catalogue import Subject
from alarms.models import AlarmBinding, AlarmTemplate
from alarms.queries import resources
from scloud.jobs.rows import each
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scopes_disabled

#: Resources that one run gives a template.
AT_ONCE: Final = 2000


def bind_new() -> int:
    """Give tenants and resources what they have not been given yet; return how many resources."""
    with scopes_disabled():
        has_one = AlarmTemplate.objects.filter(tenant=OuterRef("pk"), subject=Subject.VM)
        new = list(Tenant.objects.filter(~Exists(has_one)).order_by("pk")[:AT_ONCE])
    each(new, ensure_default_template, "the first alarm template")
    made = 0
    with scopes_disabled():
        for subject in (Subject.VM, Subject.EXTERNAL_IP):
            defaults = dict(
                AlarmTemplate.objects.filter(subject=subject, is_default=True).values_list(
                    "tenant_id", "pk"
                )
            )
            rows = resources.without_binding(subject).values_list("pk", "tenant_id")[:AT_ONCE]
            bindings = [
                AlarmBinding(
                    resource_id=pk,
                    subject=subject,
                    tenant_id=tenant_id,
                    template_id=defaults.get(tenant_id),
                )
                for pk, tenant_id in rows
            ]
            AlarmBinding.objects.bulk_create(bindings, ignore_conflicts=True)
            made += len(bindings)
    return made


def unbind_gone() -> int:
    """Forget the templates of resources that are destroyed; return how many."""
    forgotten = 0
    with scopes_disabled():
        for subject in (Subject.VM, Subject.EXTERNAL_IP):
            there = resources.rows_of(subject).filter(pk=OuterRef("resource_id"))
            gone = AlarmBinding.objects.filter(~Exists(there), subject=subject)
            forgotten += gone.delete()[0]
    return forgotten

"""Which template a resource has."""

from __future__ import annotations

from django.utils.translation import gettext as _

from alarms.catalogue import Subject
from alarms.models import Alarm, AlarmBinding, AlarmTemplate
from alarms.queries import clock
from alarms.queries.templates import template_of
from alarms.states.alarms import EndReason
from alarms.transitions.alarms import end_alarms
from compute.models import VM
from compute.transitions.vms import VMS
from network.actions.common import still_there
from network.models import ExternalIp
from network.transitions.external_ips import EXTERNAL_IPS
from scloud.audit import action as audit
from scloud.audit import events
from scloud.audit.action import action
from scloud.lib.errors import InvalidInput
from scloud.tenancy.actor import Actor


@action("alarms.change_vm_template")
def change_vm_template(*, actor: Actor, vm: VM, template: AlarmTemplate | None) -> None:
    """Give a VM another alarm template, or none; its open alarms end.

    Raises Conflict (``vm_state``), InvalidInput (``template_of_another_kind``), NotFound.
    """
    VMS.guard(vm, "change_alarm_template")
    _change(vm, Subject.VM, template)


@action("alarms.change_external_ip_template")
def change_external_ip_template(
    *, actor: Actor, external_ip: ExternalIp, template: AlarmTemplate | None
) -> None:
    """Give an external IP another alarm template, or none; its open alarms end.

    Raises Conflict (``external_ip_state``), InvalidInput (``template_of_another_kind``), NotFound.
    """
    EXTERNAL_IPS.guard(external_ip, "change_alarm_template")
    _change(external_ip, Subject.EXTERNAL_IP, template)


def _change(row: VM | ExternalIp, subject: Subject, template: AlarmTemplate | None) -> None:
    if template is not None:
        if template.subject != subject:
            raise InvalidInput(
                _("%(name)s is not a template of this kind of resource.") % {"name": template.name},
                code="template_of_another_kind",
                field="template",
                remedy=_("Choose one that is offered."),
            )
        still_there(AlarmTemplate, [template.pk], field="template")
    before = template_of(subject, row.pk)
    AlarmBinding.objects.update_or_create(
        resource_id=row.pk,
        defaults={
            "subject": subject,
            "tenant": row.tenant,
            "template": template,
            "silent_since": None,
            "changed_at": clock.now(),
        },
    )
    if before != template:
        found = Alarm.objects.filter(resource_id=row.pk, ended_at__isnull=True)
        end_alarms(list(found), EndReason.UNBOUND, clock.now())
    audit.note(
        before={"alarm_template": before.pk if before else None},
        after={"alarm_template": template.pk if template else None},
    )
    events.emit(
        tenant_id=row.tenant_id,
        kind=f"{row.KIND}.alarm_template_changed",
        resource_kind=row.KIND,
        resource_id=row.pk,
        data={"message": template.name if template else ""},
    )

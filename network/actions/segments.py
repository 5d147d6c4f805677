"""External segments: what platform administrators do to them."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.db import connection
from django.utils.translation import gettext as _

from network.actions.common import JOB_DEADLINE_S, changed, enqueue_sync, locked, tell
from network.models import ExternalSegment, Nic, Tombstone
from scloud.audit import action as audit
from scloud.audit.action import action
from scloud.jobs import service as jobs
from scloud.lib.errors import Conflict, InvalidInput
from scloud.lib.locks import advisory_key
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.scoping import scopes_disabled

_LOGGED = (
    "name",
    "cidr",
    "gateway",
    "physical_network",
    "vlan",
    "route_policy",
    "destinations",
    "held_back",
    "serves_vnc",
    "vnc_address",
    "bandwidth_min_mbps",
    "bandwidth_max_mbps",
    "mtu_bytes",
    "enabled",
)


@action("platform.save_external_segment")
def save_external_segment(*, actor: Actor, segment: ExternalSegment) -> ExternalSegment:
    """Store a new or changed segment and have a worker apply it.

    Raises InvalidInput (``segment_invalid``) for what :meth:`ExternalSegment.clean` refuses, looked
    at again while nobody else can save a segment of the region or take an address of this one.
    """
    _alone_in(segment.region)
    before = ExternalSegment.objects.select_for_update().filter(pk=segment.pk).first()
    try:
        segment.full_clean()
    except ValidationError as error:
        field, texts = next(iter(error.message_dict.items()))
        raise InvalidInput(texts[0], code="segment_invalid", field=field) from error
    if before is not None:
        audit.note(before={name: getattr(before, name) for name in _LOGGED})
        segment.generation = before.generation
    segment.save()
    audit.note(segment, after={name: getattr(segment, name) for name in _LOGGED})
    if before is not None:
        changed(segment)
        if before.switch_id != segment.switch_id:
            _bury_switch(before.region, before.switch_id, actor=actor, name=before.name)
    # A switch that was to go is wanted again.
    Tombstone.objects.filter(kind=segment.fabric_kind, target_id=segment.switch_id).delete()
    tell(segment, "created" if before is None else "changed")
    enqueue_sync(
        segment, actor=actor, title=_("Apply external segment %(name)s") % {"name": segment.name}
    )
    return segment


@action("platform.delete_external_segment")
def delete_external_segment(*, actor: Actor, segment: ExternalSegment) -> None:
    """Delete a segment of which no address is allocated. Raises Conflict, NotFound."""
    _alone_in(segment.region)
    row: ExternalSegment = locked(segment)
    with scopes_disabled():
        allocated = row.addresses.count()
        if allocated:
            raise Conflict(
                _("%(count)s addresses of %(name)s are allocated.")
                % {"count": allocated, "name": row.name},
                code="segment_in_use",
                remedy=_("Disable it, and delete it when they were given back."),
                numbers={"allocated": allocated},
            )
        # NICs whose last address is gone have no port any more.
        Nic.objects.filter(segment=row).update(segment=None)
        audit.note(row, before={name: getattr(row, name) for name in _LOGGED})
        tell(row, "deleted")
        region, switch, name = row.region, row.switch_id, row.name
        row.delete()
        _bury_switch(region, switch, actor=actor, name=name)


def _alone_in(region: Region) -> None:
    """Keep others from saving or deleting segments of a region until the transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [advisory_key(f"segments:{region.pk}")])


def _bury_switch(region: Region, switch: str, *, actor: Actor, name: str) -> None:
    """Have a worker remove a switch on which no segment lies any more."""
    if ExternalSegment.objects.filter(region=region, switch_id=switch).exists():
        return
    tombstone, _made = Tombstone.objects.get_or_create(
        kind=ExternalSegment.KIND, target_id=switch, tenant=None, defaults={"region": region}
    )
    jobs.enqueue(
        kind="network.remove",
        tenant=None,
        title=_("Remove the switch of external segment %(name)s") % {"name": name},
        target_kind=tombstone.kind,
        target_id=tombstone.target_id,
        payload={"tombstone": tombstone.pk},
        deadline_s=JOB_DEADLINE_S,
        actor=actor,
        exclusive=False,
    )

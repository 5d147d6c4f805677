"""What the actions share: names, locks, jobs and events."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypeVar, cast

from django.db import connection, models
from django.db.models import F
from django.utils.translation import gettext as _

from network.models import Applied, FabricResource, Tombstone
from scloud.audit import action as audit
from scloud.audit import events
from scloud.jobs import service as jobs
from scloud.lib.errors import InvalidInput, NotFound
from scloud.lib.text import composed, is_name, unix_lines
from scloud.resources.models import Region
from scloud.tenancy.actor import Actor
from scloud.tenancy.models import Tenant

Named = TypeVar("Named", bound=FabricResource)

REMARK_LENGTH = 200
JOB_DEADLINE_S = 300.0


def checked_name(name: str) -> str:
    """The name without spaces around it. Raises InvalidInput (``invalid_name``)."""
    cleaned = composed(name.strip())
    if not is_name(cleaned):
        raise InvalidInput(
            _("A name has 1 to 30 letters, digits or - _ ."),
            code="invalid_name",
            field="name",
            remedy=_("Shorten the name or leave other characters out."),
        )
    return cleaned


def checked_text(text: str, *, field: str, longest: int = REMARK_LENGTH) -> str:
    """A free text without spaces around it. Raises InvalidInput (``text_invalid``)."""
    cleaned = unix_lines(text).strip()
    if len(cleaned) > longest or "\x00" in cleaned:
        raise InvalidInput(
            _("At most %(longest)s characters are allowed here.") % {"longest": longest},
            code="text_invalid",
            field=field,
            numbers={"max": longest, "given": len(cleaned)},
        )
    return cleaned


def numbered(name: str, count: int) -> list[str]:
    """The names of a batch: ``-1``, ``-2``, ... are added to more than one.

    Raises InvalidInput when they become too long.
    """
    names = [name] if count == 1 else [f"{name}-{number}" for number in range(1, count + 1)]
    return [checked_name(one) for one in names]


def tenant_of(actor: Actor) -> Tenant:
    """Whose resource is being made. Raises InvalidInput for the platform itself."""
    if actor.tenant is None:
        raise InvalidInput(_("A tenant is needed."), code="tenant_missing", field="tenant")
    return actor.tenant


def usable(region: Region) -> Region:
    """The region, unless an administrator closed it. Raises InvalidInput (``region_disabled``)."""
    if not region.enabled:
        raise InvalidInput(
            _("Region %(name)s accepts no new resources.") % {"name": region.name},
            code="region_disabled",
            field="region",
        )
    return region


def locked(row: Any) -> Any:
    """The row as it is now, locked until the transaction ends. Raises NotFound if it is gone."""
    fresh = type(row).objects.select_for_update().filter(pk=row.pk).first()
    if fresh is None:
        raise NotFound(
            _("There is no %(verbose_name)s %(row)s.")
            % {"verbose_name": type(row)._meta.verbose_name, "row": row.pk}
        )
    return fresh


def rename(row: Named, name: str | None, remark: str | None) -> Named:
    """Give a row another name and another remark; None leaves one as it is."""
    fresh: Named = locked(row)
    audit.note(before={"name": fresh.name, "remark": fresh.remark})
    if name is not None:
        fresh.name = checked_name(name)
    if remark is not None:
        fresh.remark = checked_text(remark, field="remark")
    fresh.save(update_fields=["name", "remark"])
    audit.note(after={"name": fresh.name, "remark": fresh.remark})
    tell(fresh, "renamed")
    return fresh


def still_there(model: type[models.Model], ids: Collection[str], *, field: str) -> None:
    """Keep these rows from being deleted until the transaction ends; raise NotFound if one is gone.

    A share of the key only: any number of transactions may hold it, and none waits for another.
    """
    if not ids:
        return
    table = connection.ops.quote_name(model._meta.db_table)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT id FROM {table} WHERE id = ANY(%s) FOR KEY SHARE",  # noqa: S608  # own table
            [sorted(ids)],
        )
        found = {row[0] for row in cursor.fetchall()}
    missing = sorted(set(ids) - found)
    if missing:
        raise NotFound(
            _("There is no %(verbose_name)s %(missing)s.")
            % {"verbose_name": model._meta.verbose_name, "missing": missing[0]},
            field=field,
        )


def changed(row: Applied) -> None:
    """Raise the generation, so that the row counts as applied only when this change is."""
    type(row)._default_manager.filter(pk=row.pk).update(
        generation=F("generation") + 1, sync_error="", sync_error_detail=""
    )
    row.generation += 1
    row.sync_error = ""


def enqueue_sync(row: Applied, *, actor: Actor, title: str) -> None:
    """Have a worker apply the row. Several such jobs of one row may run; the last one wins."""
    jobs.enqueue(
        kind=f"network.sync_{row.KIND}",
        tenant=_owner(row),
        title=title,
        target_kind=row.KIND,
        target_id=row.pk,
        deadline_s=JOB_DEADLINE_S,
        actor=actor,
        exclusive=False,
    )


def _owner(row: Applied) -> Tenant | None:
    """Whose a row is; None for the platform's own."""
    found: Tenant | None = getattr(row, "tenant", None)
    return found


def bury(row: Applied) -> Tombstone:
    """Delete the row and leave what allows the fabric's part of it to be removed."""
    tombstone: Tombstone = Tombstone.objects.create(
        kind=row.fabric_kind,
        target_id=row.fabric_id,
        tenant=_owner(row),
        region=cast(Any, row).region,
    )
    row.delete()
    return tombstone


def bury_and_remove(row: Applied, *, actor: Actor, title: str) -> None:
    """Delete the row, and have a worker take away what the fabric holds of it."""
    tenant = _owner(row)
    tombstone = bury(row)
    jobs.enqueue(
        kind="network.remove",
        tenant=tenant,
        title=title,
        target_kind=tombstone.kind,
        target_id=tombstone.target_id,
        payload={"tombstone": tombstone.pk},
        deadline_s=JOB_DEADLINE_S,
        actor=actor,
        exclusive=False,
    )


def tell(row: Applied, verb: str, **data: Any) -> None:
    """Write the event ``<kind>.<verb>`` of a row."""
    events.emit(
        tenant_id=getattr(row, "tenant_id", None),
        kind=f"{row.KIND}.{verb}",
        resource_kind=row.KIND,
        resource_id=row.pk,
        data={"name": cast(Any, row).name, **data},
    )

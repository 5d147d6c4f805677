"""What administrators do with storage pools."""

from __future__ import annotations

import uuid

from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from compute.models import StoragePool
from compute.rules.pools import (
    KEY_RECIPIENT,
    TEST,
    holds_anything,
    is_key,
    needs_key,
    pool_problem,
)
from compute.states.pools import PoolState
from scloud.audit import action as audit
from scloud.audit.action import action
from scloud.jobs import service as jobs
from scloud.jobs.models import Job
from scloud.lib import keys
from scloud.lib.errors import Conflict, InvalidInput
from scloud.tenancy.actor import Actor

#: Longer than the driver takes to give up a pool that does not answer, and the wait for a slot.
DEADLINE_S = 300.0
_LOGGED = (
    "region_id", "kind", "location", "monitors", "user", "snapshots", "overprovisioning",
    "reserve_percent",
)  # fmt: skip


@action("platform.save_pool")
def save_pool(*, actor: Actor, pool: StoragePool, key: str = "") -> StoragePool:
    """Store a new or changed pool; an empty key of a Ceph pool stays as it is.

    Raises InvalidInput (``pool_invalid``, ``key_missing``, ``key_invalid``), Conflict
    (``pool_in_use``).
    """
    before = StoragePool.objects.select_for_update().filter(pk=pool.pk).first()
    try:
        pool.full_clean()
    except ValidationError as error:
        field, texts = next(iter(error.message_dict.items()))
        raise InvalidInput(texts[0], code="pool_invalid", field=field) from error
    if problem := pool_problem({name: getattr(pool, name) for name in _LOGGED}):
        raise InvalidInput(problem[1], code="pool_invalid", field=problem[0])
    if before is not None and before.kind != pool.kind and holds_anything(before):
        raise Conflict(
            _("The type of %(name)s cannot change: disks or images are in it.") % {"name": pool.pk},
            code="pool_in_use",
        )
    if pool.kind != "rbd":
        pool.monitors, pool.user, pool.sealed_key, pool.secret_uuid = "", "", "", None
    elif key:
        if not is_key(key):
            raise InvalidInput(
                _("This is not the key of a Ceph client."), code="key_invalid", field="new_key"
            )
        pool.sealed_key = keys.box().encrypt(key.encode()).decode()
    elif needs_key(before, {name: getattr(pool, name) for name in KEY_RECIPIENT}):
        raise InvalidInput(_("Enter the key."), code="key_missing", field="new_key")
    elif before is not None:
        pool.sealed_key = before.sealed_key
    if pool.kind == "rbd" and pool.secret_uuid is None:
        pool.secret_uuid = uuid.uuid4()
    written = [*_LOGGED, "sealed_key", "secret_uuid"]
    if before is None:
        pool.save(force_insert=True)
    else:
        audit.note(before={name: str(getattr(before, name)) for name in _LOGGED})
        # What sweeps write about it meanwhile stays.
        pool.save(update_fields=[name.removesuffix("_id") for name in written])
    audit.note(
        pool,
        after={
            **{name: str(getattr(pool, name)) for name in _LOGGED},
            **({"key": "changed" if key else "kept"} if pool.kind == "rbd" else {}),
        },
    )
    return pool


@action("platform.test_pool")
def test_pool(*, actor: Actor, pool: StoragePool) -> Job:
    """Look at a pool, measure it and write a little to it. Raises Conflict."""
    audit.note(pool)
    return jobs.enqueue(
        kind=TEST,
        actor=actor,
        tenant=None,
        title=_("Test the storage pool %(name)s") % {"name": pool.pk},
        target_kind="storage_pool",
        target_id=pool.pk,
        deadline_s=DEADLINE_S,
    )


@action("platform.adopt_pool")
def adopt_pool(*, actor: Actor, pool: StoragePool) -> StoragePool:
    """Take what lies at the pool's location for the pool: whoever uses it next marks it anew.

    Raises Conflict while the pool is what it says.
    """
    audit.note(pool, before={"state": pool.state})
    rows = StoragePool.objects.filter(pk=pool.pk, state__in=[PoolState.GONE, PoolState.WRONG])
    if not rows.update(marker="", adopting=True):
        raise Conflict(
            _("The marker of %(name)s is in order.") % {"name": pool.pk}, code="pool_marked"
        )
    pool.refresh_from_db()
    return pool

"""What administrators do with storage pools."""

from __future__ import annotations

from django.utils.translation import gettext as _

from compute.models import StoragePool
from compute.states.pools import PoolState
from scloud.audit import action as audit
from scloud.audit.action import action
from scloud.lib.errors import Conflict
from scloud.tenancy.actor import Actor


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

"""Trying a storage pool on command, and writing down in which state one was seen."""

from __future__ import annotations

from collections.abc import Sequence

from django.utils import timezone
from django.utils.translation import gettext as _

from compute.models import StoragePool
from compute.rules.pools import TEST
from compute.states.pools import PoolState, state_of_error
from compute.storage.base import StorageError
from compute.tasks.drivers import storage_of, translated_errors
from scloud.jobs.handlers import Context, Handler, Step, register
from scloud.jobs.models import Job
from scloud.lib.errors import ScloudError


def saw(pool: StoragePool, state: PoolState, reason: str = "") -> None:
    """Write down in which state a pool is, and why; since when, only where that is new."""
    rows = StoragePool.objects.filter(pk=pool.pk)
    rows.exclude(state=state).update(state=state, state_since=timezone.now())
    rows.exclude(last_error=reason[:300]).update(last_error=reason[:300])


class TestPool(Handler):
    """Is it there, is it the right one, how large is it, can it be written?"""

    # pytest takes the name for a test otherwise.
    __test__ = False
    max_attempts = 1

    def steps(self, job: Job) -> Sequence[Step]:
        return (Step("try", _("Trying the storage pool"), self.ensure_tried),)

    def ensure_tried(self, context: Context) -> None:
        """Ask it; what it said is on its row."""
        pool = StoragePool.objects.filter(pk=context.job.target_id).first()
        if pool is None:
            raise ScloudError(_("The storage pool was deleted."), code="pool_gone")
        with translated_errors():
            storage = storage_of(pool)
            try:
                room = storage.capacity()
                storage.try_write()
            except StorageError as error:
                saw(pool, state_of_error(error.code), error.message)
                raise
        StoragePool.objects.filter(pk=pool.pk).update(
            total_bytes=room.total_bytes,
            available_bytes=room.available_bytes,
            observed_at=timezone.now(),
        )
        saw(pool, PoolState.AVAILABLE)


def register_all() -> None:
    """Make the handler known to the runner."""
    register(TEST, TestPool())

"""Recognising a restored database, and freezing the sweeps that destroy until somebody looked.

A database that was restored from a backup does not know what happened since: a VM that was taken
out of the recycle bin lies in it again, and its retention is over. So the sweeps that destroy,
switch off or remove ask :func:`is_frozen` first, each time.
"""

import json
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from scloud.audit import action as audit
from scloud.audit.action import action
from scloud.lib.errors import Conflict
from scloud.recovery.models import DatabaseLife, SweepFreeze
from scloud.tenancy.actor import Actor

log = logging.getLogger(__name__)

_IDENTITY = """
    SELECT system_identifier, oid, %s::regclass::oid, timeline_id
      FROM pg_control_system(), pg_control_checkpoint(), pg_database
     WHERE datname = current_database()
"""
_expected: set[str] = set()
_on_release: list[Callable[[], None]] = []


def expect_report(name: str) -> None:
    """Say that a drift report of this name must be complete before a freeze can be released."""
    _expected.add(name)


def on_release(run: Callable[[], None]) -> None:
    """Call ``run`` in the transaction that releases a freeze."""
    if run not in _on_release:
        _on_release.append(run)


def is_frozen() -> bool:
    """Tell whether nothing may be destroyed now. Looks whether the database was restored."""
    look()
    return SweepFreeze.objects.filter(released_at=None).exists()


def look() -> None:
    """Compare the database with its marker, and freeze when it was restored; then move the marker.

    The first look at a database without a marker takes it as new.
    """
    with transaction.atomic():
        seen = _identity()
        beaten = _last_beat(seen["cluster"])
        DatabaseLife.objects.bulk_create([DatabaseLife(id=1, **seen)], ignore_conflicts=True)
        life = DatabaseLife.objects.select_for_update().get(pk=1)
        reasons = []
        if (life.cluster, life.database, life.relation) != (
            seen["cluster"],
            seen["database"],
            seen["relation"],
        ):
            reasons.append(_("the database was restored from a backup"))
        elif life.timeline != seen["timeline"]:
            reasons.append(
                _("the database server was restored to an earlier time, or a standby took over")
            )
        if life.beat and beaten > life.beat:
            reasons.append(_("the database is older than this machine has last seen it"))
        if reasons:
            freeze("; ".join(reasons))
        beat = max(life.beat, beaten if reasons else 0) + 1
        DatabaseLife.objects.filter(pk=1).update(**seen, beat=beat, beaten_at=timezone.now())
        transaction.on_commit(lambda: _keep_beat(seen["cluster"], beat))


def freeze(reason: str) -> SweepFreeze:
    """Stop what destroys until an operator releases it; a freeze that is open is kept."""
    found: SweepFreeze | None = SweepFreeze.objects.filter(released_at=None).first()
    if found is not None:
        return found
    log.error("destructive sweeps are frozen: %s", reason)
    made: SweepFreeze = SweepFreeze.objects.create(reason=reason[:300])
    return made


def reported(name: str) -> None:
    """Note that a drift report was made, whole, while a freeze is open."""
    for row in SweepFreeze.objects.filter(released_at=None):
        if name not in row.reports:
            reports = {**row.reports, name: timezone.now().isoformat()}
            SweepFreeze.objects.filter(pk=row.pk).update(reports=reports)


def missing_reports(row: SweepFreeze) -> list[str]:
    """The drift reports that are not complete since the freeze began."""
    return sorted(_expected - set(row.reports))


@action("platform.release_sweeps")
def release(*, actor: Actor, row: SweepFreeze) -> SweepFreeze:
    """Let the sweeps destroy again, after somebody has read the drift report.

    What is in the recycle bin gets its whole retention anew. Raises Conflict
    (``freeze_released``, ``report_incomplete``).
    """
    missing = missing_reports(row)
    if missing:
        raise Conflict(
            _("The drift report is not complete yet: %(missing)s.")
            % {"missing": ", ".join(missing)},
            code="report_incomplete",
            remedy=_(
                "Wait until every host, pool and network controller has answered, then read the "
                "report. Repair what does not answer, or enter the address of its replacement."
            ),
            numbers={"missing": missing},
        )
    changed = SweepFreeze.objects.filter(pk=row.pk, released_at=None).update(
        released_at=timezone.now(), released_by=actor.label
    )
    if not changed:
        raise Conflict(_("This freeze has already been released."), code="freeze_released")
    for run in _on_release:
        run()
    audit.note(row, after={"reason": row.reason})
    row.refresh_from_db()
    return row


def _identity() -> dict[str, int]:
    with connection.cursor() as cursor:
        cursor.execute(_IDENTITY, [DatabaseLife._meta.db_table])
        row = cursor.fetchone()
    return dict(zip(("cluster", "database", "relation", "timeline"), map(int, row), strict=True))


def _beat_file(cluster: int) -> Path:
    name = str(connection.settings_dict["NAME"])
    return Path(settings.SCLOUD_STATE_DIR) / "run" / f"database-{cluster}-{name}.json"


def _last_beat(cluster: int) -> int:
    """The last beat that this machine saw; 0 if it saw none or cannot read it."""
    try:
        return int(json.loads(_beat_file(cluster).read_text())["beat"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _keep_beat(cluster: int, beat: int) -> None:
    path = _beat_file(cluster)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Each writer has a file of its own: the lanes of a sweeper write beside each other.
        part = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}.part")
        part.write_text(json.dumps({"beat": beat}))
        part.rename(path)
    except OSError as error:
        # The other marks still tell; a machine that cannot write says so in its log.
        log.warning("the beat of the database could not be kept: %s", error)

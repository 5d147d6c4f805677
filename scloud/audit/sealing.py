"""Seals on the operation log: batches with a hash over their entries and the batch before.

A request writes its entry and waits for nobody. A sweep gives the entries that have no batch yet a
number and writes the seal; which entries belong together does not depend on the order in which
transactions end. After six months whole batches are deleted; their seals stay, so that the chain
can be followed from the first batch on.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import Final

from django.db import connection, transaction
from django.db.models import Count
from django.utils import timezone

from scloud.audit.models import Operation, Pruning, Seal
from scloud.lib.locks import advisory_key
from scloud.tenancy.scoping import scopes_disabled

# Form 2 holds the detail for operators too. A batch without any is sealed in form 1, which
# releases that know no details write and understand.
PLAIN_FORM: Final = 1
DETAILED_FORM: Final = 2
BATCH_ROWS: Final = 1000
# The database's guard knows the same: "6 months" in migration 0002.
KEEP: Final = timedelta(days=186)
PRUNED_AT_ONCE: Final = 100


@dataclass(frozen=True)
class Broken:
    """The first batch that is not what was sealed, and why."""

    number: int
    reason: str


def _line(row: Operation, form: int) -> str:
    """Return an entry as a form writes it: its columns, in this order, as JSON."""
    values = [
        row.pk,
        row.tenant_id,
        row.actor,
        row.user_id,
        row.via,
        row.ip,
        row.verb,
        row.resources,
        row.before,
        row.after,
        row.succeeded,
        row.error_code,
        row.error_message,
        row.request_id,
        row.at.astimezone(UTC).isoformat(timespec="microseconds"),
    ]
    if form == DETAILED_FORM:
        values.append(row.detail)
    return json.dumps(values, sort_keys=True, ensure_ascii=True, separators=(",", ":"))


def form_for(rows: Iterable[Operation]) -> int:
    return DETAILED_FORM if any(row.detail for row in rows) else PLAIN_FORM


def digest(
    number: int, previous_hash: str, rows: Iterable[Operation], form: int = PLAIN_FORM
) -> str:
    """Return the hash of a batch whose entries come in the order of their ids."""
    found = hashlib.sha256(f"{form} {number} {previous_hash}\n".encode())
    for row in rows:
        found.update(_line(row, form).encode() + b"\n")
    return found.hexdigest()


def seal() -> int:
    """Seal what has no batch yet; return how many entries. One process at a time does it."""
    sealed = 0
    while count := _seal_batch():
        sealed += count
        if count < BATCH_ROWS:
            break
    return sealed


def _seal_batch() -> int:
    with scopes_disabled(), transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [advisory_key("audit seal")])
            taken = cursor.fetchone()
        if not taken or not taken[0]:
            return 0
        rows = list(Operation.objects.filter(batch=None).order_by("pk")[:BATCH_ROWS])
        if not rows:
            return 0
        last = Seal.objects.order_by("-number").first()
        number = last.number + 1 if last else 1
        previous_hash = last.hash if last else ""
        form = form_for(rows)
        Operation.objects.filter(pk__in=[row.pk for row in rows]).update(batch=number)
        Seal.objects.create(
            number=number,
            count=len(rows),
            last_at=max(row.at for row in rows),
            form=form,
            previous_hash=previous_hash,
            hash=digest(number, previous_hash, rows, form),
        )
        return len(rows)


def prune() -> int:
    """Delete the entries of batches past their retention; return how many.

    The record of it is written first and in the same transaction: the database lets no entry go
    whose batch has none, and takes none for a batch that is younger.
    """
    deleted = 0
    with scopes_disabled():
        old = Seal.objects.filter(last_at__lt=timezone.now() - KEEP, pruning=None)
        for found in list(old.order_by("number")[:PRUNED_AT_ONCE]):
            with transaction.atomic():
                Pruning.objects.create(seal=found)
                count, _ = Operation.objects.filter(batch=found.number).delete()
            deleted += count
    return deleted


def keep_sealed() -> None:
    """The sweep's chore."""
    seal()
    prune()


def _batches() -> Iterator[tuple[Seal, list[Operation]]]:
    for found in Seal.objects.select_related("pruning").order_by("number").iterator():
        yield found, list(Operation.objects.filter(batch=found.number).order_by("pk"))


def verify(known: dict[int, str] | None = None) -> Broken | None:
    """Follow the chain from the first batch; return the first broken one, None if all is whole.

    ``known`` holds hashes by number that were kept elsewhere: whoever can replace the whole table
    can compute a new chain, but not one that ends in the same hash.
    """
    known = dict(known or {})
    before: Seal | None = None
    with scopes_disabled():
        for found, rows in _batches():
            reason = _fault(found, rows, before, known.pop(found.number, found.hash))
            if reason:
                return Broken(found.number, reason)
            before = found
        if known:
            return Broken(min(known), "the batch is missing")
        strays = (
            Operation.objects.filter(batch__isnull=False)
            .exclude(batch__in=Seal.objects.values("number"))
            .order_by()
            .values_list("batch")
            .annotate(Count("pk"))
            .order_by("batch")
            .first()
        )
    return Broken(int(strays[0] or 0), "its seal is missing") if strays else None


def _fault(found: Seal, rows: list[Operation], before: Seal | None, known_hash: str) -> str:
    if found.number != (before.number + 1 if before else 1):
        return "the batch before is missing"
    if found.previous_hash != (before.hash if before else ""):
        return "it was not sealed onto the batch before"
    if found.hash != known_hash:
        return "its hash is not the known one"
    if found.form not in (PLAIN_FORM, DETAILED_FORM):
        return f"its form {found.form} is unknown to this version"
    if hasattr(found, "pruning"):
        return "entries are left of a pruned batch" if rows else ""
    if len(rows) != found.count:
        return f"it has {len(rows)} entries instead of {found.count}"
    if digest(found.number, found.previous_hash, rows, found.form) != found.hash:
        return "its entries are not those that were sealed"
    return ""

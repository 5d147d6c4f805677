"""One verb on several rows, with one result per row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from scloud.jobs.models import Job
from scloud.lib.errors import Forbidden, InvalidInput, ScloudError
from scloud.resources import kinds
from scloud.tenancy.actor import Actor
from scloud.tenancy.confirmation import ConfirmationNeeded
from scloud.verbs import actions, inputs
from scloud.verbs.catalogue import Verb, of_kind

MAX_ROWS = 100


@dataclass(frozen=True)
class BatchResult:
    row: Any
    job: Job | None
    error: ScloudError | None

    @property
    def succeeded(self) -> bool:
        """True when the verb was begun."""
        return self.error is None


def _verb(kind: str, name: str) -> Verb:
    known: dict[str, Verb] = {
        verb.name: verb for verb in of_kind(kind).public.values() if verb.batch is not None
    }
    if name not in known:
        raise InvalidInput(
            _("%(verb)s is not available for batches.") % {"verb": name},
            code="verb_unknown",
            field="verb",
            numbers={"allowed": sorted(known)},
        )
    return known[name]


def run_batch(
    kind: str, *, actor: Actor, verb: str, rows: Sequence[Any], **options: Any
) -> list[BatchResult]:
    """Invoke a verb on each row: one refusal does not stop the others.

    ``options`` are values of the verb's input, ids instead of rows; those that are false are not
    given to it. Raises InvalidInput (``verb_unknown``, ``batch_size``, ``option_unknown``,
    ``option_missing``), Forbidden.
    """
    known = _verb(kind, verb)
    if not 1 <= len(rows) <= MAX_ROWS:
        raise InvalidInput(
            _("Select 1 to %(max)d items (%(kind)s).")
            % {"max": MAX_ROWS, "kind": kinds.get(kind).label_plural},
            code="batch_size",
            field="ids",
            numbers={"min": 1, "max": MAX_ROWS, "asked": len(rows)},
        )
    given = {name: value for name, value in options.items() if value is not False}
    for name in given:
        if name not in inputs.parameters_of(known):
            raise InvalidInput(
                _("%(option)s does not apply to %(verb)s.") % {"option": name, "verb": verb},
                code="option_unknown",
                field=name,
                remedy=_("Leave it out."),
            )
    for name, field in inputs.fields_of(known).items():
        if field.required and str(field.source) not in given:
            raise InvalidInput(
                _("%(verb)s needs %(option)s.") % {"verb": verb, "option": name},
                code="option_missing",
                field=name,
            )
    results = []
    for row in rows:
        try:
            values = inputs.referenced(known, actor, row, given)
            found = actions.invoke(known, actor=actor, row=row, **values)
            results.append(BatchResult(row, found if isinstance(found, Job) else None, None))
        except Forbidden:
            # The right is the same for all; the operation log has the first refusal.
            raise
        except ConfirmationNeeded as needed:
            if not any(one.error is None for one in results):
                raise
            # What was accepted stays so, and the answer says what was not.
            results.append(BatchResult(row, None, needed.refusal()))
        except ScloudError as error:
            results.append(BatchResult(row, None, error))
    return results

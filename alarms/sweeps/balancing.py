"""Load balancing of clusters: one look at each cluster, and at most one move that follows.

Clusters are looked at one by one, and what goes wrong in one is its own. Two sweepers at once order
a move once: the action looks again under the lock. While the sweeps are frozen after a restore
nothing happens.
"""

from __future__ import annotations

import logging

from alarms.queries.load import figures_of
from alarms.store.base import StoreError
from compute.actions.balance import balance_cluster
from compute.models import Cluster
from compute.queries.balance import look
from compute.states.balance import BalanceMode
from scloud.jobs.rows import each
from scloud.lib.backoff import Said
from scloud.lib.errors import Conflict, NoCapacity
from scloud.recovery import freezing
from scloud.tenancy.actor import Actor
from scloud.tenancy.scoping import scopes_disabled

log = logging.getLogger(__name__)
said = Said(log)


def balance() -> None:
    """Look at each cluster that has load balancing, and order or propose what follows."""
    with scopes_disabled():
        if freezing.is_frozen():
            return
        rows = Cluster.objects.exclude(balance_mode=BalanceMode.OFF).order_by("pk")
        each(list(rows), balance_one, "balancing the load of a cluster")


def balance_one(cluster: Cluster) -> None:
    """Order at most one move, or propose it in a dry run."""
    try:
        figures = figures_of(cluster)
    except StoreError as error:
        said.say(cluster.pk, error.code, logging.WARNING, "no figures: %s", error.message)
        return
    said.over(cluster.pk)
    plan = look(cluster, figures)
    if plan.move is None:
        log.debug("%s: %s", cluster.pk, plan.reason)
        return
    try:
        made = balance_cluster(
            actor=Actor.system(None), cluster=cluster, move=plan.move, figures=figures
        )
    except (Conflict, NoCapacity) as error:
        # Something has changed since: looked at again in the next round.
        log.info("%s: %s is not moved: %s", cluster.pk, plan.move.vm, error.for_operators())
        return
    if made is not None and made.job:
        log.warning("%s: %s is moved because of load: %s", cluster.pk, made.vm_id, made.reason)

"""Hosts that were added and have not passed their connection test: they were never in service.

What they say, or do not, counts for no decision about the others of their cluster.
"""

from __future__ import annotations

from django.db.models import QuerySet

from compute.models import Cluster, Host, HostTest


def that_served(cluster: Cluster | str | None = None) -> QuerySet[Host]:
    """Return the hosts, all or those of a cluster or of that id, that were ever in service."""
    added = HostTest.objects.filter(required=True, admitted_at=None)
    rows: QuerySet[Host] = Host.objects.all()
    if cluster is not None:
        rows = rows.filter(cluster=cluster)
    return rows.exclude(pk__in=added.values("host"))

"""The page of a snapshot."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponseRedirect
from django.urls import reverse

from compute.queries import snapshots as snapshot_queries
from scloud.web.views import ConsoleView


class SnapshotDetail(ConsoleView):
    """A snapshot has no page of its own: it is shown among those of its disk."""

    permission = "compute.view_snapshot"

    def get(self, request: HttpRequest, snapshot_id: str) -> HttpResponseRedirect:
        snapshot = snapshot_queries.snapshot(snapshot_id)
        url = reverse("disk-detail", args=[snapshot.disk_id])
        return HttpResponseRedirect(f"{url}?q={snapshot.pk}")

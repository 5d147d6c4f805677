"""Hosts are shared among collectors by lease: each has its share, a dead one's are taken over.

Two collectors may ask one host for a moment, when one was cut off from the database and does not
know that its lease is over. That does no harm: each writes samples of its own times.
"""

from __future__ import annotations

import os
import secrets
import socket
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db import connection, transaction
from django.db.models import Q
from django.db.models.functions import Now

from alarms.models import Collector, HostCollection
from compute.models import Host
from scloud.lib.locks import advisory_key

#: Longer than a round of asking and writing takes at worst.
LEASE: Final = timedelta(seconds=60)
#: One that was not seen for so long gets no share.
LIVES: Final = timedelta(seconds=60)
FORGOTTEN: Final = timedelta(days=1)
_LOCK: Final = advisory_key("alarms.collecting.share")


@dataclass(frozen=True, slots=True)
class Share:
    """The hosts of this collector, and the database's time when they were given to it."""

    hosts: tuple[Host, ...]
    now: datetime


def new_name() -> str:
    """Return the name of a collector process: where it runs, and a part that no other start has."""
    return f"{socket.gethostname()[:40]}/{os.getpid()}/{secrets.token_hex(4)}"


def take_share(name: str) -> Share:
    """Renew this collector's leases, give back what is too much, take what it lacks.

    Raises DatabaseError or InterfaceError when the database does not answer.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            # One after the other, so that two do not leave a host to each other.
            cursor.execute("SELECT pg_advisory_xact_lock(%s), statement_timestamp()", [_LOCK])
            now: datetime = cursor.fetchone()[1]
        updated = Collector.objects.filter(pk=name).update(seen_at=Now())
        if not updated:
            Collector.objects.create(pk=name, started_at=now, seen_at=now)
        Collector.objects.filter(seen_at__lt=Now() - FORGOTTEN).delete()
        living = Collector.objects.filter(seen_at__gt=Now() - LIVES).count()
        new = Host.objects.filter(collection=None)
        HostCollection.objects.bulk_create(
            [HostCollection(host=host) for host in new], ignore_conflicts=True
        )
        rows = HostCollection.objects.order_by("host_id")
        held = rows.filter(collector=name, lease_until__gt=Now())
        mine = list(held.values_list("pk", flat=True))
        fair = -(-rows.count() // max(1, living))
        if len(mine) > fair:
            rows.filter(pk__in=mine[fair:]).update(collector="", lease_until=None)
            mine = mine[:fair]
        elif len(mine) < fair:
            free = rows.filter(Q(lease_until=None) | Q(lease_until__lte=Now()))
            mine += free.values_list("pk", flat=True)[: fair - len(mine)]
        rows.filter(pk__in=mine).update(collector=name, lease_until=Now() + LEASE)
        hosts = Host.objects.filter(pk__in=mine).order_by("pk")
        return Share(tuple(hosts), now)


def give_back(name: str) -> None:
    """Give up all hosts of a collector that ends, for others to take at once."""
    with transaction.atomic():
        HostCollection.objects.filter(collector=name).update(collector="", lease_until=None)
        Collector.objects.filter(pk=name).delete()

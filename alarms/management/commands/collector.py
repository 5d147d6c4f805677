"""``manage.py collector``: measures what hosts and guests do; several share the hosts."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from types import FrameType
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from django.db import DatabaseError, InterfaceError, connection

from alarms.collecting.leases import give_back, new_name
from alarms.collecting.rounds import Collecting
from alarms.queries.engine import metrics_store

log = logging.getLogger(__name__)


class Command(BaseCommand):
    """Runs until it is ended; killed at any time, others take its hosts over within a minute."""

    help = "Measure hosts, VMs and guests every 30 seconds. Several processes share the hosts."

    def handle(self, *args: Any, **options: Any) -> None:
        ending = threading.Event()

        def end(_number: int, _frame: FrameType | None) -> None:
            ending.set()

        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, end)
            signal.signal(signal.SIGINT, end)
        collect(Collecting(new_name(), metrics_store()), ending)


def collect(collecting: Collecting, ending: threading.Event) -> None:
    """Run rounds until ``ending``, then give the hosts back."""
    every_s = settings.SCLOUD_COLLECT_EVERY_S
    clock = collecting.clock
    next_s = clock.seconds()
    try:
        while not ending.is_set():
            collecting.share()
            collecting.round()
            next_s += every_s
            now_s = clock.seconds()
            if next_s < now_s:
                # A round took longer than there is time: the missed ones are gaps.
                log.warning("a round took %.0f s too long", now_s - next_s)
                next_s = now_s
            ending.wait(next_s - now_s)
    finally:
        collecting.close()
        with contextlib.suppress(DatabaseError, InterfaceError):
            give_back(collecting.name)
        connection.close()

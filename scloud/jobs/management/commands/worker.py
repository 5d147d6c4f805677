"""``manage.py worker``: django-q2's cluster, with a pid file for the watchdog."""

import os
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand

from scloud.jobs.leases import leases
from scloud.jobs.sweep import worker_pid_file


class Command(BaseCommand):
    help = "Run the workers that carry out jobs on the hosts."

    def handle(self, *args: Any, **options: Any) -> None:
        path = worker_pid_file()
        path.parent.mkdir(parents=True, exist_ok=True)
        # A group of its own: the watchdog ends the cluster with all its children at once.
        if os.getpgrp() != os.getpid():
            os.setpgrp()
        path.write_text(str(os.getpid()))
        leases.may_end_process = True
        call_command("qcluster")

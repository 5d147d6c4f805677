"""``manage.py replay_charges``: compute a month's charges again and list what differs."""

import re
from argparse import ArgumentParser
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from billing import money
from billing.pricing import Method, period_end
from billing.replay import replay
from scloud.tenancy.models import Tenant


class Command(BaseCommand):
    """Exit code 1 if anything differs, so that a scheduler can raise the alarm."""

    help = "Recompute every order line of a month and report any difference."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--month", help="YYYY-MM in the billing time zone; default: this one")
        parser.add_argument("--tenant", help="a tenant id; default: all")

    def handle(self, *args: Any, **options: Any) -> None:
        zone = money.zone()
        month = options["month"] or timezone.now().astimezone(zone).strftime("%Y-%m")
        if not re.fullmatch(r"\d{4}-(0[1-9]|1[0-2])", month):
            raise CommandError("--month must look like 2026-11")
        year, number = map(int, month.split("-"))
        since = datetime(year, number, 1, tzinfo=zone)
        until = period_end(since, Method.MONTH, 1, zone=zone)
        tenants = Tenant.objects.all()
        if options["tenant"]:
            tenants = tenants.filter(pk=options["tenant"])
            if not tenants:
                raise CommandError(f"there is no tenant {options['tenant']}")
        differences = 0
        for tenant in tenants:
            for difference in replay(tenant, since, until):
                differences += 1
                self.stdout.write(str(difference))
        if differences:
            raise CommandError(f"{differences} difference(s) in {month}")
        self.stdout.write(f"{month}: everything adds up for {len(tenants)} tenant(s)")

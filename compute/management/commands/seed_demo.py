"""``manage.py seed_demo``: a region from a lab's description, base images, a demo tenant."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from compute.management import seeding
from compute.sweeps import reconcile
from compute.sweeps.reconcile import Rounds
from scloud.tenancy.models import User

IMAGES = {
    "mini": ("Mini Linux", "mini", "1"),
    "debian": ("Debian 12", "debian", "12"),
}


class Command(BaseCommand):
    """Fills an empty installation; safe to repeat."""

    help = "Seed a region, its hosts, base images, prices, an administrator and a demo tenant."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--facts", required=True, help="JSON file that describes the region")
        parser.add_argument("--admin", default="admin@scloud.test")
        parser.add_argument("--admin-password", required=True)
        parser.add_argument("--email", default="demo@scloud.test")
        parser.add_argument("--password", required=True)

    def handle(self, *args: Any, **options: Any) -> None:
        facts = json.loads(Path(options["facts"]).read_text())
        platform = seeding.seed_platform(
            facts, region_name="Region in a box", extra_specs_mib=[(1, 256), (1, 512)]
        )
        self.stdout.write(f"region {platform.region.pk}: {len(facts['hosts'])} hosts")
        if made := seeding.seed_fence_devices(facts):
            self.stdout.write(f"fence devices: {made}")
        files = [
            seeding.ImageFile(key, *IMAGES[key][:1], Path(path), *IMAGES[key][1:])
            for key, path in facts["images"].items()
            if path and key in IMAGES
        ]
        for image in seeding.seed_images(platform, files):
            self.stdout.write(f"image {image.name}: {image.pk}")
        reconcile.reconcile_hosts(Rounds(patience_s=60))
        if not User.objects.filter(email=options["admin"]).exists():
            User.objects.create_superuser(options["admin"], options["admin_password"])
        tenant, _ = seeding.seed_tenant(
            name="Demo",
            email=options["email"],
            password=options["password"],
            region=platform.region,
            balance=Decimal("1000.00"),
        )
        self.stdout.write(f"tenant {tenant.name}: {options['email']}")

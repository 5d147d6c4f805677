"""``python -m tests.chaos``: random verbs and kills on a region of its own, then a comparison.

Ends with 0 when database, libvirt, OVN, storage, ledger and quotas say the same and no request was
answered as it must not be; else with 1, after the differences.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import secrets
import sys
import threading
import time
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from scloud.lab import region
from scloud.lab import stack as stacks
from scloud.lab.plan import LabError, lab_named
from scloud.lab.stack import Stack
from tests.chaos.compare import differences
from tests.chaos.kills import VICTIMS, Killer
from tests.chaos.tenant import Tally, Tenant
from tests.e2e.client import Api

TENANTS: Final = ("ada", "ben", "cyd")
SETTLES_S: Final = 600.0


def stack_of(name: str, port: int) -> Stack:
    """The installation of the run."""
    return Stack(
        lab=lab_named(name),
        state=Path(__file__).resolve().parents[2] / ".scloud" / f"chaos-{port}",
        console_port=port,
        vnc_port=port + 1,
        postgres_port=port + 2,
        # A killed server must keep what it said that it kept.
        durable=True,
        settings=(
            ("SCLOUD_JOB_LEASE_S", "6"),
            ("SCLOUD_WORKERS", "3"),
            ("SCLOUD_SECRET_KEY", secrets.token_urlsafe(48)),
            ("SCLOUD_API_REQUESTS_PER_MINUTE", "100000"),
        ),
    )


def make_tenants(stack: Stack) -> list[Api]:
    """Three tenants with money, each with a key."""
    from compute.management import seeding
    from scloud.resources.models import Region

    keys = []
    for name in TENANTS:
        email = f"{name}@chaos.test"
        seeding.seed_tenant(
            name=name,
            email=email,
            password=secrets.token_urlsafe(12),
            region=Region.objects.get(),
            balance=Decimal(1_000_000),
        )
        keys.append(Api(stack.url, stack.manage("issue_api_key", email, quiet=True).strip()))
    return keys


def settle(stack: Stack, facts: dict[str, Any]) -> tuple[list[str], float]:
    """Compare until there is nothing to tell, or for long enough; return what is left."""
    from django.db import connection

    from tests.chaos import look

    began = time.monotonic()
    while True:
        connection.close()
        found = differences(look.read_book(), look.look_around(facts, stack.lab))
        took_s = time.monotonic() - began
        if not found or took_s > SETTLES_S:
            return found, took_s
        time.sleep(10)


def run(stack: Stack, *, verbs: int, seed: int, kills: bool) -> int:
    """Do the verbs, kill meanwhile, compare, and tell; return how many things were wrong."""
    facts = json.loads((stack.run / "region.json").read_text())
    keys = make_tenants(stack)
    tally = Tally()
    killer = Killer(stack, random.Random(f"{seed} kills"))
    tenants = [
        Tenant(
            name=name,
            api=api,
            chance=random.Random(f"{seed} {name}"),
            tally=tally,
            excused=killer.excuses,
            stop=killer.stop,
        )
        for name, api in zip(TENANTS, keys, strict=True)
    ]
    shares = [verbs // 3 + (number < verbs % 3) for number in range(3)]
    threads = [
        threading.Thread(target=tenant.run, args=(share,), name=tenant.name)
        for tenant, share in zip(tenants, shares, strict=True)
    ]
    killing = threading.Thread(target=killer.run, name="killer")
    began = time.monotonic()
    for thread in threads:
        thread.start()
    if kills:
        killing.start()
    try:
        while any(thread.is_alive() for thread in threads):
            time.sleep(15)
            stacks.say(
                f"{sum(tally.verbs.values())} verbs, {sum(killer.killed.values())} kills, "
                f"{len(tally.failures)} failures after {time.monotonic() - began:.0f} s"
            )
    finally:
        killer.stop.set()
        for thread in [*threads, *([killing] if kills else [])]:
            thread.join()
    took_s = time.monotonic() - began
    stacks.await_console(stack)
    stacks.say("comparing")
    left, settled_s = settle(stack, facts)
    tell(tally, killer, took_s, settled_s)
    wrong = [*killer.failures, *tally.failures, *left]
    if kills:
        wrong += [
            f"{one} was never killed" for one in VICTIMS if verbs >= 300 and not killer.killed[one]
        ]
    for one in wrong:
        print(f"WRONG {one}")
    return len(wrong)


def tell(tally: Tally, killer: Killer, took_s: float, settled_s: float) -> None:
    """Print what was done."""
    accepted, refused = sum(tally.accepted.values()), sum(tally.refused.values())
    print(
        f"\n{accepted} accepted, {refused} refused in {took_s:.0f} s; settled in {settled_s:.0f} s"
    )
    for title, counts in (
        ("verbs", tally.verbs),
        ("accepted", tally.accepted),
        ("refused", tally.refused),
        ("away", tally.away),
        ("killed", killer.killed),
    ):
        print(f"{title}: " + ", ".join(f"{name} {n}" for name, n in sorted(counts.items())))


def main() -> int:
    """Bring a region up, run, and take down what was brought up."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--verbs", type=int, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-kills", action="store_true", help="verbs alone")
    parser.add_argument("--keep", action="store_true", help="leave everything up, to look at it")
    chosen = parser.parse_args()

    stack = stack_of(
        os.environ.get("SCLOUD_TEST_LAB", "test"), int(os.environ.get("SCLOUD_E2E_PORT", "18000"))
    )
    was_up = region.is_up(stack.lab)
    stacks.stop_processes(stack)
    stack.cluster.wipe()
    try:
        region.up(stack.lab, fresh=True)
        stacks.up(stack, image_names=("mini",))
        # Not its state directory: by that of this process the database's own is found.
        os.environ["DATABASE_URL"] = stack.cluster.url
        os.environ["DJANGO_SETTINGS_MODULE"] = "scloud.settings"
        import django

        django.setup()
        wrong = run(stack, verbs=chosen.verbs, seed=chosen.seed, kills=not chosen.no_kills)
    except LabError as error:
        print(f"chaos: {error}", file=sys.stderr)
        return 2
    finally:
        if not chosen.keep:
            stacks.stop_processes(stack)
            stack.cluster.wipe()
            if not was_up:
                region.down(stack.lab, wipe=True)
    print(f"seed {chosen.seed}: {'equal' if not wrong else f'{wrong} things are wrong'}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

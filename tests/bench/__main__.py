"""``python -m tests.bench [--quick] [--only NAME] [--again]``: measure everything, in one run.

A whole run writes docs/benchmarks.md; ``--quick`` and ``--only`` only print. ``--only NAME
--again`` puts the new figures of NAME into the report of the last whole run, which says so. The
exit code is 0 when all goals are met, 1 when some are missed, 2 when something could not be
measured.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from tests.bench import (
    alarms,
    balance,
    boot,
    costs,
    create,
    download,
    fairness,
    installation,
    jobs,
    lists,
    machine,
    metrics,
    northbound,
    outside,
    overlays,
    renewals,
    screen,
    snapshots,
    tls,
)
from tests.bench.rows import Row

REPORT = installation.ROOT / "docs" / "benchmarks.md"
# Those that need hosts come first: the others empty the database.
BENCHMARKS: dict[str, Callable[[bool], list[Row]]] = {
    "create": create.run,
    "batch": create.run_batch,
    "tls": tls.run,
    "snapshots": snapshots.run,
    "boot": boot.run,
    "overlays": overlays.run,
    "northbound": northbound.run,
    "outside": outside.run,
    "jobs": jobs.run,
    "fairness": fairness.run,
    "lists": lists.run,
    "download": download.run,
    "screen": screen.run,
    "metrics": metrics.run,
    "alarms": alarms.run,
    "balance": balance.run,
    "renewals": renewals.run,
    "costs": costs.run,
}

INTRODUCTION = """\
Written by `make bench`; the tables say what that run measured on the machine below. Where there is
a yardstick (libvirt itself, websockify), it was measured in the same run, in turns. A missed goal
stays in the table.
""".splitlines()
HOW = """\
## How it is measured

- **create**: on the region in a box, from the API's 201 until libvirt says that the domain runs
  (asked every 10 ms). Directly: `qemu-img create` on the same image, `define` and `create` of the
  same XML (but name, UUID, MAC, port and files), on the same host, after the product's VM is gone.
- **batch**: the same with one request for all; directly, by as many threads as the product has
  workers. Guests that boot keep the processors busy meanwhile, in both; the lab's hosts have a
  quarter of the usual weight (see lab.md).
- **tls**: as create, on a region that is started with TLS and without it in turns; the first VM of
  each turn is not counted.
- **snapshots**: from the call of the action to the row that says *available*, with real workers;
  the guest's file systems are frozen through its agent, and the snapshot is deleted again before
  the next one.
- **boot**: a guest made with nothing but virsh, with two NICs, a data disk and a seed, from its
  start until its agent answers (asked every 0.3 s). The processor time is what the domain had, its
  emulation included; the hash is made by Python's hashlib in the same turn.
- **overlays**: the storage's calls on a directory under /var/tmp, without a VM; a mapped volume has
  all its tables and holes for data. Reads by `qemu-img bench` with a warm cache, in turns.
- **northbound**: by the product's driver on the lab's own OVN, ten ports in a batch, until the
  database has confirmed the last one; a rule from the call until the same.
- **outside**: from the API request to the first ping that is answered, or no longer, sent from the
  machine on which the lab runs without a pause; port and guest are configured meanwhile.
- **jobs**: from the commit that queued a job to the first step in a real worker, queued one at a
  time at random moments.
- **fairness**: as jobs, but another tenant has queued 50 jobs that wait as a shutdown does which
  the guest ignores, and 20 downloads from a server that sends a byte a second.
- **lists**: Django's test client in process with the production settings, so the whole request but
  for the network; queries are counted in requests of their own.
- **download**: over HTTP from the console's server; the memory is the kernel's own peak
  figure of that process; the rows in the workbook are counted.
- **metrics**: hosts in memory that answer at once, so what is measured is the collector's own work
  and the store's; the memory is the peak of the whole process. Then the same samples into both
  engines in turns, on this machine beside the benchmark. Charts by Django's test client in process,
  on PostgreSQL.
- **alarms**: samples as for metrics, written into PostgreSQL; then one call of the sweep, with the
  question to the store, the comparison and the writing of what opens.
- **balance**: rows of one cluster, loads in memory; one call of what the sweep asks each
  minute, from the questions to the database to the move or the reason why none. 50 hosts are at
  their threshold.
- **renewals**: as many subscriptions of 2 lines, 250 to a tenant, each with one hour due; two
  processes that call the product's sweep without its pauses. One is killed when a third is done
  and started again at once. Starting them is included. Then the books are counted and added up.
  The processor time says how fast a machine is that has nothing else to do.
- **costs**: a tenant with 1000 resources whose hourly orders, charges, lines, transactions and
  entries are inserted by the database itself, and its sums as the migration fills them; then as
  for lists. The month that is pruned lies two years back and is closed by the product first.
- **screen**: the same flood of bytes through the proxy and through websockify in turns.
""".splitlines()


@dataclass
class Outcome:
    """What one benchmark said, and what the machine had to do beside it."""

    name: str
    rows: list[Row]
    took_s: float
    load_before: str
    load_after: str
    failed: bool = False


def measure(name: str, quick: bool) -> Outcome:
    """Run one benchmark; an error becomes a line of the report, not the end of the run."""
    print(f"==> {name}", flush=True)
    before, began = machine.load(), time.monotonic()
    failed = False
    try:
        rows = BENCHMARKS[name](quick)
    except Exception as error:
        traceback.print_exc()
        failed = True
        kind = type(error).__name__
        rows = [Row(f"{name}: could not be measured", "to be measured", kind, False)]
    for row in rows:
        print(f"    {row.what}: {row.measured} (goal: {row.goal}) {row.verdict}", flush=True)
    return Outcome(name, rows, time.monotonic() - began, before, machine.load(), failed)


def report(outcomes: list[Outcome], emulation: str) -> str:
    """Return the report as Markdown."""
    lines = [
        "# Benchmarks",
        "",
        *INTRODUCTION,
        "",
        f"Run of {datetime.now(UTC):%Y-%m-%d %H:%M} UTC.",
        "",
        "| machine | |",
        "| --- | --- |",
        *(f"| {what} | {value} |" for what, value in machine.facts(emulation)),
        "",
        "| measured | goal | result | |",
        "| --- | --- | --- | --- |",
    ]
    for outcome in outcomes:
        lines += [
            f"| {row.what} | {row.goal} | {row.measured} | {row.verdict} |" for row in outcome.rows
        ]
    lines += [
        "",
        "What the machine had to do: load average over one and five minutes, this run included.",
        "",
        "| benchmark | took | load before | load after |",
        "| --- | --- | --- | --- |",
        *(
            f"| {one.name} | {one.took_s:.0f} s | {one.load_before} | {one.load_after} |"
            for one in outcomes
        ),
        "",
        *HOW,
    ]
    return "\n".join(lines)


def renewed(text: str, outcomes: list[Outcome]) -> str:
    """Return a report with the figures of some benchmarks replaced.

    Raises ValueError where the report does not have a row, so that no old figure is left beside
    new ones.
    """
    lines = text.splitlines()

    def replace(start: str, line: str) -> None:
        places = [number for number, old in enumerate(lines) if old.startswith(start)]
        if len(places) != 1:
            raise ValueError(f"the report has no one row {start!r}: run all benchmarks")
        lines[places[0]] = line

    for one in outcomes:
        for row in one.rows:
            replace(
                f"| {row.what} |", f"| {row.what} | {row.goal} | {row.measured} | {row.verdict} |"
            )
        replace(
            f"| {one.name} |",
            f"| {one.name} | {one.took_s:.0f} s | {one.load_before} | {one.load_after} |",
        )
    names = ", ".join(one.name for one in outcomes)
    said = f"Measured again at {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, on this machine: {names}."
    run = next(number for number, line in enumerate(lines) if line.startswith("Run of "))
    lines[run + 1 : run + 1] = ["", said]
    return "\n".join(lines)


def main() -> int:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it work at all?")
    parser.add_argument("--only", action="append", choices=list(BENCHMARKS), metavar="NAME")
    parser.add_argument("--again", action="store_true", help="with --only: into the last report")
    chosen = parser.parse_args()
    try:
        names = [name for name in BENCHMARKS if not chosen.only or name in chosen.only]
        outcomes = [measure(name, chosen.quick) for name in names]
        text = report(outcomes, installation.emulation())
    finally:
        print("==> cleaning up", flush=True)
        installation.take_away()
    if chosen.only and chosen.again and not chosen.quick:
        text = renewed(REPORT.read_text(), outcomes)
    if not chosen.quick and (chosen.again or not chosen.only):
        REPORT.write_text(text)
        print(f"==> wrote {REPORT.relative_to(installation.ROOT)}")
    if any(outcome.failed for outcome in outcomes):
        return 2
    return int(any(row.met is False for outcome in outcomes for row in outcome.rows))


if __name__ == "__main__":
    sys.exit(main())

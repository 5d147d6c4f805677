"""The screen's proxy beside websockify: processor time, and memory under a stalled client."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.bench.rows import Row

SCRIPT = Path(__file__).parent / "vnc" / "bench_proxy.py"


def run(quick: bool) -> list[Row]:
    """Run the comparison in a process of its own, which measures both proxies in turns."""
    mib, rounds = ("32", "2") if quick else ("512", "5")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--mib", mib, "--rounds", rounds],
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    if done.returncode not in (0, 1):
        raise RuntimeError(f"the comparison ended with {done.returncode}: {done.stderr[-500:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    return [
        Row(
            "Screen proxy: processor time per GiB against websockify",
            f"<= {found['ratio_goal']} x",
            f"{found['ratio']:.2f} x ({found['cpu_s_per_gib']} s, websockify "
            f"{found['websockify_cpu_s_per_gib']} s)",
            found["ratio"] <= found["ratio_goal"],
        ),
        Row(
            "Screen proxy: growth of memory with a client that stops reading",
            f"<= {found['stalled_growth_goal_mb']:.0f} MB",
            f"{found['stalled_growth_mb']} MB (websockify {found['websockify_stalled_growth_mb']})",
            found["stalled_growth_mb"] <= found["stalled_growth_goal_mb"],
        ),
    ]

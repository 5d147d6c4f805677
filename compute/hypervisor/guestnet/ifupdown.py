"""ifupdown (older Debian): a script of our own, run now and whenever one of the NICs comes up.

ifupdown itself knows neither tables nor rules, and cloud-init's renderer for it sets default routes
with a program that is often not installed. Live, ``ifup --force`` stops at what is there already.
"""

from __future__ import annotations

from collections.abc import Sequence

from compute.hypervisor.guestnet import iproute, shell
from network.rules.guest import NicPlan

SCRIPT = "/etc/scloud/guest-network"
FILE = "/etc/network/interfaces.d/60-scloud"


def interfaces(plans: Sequence[NicPlan]) -> str:
    """Return the file that has ifupdown run the script; its stanzas add to those of others."""
    return "".join(
        f"auto {nic.device}\niface {nic.device} inet manual\n    post-up /bin/sh {SCRIPT} || true\n"
        for nic in plans
    )


def boot_script(plans: Sequence[NicPlan]) -> str:
    """Return the script that runs as soon as one of the NICs is up, for those that are up."""
    return "#!/bin/sh\nboot=1\n" + shell.PREAMBLE + shell.ALONE + iproute.body(plans) + "true\n"


def body(plans: Sequence[NicPlan]) -> str:
    """Return the lines that write both files and do now what the script does at a boot."""
    inner = iproute.body(plans)
    boot = boot_script(plans)
    return (
        shell.write_file(SCRIPT, boot, mode="755")
        + shell.write_file(FILE, interfaces(plans), mode="644")
        + inner
    )

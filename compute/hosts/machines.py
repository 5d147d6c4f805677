"""Machine types: which one a VM gets, and which hosts it can be on with it.

Pure functions over names such as `pc-q35-7.2`, and what the rows of hosts say. Asks no host.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from compute.hosts.admission import that_served
from compute.models import Cluster, Host
from compute.states.hosts import CONFIRMED_OFF

# As long as a VM's row holds; no host has longer ones.
_LONGEST = 60
# The name of a family, and the version by which its machines are ordered.
_NAME = re.compile(r"(?P<family>.*?-(?:[a-z]+)?)(?P<version>[0-9]+(?:\.[0-9]+)*)", re.ASCII)


def _parts(machine_type: str) -> re.Match[str] | None:
    return _NAME.fullmatch(machine_type) if len(machine_type) <= _LONGEST else None


def family_of(machine_type: str) -> str:
    """Return the part of a name before its version; empty where it has none."""
    found = _parts(machine_type)
    return "" if found is None else found["family"]


def version_of(machine_type: str) -> tuple[int, ...]:
    """Return the version in a name, to be compared within a family; empty where it has none."""
    found = _parts(machine_type)
    return () if found is None else tuple(int(part) for part in found["version"].split("."))


def newest(names: Iterable[str], family: str) -> str:
    """Return the newest machine type of a family; empty where there is none."""
    of_family = [name for name in names if family and family_of(name) == family]
    return max(of_family, key=version_of, default="")


def common(offers: Iterable[Collection[str]]) -> frozenset[str]:
    """Return what all hosts offer; hosts that have not said yet are left out."""
    said = [frozenset(names) for names in offers if names]
    return frozenset.intersection(*said) if said else frozenset()


def common_of(cluster: Cluster) -> frozenset[str]:
    """Return the machine types that all hosts of a cluster offer, as last seen.

    Also those in maintenance or without a sign of life: they are back soon, and VMs are to move to
    them. Those that were confirmed to be off, and those that were never in service, are left out.
    """
    rows = that_served(cluster).exclude(state__in=CONFIRMED_OFF)
    return common(names.split() for names in rows.values_list("machine_types", flat=True))


def first_type(shared: Collection[str], offered: Collection[str], default: str) -> str:
    """Return the machine type of a VM that has none, on a host that offers these.

    The newest that all hosts ``shared``, so that it can move to each of them; of the family of the
    host's ``default``, which it is where there is nothing in common.
    """
    return newest(set(shared).intersection(offered), family_of(default)) or default


def next_type(cluster: Cluster, present: str) -> str:
    """Return to what a VM with ``present`` can be moved up; empty where there is nothing newer."""
    found = newest(common_of(cluster), family_of(present))
    return found if found and version_of(found) > version_of(present) else ""


def offers(host: Host, machine_type: str) -> bool:
    """Whether a host takes a VM of that machine type; one that has not said yet may.

    An empty one is chosen when the VM is next defined.
    """
    if not machine_type or not host.machine_types:
        return True
    return f" {machine_type} " in f" {host.machine_types} "

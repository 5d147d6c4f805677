"""Whether a suspect host may be fenced by itself, and if not, why.

Pure: what is known of a cluster goes in, a reason comes out. In doubt nothing is fenced: where most
hosts are silent at once, it is the one who listens that is cut off.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.translation import gettext as _


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known when a host is suspect.

    ``hosts`` of the cluster are not in maintenance, ``gone`` of them are suspect, fenced or do not
    answer, this one included. ``others_alive``: this observer has just heard another host of the
    region.
    """

    hosts: int
    gone: int
    others_alive: bool
    has_device: bool


def most_at_once(hosts: int) -> int:
    """Return how many of these hosts may be gone at a time: a third, at least one."""
    return max(1, hosts // 3)


def refusal(now: Situation) -> str:
    """Return why a suspect host is not fenced by itself; empty when it may be."""
    if not now.has_device:
        return _(
            "It has no fence device, so it is not fenced. Make sure that it is off, and confirm it."
        )
    if now.hosts < 2:
        return _(
            "It is not fenced: its cluster has no other host in service, so its VMs could start "
            "nowhere else."
        )
    if not now.others_alive:
        return _(
            "It is not fenced: no other host of its region answers this machine, so the machine "
            "itself may be cut off."
        )
    if now.gone > most_at_once(now.hosts):
        return _(
            "It is not fenced: %(gone)d of %(hosts)d hosts of the cluster are suspect, fenced or "
            "do not answer, and at most %(most)d may be so."
        ) % {"gone": now.gone, "hosts": now.hosts, "most": most_at_once(now.hosts)}
    return ""

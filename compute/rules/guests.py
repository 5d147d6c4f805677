"""What the systems of images do with what they are told."""

from __future__ import annotations

from typing import Final

from compute.models import Image
from compute.models.image import OsFamily

#: Distributions whose cloud images configure their network by netplan, from a main version on.
#: ``mini`` is the small system of the region in a box, which reads the same.
_NETPLAN_SINCE: Final = {"ubuntu": 18, "debian": 12, "mini": 0}


def reads_tables(image: Image) -> bool:
    """Tell whether the image's system takes routing tables and rules from a seed.

    All of cloud-init's renderers but netplan's put routes of other tables into the main one. Where
    this is not known, the seed has one default route, and the guest agent brings the rest.
    """
    if image.os_family != OsFamily.LINUX:
        return False
    since = _NETPLAN_SINCE.get(image.distribution.lower())
    if since is None:
        return False
    version = image.version.split(".")[0]
    return int(version) >= since if version.isdigit() else since == 0

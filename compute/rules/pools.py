"""What a storage pool must say of itself, and the key that opens one of Ceph."""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any, Final

from django.utils.translation import gettext as _

from compute.models import StoragePool
from compute.models.platform import CEPH
from scloud.tenancy.scoping import scopes_disabled

#: The job; compute/tasks/pools.py carries it out.
TEST: Final = "storage_pool.test"

#: What decides to whom the key is shown, by proving that it is known.
KEY_RECIPIENT: Final = ("kind", "monitors", "user")

_CEPH_POOL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_USER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_MONITOR = re.compile(r"(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?):([0-9]{1,5})")
# A Ceph key: type, time of its making, length of 16, and these bytes.
_KEY_BYTES = 28


def pool_problem(values: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the field that is wrong and what is to be said of it; None when all is well."""
    if values["kind"] != "rbd":
        if str(values["location"]).startswith(CEPH):
            return "location", _("Enter the path of the directory.")
        return None
    location = str(values["location"])
    if not location.startswith(CEPH) or not _CEPH_POOL.fullmatch(location.removeprefix(CEPH)):
        return "location", _("Enter rbd: and the name of the pool in the cluster.")
    monitors = [one.strip() for one in str(values["monitors"] or "").split(",")]
    for one in monitors:
        found = _MONITOR.fullmatch(one)
        if found is None or not 0 < int(found[3]) < 65536:
            return "monitors", _("Enter the monitors as host:port, with commas between them.")
    if not _USER.fullmatch(str(values["user"] or "")):
        return "user", _("Enter the name of the client, without “client.”.")
    return None


def needs_key(before: StoragePool | None, values: Mapping[str, object]) -> bool:
    """Tell whether a Ceph pool is saved only together with its key.

    A new one is, and one that others would be asked for, or as somebody else.
    """
    return (
        before is None
        or not before.sealed_key
        or any(getattr(before, name) != values.get(name) for name in KEY_RECIPIENT)
    )


def is_key(text: str) -> bool:
    """Tell whether a text has the form of the key of a Ceph client."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return False
    return len(raw) == _KEY_BYTES and raw[:2] == b"\1\0" and raw[10:12] == b"\x10\0"


def holds_anything(pool: StoragePool) -> bool:
    """Tell whether any disk or image names the pool, also one that is gone."""
    with scopes_disabled():
        return pool.disks.exists() or pool.images.exists()

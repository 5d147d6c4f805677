"""The product on drivers in memory, as the tests of compute have it."""

from tests.compute.box import box, fabric, make_box
from tests.verbs.toy import nudge

__all__ = ["box", "fabric", "make_box", "nudge"]

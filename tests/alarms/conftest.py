"""What the tests of alarms share."""

from tests.compute.box import box, fabric, make_box

__all__ = ["box", "fabric", "make_box"]

"""The product on drivers in memory."""

from tests.compute.box import box, fabric, make_box

__all__ = ["box", "fabric", "make_box"]

"""What compute's tests share, for the comparison's own."""

from tests.compute.box import box, fabric, make_box

__all__ = ["box", "fabric", "make_box"]

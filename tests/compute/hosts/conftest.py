"""What the tests of hosts share."""

from tests.compute.hosts.yard import at_once, yard

__all__ = ["at_once", "yard"]

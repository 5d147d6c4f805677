"""Template filters of the compute pages: ``{% load compute %}``."""

from typing import Any

from django import template

from compute.queries import vms as vm_queries
from compute.views import common

register = template.Library()


@register.filter
def os_icon(distribution: str) -> str:
    """``{% icon image.distribution|os_icon %}``: the sign of an operating system."""
    return common.os_icon(distribution)


@register.filter
def system_gib(row: Any) -> int:
    """``{{ vm|system_gib }}``: the size of the system disk."""
    return vm_queries.system_gib(row)


@register.filter
def data_gib(row: Any) -> int:
    """``{{ vm|data_gib }}``: the size of all data disks."""
    return vm_queries.data_gib(row)

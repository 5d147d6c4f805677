"""Template filters of the compute pages: ``{% load compute %}``."""

from typing import Any

from django import template
from django.utils.safestring import SafeString

from compute.queries import vms as vm_queries
from compute.views import common, systems

register = template.Library()


@register.simple_tag
def system(image: Any) -> SafeString:
    """``{% system vm.image %}``: the name of an image behind the sign of its distribution."""
    return systems.named(image)


@register.filter
def headroom(vm: Any) -> str:
    """``{{ vm|headroom }}``: up to where a VM grows while it runs, empty where it does not."""
    return common.headroom(vm)


@register.filter
def system_gib(row: Any) -> int:
    """``{{ vm|system_gib }}``: the size of the system disk."""
    return vm_queries.system_gib(row)


@register.filter
def data_gib(row: Any) -> int:
    """``{{ vm|data_gib }}``: the size of all data disks."""
    return vm_queries.data_gib(row)

"""Template filters of the compute pages: ``{% load compute %}``."""

from typing import Any

from django import template
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _

from compute.queries import vms as vm_queries
from compute.views import common, systems
from scloud.web.icons import icon

register = template.Library()


@register.simple_tag
def system(image: Any) -> SafeString:
    """``{% system vm.image %}``: the name of an image behind the sign of its distribution."""
    return systems.named(image)


@register.simple_tag
def hot_mark(vm: Any) -> SafeString:
    """``{% hot_mark vm %}``: the sign that a VM grows while it runs, up to where; else nothing."""
    more = common.headroom(vm)
    if not more:
        return SafeString("")
    words = _("Hot upgrade %(more)s") % {"more": more}
    return format_html(
        '<span class="hot-mark" title="{}">{}<span class="sr-only">{}</span></span>',
        words,
        icon("rocket"),
        words,
    )


@register.filter
def configuration(row: Any) -> str:
    """``{{ vm|configuration }}``: GPUs, vCPUs and memory."""
    return common.configuration(row)


@register.filter
def system_gib(row: Any) -> int:
    """``{{ vm|system_gib }}``: the size of the system disk."""
    return vm_queries.system_gib(row)


@register.filter
def data_gib(row: Any) -> int:
    """``{{ vm|data_gib }}``: the size of all data disks."""
    return vm_queries.data_gib(row)

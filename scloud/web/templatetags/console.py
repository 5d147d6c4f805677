"""Template tags and filters of the console: ``{% load console %}``."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django import template
from django.forms import BoundField
from django.http import QueryDict
from django.template.context import RequestContext
from django.utils.html import format_html
from django.utils.safestring import SafeString

from scloud.web import forms as console_forms
from scloud.web import ui
from scloud.web.http import Undo, undo_of
from scloud.web.icons import icon as draw_icon

register = template.Library()


@register.simple_tag
def icon(name: str, css_class: str = "") -> SafeString:
    """``{% icon "server-2" %}``: an icon of the Tabler outline set."""
    return draw_icon(name, css_class)


@register.simple_tag
def status(view: Any) -> SafeString:
    """``{% status vm.status_view %}``: shape and word."""
    return ui.status(view)


@register.simple_tag
def badge(view: Any) -> SafeString:
    """``{% badge vm.status_view %}``: the same on a tinted ground."""
    return ui.badge(view)


@register.simple_tag
def ident(value: Any) -> SafeString:
    """``{% ident vm.id %}``: monospace with a copy button."""
    return ui.ident(value)


@register.simple_tag
def copy(value: Any) -> SafeString:
    """``{% copy password %}``: only the copy button, always visible."""
    return ui.copy_button(value, "copy-always")


@register.simple_tag
def reltime(value: datetime | None) -> SafeString:
    """``{% reltime vm.created_at %}``: "5 min ago", the absolute time as title."""
    return ui.reltime(value)


@register.simple_tag
def moment(value: datetime | None) -> SafeString:
    """``{% moment order.paid_at %}``: the absolute time."""
    return ui.moment(value)


@register.simple_tag
def bar(label: Any, used: float, limit: float | None, unit: str = "") -> SafeString:
    """``{% bar "vCPU" 12 32 %}``: a quota bar."""
    return ui.bar(label, used, limit, unit)


@register.simple_tag
def quota(label: Any, used: float, added: float, limit: float | None, unit: str = "") -> SafeString:
    """``{% quota "vCPU" 12 4 32 %}``: a quota bar with what is about to be added."""
    return ui.quota(label, used, added, limit, unit)


@register.simple_tag
def tags(values: Any) -> SafeString:
    """``{% tags vm.tags %}``."""
    return ui.tags(values)


@register.simple_tag
def field(bound: BoundField, **options: Any) -> SafeString:
    """``{% field form.name %}``: label, control, help, error and remedy of one form field."""
    return console_forms.render_field(bound, **options)


@register.simple_tag(takes_context=True)
def query(context: RequestContext, **changes: Any) -> str:
    """``{% query page=2 %}``: the present query string with some values changed (None drops)."""
    request = context.get("request")
    params: QueryDict = request.GET.copy() if request else QueryDict(mutable=True)
    for key, value in changes.items():
        if value is None:
            params.pop(key, None)
        else:
            params[key] = str(value)
    encoded = params.urlencode()
    return f"?{encoded}" if encoded else "."


@register.simple_tag
def swap(url: str, target: str) -> SafeString:
    """``<a {% swap url "list-vm" %}>``: a link that replaces one element and keeps the URL true."""
    return format_html(
        'href="{}" hx-get="{}" hx-target="#{}" hx-swap="outerHTML" hx-push-url="true"',
        url,
        url,
        target,
    )


@register.simple_tag
def opens(url: str) -> SafeString:
    """``<button {% opens url %}>``: fetches the URL into the dialog."""
    return format_html('hx-get="{}" hx-target="#dialog-slot" aria-haspopup="dialog"', url)


@register.filter
def undo(message: Any) -> Undo | None:
    """``{% with undo=message|undo %}``: how what a message tells is taken back."""
    return undo_of(message.extra_tags)


@register.filter
def money(value: Decimal | int | None) -> str:
    """``{{ amount|money }}``: ¥1,234.50."""
    return ui.money(value)


@register.filter
def price(value: Decimal | None) -> str:
    """``{{ unit_price|price }}``: up to six decimals."""
    return ui.price(value)


@register.filter
def size_gib(value: int | None) -> str:
    """``{{ disk.size_gib|size_gib }}``: 40 GB, 1.5 TB."""
    return ui.size_gib(value)


@register.filter
def size_mib(value: int | None) -> str:
    """``{{ spec.memory_mib|size_mib }}``: 512 MB, 4 GB."""
    return ui.size_mib(value)


@register.filter
def size_bytes(value: int | None) -> str:
    """``{{ image.bytes|size_bytes }}``."""
    return ui.size_bytes(value)


@register.filter
def mbps(value: int | None) -> str:
    """``{{ eip.bandwidth_mbps|mbps }}``: 100 Mb/s, 10 Gb/s."""
    return ui.mbps(value)


@register.filter
def span(value: timedelta | None) -> str:
    """``{{ duration|span }}``: 1 h 5 min."""
    return ui.span(value)


@register.filter
def show(value: Any) -> str:
    """``{{ value|show }}``: any value as the console shows it."""
    return ui.show(value)

"""Small pieces of HTML made in Python, for templates (as tags) and list columns (as renderers)."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.utils import timezone
from django.utils.formats import date_format, number_format
from django.utils.html import conditional_escape, format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from scloud.lib.sizes import size_bytes as size_bytes
from scloud.lib.sizes import size_gib as size_gib
from scloud.lib.sizes import size_mib as size_mib
from scloud.web.icons import icon
from scloud.web.status import StatusView

NONE = mark_safe('<span class="none">—</span>')

# Shapes on a 12 × 12 grid. Each tone has its own, so that colour is never the only sign.
_MARKS = {
    "ok": mark_safe('<circle cx="6" cy="6" r="4.5"></circle>'),
    "off": mark_safe('<circle cx="6" cy="6" r="4"></circle>'),
    "busy": mark_safe('<path d="M10.5 6A4.5 4.5 0 1 1 6 1.5"></path>'),
    "warn": mark_safe('<path d="M6 .8 11.6 11H.4Z"></path>'),
    "error": mark_safe(
        '<path fill-rule="evenodd" d="M3.6.6h4.8l3 3v4.8l-3 3H3.6l-3-3V3.6Zm.5 2.5-1 1L5 6 3.1 7.9'
        'l1 1L6 7l1.9 1.9 1-1L7 6l1.9-1.9-1-1L6 5Z"></path>'
    ),
}

_CURRENCY_SIGNS = {"CNY": "¥", "USD": "$", "EUR": "€", "GBP": "£"}


def status(view: StatusView | Any, css_class: str = "") -> SafeString:
    """Return a status: shape and word. Accepts anything with label, tone and detail."""
    tone = getattr(view, "tone", "off")
    detail = str(getattr(view, "detail", "") or "")
    return format_html(
        '<span class="status status-{} {}"{}><svg class="status-mark" viewBox="0 0 12 12"'
        ' aria-hidden="true">{}</svg>{}</span>',
        tone,
        css_class,
        format_html(' title="{}"', detail) if detail else "",
        _MARKS.get(tone, _MARKS["off"]),
        view.label,
    )


def badge(view: StatusView | Any) -> SafeString:
    """Return a status on a tinted ground, for page headers."""
    return status(view, "status-badge")


def copy_button(value: Any, css_class: str = "") -> SafeString:
    return format_html(
        '<button type="button" class="copy {}" data-copy="{}" title="{}" aria-label="{}">{}'
        "</button>",
        css_class,
        value,
        _("Copy"),
        _("Copy %(value)s") % {"value": value},
        icon("copy"),
    )


def ident(value: Any) -> SafeString:
    """Return an id or address in monospace with its copy button."""
    if value in (None, ""):
        return NONE
    return format_html('<span class="ident"><span>{}</span>{}</span>', value, copy_button(value))


def idents(values: Iterable[Any] | None) -> SafeString:
    """Return several ids or addresses, one below the other."""
    shown = [v for v in (values or []) if v not in (None, "")]
    if not shown:
        return NONE
    return format_html(
        "<div>{}</div>", format_html_join("", "<div>{}</div>", ((ident(v),) for v in shown))
    )


def _ago(seconds: int) -> str:
    future = seconds < 0
    span = abs(seconds)
    if span < 45:
        return str(_("in a moment") if future else _("just now"))
    for size, limit, one in ((60, 3600, "min"), (3600, 86_400, "h"), (86_400, 86_400 * 45, "d")):
        if span < limit - size / 2:
            count = max(1, round(span / size))
            words = {
                "min": ngettext("%(n)d min", "%(n)d min", count),
                "h": ngettext("%(n)d h", "%(n)d h", count),
                "d": ngettext("%(n)d day", "%(n)d days", count),
            }[one] % {"n": count}
            return str(_("in %(span)s") if future else _("%(span)s ago")) % {"span": words}
    return ""


def absolute(moment: datetime) -> str:
    """Return date, time and zone in the user's time zone."""
    local = timezone.localtime(moment)
    return f"{local:%Y-%m-%d %H:%M:%S} {local.tzname()}"


def reltime(moment: datetime | None) -> SafeString:
    """Return a ``<time>`` that says how long ago (or ahead), with the absolute time as title.

    Older than 45 days it is the date. The page's script keeps the words fresh.
    """
    if moment is None:
        return NONE
    words = _ago(int((timezone.now() - moment).total_seconds()))
    if not words:
        words = date_format(timezone.localtime(moment), "Y-m-d")
    return format_html(
        '<time class="nowrap" datetime="{}" title="{}" data-rel>{}</time>',
        moment.astimezone(UTC).isoformat(timespec="seconds"),
        absolute(moment),
        words,
    )


def moment(value: datetime | None) -> SafeString:
    """Return an absolute time to the minute with its zone, and the seconds as title."""
    if value is None:
        return NONE
    local = timezone.localtime(value)
    return format_html(
        '<time class="nowrap tabular" datetime="{}" title="{}">{}</time>',
        value.astimezone(UTC).isoformat(timespec="seconds"),
        absolute(value),
        f"{local:%Y-%m-%d %H:%M} {local.tzname()}",
    )


def span(value: timedelta | None) -> str:
    """Return a length of time in its two largest units."""
    if value is None:
        return "—"
    seconds = value.total_seconds()
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    days, rest = divmod(whole, 86_400)
    hours, rest = divmod(rest, 3600)
    minutes, secs = divmod(rest, 60)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (secs, "s")]
    shown = [f"{count} {unit}" for count, unit in parts if count]
    return " ".join(shown[:2])


def money(amount: Decimal | int | None, currency: str = "") -> str:
    """Return an amount of major units with the currency's sign, two decimals unless set."""
    if amount is None:
        return "—"
    code = currency or settings.SCLOUD_CURRENCY
    sign = _CURRENCY_SIGNS.get(code, f"{code} ")
    value = Decimal(amount)
    digits = number_format(
        abs(value),
        decimal_pos=settings.SCLOUD_CURRENCY_DECIMALS,
        use_l10n=True,
        force_grouping=True,
    )
    return f"{'−' if value < 0 else ''}{sign}{digits}"


def price(amount: Decimal | None, currency: str = "") -> str:
    """Return a unit price: like money, but with up to six decimals where they matter."""
    if amount is None:
        return "—"
    places = settings.SCLOUD_CURRENCY_DECIMALS
    exact = Decimal(amount).normalize()
    exponent = exact.as_tuple().exponent
    wanted = max(places, -exponent if isinstance(exponent, int) else places)
    code = currency or settings.SCLOUD_CURRENCY
    sign = _CURRENCY_SIGNS.get(code, f"{code} ")
    digits = number_format(
        abs(exact), decimal_pos=min(6, wanted), use_l10n=True, force_grouping=True
    )
    return f"{'−' if exact < 0 else ''}{sign}{digits}"


def mbps(value: int | None) -> str:
    """Return a bandwidth given in Mb/s."""
    if value is None:
        return "—"
    if value >= 1000 and value % 1000 == 0:
        return f"{value // 1000} Gb/s"
    return f"{value} Mb/s"


def tags(values: Iterable[str] | None) -> SafeString:
    shown = list(values or [])
    if not shown:
        return NONE
    return format_html(
        '<span class="row">{}</span>',
        format_html_join("", '<span class="tag">{}</span>', ((v,) for v in shown)),
    )


def link(text: Any, url: str, sub: Any = "") -> SafeString:
    """Return a name that leads somewhere, with a second line in grey."""
    name = format_html('<a class="cell-name" href="{}">{}</a>', url, text)
    if not sub:
        return name
    return format_html('<div class="cell-two">{}<span>{}</span></div>', name, sub)


def two(first: Any, second: Any) -> SafeString:
    return format_html(
        '<div class="cell-two"><span>{}</span><span>{}</span></div>',
        first if first not in (None, "") else NONE,
        second if second not in (None, "") else "",
    )


def boolean(value: bool | None) -> str:
    return str(_("Yes") if value else _("No"))


def show(value: Any) -> str | SafeString:
    if value is None or value == "":
        return NONE
    if isinstance(value, SafeString):
        return value
    if isinstance(value, StatusView):
        return status(value)
    if isinstance(value, bool):
        return boolean(value)
    if isinstance(value, datetime):
        return reltime(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, timedelta):
        return span(value)
    if isinstance(value, int | float | Decimal):
        return number_format(value, use_l10n=True, force_grouping=True)
    return conditional_escape(value)


def bar(label: Any, used: float, limit: float | None, unit: str = "") -> SafeString:
    """Return a quota bar: name, used of limit, meter. ``limit`` None means unlimited."""
    suffix = f" {unit}" if unit else ""
    if limit is None:
        text = _("%(used)s of unlimited") % {"used": f"{number_format(used)}{suffix}"}
        gauge: str | SafeString = ""
    else:
        text = _("%(used)s of %(limit)s") % {
            "used": number_format(used),
            "limit": f"{number_format(limit)}{suffix}",
        }
        top = max(limit, 1)
        share = used / top
        tone = "quota-over" if share >= 0.95 else "quota-warn" if share >= 0.8 else "quota-added"
        # Browsers draw <meter> each in their own way, so it is there for screen readers only.
        gauge = format_html(
            '<meter class="sr-only" min="0" max="{}" value="{}" aria-label="{}"></meter>'
            '<svg class="quota-svg" viewBox="0 0 100 6" preserveAspectRatio="none"'
            ' aria-hidden="true"><rect class="quota-track" width="100" height="6"></rect>'
            '<rect class="{}" width="{}" height="6"></rect></svg>',
            top,
            min(used, top),
            label,
            tone,
            f"{min(100.0, 100.0 * share):.2f}",
        )
    return format_html(
        '<div class="bar"><div class="bar-head"><span>{}</span><span class="bar-value">{}</span>'
        "</div>{}</div>",
        label,
        text,
        gauge,
    )


def quota(label: Any, used: float, added: float, limit: float | None, unit: str = "") -> SafeString:
    """Return a quota bar that shows what a purchase would add."""
    suffix = f" {unit}" if unit else ""
    after = used + added
    if limit is None:
        return bar(label, after, None, unit)
    top = max(limit, 1)
    used_width = min(100.0, 100.0 * used / top)
    added_width = min(100.0 - used_width, 100.0 * added / top)
    over = after > limit
    return format_html(
        '<div class="bar"><div class="bar-head"><span>{}</span>'
        '<span class="bar-value {}">{}</span></div>'
        '<svg class="quota-svg" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">'
        '<rect class="quota-track" width="100" height="6"></rect>'
        '<rect class="quota-used" width="{}" height="6"></rect>'
        '<rect class="{}" x="{}" width="{}" height="6"></rect></svg></div>',
        label,
        "text-err" if over else "",
        _("%(before)s → %(after)s of %(limit)s")
        % {
            "before": number_format(used),
            "after": number_format(after),
            "limit": f"{number_format(limit)}{suffix}",
        },
        f"{used_width:.2f}",
        "quota-over" if over else "quota-added",
        f"{used_width:.2f}",
        f"{added_width:.2f}",
    )

"""Small parts: money, sizes, times, statuses, icons, fields, static files."""

import re
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from django import forms
from django.conf import settings
from django.template import Context, Template
from django.utils import timezone
from django.utils.safestring import SafeString

from scloud.lib.errors import InvalidInput
from scloud.web import icons, static_assets, ui
from scloud.web.forms import add_error, render_field
from scloud.web.status import StatusView


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        (Decimal("1234.5"), "¥1,234.50"),
        (Decimal(-88), "−¥88.00"),
        (Decimal(0), "¥0.00"),
        (None, "—"),
    ],
)
def test_money_has_a_sign_and_two_decimals(amount: Decimal | None, shown: str) -> None:
    assert ui.money(amount) == shown


@pytest.mark.parametrize(
    ("amount", "shown"),
    [(Decimal("0.012345"), "¥0.012345"), (Decimal("2.5"), "¥2.50"), (Decimal(100), "¥100.00")],
)
def test_a_unit_price_keeps_the_decimals_that_matter(amount: Decimal, shown: str) -> None:
    assert ui.price(amount) == shown


def test_another_currency_is_named() -> None:
    assert ui.money(Decimal(1), "EUR") == "€1.00"
    assert ui.money(Decimal(1), "CHF") == "CHF 1.00"


def test_sizes_are_written_in_the_unit_that_fits() -> None:
    assert ui.size_gib(40) == "40 GB"
    assert ui.size_gib(1536) == "1.5 TB"
    assert ui.size_gib(8192) == "8 TB"
    assert ui.size_mib(512) == "512 MB"
    assert ui.size_mib(4096) == "4 GB"
    assert ui.size_bytes(1536) == "1.5 KB"
    assert ui.mbps(100) == "100 Mb/s"
    assert ui.mbps(10_000) == "10 Gb/s"
    assert ui.size_gib(None) == ui.size_mib(None) == ui.mbps(None) == "—"


@pytest.mark.parametrize(
    ("ago", "words"),
    [
        (timedelta(seconds=5), "just now"),
        (timedelta(minutes=5), "5 min ago"),
        (timedelta(hours=3), "3 h ago"),
        (timedelta(days=1), "1 day ago"),
        (timedelta(days=12), "12 days ago"),
        (timedelta(days=-3, seconds=-60), "in 3 days"),
    ],
)
def test_times_are_relative_with_the_absolute_one_as_title(ago: timedelta, words: str) -> None:
    moment = timezone.now() - ago
    html = ui.reltime(moment)
    assert f">{words}<" in html
    assert f'title="{ui.absolute(moment)}"' in html


def test_old_times_are_dates() -> None:
    moment = timezone.now() - timedelta(days=400)
    assert f">{timezone.localtime(moment):%Y-%m-%d}<" in ui.reltime(moment)


def test_every_tone_has_a_shape_of_its_own() -> None:
    shapes = {ui.status(StatusView("x", tone)).split("<svg")[1] for tone in ui._MARKS}  # type: ignore[arg-type]  # keys are tones
    assert len(shapes) == 5


def test_the_words_of_people_are_escaped_everywhere() -> None:
    evil = '"><script>alert(1)</script>'
    for html in (
        ui.status(StatusView(evil, "ok", evil)),
        ui.ident(evil),
        ui.copy_button(evil),
        ui.tags([evil]),
        ui.link(evil, "/x/", evil),
        ui.two(evil, evil),
        ui.bar(evil, 1, 2, evil),
        ui.quota(evil, 1, 1, 3, evil),
        SafeString(ui.show(evil)),
    ):
        assert "<script>" not in html


def test_a_quota_bar_shows_what_is_added_and_what_is_too_much() -> None:
    fits = ui.quota("vCPU", 12, 8, 32)
    assert "12 → 20 of 32" in fits
    assert "quota-over" not in fits
    over = ui.quota("vCPU", 30, 8, 32)
    assert "quota-over" in over
    assert "text-err" in over


def test_an_icon_is_drawn_from_the_locked_set() -> None:
    assert "<path" in icons.drawing("server-2")
    for name in ("no-such-icon", "../../etc/passwd", "a" * 100):
        with pytest.raises(ValueError, match="icon"):
            icons.drawing(name)


def test_every_icon_that_templates_name_exists() -> None:
    pattern = re.compile(r'{% icon "([^"]+)"')
    named = {
        (str(path), name)
        for path in (Path(settings.BASE_DIR) / "templates").rglob("*.html")
        for name in pattern.findall(path.read_text())
    }
    assert named
    missing = [
        entry for entry in sorted(named) if not (icons.OUTLINE / f"{entry[1]}.svg").is_file()
    ]
    assert missing == []


def test_only_listed_files_of_npm_packages_are_published() -> None:
    targets = [
        str(target) for asset in static_assets.ASSETS for _, target in static_assets.files_of(asset)
    ]
    assert "htmx/htmx.min.js" in targets
    assert "novnc/input/keysymdef.js" in targets
    assert len(targets) == len(set(targets))
    assert not [target for target in targets if "test" in target or target.endswith(".json")]


def test_a_missing_package_is_named() -> None:
    asset = static_assets.Asset("no-such-package", "dist", ("*.js",), "x")
    with pytest.raises(static_assets.MissingAsset, match="no-such-package"):
        list(static_assets.files_of(asset))


def test_the_sprite_holds_every_named_icon() -> None:
    names = static_assets.icon_names()
    sprite = static_assets.build_sprite(names)
    assert {"search", "x", "server-2"} <= names
    assert all(f'id="{name}"' in sprite for name in names)


def test_templates_have_no_inline_script_style_or_handler() -> None:
    forbidden = re.compile(r"<style|\sstyle=|\son[a-z]+=|hx-on|javascript:|<script(?![^>]*\bsrc=)")
    found = [
        f"{path.name}: {match.group()}"
        for path in (Path(settings.BASE_DIR) / "templates").rglob("*.html")
        for match in forbidden.finditer(path.read_text())
    ]
    assert found == []


class ExampleForm(forms.Form):
    name = forms.CharField(label="Name", max_length=5, help_text="Up to 5.")
    protect = forms.BooleanField(label="Protect", required=False)
    kind = forms.ChoiceField(choices=(("a", "A"),), widget=forms.RadioSelect)


def test_a_refusal_of_an_action_stands_beside_its_field_with_the_remedy() -> None:
    form = ExampleForm({"name": "x", "kind": "a"})
    assert form.is_valid()
    add_error(form, InvalidInput("Taken.", field="name", remedy="Choose another one."))
    html = render_field(form["name"])
    assert "Taken." in html
    assert "Choose another one." in html
    assert 'aria-invalid="true"' in html
    assert "Up to 5." in html
    described = re.search(r'aria-describedby="([^"]+)"', html)
    assert described is not None
    assert all(f'id="{name}"' in html for name in described.group(1).split())


def test_a_refusal_without_a_field_stands_above_the_form() -> None:
    form = ExampleForm({"name": "x", "kind": "a"})
    assert form.is_valid()
    add_error(form, InvalidInput("No.", field="other", remedy="Wait."))
    template = Template('{% include "components/form_errors.html" %}')
    html = template.render(Context({"form": form}))
    assert "No." in html
    assert "Wait." in html


def test_check_boxes_and_groups_are_labelled() -> None:
    form = ExampleForm()
    assert '<label class="check">' in render_field(form["protect"])
    assert 'role="group"' in render_field(form["kind"])
    assert 'for="id_kind"' not in render_field(form["kind"])

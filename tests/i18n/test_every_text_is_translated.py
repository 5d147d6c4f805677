"""Every text that people see goes through gettext, so that a catalogue reaches all of them."""

from __future__ import annotations

import re

import pytest
from django.conf import settings

from tests.i18n.finding import Found, in_python, in_script, in_template, sources

APPS = ("alarms", "compute", "network", "billing", "scloud")
# What no tenant and no administrator sees in a browser or an answer: the box, drivers, commands,
# what runs the VNC ends, and what is told to who starts the processes.
ELSEWHERE = re.compile(
    r"/migrations/|/management/|^scloud/lab/|^scloud/settings|^compute/hypervisor/"
    r"|^compute/storage/|^compute/fencing/|^network/fabric/|^compute/vnc/|^scloud/tenancy/clientip\.py"
    r"|^alarms/store/"
    r"|^(compute|network)/sweeps/(drift|hosts|pools|reconcile)\.py|^alarms/collecting/rounds\.py"
    # Drivers use it as well, and they know nothing of Django.
    r"|^scloud/lib/libvirt_uris\.py|^scloud/pki/"
    # What is wrong with a declaration, told when a process starts.
    r"|^scloud/verbs/actions\.py|^scloud/(rest|accounts)/checks\.py|^alarms/registry\.py"
    # What is told to who builds the static files.
    r"|^scloud/web/(modules|static_assets)\.py"
    # What Prometheus is told.
    r"|^alarms/exposition/|^alarms/views/exposition\.py"
    # The style guide shows the components with made-up words; only developers open it.
    r"|^scloud/web/pages\.py|styleguide\.html"
)
# Names and formats, which are the same in every language.
NAMES = {
    "URL",
    "SHA-256",
    "Ping",
    "Huawei Atlas300",
    'Bearer realm="SCloud"',
    "SCloud",
    "· SCloud",
    "Ctrl+Alt+Del",
    "page-narrow",
    "ssh-ed25519 AAAA… you@laptop",
    "web, env=production",
    "#cloud-config",
    "Alpine Linux",
    "Arch Linux",
    "Oracle Linux",
    "Red Hat Enterprise Linux",
    "Rocky Linux",
    "SUSE Linux Enterprise",
    # Stays in the books as it was written.
    "Automatic renewal",
    # Tags of the API.
    "Security groups",
    "External IPs",
    "Placement groups",
}
UNITS = re.compile(r"^[\s·×,]*(vCPU|GB|MB|Mb/s)?[\s·×,]*$")
# Log lines.
LOGGED = {"{}: the database did not answer (%s)", "The database's notifications are back"}


def _left(found: list[Found]) -> list[str]:
    return [
        str(one)
        for one in found
        if one.text.strip() not in NAMES | LOGGED and not UNITS.match(re.sub(r"\s+", " ", one.text))
    ]


def test_python() -> None:
    found = [
        one
        for path, name in sources("*.py", *APPS)
        if not ELSEWHERE.search(name)
        for one in in_python(path.read_text(), name)
    ]
    assert not _left(found), "\n".join(_left(found))


def test_templates() -> None:
    found = [
        one
        for path, name in sources("*.html", "templates")
        if not ELSEWHERE.search(name)
        for one in in_template(path.read_text(), name)
    ]
    assert not _left(found), "\n".join(_left(found))


def test_scripts_of_the_pages() -> None:
    found = [
        one
        for path, name in sources("*.js", "static/js")
        for one in in_script(path.read_text(), name)
    ]
    assert not found, "\n".join(map(str, found))


@pytest.mark.parametrize(
    "planted",
    [
        'raise Conflict("no more of it")',
        'raise Conflict(f"{vm.name} is busy.", code="x")',
        'raise InvalidInput(_("Fine."), remedy="do it again")',
        'raise InvalidInput(_("Fine."), remedy=None if x else "do it again")',
        'raise Conflict(_(f"{name} is busy."))',
        'raise Conflict(_("%(a)s.") % {"a": "Still not done"})',
        'field(label="size")',
        'QuoteItem("vcpu", 2, f"{count} vCPU")',
        'Step("x", "Creating the disk", run)',
        'TITLES = {404: "Not found"}',
        'return f"{done} of {total} are done"',
        'x = _("Fine.") + " and more"\nForbidden(_("Fine.") + " and more")',
    ],
)
def test_a_planted_text_is_found(planted: str) -> None:
    assert in_python(planted, "compute/actions/vms.py"), planted


@pytest.mark.parametrize(
    "planted",
    [
        'raise Conflict(_("%(name)s is busy.") % {"name": name}, code="x")',
        'log.warning("Nothing came of it")',
        'raise AssertionError("This is a defect")',
        'def f() -> None:\n    """This is a docstring."""',
        'raise Conflict(_("Fine."), detail=f"The host {name} said no.")',
        'x = "some_key"',
        'raise HostUnreachable("The host does not answer.")',
    ],
)
def test_what_is_no_text_for_people_is_not_found(planted: str) -> None:
    assert not in_python(planted, "compute/actions/vms.py"), planted


def test_a_planted_text_in_a_template_is_found() -> None:
    for planted in (
        "<p>Nothing here</p>",
        '<a title="Go back">{% translate "Back" %}</a>',
        '{% include "components/note.html" with title="Look here" only %}',
    ):
        assert in_template(planted, "x.html"), planted
    for fine in (
        '<p class="note wide">{% translate "Nothing here" %}</p>',
        "{% blocktranslate %}Nothing {{ here }}{% endblocktranslate %}",
        "{# A comment #}{{ row.name }}",
    ):
        assert not in_template(fine, "x.html"), fine


def test_a_planted_text_in_a_script_is_found() -> None:
    assert in_script('toast("Nothing was saved");', "x.js")
    assert not in_script('// "Nothing was saved"\nconst a = "Escape";', "x.js")


def test_no_language_is_offered_without_a_catalogue() -> None:
    assert [code for code, _name in settings.LANGUAGES] == ["en"]

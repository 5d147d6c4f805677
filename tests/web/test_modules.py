"""Dozens of JavaScript modules become one file that means the same."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page

from scloud.web.modules import ModuleError, bundle
from scloud.web.static_assets import BUNDLES, NODE_MODULES, bundle_of


def write(folder: Path, **modules: str) -> Path:
    for name, text in modules.items():
        (folder / f"{name}.js").write_text(text)
    return folder / "main.js"


WORKING = {
    "values": """\
export let changing = 1;
export const fixed = "f";
export function change() { changing += 1; }
export default { object: true };
""",
    "second": """\
import values from "./values.js";
import * as all from './values.js';
let hidden = "second";
class Thing { get of() { return all.changing; } }
export { Thing, hidden as shown };
export default async function later() { return values.object; }
""",
}
MAIN = """\
import later from "./second.js";
import { Thing, shown as name } from "./second.js";
import {
    changing, fixed,
    change,
} from "./values.js";
/* import nothing from "here"; */
const hidden = "main";
const waited = await later();
const before = changing;
change();
export default class Result {
    static get all() {
        return [before, changing, new Thing().of, name, hidden, fixed, waited];
    }
}
"""


def test_modules_keep_their_names_to_themselves_and_see_what_changes(tmp_path: Path) -> None:
    made = bundle(write(tmp_path, **{**WORKING, "main": MAIN}))
    assert not re.search(r"^(?:import|export(?! default m\d+\.default;$))", made, re.MULTILINE)
    assert made.index("// values.js") < made.index("// second.js") < made.index("// main.js")


@pytest.mark.parametrize(
    ("modules", "words"),
    [
        ({"main": 'import "./other.js";', "other": ""}, 'import "./other.js"'),
        ({"main": 'export * from "./other.js";', "other": ""}, "export"),
        ({"main": 'const a = import("./other.js");', "other": ""}, "import("),
        ({"main": 'import { a } from "./other.js";', "other": "export const b = 1;"}, "no a"),
        ({"main": 'import b from "./main.js";\nexport default b;'}, "imports itself"),
        ({"main": "export const a = 1;"}, "no default export"),
    ],
)
def test_what_is_not_understood_stops_the_build(
    tmp_path: Path, modules: dict[str, str], words: str
) -> None:
    with pytest.raises(ModuleError, match=re.escape(words)):
        bundle(write(tmp_path, **modules))


def test_what_is_vendored_is_understood() -> None:
    (novnc,) = BUNDLES
    text = bundle_of(novnc)
    assert not re.search(r"^import ", text, re.MULTILINE)
    # Each module once.
    names = [line for line in text.splitlines() if re.fullmatch(r"const m\d+ = \{\};", line)]
    core = NODE_MODULES / "@novnc/novnc/core"
    assert 40 < len(names) == len(set(names)) <= len(list(core.parent.rglob("*.js")))


@pytest.mark.browser
@pytest.mark.django_db(transaction=True)
def test_a_browser_runs_the_one_file(page: Page, tmp_path: Path) -> None:
    """With values that change, a wait at the top level, and names that several modules use."""
    made = bundle(write(tmp_path, **{**WORKING, "main": MAIN}))
    page.route(
        "**/static/bundle-of-a-test.js",
        lambda route: route.fulfill(body=made, content_type="text/javascript"),
    )
    found = page.evaluate("import('/static/bundle-of-a-test.js').then((m) => m.default.all)")
    assert found == [1, 2, 2, "second", "main", "f", True]


@pytest.mark.browser
@pytest.mark.django_db(transaction=True)
def test_a_browser_opens_a_screen_with_the_one_file(page: Page) -> None:
    """A server that says no more than that it speaks RFB is answered by the library."""
    said = page.evaluate(
        """async () => {
            const { default: RFB } = await import("/static/vendor/novnc/rfb.js");
            const said = [];
            const channel = {
                send: (data) => said.push(new TextDecoder().decode(data)),
                close: () => {},
                binaryType: "arraybuffer",
                onerror: null,
                onmessage: null,
                onopen: null,
                onclose: null,
                protocol: "",
                readyState: "open",
            };
            const rfb = new RFB(document.createElement("div"), channel, {});
            await new Promise((next) => setTimeout(next, 100));
            channel.onmessage({ data: new TextEncoder().encode("RFB 003.008\\n").buffer });
            await new Promise((next) => setTimeout(next, 100));
            rfb.disconnect();
            return said;
        }"""
    )
    assert said[:1] == ["RFB 003.008\n"]

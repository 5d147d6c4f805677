"""What each kind of guest is told, word by word. After a wanted change write the files anew:

``python -m tests.compute.guestnet.test_texts``
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from compute.hypervisor.guestnet import (
    ifupdown,
    iproute,
    netplan,
    networkmanager,
    scripts,
    shell,
    windows,
)
from compute.hypervisor.guestnet.scripts import Renderer
from network.rules.guest import GuestNic, NicPlan, plan
from tests.compute.guestnet.samples import DUAL, DUAL_OUTSIDE, ETH0, FIRST, FULL, PRIVATE, eth1

GOLDEN = Path(__file__).parent / "golden"


def texts() -> dict[str, str]:
    """Every text by its file's name."""
    full, private = plan(FULL), plan(PRIVATE)
    found = {
        "seed-private.json": _json(netplan.network_config(private)),
        "seed-full.json": _json(netplan.network_config(full)),
        "seed-full-without-tables.json": _json(netplan.network_config(full, tables=False)),
        "iproute-full.sh": iproute.body(full),
        "iproute-private.sh": iproute.body(private),
        "ifupdown-full.interfaces": ifupdown.interfaces(full),
        "windows-full.ps1": windows.script(full, "digest"),
        "windows-private.ps1": windows.script(private, "digest"),
    }
    for nic in full:
        found[f"networkmanager-{nic.device}.nmconnection"] = networkmanager.keyfile(nic)
    dual, outside = plan(DUAL), plan(DUAL_OUTSIDE)
    for name, plans in (("dual", dual), ("dual-outside", outside)):
        found[f"seed-{name}.json"] = _json(netplan.network_config(plans))
        seed = netplan.network_config(plans, tables=False)
        found[f"seed-{name}-without-tables.json"] = _json(seed)
        found[f"iproute-{name}.sh"] = iproute.body(plans)
        found[f"windows-{name}.ps1"] = windows.script(plans, "digest")
        found[f"networkmanager-{name}.nmconnection"] = networkmanager.keyfile(plans[0])
        found[f"networkmanager-{name}.nmcli"] = "\n".join(networkmanager.settings(plans[0])) + "\n"
    empty = private[1]
    found["networkmanager-empty.nmconnection"] = networkmanager.keyfile(empty)
    found["networkmanager-eth1.nmcli"] = "\n".join(networkmanager.settings(full[1])) + "\n"
    return found


def _json(value: object) -> str:
    return json.dumps(value, indent=1) + "\n"


@pytest.mark.parametrize("name", sorted(texts()))
def test_text(name: str) -> None:
    assert texts()[name] == (GOLDEN / name).read_text()


def test_no_golden_file_is_left_over() -> None:
    assert {path.name for path in GOLDEN.iterdir()} == set(texts())


@pytest.mark.parametrize("renderer", [one for one in Renderer if one is not Renderer.WINDOWS])
@pytest.mark.parametrize(
    "nics", [PRIVATE, FULL, DUAL, DUAL_OUTSIDE], ids=["private", "full", "dual", "dual-outside"]
)
def test_the_scripts_are_shell(renderer: Renderer, nics: list[GuestNic]) -> None:
    text = scripts.script(renderer, plan(nics))
    for name in ("dash", "bash"):
        if shutil.which(name):
            done = subprocess.run([name, "-n"], input=text, text=True, capture_output=True)
            assert (done.returncode, done.stderr) == (0, "")
    # Root's guests may run with an unset variable fatal: nothing is used that is not set.
    assert text.startswith("set -u\n")
    assert scripts.digest_of(plan(nics)) in text


def test_what_a_guest_says_of_itself_is_understood() -> None:
    assert scripts.parse_detected("netplan 0123\n") == (Renderer.NETPLAN, "0123")
    assert scripts.parse_detected("iproute \n") == (Renderer.IPROUTE, "")
    with pytest.raises(ValueError, match="amiga"):
        scripts.parse_detected("amiga 12")


def test_detecting_works_in_the_shell_of_this_machine() -> None:
    done = subprocess.run(["sh", "-s"], input=scripts.DETECT, text=True, capture_output=True)
    renderer, _ = scripts.parse_detected(done.stdout)
    assert renderer in Renderer
    assert done.stderr == ""


def test_every_change_of_a_plan_changes_its_digest() -> None:
    plans = [plan(PRIVATE), plan(FULL), plan([ETH0, eth1(FIRST)]), plan([ETH0])]
    assert len({scripts.digest_of(one) for one in plans}) == len(plans)
    assert scripts.digest_of(plan(FULL)) == scripts.digest_of(plan(list(reversed(FULL))))


def test_a_file_is_written_whole_and_only_when_it_is_different(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "it's"
    text = "one 'quoted' $word\n\ttwo `x` \\ %s\n"
    script = shell.PREAMBLE + shell.write_file(str(path), text, mode="600") + 'echo "$changed"\n'
    for expected in ("1\n", "0\n"):
        done = subprocess.run(["sh", "-s"], input=script, text=True, capture_output=True)
        assert (done.stdout, done.stderr) == (expected, "")
    assert path.read_text() == text
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in path.parent.iterdir()] == ["it's"]


def test_a_network_manager_profile_keeps_its_uuid() -> None:
    before, after = plan(PRIVATE)[1], plan(FULL)[1]
    assert networkmanager.profile_uuid(before) == networkmanager.profile_uuid(after)
    others: tuple[NicPlan, ...] = plan(FULL)
    assert len({networkmanager.profile_uuid(nic) for nic in others}) == len(others)


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for left_over in GOLDEN.iterdir():
        left_over.unlink()
    for file_name, content in texts().items():
        (GOLDEN / file_name).write_text(content)

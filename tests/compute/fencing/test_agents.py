"""What surrounds the agents: certificates, their options, where the password is, how they end."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from compute.fencing import child
from compute.fencing.agents import AgentDevice
from compute.fencing.base import (
    AgentKind,
    CertificateRefused,
    DeviceRef,
    FenceTimeout,
    FencingError,
    Power,
)
from scloud.lab.shell import alive, wait_for
from tests.compute.fencing.conftest import PASSWORD, Bench


@pytest.mark.lab
def test_only_the_trusted_certificate_is_taken(redfish: Bench) -> None:
    with pytest.raises(CertificateRefused):
        redfish.port_with(certificate="").status()
    assert redfish.port_with(certificate="", verify=False).status().power is Power.ON


@pytest.mark.lab
def test_the_password_is_seen_in_no_process_and_none_is_left(redfish: Bench) -> None:
    redfish.machine.silent = True
    failed: list[FencingError] = []

    def ask() -> None:
        try:
            redfish.port.status(limit_s=2.0)
        except FencingError as error:
            failed.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    seen: set[int] = set()
    while thread.is_alive():
        for pid in child.descendants(os.getpid()):
            try:
                shown = Path(f"/proc/{pid}/cmdline").read_bytes()
                shown += Path(f"/proc/{pid}/environ").read_bytes()
            except OSError:
                continue
            assert PASSWORD.encode() not in shown
            if b"fence_redfish" in shown:
                seen.add(pid)
        time.sleep(0.05)
    assert seen
    assert isinstance(failed[0], FenceTimeout)
    assert not [pid for pid in seen if Path(f"/proc/{pid}").exists()]


def test_a_child_is_ended_with_all_that_it_started_and_what_it_says_is_bounded() -> None:
    # One that has a session of its own, as the ssh of an agent has.
    script = "setsid sleep 77 & echo $! >&2; exec yes"
    ended = child.run(
        ["sh", "-c", script], "", limit_s=2.0, environment={"PATH": os.environ["PATH"]}
    )
    assert ended.code is None
    assert len(ended.output) == child.OUTPUT_BYTES
    wait_for("the end of the stray", lambda: not alive(int(ended.errors)), timeout_s=5)


def test_a_child_reads_what_it_is_given_and_has_no_other_environment() -> None:
    ended = child.run(
        ["sh", "-c", "cat; env; exit 3"],
        "given\n",
        limit_s=30,
        environment={"PATH": "/usr/bin:/bin"},
    )
    assert ended.code == 3
    assert ended.output.splitlines()[0] == "given"
    assert "DATABASE_URL" not in ended.output
    assert "HOME" not in ended.output


@pytest.mark.parametrize(
    ("ref", "expected"),
    [
        (
            DeviceRef(AgentKind.REDFISH, "2001:db8::7", "op", "s", system="/redfish/v1/Systems/1"),
            {
                "ip": "[2001:db8::7]",
                "systems-uri": "/redfish/v1/Systems/1",
                "ssl": "1",
                "password": "s",
            },
        ),
        (
            DeviceRef(AgentKind.IPMI, "192.0.2.7", "op", " s ", port=6230),
            {"ip": "192.0.2.7", "lanplus": "1", "ipport": "6230", "password": " s "},
        ),
        (
            DeviceRef(AgentKind.VIRSH, "192.0.2.7", "op", "s", system="node-1"),
            {"plug": "node-1", "username": "op"},
        ),
    ],
    ids=lambda value: value.agent.value if isinstance(value, DeviceRef) else "",
)
def test_each_agent_gets_its_options_and_no_others(
    ref: DeviceRef, expected: dict[str, str]
) -> None:
    lines = AgentDevice(ref)._options("off", 12).splitlines()
    options = dict(line.split("=", 1) for line in lines)
    assert all(value[0] == value[-1] == '"' for value in options.values())
    given = {name: value[1:-1] for name, value in options.items()}
    assert given.items() >= {**expected, "action": "off", "power_timeout": "12"}.items()
    others = {"systems-uri", "ssl", "ssl_insecure", "lanplus", "plug", "ipport"} - set(expected)
    assert not others & set(given)


@pytest.mark.parametrize("place", ["address", "user", "password", "system"])
def test_a_line_break_begins_no_option_of_its_own(place: str) -> None:
    values: dict[str, Any] = {"address": "192.0.2.7", "user": "op", "password": "s", "system": "/x"}
    with pytest.raises(ValueError, match="control characters"):
        DeviceRef(AgentKind.REDFISH, **{**values, place: "x\naction=on"})


@pytest.mark.parametrize("place", ["user", "system"])
def test_nothing_reaches_a_command_line_of_ssh_or_of_a_shell(place: str) -> None:
    values: dict[str, Any] = {
        "address": "192.0.2.7",
        "user": "op",
        "password": "s",
        "system": "node-1",
    }
    DeviceRef(AgentKind.VIRSH, **values)
    for wrong in ("-oProxyCommand=x", "a b", "a;b", "$(b)", ""):
        with pytest.raises(ValueError, match="plain names"):
            DeviceRef(AgentKind.VIRSH, **{**values, place: wrong})


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("Failed: Timed out waiting to power OFF", "fence_not_confirmed"),
        ("Unable to connect/login to fencing device", "fence_unreachable"),
        ("Failed: Unable to obtain correct plug status or plug is not available",
         "fence_unreachable"),
        ("Failed: You have to enter existing name/UUID of virtual machine!", "fence_refused"),
        ("Connection timed out", "fence_timeout"),
        ("Traceback: something new", "fence_failed"),
    ],
)  # fmt: skip
def test_a_failure_is_told_by_its_kind_and_never_taken_for_off(said: str, code: str) -> None:
    device = AgentDevice(DeviceRef(AgentKind.IPMI, "192.0.2.7", "op", "s3cret"))
    ended = child.Ended(
        1, "Status: OFF\n", f"2026-01-01 ERROR: {said}\n\nPlease use '-h' for usage\n"
    )
    assert device._failure(ended).code == code


def test_a_device_that_repeats_the_password_is_not_quoted() -> None:
    device = AgentDevice(DeviceRef(AgentKind.IPMI, "192.0.2.7", "op", "s3cret"))
    error = device._failure(child.Ended(1, "", "ERROR: odd: op/s3cret\x1b[0m\n"))
    assert error.code == "fence_failed"
    assert "s3cret" not in error.message
    assert "[hidden]" in error.message
    assert "\x1b" not in error.message

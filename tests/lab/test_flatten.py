"""The mini guest's reader of NoCloud seeds, run here by the same awk as in the guest."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from scloud.lab import images
from scloud.lab.shell import run

FLATTEN = Path(images.__file__).parents[1] / "files" / "mini" / "flatten.awk"
AWK = ["busybox", "awk"] if shutil.which("busybox") else ["awk"]

SEED = {
    "hostname": "web-1",
    "keys": ["ssh-rsa " + "A" * 120 + " somebody@some where", "plain"],
    "password": "$6$salt$abc/def.:#x",
    "files": [{"path": "/etc/a b", "content": "one\n  two\n\n'three' \"four\"\\n\n"}],
    "mounts": [["/dev/vdb", "/data", "ext4", "defaults,nofail", "0", "2"]],
    "network": {"ethernets": {"eth0": {"match": {"macaddress": "52:54:00:aa:bb:01"}}}},
    "text": "words that go on and on until the line is much too long for one line of a file, yes",
    "unicode": "中文 é",
    "empty": "",
}


def flat(text: str) -> dict[str, str]:
    """What the guest reads from a seed's text."""
    lines = run(*AWK, "-f", FLATTEN, stdin=text).splitlines()
    pairs = (line.split("\t", 1) for line in lines)
    return {
        path: value.replace("\\\\", "\0").replace("\\n", "\n").replace("\0", "\\")
        for path, value in pairs
    }


def expected(value: object, path: str = "") -> dict[str, str]:
    """The same flattening, by Python."""
    if isinstance(value, dict):
        items = [(str(key), each) for key, each in value.items()]
    elif isinstance(value, list):
        items = [(str(number), each) for number, each in enumerate(value)]
    else:
        return {path: "" if value is None else str(value)}
    result: dict[str, str] = {}
    for key, each in items:
        result |= expected(each, f"{path}/{key}" if path else key)
    return result


@pytest.mark.parametrize("style", ["json", "indented json", "block yaml", "mixed yaml"])
def test_a_seed_reads_the_same_in_every_style(style: str) -> None:
    text = {
        "json": json.dumps(SEED),
        "indented json": json.dumps(SEED, indent=2),
        "block yaml": yaml.safe_dump(SEED, default_flow_style=False, allow_unicode=True),
        "mixed yaml": yaml.safe_dump(SEED, default_flow_style=None, allow_unicode=True),
    }[style]
    assert flat("#cloud-config\n" + text) == expected(SEED)


def test_handwritten_user_data_is_read() -> None:
    text = """\
#cloud-config
# who may come in
hostname: web-1   # the name
chpasswd: {expire: false, users: [{name: root, password: "$6$x:y", type: hash}]}
write_files:
- path: /etc/x
  content: |
    one
      two
  permissions: '0644'
runcmd:
  - [ls, -l]
  - echo hi
"""
    assert flat(text) == {
        "hostname": "web-1",
        "chpasswd/expire": "false",
        "chpasswd/users/0/name": "root",
        "chpasswd/users/0/password": "$6$x:y",
        "chpasswd/users/0/type": "hash",
        "write_files/0/path": "/etc/x",
        "write_files/0/content": "one\n  two\n",
        "write_files/0/permissions": "0644",
        "runcmd/0/0": "ls",
        "runcmd/0/1": "-l",
        "runcmd/1": "echo hi",
    }

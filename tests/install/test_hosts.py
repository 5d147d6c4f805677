"""No tracked file names a package registry or mirror: each machine knows its own."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# In parts, or this file would be one that names them.
DOMAINS = [
    ".".join(parts)
    for parts in [
        ("debian", "org"),
        ("ubuntu", "com"),
        ("pypi", "org"),
        ("python" + "hosted", "org"),
        ("npmjs", "org"),
        ("npmjs", "com"),
        ("npm" + "mirror", "com"),
        ("yarn" + "pkg", "com"),
        ("node" + "source", "com"),
        ("docker", "com"),
        ("docker", "io"),
        ("ghcr", "io"),
        ("quay", "io"),
        ("crates", "io"),
        ("rubygems", "org"),
        ("aliyun", "com"),
        ("tuna", "tsinghua", "edu", "cn"),
        ("ustc", "edu", "cn"),
        ("huawei" + "cloud", "com"),
    ]
]
NAMED = re.compile(rf"(?<![\w-])(?:[\w-]+\.)*(?:{'|'.join(map(re.escape, DOMAINS))})(?![\w-])")
MIRROR = re.compile(r"\b(?:https?|ftp|rsync)://(?:ftp|mirrors?)\d*\.(?![\w.-]*example\b)[\w.-]+")


def named_in(text: str) -> list[str]:
    return [match[0] for pattern in (NAMED, MIRROR) for match in pattern.finditer(text)]


def test_no_tracked_file_names_a_registry_or_mirror() -> None:
    listed = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "-z", "--cached", "--others",
         "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    files = [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]
    assert len(files) > 500
    found = {
        str(path.relative_to(ROOT)): hosts
        for path in files
        if (hosts := named_in(path.read_bytes().decode(errors="replace")))
    }
    assert found == {}


@pytest.mark.parametrize(
    "text",
    [
        "deb http://deb.debian" + ".org/debian bookworm main",
        "https://registry.npmjs" + ".org/htmx.org/-/htmx.org-2.0.11.tgz",
        "--index-url https://pypi" + ".org/simple",
        "https://mirror" + ".some-university.edu/debian",
        "http://ftp" + ".de.some.org/",
    ],
)
def test_the_search_sees_them(text: str) -> None:
    assert named_in(text)


@pytest.mark.parametrize(
    "text", ["htmx.org 2.0.11", "http://mirror.example/debian", "pypi", "a@b.example"]
)
def test_the_search_lets_other_names_pass(text: str) -> None:
    assert named_in(text) == []

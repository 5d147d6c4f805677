"""The downloaded list, opened by an office program that we did not write."""

import csv
import subprocess
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from compute.models import VM
from scloud.tenancy.actor import Actor
from tests.compute.factories import Platform, make_vm


@pytest.mark.browser
def test_libreoffice_opens_the_workbook_and_finds_the_filtered_list(
    console: Client, platform: Platform, actor: Actor, vm: VM, tmp_path: Path
) -> None:
    other = make_vm(platform, actor, "stopped", name="other")
    response: Any = console.get(reverse("vm-list"), {"export": "xlsx", "status": "running"})
    book = tmp_path / "vms.xlsx"
    book.write_bytes(b"".join(response))
    done = subprocess.run(
        ["soffice", "--headless", f"-env:UserInstallation=file://{tmp_path}/profile",
         "--convert-to", "csv", "--outdir", str(tmp_path), str(book)],
        capture_output=True, text=True, timeout=180, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with (tmp_path / "vms.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    text = "\n".join(",".join(row) for row in rows)
    assert len(rows) == 2, text
    assert vm.pk in text
    assert vm.name in text
    assert other.pk not in text

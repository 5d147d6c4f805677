"""What the inputs of verbs leave as it was sent, and what may be left empty."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from rest_framework.exceptions import ValidationError
from rest_framework.serializers import Serializer

from compute.verbs import inputs
from scloud.verbs import actions
from scloud.verbs.inputs import checked

Shape = type[Serializer[Any]]
COPY = {"quote_token": "x"}


@pytest.mark.parametrize("shape", [inputs.PasswordInput, inputs.ReinstallInput])
def test_no_space_of_a_password_is_taken_away(shape: Shape) -> None:
    """One with a space is refused by the action, which says why; another one is never set."""
    sent = {"image": "image-1", "password": " Str0ng-enough "}
    assert checked(shape, sent)["password"] == " Str0ng-enough "


@pytest.mark.parametrize(
    ("shape", "sent", "names"),
    [
        (inputs.TextsInput, {}, ["remark"]),
        (inputs.DiskChangesInput, {}, ["remark"]),
        (inputs.VmChangesInput, {}, ["remark"]),
        (inputs.MakeImageInput, {"name": "golden"}, ["remark"]),
        (inputs.ReinstallInput, {"image": "image-1"}, ["ssh_public_key"]),
        (inputs.DiskCopyPurchaseInput, COPY, ["remark"]),
    ],
)
def test_what_may_be_emptied(shape: Shape, sent: dict[str, Any], names: list[str]) -> None:
    found = checked(shape, {**sent, **dict.fromkeys(names, "")})
    assert {name: found[name] for name in names} == dict.fromkeys(names, "")


@pytest.mark.parametrize(
    ("shape", "sent", "name"),
    [
        (inputs.TextsInput, {"name": ""}, "name"),
        (inputs.MakeImageInput, {"name": ""}, "name"),
        (inputs.PasswordInput, {"password": ""}, "password"),
        (inputs.PasswordInput, {}, "password"),
        (inputs.ReinstallInput, {}, "image"),
        (inputs.SecurityGroupsInput, {"internal": None}, "external"),
        (inputs.DiskCopyPurchaseInput, {}, "quote_token"),
        (inputs.DiskCopyPurchaseInput, {**COPY, "billing_method": "week"}, "billing_method"),
    ],
)
def test_what_must_be_there(shape: Shape, sent: dict[str, Any], name: str) -> None:
    with pytest.raises(ValidationError) as refused:
        checked(shape, sent)
    assert list(refused.value.get_full_details()) == [name]


def test_what_is_left_out_has_its_default() -> None:
    assert checked(inputs.DiskCopyPurchaseInput, COPY) == {
        "name": "disk",
        "remark": "",
        "billing_method": "hour",
        "periods": 1,
        "auto_renew": None,
        "quote_token": "x",
    }
    assert checked(inputs.DeleteQuery, {}) == {
        "delete_disks": False,
        "delete_external_ips": False,
        "delete_enis": False,
    }
    assert checked(inputs.DetachInput, {}) == {"force": False}
    assert checked(inputs.SecurityGroupsInput, {"internal": None, "external": None}) == {
        "internal": None,
        "external": None,
    }
    # Deletion protection goes by the name that the action knows.
    assert checked(inputs.VmChangesInput, {"deletion_protected": True}) == {"protected": True}
    assert checked(inputs.VmChangesInput, {}) == {}


def test_every_module_of_a_package_of_actions_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "some_actions"
    (package / "below").mkdir(parents=True)
    for name in ("__init__", "one", "below/__init__", "below/two"):
        (package / f"{name}.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    names = {"some_actions", "some_actions.one", "some_actions.below", "some_actions.below.two"}
    try:
        actions.load("some_actions")
        assert names <= set(sys.modules)
    finally:
        for name in names:
            sys.modules.pop(name, None)

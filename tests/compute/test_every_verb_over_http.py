"""Every verb of a VM in every state by API and in the console, generated from the table.

What the table allows begins; what it does not is refused with the table's own reason. Each verb
meets every status, and of the tasks a third; in a soak all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from django.urls import reverse

from billing import services
from compute.models import VM, Disk
from compute.rules import sizes
from compute.rules.refusals import vm_refusal
from compute.states.vms import VmStatus
from compute.verbs.vms import VM_RULES
from network.models import Eni, ExternalIp, Nic
from scloud.tenancy.models import User
from tests.api.client import Program, program_of
from tests.budget import share
from tests.compute.box import Box
from tests.compute.factories import PASSWORD
from tests.compute.test_every_verb_in_every_state import VM_STATES, put, vm_with_disks

__all__ = ["vm_with_disks"]

pytestmark = pytest.mark.unmeasured

HTMX: dict[str, Any] = {"HTTP_HX_REQUEST": "true"}
# What is not a request of its own that could be refused: a page, a payment with its own rules
# (billing's tests), and what only administrators do.
ELSEWHERE = {"open_vnc", "renew_vm", "migrate_vm"}
BY_API = sorted(set(VM_RULES) - ELSEWHERE)
# The disks of a VM are attached and detached on its tab, not from its menu.
BY_CONSOLE = {
    name: verb for name, verb in VM_RULES.items() if verb.dialog and name not in ELSEWHERE
}


def tries(verbs: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Verb, status and task of each try."""
    quiet = [one for one in VM_STATES if not one[1]]
    busy = [one for one in VM_STATES if one[1]]
    for turn, verb in enumerate(verbs):
        for status, task in (*quiet, *share(busy, turn, of=3)):
            yield verb, status, task


def is_binned(verb: str) -> bool:
    """Whether the verb is one of the recycle bin."""
    known = BY_CONSOLE[verb].dialog
    return known is not None and known.binned


def token_of(box: Box, vm: VM) -> dict[str, Any]:
    """A size and a price for it, not by the action, which refuses what the verb refuses."""
    spec = next(one for one in box.platform.specs if one.vcpus == 2)
    items = sizes.vm_items(vm, vcpus=spec.vcpus, memory_mib=spec.memory_mib)
    quote = services.quote_upgrade(tenant=vm.tenant, resource_id=vm.pk, items=items)
    return {"spec": spec, "token": quote.token}


def by_api(program: Program, box: Box, vm: VM, verb: str) -> tuple[int, str, str]:
    """Ask by API; status, code and message."""
    at = f"/vms/{vm.pk}"
    bodies: dict[str, Any] = {
        "reset_password": {"password": PASSWORD},
        "reinstall_vm": {"image": box.platform.image.pk, "password": PASSWORD},
        "make_image": {"name": "golden"},
        "change_security_groups": {"internal": None, "external": None},
        "change_private_ip": {"address": ""},
        "change_placement_group": {"group": None},
        "change_alarm_template": {"template": None},
        "attach_disk": {"disk": Disk.objects.get(name="loose").pk},
        "detach_disk": {"disk": Disk.objects.get(vm=vm, is_system=False).pk},
        "bind_external_ip": {"external_ip": ExternalIp.objects.get(target_id="").pk},
        "unbind_external_ip": {"external_ip": ExternalIp.objects.get(target_id=vm.pk).pk},
        "bind_eni": {"eni": Eni.objects.get(vm_id="").pk},
        "unbind_eni": {"eni": Eni.objects.get(vm_id=vm.pk).pk},
        "get_vnc_information": {},
    }
    paths = {"get_vnc_information": "vnc-information"}
    if verb in ("rename_vm", "protect_vm"):
        body = {"remark": "new"} if verb == "rename_vm" else {"deletion_protected": True}
        answer = program.call("PATCH", at, body)
    elif verb == "delete_vm":
        answer = program.delete(at)
    else:
        if verb in ("modify_vm", "hot_upgrade_vm"):
            wanted = token_of(box, vm)
            bodies[verb] = {
                "vcpus": wanted["spec"].vcpus,
                "memory_mib": wanted["spec"].memory_mib,
                "quote_token": wanted["token"],
            }
        path = paths.get(verb, verb.removesuffix("_vm").replace("_", "-"))
        answer = program.post(f"{at}/{path}", bodies.get(verb))
    found = answer.body if isinstance(answer.body, dict) else {}
    return answer.status, found.get("code", ""), found.get("message", "")


def by_console(console: Client, box: Box, vm: VM, verb: str) -> tuple[int, str]:
    """Ask in the console; status and what the page says."""
    forms: dict[str, dict[str, Any]] = {
        "rename_vm": {"name": vm.name, "remark": "new", "tags": ""},
        "protect_vm": {"protected": "on"},
        "reset_password": {"password": PASSWORD, "again": PASSWORD, "password_again": PASSWORD},
        "reinstall_vm": {"image": box.platform.image.pk, "password": ""},
        "make_image": {"name": "golden", "remark": ""},
        "change_security_groups": {"internal": "", "external": ""},
        "change_placement_group": {"group": ""},
        "change_alarm_template": {"template": ""},
        "change_private_ip": {
            "subnet": Nic.objects.get(vm_id=vm.pk, index=0).subnet_id,
            "address": "",
        },
        "destroy_vm": {"typed_name": vm.name},
        "attach_disk": {"disk": Disk.objects.get(name="loose").pk},
        "detach_disk": {"disk": Disk.objects.get(vm=vm, is_system=False).pk},
        "bind_external_ip": {"external_ip": ExternalIp.objects.get(target_id="").pk},
        "unbind_external_ip": {"external_ip": ExternalIp.objects.get(target_id=vm.pk).pk},
        "bind_eni": {"eni": Eni.objects.get(vm_id="").pk},
        "unbind_eni": {"eni": Eni.objects.get(vm_id=vm.pk).pk},
    }
    data = forms.get(verb, {})
    if verb in ("modify_vm", "hot_upgrade_vm"):
        wanted = token_of(box, vm)
        data = {"spec": wanted["spec"].pk, "quote_token": wanted["token"]}
    answer = console.post(reverse(BY_CONSOLE[verb].url_name, args=[vm.pk]), data, **HTMX)
    said = answer.content.decode() + str(answer.headers.get("HX-Trigger", ""))
    return answer.status_code, said.replace("&#x27;", "'")


def test_by_api(box: Box, user: User, vm_with_disks: VM) -> None:
    program = program_of(user)
    for verb, status, task in tries(BY_API):
        mark = transaction.savepoint()
        vm = put(vm_with_disks, status, task)
        reason = vm_refusal(vm, verb)
        code, name, message = by_api(program, box, vm, verb)
        where = (verb, str(status), str(task), code, name, message)
        if reason is None:
            assert code in (200, 201, 202), where
        elif verb == "detach_disk":
            # Refused in the disk's words, which name its VM.
            assert (code, name) == (409, "disk_state"), where
            assert "Not possible while" in message or "busy" in message, where
        else:
            assert (code, name) == (409, "vm_state"), where
            assert reason in message, where
        transaction.savepoint_rollback(mark)


def test_in_the_console(box: Box, console: Client, vm_with_disks: VM) -> None:
    for verb, status, task in tries(sorted(BY_CONSOLE)):
        mark = transaction.savepoint()
        vm = put(vm_with_disks, status, task)
        reason = vm_refusal(vm, verb)
        code, said = by_console(console, box, vm, verb)
        where = (verb, str(status), str(task), code, said[-1500:])
        if status == VmStatus.BINNED and not is_binned(verb):
            # The pages of a VM do not know what is in the bin, and say where to look.
            assert code == 404, where
        elif reason is None:
            assert code in (200, 204), where
        else:
            assert code in (409, 422), where
            assert reason in said, where
        transaction.savepoint_rollback(mark)

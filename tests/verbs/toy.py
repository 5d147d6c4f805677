"""A verb of VMs that the product does not have: what a new verb consists of, and nothing else.

The declaration, the action and the handler below are all that docs/adding-an-action.md asks for.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import pytest
from django.urls import include, path
from rest_framework import serializers

from compute import urls as compute_urls
from compute.api import urls as compute_api
from compute.models import VM
from compute.states.vms import RUNNING, VmTask
from compute.tasks.base import VmHandler
from compute.transitions.vms import VMS as MACHINE
from compute.verbs.vms import VMS
from scloud import urls as all_urls
from scloud.audit.action import action
from scloud.jobs import handlers
from scloud.jobs.handlers import Context, Step
from scloud.jobs.models import Job
from scloud.tenancy.actor import Actor
from scloud.verbs.catalogue import AdminButton, Batch, Dialog, Field, Route, Verb
from scloud.verbs.inputs import VerbInput

# --- the declaration


class NudgeInput(VerbInput):
    """How hard."""

    strength = serializers.IntegerField(min_value=1, max_value=9, default=1)


NUDGE = Verb(
    "nudge_vm",
    "Nudge",
    RUNNING,
    VmTask.RESTARTING,
    60,
    "vm.nudged",
    icon="refresh",
    input=NudgeInput,
    route=Route("Nudge a running VM.", example=("Hard", {"strength": 9})),
    dialog=Dialog(
        group=1,
        text="The guest notices.",
        done="%(name)s is being nudged.",
        fields={"strength": Field("Strength")},
    ),
    batch=Batch("The chosen VMs are nudged."),
    admin=AdminButton(confirm="Its tenant may notice.", batch=True),
)

# --- the action


@action("compute.nudge_vm")
def nudge_vm(*, actor: Actor, vm: VM, strength: int = 1) -> Job:
    """Nudge a running VM. Raises Conflict."""
    return MACHINE.begin(vm, "nudge_vm", actor=actor, payload={"strength": strength})


# --- the handler


class NudgeVm(VmHandler):
    """Nothing has to be asked of a host."""

    verb = "nudge_vm"

    def vm_steps(self, vm_id: str) -> Sequence[Step]:
        return (Step("nudge", "Nudging", self.nudge),)

    def nudge(self, context: Context) -> None:
        context.result["strength"] = context.payload["strength"]


# --- into the running product, and out again

URLS = "tests.verbs.toy_urls"


@pytest.fixture
def nudge(monkeypatch: pytest.MonkeyPatch, settings: Any) -> Verb:
    """The product as it starts with the verb in its catalogue."""
    verb = VMS.filled(NUDGE)
    monkeypatch.setitem(VMS.public, verb.name, verb)
    monkeypatch.setitem(handlers._handlers, verb.job, NudgeVm())
    urls = ModuleType(URLS)
    # What compute's URLs are at the next start; those of this start lie behind them.
    vars(urls)["urlpatterns"] = [
        path("api/v1/", include(compute_api.patterns())),
        *compute_urls.patterns(),
        *all_urls.urlpatterns,
    ]
    monkeypatch.setitem(sys.modules, URLS, urls)
    settings.ROOT_URLCONF = URLS
    return verb

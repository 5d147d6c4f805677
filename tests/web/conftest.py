"""Jobs and operations to look at."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from scloud.audit.models import Operation
from scloud.jobs.models import Job
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import scopes_disabled


@pytest.fixture
def make_job(tenant: Tenant) -> Callable[..., Job]:
    """Return a function that writes a job's row, as the job service would."""

    def make(**values: Any) -> Job:
        values.setdefault("tenant", tenant)
        values.setdefault("title", "Create VM web-1")
        defaults = {
            "kind": "vm.create",
            "target_kind": "vm",
            "target_id": "vm-000000001",
            "exclusive": False,
            "deadline": timezone.now() + timedelta(hours=1),
            "created_by": "owner@acme.test",
        }
        with scopes_disabled():
            job: Job = Job.objects.create(**{**defaults, **values})
        return job

    return make


@pytest.fixture
def make_operation(tenant: Tenant) -> Callable[..., Operation]:
    """Return a function that writes an entry of the operation log."""

    def make(**values: Any) -> Operation:
        values.setdefault("tenant", tenant)
        defaults = {
            "actor": "owner@acme.test",
            "via": "console",
            "verb": "compute.start_vm",
            "resources": [{"kind": "vm", "id": "vm-000000001", "name": "web-1"}],
            "succeeded": True,
        }
        with scopes_disabled():
            operation: Operation = Operation.objects.create(**{**defaults, **values})
        return operation

    return make

"""A program whose author has nothing but the schema and a generator of clients."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from django.test import Client

from alarms.actions.defaults import ensure_default_template
from scloud.rest.schema import document
from scloud.tenancy.models import Tenant, User
from tests.api import generated
from tests.api.client import program_of
from tests.billing.helpers import fund
from tests.compute.box import Box
from tests.compute.factories import PASSWORD, give_network


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[generated.Generated]:
    """The client, made once for this file."""
    folder = tmp_path_factory.mktemp("client")
    generated.generate(document("en")[0], folder)
    with generated.imported(folder) as found:
        yield found


class Straight(httpx.BaseTransport):
    """Hands requests to the product in this process and thread."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer a request."""
        answer = Client().generic(
            request.method,
            request.url.raw_path.decode(),
            request.read(),
            request.headers.get("Content-Type", ""),
            headers=dict(request.headers),
        )
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)


@pytest.fixture
def call(package: generated.Generated, user: User, db: None) -> generated.Caller:
    """The client with the owner's key, straight into the product."""
    secret = program_of(user).secret
    return package.client("http://testserver", secret, httpx_args={"transport": Straight()})


def test_it_lists_buys_starts_and_is_told_errors(
    package: generated.Generated, call: generated.Caller, box: Box, tenant: Tenant
) -> None:
    models = package.models
    network = give_network(tenant, box.platform.region)
    fund(tenant, cash="1000")
    assert network.subnet is not None
    order = {
        "region": "box",
        "cluster": box.platform.cluster.pk,
        "image": box.platform.image.pk,
        "vcpus": 1,
        "memory_mib": 2048,
        "system_disk_type": box.platform.disk_type.pk,
        "subnet": network.subnet.pk,
        "name": "web",
        "password": PASSWORD,
    }
    quote = call("quote_vms", body=models.VmOrderRequest(**order))
    assert isinstance(quote, models.Quote)
    [bought] = call(
        "create_vms",
        body=models.VmPurchaseRequest(**order, quote_token=quote.token),
        idempotency_key="once",
    )
    # Busy and idle: what generated clients stumbled over was that nothing was the empty text.
    assert bought.task is models.VmTaskEnum.CREATING
    assert isinstance(bought.job_id, str)
    page = call("list_vms")
    assert [vm.task for vm in page.results] == [models.VmTaskEnum.CREATING]
    box.run()
    page = call("list_vms", status=models.ListVmsStatus.RUNNING, page_size=1)
    assert isinstance(page, models.PaginatedVmList)
    [vm] = page.results
    assert (vm.status, vm.task, vm.failure, vm.job_id) == (
        models.VmStatusEnum.RUNNING,
        None,
        None,
        None,
    )

    refused = call("start_vm", vm.id)
    assert isinstance(refused, models.Error)
    assert (refused.code, refused.field) == ("vm_state", package.unset)
    begun = call("shut_down_vm", vm.id)
    assert isinstance(begun, models.JobAccepted)
    box.run()
    assert call("get_vm", vm.id).status is models.VmStatusEnum.STOPPED
    assert isinstance(call("start_vm", vm.id), models.JobAccepted)
    assert call("get_vm", vm.id).task is models.VmTaskEnum.STARTING
    job = call("get_job", begun.job_id)
    assert (job.status, job.error_code) == (models.JobStatusEnum.SUCCEEDED, None)
    assert {step.state for step in job.steps} == {models.StateEnum.DONE}

    wrong = call("quote_vms", body=models.VmOrderRequest(**{**order, "image": "image-zzzzzzzzz"}))
    assert isinstance(wrong, models.Error)
    assert (wrong.code, wrong.field) == ("image_unknown", "image")
    assert isinstance(call("get_vm", "vm-zzzzzzzzz"), models.Error)


# Lists within one row, each with the list that has the row.
LISTED_WITHIN = {
    "list_alarm_rules": "list_alarm_templates",
    "list_group_webhooks": "list_notification_groups",
    "list_security_group_rules": "list_security_groups",
}


def test_every_list_can_be_read(
    package: generated.Generated, call: generated.Caller, box: Box
) -> None:
    """With rows in it: a value that the schema does not tell makes the client raise."""
    vm = box.vm()
    ensure_default_template(vm.tenant)
    assert call("list_disks").results[0].vm_id == vm.pk
    for operation in sorted(one for one in package.operations if one.startswith("list_")):
        asks = {"region": "box"} if operation == "list_quotas" else {}
        if operation in LISTED_WITHIN:
            [within] = call(LISTED_WITHIN[operation]).results
            found = call(operation, within.id)
            assert not isinstance(found, package.models.Error), (operation, found)
            continue
        found = call(operation, **asks)
        assert not isinstance(found, package.models.Error), (operation, found)
    assert isinstance(call("get_account"), package.models.Account)
    assert isinstance(call("get_prices", region="box"), package.models.PriceList)


def test_without_a_key_it_gets_an_error_as_well(
    package: generated.Generated, call: generated.Caller
) -> None:
    call.client.token = "sck_unknown"
    found = call("list_vms")
    assert isinstance(found, package.models.Error)
    assert found.code == "invalid_api_key"

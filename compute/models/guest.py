"""What is known of the network inside the guests of VMs."""

from django.db import models

from compute.models.vm import VM
from scloud.tenancy.models import Tenant
from scloud.tenancy.scoping import TenantManager


class GuestNetwork(models.Model):
    """How far a VM's guest has followed what its NICs have; see ``compute.tasks.guest_network``.

    ``digest`` stands for the plan that the guest was last known to have. ``revision`` is the VM's
    at the last try: after a start, a migration or any other change the guest is asked again at once
    instead of at ``due_at``.
    """

    vm = models.OneToOneField(VM, models.CASCADE, primary_key=True, related_name="guest_network")
    tenant = models.ForeignKey(Tenant, models.CASCADE, related_name="+")
    renderer = models.CharField(max_length=20, blank=True)
    digest = models.CharField(max_length=16, blank=True)
    revision = models.PositiveBigIntegerField(default=0)
    # Tries in a row that did not succeed, and why the last one did not.
    tries = models.PositiveIntegerField(default=0)
    failure_code = models.CharField(max_length=60, blank=True)
    # For operators: tenants never see what a guest says itself.
    failure_detail = models.TextField(blank=True)
    due_at = models.DateTimeField(db_index=True)

    objects = TenantManager()

    def __str__(self) -> str:
        return f"network in {self.vm_id}"

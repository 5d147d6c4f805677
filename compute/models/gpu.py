"""The accelerators of the hosts."""

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from compute.models.platform import GpuType, Host
from compute.models.vm import VM


class GpuDevice(models.Model):
    """One chip: a PCI function of a host, held by one VM at most (there is one column for it).

    A chip that a host does not list any more keeps its row while a VM holds it.
    """

    host = models.ForeignKey(Host, models.CASCADE, related_name="gpus")
    address = models.CharField(_("PCI address"), max_length=16)
    vendor_id = models.CharField(max_length=4)
    product_id = models.CharField(max_length=4)
    gpu_type = models.CharField(max_length=10, choices=GpuType.choices)
    vm = models.ForeignKey(VM, models.PROTECT, null=True, blank=True, related_name="gpus")
    present = models.BooleanField(default=True)
    observed_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ["host", "address"]
        verbose_name = _("GPU")
        verbose_name_plural = _("GPUs")
        constraints = [models.UniqueConstraint(fields=["host", "address"], name="gpu_address_once")]

    def __str__(self) -> str:
        return f"{self.gpu_type} {self.address}"

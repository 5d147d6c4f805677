"""The recycle bin after a restored database."""

from django.utils import timezone

from compute.models import VM, Disk, Image
from compute.states.disks import DiskStatus
from compute.states.images import ImageStatus
from compute.states.vms import VmStatus
from network.models import ExternalIp
from network.states.external_ips import ExternalIpStatus
from scloud.tenancy.models import PlatformSettings
from scloud.tenancy.scoping import scopes_disabled


def give_the_bin_time() -> None:
    """Give what is in the recycle bin its whole retention from now on, after a restored database.

    What was taken out of it after the backup can then be taken out again.
    """
    until = timezone.now() + PlatformSettings.load().bin_retention
    with scopes_disabled():
        for table, status in (
            (VM, VmStatus.BINNED),
            (Disk, DiskStatus.BINNED),
            (Image, ImageStatus.BINNED),
            (ExternalIp, ExternalIpStatus.BINNED),
        ):
            table._default_manager.filter(status=status, destroy_at__lt=until).update(
                destroy_at=until
            )

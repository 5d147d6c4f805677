"""URLs of the compute console. A verb's comes from ``compute/views/vms/verbs.py``."""

from django.urls import URLPattern, path, re_path

from compute.views import bin as recycle
from compute.views import vnc
from compute.views.disks import detail as disk_detail
from compute.views.disks import dialogs as disk_dialogs
from compute.views.images import detail as image_detail
from compute.views.images import dialogs as image_dialogs
from compute.views.snapshots import detail as snapshot_detail
from compute.views.snapshots import dialogs as snapshot_dialogs
from compute.views.vms import create as vm_create
from compute.views.vms import detail as vm_detail
from compute.views.vms import disks as vm_disks
from compute.views.vms import list as vm_list
from compute.views.vms import verbs

# Imported for what it adds to the table of verbs, from which the URLs below come.
assert vm_disks

urlpatterns: list[URLPattern] = [
    path("vms/<str:vm_id>/screen", vnc.ScreenPage.as_view(), name="vm-screen"),
    path("vms/<str:vm_id>/screen/ticket", vnc.ScreenTicket.as_view(), name="vm-screen-ticket"),
    re_path(
        r"^vms/(?P<vm_id>[a-z0-9-]+)/screen/(?P<part>status|power)\Z",
        vnc.ScreenPart.as_view(),
        name="vm-screen-part",
    ),
    path("vms/", vm_list.VmList.as_view(), name="vm-list"),
    path("vms/create/", vm_create.VmCreate.as_view(), name="vm-create"),
    path("vms/create/quote/", vm_create.VmQuote.as_view(), name="vm-create-quote"),
    *vm_list.batch_patterns(),
    *verbs.url_patterns(),
    path("vms/<str:vm_id>/", vm_detail.VmOverview.as_view(), name="vm-detail"),
    path("vms/<str:vm_id>/name/", vm_list.VmName.as_view(), name="vm-name"),
    path("vms/<str:vm_id>/disks/", vm_detail.VmDisks.as_view(), name="vm-disks"),
    path("vms/<str:vm_id>/network/", vm_detail.VmNetwork.as_view(), name="vm-network"),
    path("vms/<str:vm_id>/log/", vm_detail.VmLog.as_view(), name="vm-log"),
    path("vms/<str:vm_id>/events/", vm_detail.VmEvents.as_view(), name="vm-events"),
    *disk_dialogs.url_patterns(),
    *snapshot_dialogs.url_patterns(),
    *image_dialogs.url_patterns(),
    # After those: their lists and dialogs have words where these have an id.
    path("disks/<str:disk_id>/", disk_detail.DiskDetail.as_view(), name="disk-detail"),
    path(
        "snapshots/<str:snapshot_id>/",
        snapshot_detail.SnapshotDetail.as_view(),
        name="snapshot-detail",
    ),
    path("images/<str:image_id>/", image_detail.ImageDetail.as_view(), name="image-detail"),
    path("bin/", recycle.BinList.as_view(), name="bin"),
    path("bin/<str:kind>/", recycle.BinList.as_view(), name="bin-kind"),
    path(
        "bin/<str:kind>/batch/restore/",
        recycle.BinBatchRestore.as_view(),
        name="bin-batch-restore",
    ),
    path(
        "bin/<str:kind>/batch/destroy/",
        recycle.BinBatchDestroy.as_view(),
        name="bin-batch-destroy",
    ),
    path("bin/<str:kind>/<str:pk>/restore/", recycle.BinRestore.as_view(), name="bin-restore"),
    path("bin/<str:kind>/<str:pk>/renew/", recycle.BinRenew.as_view(), name="bin-renew"),
    path("bin/<str:kind>/<str:pk>/destroy/", recycle.BinDestroy.as_view(), name="bin-destroy"),
]

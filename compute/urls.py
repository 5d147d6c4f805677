"""URLs of the compute console; those of the verbs come from the catalogue."""

from django.urls import URLPattern, path, re_path

from compute.views import bin as recycle
from compute.views import placement, ssh_keys, vnc
from compute.views.disks import detail as disk_detail
from compute.views.disks import dialogs as disk_dialogs
from compute.views.disks import list as disk_list
from compute.views.images import detail as image_detail
from compute.views.images import dialogs as image_dialogs
from compute.views.images import list as image_list
from compute.views.snapshots import detail as snapshot_detail
from compute.views.snapshots import dialogs as snapshot_dialogs
from compute.views.snapshots import list as snapshot_list
from compute.views.vms import create as vm_create
from compute.views.vms import detail as vm_detail
from compute.views.vms import dialogs as vm_dialogs
from compute.views.vms import guest as vm_guest
from compute.views.vms import list as vm_list
from scloud.web import verbs

DIALOGS = (vm_dialogs, disk_dialogs, snapshot_dialogs, image_dialogs)


def patterns() -> list[URLPattern]:
    """Return the URLs, those of the verbs from the catalogue as it is now.

    Those of one row come last: lists and batches have words where they have an id.
    """
    assert DIALOGS
    return [
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
        *verbs.url_patterns("vm"),
        path("vms/<str:vm_id>/", vm_detail.VmOverview.as_view(), name="vm-detail"),
        re_path(
            r"^vms/(?P<vm_id>[a-z0-9-]+)/part/(?P<part>connection|system|guest)/\Z",
            vm_guest.GuestPart.as_view(),
            name="vm-guest-part",
        ),
        re_path(
            r"^vms/(?P<vm_id>[a-z0-9-]+)/look/(?P<what>screen|console)/\Z",
            vm_guest.AskGuest.as_view(),
            name="vm-look",
        ),
        path("vms/<str:vm_id>/look/facts/", vm_guest.AskFacts.as_view(), name="vm-look-facts"),
        path(
            "vms/<str:vm_id>/screenshot.png",
            vm_guest.GuestScreenshot.as_view(),
            name="vm-screenshot",
        ),
        path("vms/<str:vm_id>/console.log", vm_guest.GuestConsole.as_view(), name="vm-console-log"),
        path("vms/<str:vm_id>/desktop.rdp", vm_guest.RdpFile.as_view(), name="vm-rdp"),
        path("vms/<str:vm_id>/name/", vm_list.VmName.as_view(), name="vm-name"),
        path("vms/<str:vm_id>/disks/", vm_detail.VmDisks.as_view(), name="vm-disks"),
        path("vms/<str:vm_id>/network/", vm_detail.VmNetwork.as_view(), name="vm-network"),
        path("vms/<str:vm_id>/log/", vm_detail.VmLog.as_view(), name="vm-log"),
        path("vms/<str:vm_id>/events/", vm_detail.VmEvents.as_view(), name="vm-events"),
        path(
            "vms/<str:vm_id>/snapshots/", snapshot_list.VmSnapshots.as_view(), name="vm-snapshots"
        ),
        path("disks/", disk_list.DiskList.as_view(), name="disk-list"),
        path("disks/create/", disk_dialogs.DiskCreate.as_view(), name="disk-create"),
        *verbs.url_patterns("disk"),
        path("snapshots/", snapshot_list.SnapshotList.as_view(), name="snapshot-list"),
        *verbs.url_patterns("snapshot"),
        path(
            "placement-groups/",
            placement.PlacementGroupList.as_view(),
            name="placement-group-list",
        ),
        path(
            "placement-groups/create/",
            placement.PlacementGroupCreate.as_view(),
            name="placement-group-create",
        ),
        *verbs.url_patterns("placement_group"),
        path(
            "placement-groups/<str:pk>/",
            placement.PlacementGroupDetail.as_view(),
            name="placement-group-detail",
        ),
        path("images/", image_list.ImageList.as_view(), name="image-list"),
        path("images/import/", image_dialogs.ImageImport.as_view(), name="image-import"),
        path("images/upload/", image_dialogs.ImageUpload.as_view(), name="image-upload"),
        path("images/<str:image_id>/file/", image_dialogs.ImageFile.as_view(), name="image-file"),
        *verbs.url_patterns("image"),
        path("disks/<str:disk_id>/", disk_detail.DiskDetail.as_view(), name="disk-detail"),
        path(
            "snapshots/<str:snapshot_id>/",
            snapshot_detail.SnapshotDetail.as_view(),
            name="snapshot-detail",
        ),
        path("images/<str:image_id>/", image_detail.ImageDetail.as_view(), name="image-detail"),
        path("ssh-keys/", ssh_keys.SshKeyList.as_view(), name="ssh-key-list"),
        path("ssh-keys/create/", ssh_keys.SshKeyCreate.as_view(), name="ssh-key-create"),
        *verbs.url_patterns("ssh_key"),
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


urlpatterns: list[URLPattern] = patterns()

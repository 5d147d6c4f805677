"""The verbs of images, in the order of their menu."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from compute.states.images import ImageStatus
from compute.verbs import inputs
from scloud.verbs.catalogue import AdminButton, Answer, Batch, Catalogue, Dialog, Route, Verb

M = ImageStatus

_PUBLIC = (
    Verb(
        "rename_image",
        _("Rename"),
        frozenset({M.MAKING, M.IMPORTING, M.AVAILABLE, M.FAILED}),
        icon="pencil",
        needs_idle=False,
        input=inputs.TextsInput,
        route=Route(
            "Change name or description of an own image.", method="patch", answer=Answer.ROW
        ),
        dialog=Dialog(group=1, press=_("Save"), icon="", done=_("Saved.")),
    ),
    Verb(
        "download_image",
        _("Download"),
        frozenset({M.AVAILABLE}),
        icon="download",
        route=Route(
            "Prepare an own image for download; after the job ``GET /images/{id}/file`` has it."
        ),
        dialog=Dialog(
            group=1,
            press=_("Prepare the file"),
            text=_(
                "The file is prepared in the background and can then be downloaded "
                "from the image's menu for one day."
            ),
            done=_("%(name)s is being prepared for download."),
        ),
    ),
    Verb(
        "delete_image",
        _("Delete"),
        frozenset({M.AVAILABLE, M.FAILED}),
        event="image.deleted",
        icon="trash",
        danger=True,
        route=Route(
            "Move an own image to the recycle bin; not while VMs rest on it.", method="delete"
        ),
        dialog=Dialog(
            leaves=True,
            group=2,
            text=_("The image is moved to the recycle bin. Cannot be deleted while VMs use it."),
            done=_("%(name)s is deleted."),
        ),
        batch=Batch(
            _(
                "The selected images are moved to the recycle bin. Cannot be "
                "deleted while VMs use them."
            )
        ),
        admin=AdminButton(
            confirm=_("It is moved to the recycle bin unless VMs still use it."),
            done=_("%(name)s is in the recycle bin."),
            path="delete",
        ),
    ),
    Verb(
        "restore_image",
        _("Restore"),
        frozenset({M.BINNED}),
        event="image.restored",
        icon="arrow-back-up",
        route=Route("Take an image out of the recycle bin.", answer=Answer.ROW),
        silent="The recycle bin has it.",
    ),
    Verb(
        "destroy_image",
        _("Destroy"),
        frozenset({M.BINNED}),
        M.DELETING,
        600,
        "image.destroyed",
        icon="trash-x",
        danger=True,
        input=inputs.DestroyInput,
        route=Route("Destroy a binned image for good.", name="destroy_for_good"),
        silent="The recycle bin has it.",
    ),
)
# For images the task is the status in flight itself; these two begin with a new row.
_INTERNAL = (
    Verb(
        "make_image",
        _("Make image"),
        frozenset(),
        M.MAKING,
        3600,
        "image.made",
        joins="vm.make_image",
    ),
    Verb("import_image", _("Import"), frozenset(), M.IMPORTING, 7200, "image.imported"),
)
IMAGES = Catalogue(
    "image",
    app="compute",
    public=_PUBLIC,
    internal=_INTERNAL,
    labels=dict(ImageStatus.choices),
)
IMAGE_RULES = IMAGES.public

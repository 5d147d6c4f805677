"""Images: the only code that assigns their status."""

from compute.models import Image
from compute.rules.refusals import image_refusal
from compute.verbs import images as verbs
from scloud.verbs.machine import Machine


class ImageMachine(Machine[Image]):
    """An image's own jobs are exclusive on it; one that is made from a VM joins the VM's job."""

    related = ("tenant",)
    compared = ("status",)


IMAGES = ImageMachine(verbs.IMAGES, Image, image_refusal)

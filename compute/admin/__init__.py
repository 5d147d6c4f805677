"""The administrators' pages of compute; Django finds them here."""

from compute.admin import disks, fencing, hosts, images, snapshots, vms

__all__ = ["disks", "fencing", "hosts", "images", "snapshots", "vms"]

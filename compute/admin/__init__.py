"""The administrators' pages of compute; Django finds them here."""

from compute.admin import disks, hosts, images, snapshots, vms

__all__ = ["disks", "hosts", "images", "snapshots", "vms"]

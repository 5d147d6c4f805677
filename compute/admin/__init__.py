"""The administrators' pages of compute; Django finds them here."""

from compute.admin import disks, fencing, hosts, images, snapshots, ssh_keys, vms

__all__ = ["disks", "fencing", "hosts", "images", "snapshots", "ssh_keys", "vms"]

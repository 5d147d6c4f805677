"""The administrators' pages of compute; Django finds them here."""

from compute.admin import balance, disks, fencing, hosts, images, snapshots, ssh_keys, vms

__all__ = ["balance", "disks", "fencing", "hosts", "images", "snapshots", "ssh_keys", "vms"]

"""Columns and constraints of compute; no workflow."""

from compute.models.disk import Disk
from compute.models.drift import Drift
from compute.models.fencing import FenceDevice
from compute.models.gpu import GpuDevice
from compute.models.guest import GuestNetwork
from compute.models.hosts import HostSighting, HostTransition
from compute.models.image import Image
from compute.models.look import GuestLook, LookKind
from compute.models.platform import Cluster, DiskType, Host, Spec, StoragePool
from compute.models.snapshot import Snapshot, SnapshotSchedule
from compute.models.vm import VM, GuestLogin
from compute.models.vnc import VncLease, VncTicket

__all__ = [
    "VM",
    "Cluster",
    "Disk",
    "DiskType",
    "Drift",
    "FenceDevice",
    "GpuDevice",
    "GuestLogin",
    "GuestLook",
    "GuestNetwork",
    "Host",
    "HostSighting",
    "HostTransition",
    "Image",
    "LookKind",
    "Snapshot",
    "SnapshotSchedule",
    "Spec",
    "StoragePool",
    "VncLease",
    "VncTicket",
]

"""Columns and constraints of compute; no workflow."""

from compute.models.balance import BalanceProposal, VmMove
from compute.models.disk import Disk
from compute.models.drift import Drift
from compute.models.fencing import FenceDevice
from compute.models.gpu import GpuDevice
from compute.models.guest import GuestNetwork
from compute.models.hosts import HostSighting, HostTest, HostTransition
from compute.models.image import Image
from compute.models.look import GuestLook, LookKind
from compute.models.maintenance import ClusterRoll, Departure, HostMaintenance
from compute.models.placement import PlacementGroup
from compute.models.platform import Cluster, DiskType, Host, Spec, StoragePool
from compute.models.snapshot import Snapshot, SnapshotSchedule
from compute.models.ssh_key import SshKey
from compute.models.vm import VM, GuestLogin
from compute.models.vnc import VncLease, VncTicket

__all__ = [
    "VM",
    "BalanceProposal",
    "Cluster",
    "ClusterRoll",
    "Departure",
    "Disk",
    "DiskType",
    "Drift",
    "FenceDevice",
    "GpuDevice",
    "GuestLogin",
    "GuestLook",
    "GuestNetwork",
    "Host",
    "HostMaintenance",
    "HostSighting",
    "HostTest",
    "HostTransition",
    "Image",
    "LookKind",
    "PlacementGroup",
    "Snapshot",
    "SnapshotSchedule",
    "Spec",
    "SshKey",
    "StoragePool",
    "VmMove",
    "VncLease",
    "VncTicket",
]

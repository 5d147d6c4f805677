"""The tables of the network."""

from network.models.base import Applied, FabricResource, Tombstone
from network.models.drift import DriftProblem, NetworkDrift
from network.models.eni import Eni
from network.models.external_ip import ExternalIp
from network.models.nic import Nic, NicKind, NicNetwork, PrivateAddress
from network.models.security import (
    RULES_PER_GROUP,
    RuleAction,
    RuleDirection,
    RulePriority,
    RuleProtocol,
    SecurityGroup,
    SecurityGroupRule,
)
from network.models.segment import ExternalAddress, ExternalSegment, IpVersion, RoutePolicy
from network.models.vpc import Subnet, Vpc

__all__ = [
    "RULES_PER_GROUP",
    "Applied",
    "DriftProblem",
    "Eni",
    "ExternalAddress",
    "ExternalIp",
    "ExternalSegment",
    "FabricResource",
    "IpVersion",
    "NetworkDrift",
    "Nic",
    "NicKind",
    "NicNetwork",
    "PrivateAddress",
    "RoutePolicy",
    "RuleAction",
    "RuleDirection",
    "RulePriority",
    "RuleProtocol",
    "SecurityGroup",
    "SecurityGroupRule",
    "Subnet",
    "Tombstone",
    "Vpc",
]

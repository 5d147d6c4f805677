"""The tables of the network."""

from network.models.base import FabricResource, Tombstone
from network.models.drift import DriftProblem, NetworkDrift
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
from network.models.vpc import Subnet, Vpc

__all__ = [
    "RULES_PER_GROUP",
    "DriftProblem",
    "FabricResource",
    "NetworkDrift",
    "Nic",
    "NicKind",
    "NicNetwork",
    "PrivateAddress",
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

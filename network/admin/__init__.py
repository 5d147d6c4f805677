"""The administrators' pages of the network; Django finds them here."""

from network.admin import drift, nics, security, vpcs

__all__ = ["drift", "nics", "security", "vpcs"]

"""The administrators' pages of the network; Django finds them here."""

from network.admin import drift, enis, external_ips, nics, security, segments, vpcs

__all__ = ["drift", "enis", "external_ips", "nics", "security", "segments", "vpcs"]

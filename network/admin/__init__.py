"""The administrators' pages of the network; Django finds them here."""

from network.admin import resources

__all__ = ["resources"]

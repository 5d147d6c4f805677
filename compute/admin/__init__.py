"""The administrators' pages of compute; Django finds them here."""

from compute.admin import platform

__all__ = ["platform"]

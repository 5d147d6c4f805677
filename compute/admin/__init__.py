"""The administrators' pages of compute; Django finds them here."""

from compute.admin import images, platform

__all__ = ["images", "platform"]

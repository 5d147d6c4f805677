"""Where disks hang on a domain."""

SYSTEM_TARGET = "vda"
# vda is the system disk, vdz the seed: both are out of reach of data disks.
DATA_TARGETS = tuple(f"vd{letter}" for letter in "bcdefgh")

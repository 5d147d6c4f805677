"""Where disks hang on a domain."""

SYSTEM_TARGET = "vda"
# The seed is a CD-ROM and takes none of these letters.
DATA_TARGETS = tuple(f"vd{letter}" for letter in "bcdefgh")

"""Sizes as people read them: GB and MB, always binary (1 GB = 1024 MB), written in one place."""

from django.utils.formats import number_format


def size_gib(value: int | float | None) -> str:
    """Return a size given in GiB, as people of the field write it: 40 GB, 1.5 TB."""
    if value is None:
        return "—"
    if value >= 1024:
        return f"{number_format(round(value / 1024, 1)).removesuffix('.0')} TB"
    return f"{number_format(value)} GB"


def size_mib(value: int | None) -> str:
    """Return a size given in MiB: 512 MB, 4 GB."""
    if value is None:
        return "—"
    if value < 1024:
        return f"{number_format(value)} MB"
    gib = value / 1024
    return size_gib(int(gib) if gib == int(gib) else round(gib, 1))


def size_bytes(value: int | float | None) -> str:
    """Return a size given in bytes in the largest binary unit that keeps it above 1."""
    if value is None:
        return "—"
    length, unit = byte_unit(value)
    return f"{number_format(round(value / length, 1)).removesuffix('.0')} {unit}"


def byte_unit(value: int | float) -> tuple[int, str]:
    """Return the largest binary unit of which a number of bytes has at least one, up to TB.

    It is said as its length in bytes and its name, for what is written in one unit throughout.
    """
    names = ("B", "KB", "MB", "GB", "TB")
    power = 0
    while power < len(names) - 1 and abs(value) >= 1024 ** (power + 1):
        power += 1
    return 1024**power, names[power]

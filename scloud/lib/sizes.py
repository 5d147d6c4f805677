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
    amount = float(value)
    for unit in ("B", "KB", "MB", "GB"):
        if abs(amount) < 1024:
            return f"{number_format(round(amount, 1)).removesuffix('.0')} {unit}"
        amount /= 1024
    return f"{number_format(round(amount, 1)).removesuffix('.0')} TB"

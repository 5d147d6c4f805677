"""Seeds of guests: small disks for cloud-init (NoCloud), made of a few texts."""

import re
from collections.abc import Mapping
from pathlib import Path

from compute.storage import helper
from compute.storage.files import named_errors

_SEED_FILE = re.compile(r"[a-z-]{1,32}")


def make_iso(folder: Path, files: Mapping[str, str]) -> Path:
    """Make the seed in a folder of the caller's, readable for its owner only; returns its path."""
    for name in files:
        if not _SEED_FILE.fullmatch(name):
            raise ValueError(f"{name!r} is not a name for a seed file.")
    content, made = folder / "content", folder / "seed.iso"
    with named_errors():
        content.mkdir(mode=0o700)
        for name, text in files.items():
            (content / name).write_text(text)
        made.touch(mode=0o600)
    helper.run(
        [
            "genisoimage",
            "-quiet",
            "-output",
            str(made),
            "-volid",
            "CIDATA",
            "-joliet",
            "-rock",
            "-input-charset",
            "utf-8",
            str(content),
        ]
    )
    return made

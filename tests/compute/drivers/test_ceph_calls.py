"""Calls of Ceph whose process is ended by the library, not by a kill."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from compute.storage.base import StorageUnavailable
from compute.storage.rbd import calling

CLUSTER = calling.Cluster("192.0.2.1", "scloud", "", "pool")


@pytest.mark.parametrize(
    ("words", "made", "answers"),
    [
        ({"aborts": 0}, 1, True),
        ({"aborts": 1}, 2, True),
        # It is not the library's moment, then.
        ({"aborts": 2}, 2, False),
        # What has published may not do so twice.
        ({"aborts": 1, "confirms": True}, 1, False),
        # Somebody wanted its end.
        ({"aborts": 1, "signal": signal.SIGKILL}, 1, False),
    ],
    ids=["well", "once", "always", "published", "killed"],
)
def test_what_the_library_aborts_before_it_published_is_called_once_more(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: dict[str, object],
    made: int,
    answers: bool,
) -> None:
    monkeypatch.setattr(calling, "PYTHON", sys.executable)
    monkeypatch.setattr(calling, "MODULE", "tests.compute.drivers.aborting")
    calls = tmp_path / "calls"
    asked = {"confirms": False, "calls": str(calls), **words}
    if answers:
        assert CLUSTER.call("look", asked, marker="") == made - 1
    else:
        with pytest.raises(StorageUnavailable):
            CLUSTER.call("look", asked, marker="")
    assert len(calls.read_text()) == made

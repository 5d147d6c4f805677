"""One computation for many askers, none of whom waits for long."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from scloud.lib.shared import Shared


def test_one_that_hangs_costs_one_thread_and_nobody_more_than_the_patience() -> None:
    go_on, calls = threading.Event(), []

    def compute() -> int:
        calls.append(1)
        assert go_on.wait(10)
        return 7

    shared = Shared(compute, keep_s=60, patience_s=0.05, name="hangs")
    began = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        for asked in [pool.submit(shared.get) for _ in range(8)]:
            with pytest.raises(TimeoutError):
                asked.result()
    assert time.monotonic() - began < 2
    go_on.set()
    shared.patience_s = 10
    assert [shared.get(), shared.get()] == [7, 7]
    assert len(calls) == 1


def test_an_answer_is_kept_for_its_time_and_an_error_is_one() -> None:
    answers = iter([1, 2])

    def compute() -> int:
        return next(answers)

    shared = Shared(compute, keep_s=0, patience_s=10, name="short")
    assert [shared.get(), shared.get()] == [1, 2]
    with pytest.raises(StopIteration):
        shared.get()

"""The contract of the fencing port, over the fake device and Debian's fence_redfish."""

from __future__ import annotations

import time

import pytest

from compute.fencing.base import (
    CredentialsRefused,
    DeviceContradicts,
    DeviceUnreachable,
    FenceTimeout,
    NotConfirmed,
    Power,
)
from scloud.lib import lease
from tests.compute.fencing.conftest import PASSWORD, Bench


def test_off_and_on_are_confirmed_and_asked_for_once(bench: Bench) -> None:
    # Longer than the limit of the other tests: nothing here is waited for to the end.
    limit_s = 30.0
    done = bench.port.off(limit_s=limit_s)
    assert (done.power, done.already) == (Power.OFF, False)
    again = bench.port.off(limit_s=limit_s)
    assert (again.power, again.already) == (Power.OFF, True)
    assert bench.machine.asked == [Power.OFF]
    assert bench.port.on(limit_s=limit_s).power is Power.ON
    assert bench.machine.asked == [Power.OFF, Power.ON]


def test_a_slow_host_is_waited_for(bench: Bench) -> None:
    bench.machine.delay_s = 0.2
    assert bench.port.off(limit_s=30.0).power is Power.OFF
    assert bench.machine.power is Power.OFF


def test_a_host_that_does_not_follow_is_not_off(bench: Bench) -> None:
    bench.machine.ignores = True
    # On a busy machine the real agent may not even begin within the limit: that is no answer.
    with pytest.raises((NotConfirmed, FenceTimeout)) as failure:
        bench.port.off(limit_s=bench.limit_s)
    assert failure.value.retryable
    assert set(bench.machine.asked) <= {Power.OFF}
    assert bench.machine.power is Power.ON


def test_a_device_that_says_off_and_then_on_is_not_believed(bench: Bench) -> None:
    bench.machine.returns = True
    with pytest.raises(DeviceContradicts):
        bench.port.off(limit_s=30.0)


def test_wrong_credentials_switch_nothing_and_are_not_repeated(bench: Bench) -> None:
    wrong = bench.port_with(password="wrong-secret")
    with pytest.raises(CredentialsRefused) as refusal:
        wrong.off(limit_s=30.0)
    assert not refusal.value.retryable
    assert "wrong-secret" not in f"{refusal.value}{refusal.value.message}"
    assert bench.machine.asked == []


def test_a_device_that_is_away_is_unreachable(bench: Bench) -> None:
    bench.go_away()
    with pytest.raises(DeviceUnreachable):
        bench.port.off(limit_s=30.0)


def test_a_device_that_says_nothing_is_given_up_in_time(bench: Bench) -> None:
    bench.machine.silent = True
    began = time.monotonic()
    with pytest.raises(FenceTimeout):
        bench.port.status(limit_s=bench.limit_s / 5)
    assert time.monotonic() - began < bench.limit_s / 5 + 10


def test_a_worker_that_lost_its_job_switches_nothing(bench: Bench) -> None:
    class Lost(Exception):
        pass

    def confirm() -> None:
        raise Lost

    with lease.held(confirm), pytest.raises(Lost):
        bench.port.off()
    assert bench.machine.asked == []


def test_the_password_is_in_no_representation(bench: Bench) -> None:
    assert PASSWORD not in repr(bench.ref)

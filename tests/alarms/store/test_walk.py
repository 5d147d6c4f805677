"""PostgreSQL and the fake say the same after any sequence of writes, roll-ups and late samples."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

import pytest

from alarms.store.base import Aggregate, RangeQuery, Sample, SeriesKey
from alarms.store.fake import FakeStore
from alarms.store.postgres import PostgresStore
from tests.alarms.store.conftest import of_the_test
from tests.alarms.store.rig import CPU, DISK, near, recently

STEPS_S = (30, 60, 300, 900, 3600, 7200)


def some_sample(chance: random.Random, start: datetime, second: float) -> Sample:
    """What one of three VMs of two tenants tells, with disks that come and go."""
    values = {SeriesKey(CPU): chance.uniform(0, 100)}
    for device in ("a", "b"):
        if chance.random() < 0.4:
            values[SeriesKey(DISK, device)] = float(chance.randrange(1000))
    return Sample(
        chance.choice(["tenant-a", "tenant-b"]),
        f"vm-{chance.randrange(3)}",
        start + timedelta(seconds=second),
        values,
    )


@pytest.mark.django_db
@pytest.mark.parametrize("seed", range(6))
def test_a_walk(seed: int) -> None:
    chance = random.Random(seed)
    fake, real = FakeStore(), PostgresStore(of_the_test)
    start, now, questions = recently(), 0.0, 0
    for _ in range(60):
        match chance.randrange(4):
            case 0 | 1:
                samples = [some_sample(chance, start, now + 30 * number) for number in range(10)]
                if chance.random() < 0.3:
                    # Some come late, some twice.
                    samples += [some_sample(chance, start, chance.uniform(0, now + 1)), samples[0]]
                now += 30 * len(samples) + chance.choice([0, 0, 600, 4000])
                fake.write(samples)
                real.write(samples)
            case 2:
                moment = start + timedelta(seconds=now)
                fake.roll_up(moment)
                for _ in range(5):
                    real.roll_up(moment)
                    fake.roll_up(moment)
            case 3:
                step_s = chance.choice(STEPS_S)
                query = RangeQuery.around(
                    chance.choice(["tenant-a", "tenant-b"]),
                    tuple(f"vm-{number}" for number in range(chance.randrange(1, 4))),
                    chance.choice([CPU, DISK]),
                    start=start,
                    end=start + timedelta(seconds=min(now + 30, step_s * 1500)),
                    step_s=step_s,
                    device=chance.choice([None, None, "", "a"]),
                    aggregate=chance.choice(list(Aggregate)),
                )
                expected, found = fake.query(query), real.query(query)
                assert [(one.resource, one.device) for one in found] == [
                    (one.resource, one.device) for one in expected
                ]
                for one, other in zip(found, expected, strict=True):
                    assert list(one.points) == near(other.points, rel=1e-5, least=1e-5)
                questions += bool(expected)
    assert questions > 3

"""The metrics store's contract, over the fake, PostgreSQL and VictoriaMetrics."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from alarms.store.base import (
    FIVE_MINUTES_S,
    HOUR_S,
    LATE_S,
    MAX_POINTS,
    MAX_RESOURCES,
    PLATFORM,
    Aggregate,
    QueryTooLarge,
    RangeQuery,
    Retention,
    Sample,
    SeriesKey,
    floor,
)
from tests.alarms.store.rig import CPU, DISK, EVERY_S, Rig, near

DAY_S = 86_400
AGGREGATES = {Aggregate.AVG: 4.5, Aggregate.MAX: 9.0, Aggregate.MIN: 0.0, Aggregate.LAST: 9.0}


def rising(rig: Rig, steps: int = 1) -> list[Sample]:
    """Ten samples per five minutes, of 0 to 9 in each."""
    return [rig.sample(number * EVERY_S, number % 10) for number in range(10 * steps)]


# -- writing and reading back ------------------------------------------------------------------


def test_a_store_without_samples_answers_nothing(rig: Rig) -> None:
    rig.write([])
    assert rig.ask(end_s=300, step_s=30) == {}
    assert rig.store.latest(rig.tenant, ["vm-1"], since=rig.start) == {}
    assert rig.store.latest(rig.tenant, [], since=rig.start) == {}
    assert rig.store.roll_up(rig.start) == 0


def test_samples_come_back_step_by_step(rig: Rig) -> None:
    rig.write(rising(rig))
    assert rig.ask(end_s=300, step_s=30) == {("vm-1", ""): [float(n) for n in range(10)]}


@pytest.mark.parametrize("aggregate", list(Aggregate))
def test_a_step_becomes_one_number(rig: Rig, aggregate: Aggregate) -> None:
    rig.write(rising(rig))
    (points,) = rig.ask(end_s=300, step_s=300, aggregate=aggregate).values()
    assert points == [pytest.approx(AGGREGATES[aggregate])]


def test_steps_without_samples_are_gaps(rig: Rig) -> None:
    rig.write([rig.sample(0, 5), rig.sample(180, 7)])
    assert rig.ask(end_s=240, step_s=60) == {("vm-1", ""): [5.0, None, None, 7.0]}
    assert rig.ask(start_s=60, end_s=180, step_s=60) == {}


def test_a_sample_belongs_to_the_step_that_begins_with_it(rig: Rig) -> None:
    rig.write([rig.sample(60, 1), rig.sample(119.999, 3), rig.sample(120, 10)])
    assert rig.ask(end_s=180, step_s=60) == {("vm-1", ""): [None, 2.0, 10.0]}
    assert rig.ask(end_s=120, step_s=60) == {("vm-1", ""): [None, 2.0]}


def test_what_is_written_again_changes_nothing(rig: Rig) -> None:
    rig.write([rig.sample(0, 1), rig.sample(30, 4)])
    rig.write([rig.sample(30, 4), rig.sample(60, 4)])
    assert rig.ask(end_s=300, step_s=300) == {("vm-1", ""): [3.0]}


def test_lines_come_by_resource_and_device(rig: Rig) -> None:
    disks = {SeriesKey(DISK, "disk-b"): 2.0, SeriesKey(DISK, "disk-a"): 1.0, SeriesKey(CPU): 9.0}
    rig.write([rig.sample_of("vm-2", 0, disks), rig.sample_of("vm-1", 0, disks)])
    asked = rig.ask("vm-2", "vm-1", "vm-3", end_s=60, step_s=60, metric=DISK)
    assert list(asked.items()) == [
        (("vm-1", "disk-a"), [1.0]),
        (("vm-1", "disk-b"), [2.0]),
        (("vm-2", "disk-a"), [1.0]),
        (("vm-2", "disk-b"), [2.0]),
    ]
    one = rig.ask("vm-2", end_s=60, step_s=60, metric=DISK, device="disk-b")
    assert one == {("vm-2", "disk-b"): [2.0]}
    assert rig.ask("vm-2", end_s=60, step_s=60, metric=DISK, device="") == {}
    assert rig.ask("vm-2", end_s=60, step_s=60, device="") == {("vm-2", ""): [9.0]}


@pytest.mark.parametrize(
    "device",
    ["/", "/mnt/my data", 'a"b', "back\\slash", "{x=~'.*'}", "a|b", "日本", "C:", "x" * 64, "%s"],
)
def test_devices_may_be_called_anything(rig: Rig, device: str) -> None:
    rig.write([rig.sample_of("vm-1", 0, {SeriesKey(DISK, device): 1, SeriesKey(DISK, "sda"): 2})])
    assert rig.ask(end_s=60, step_s=60, metric=DISK, device=device) == {("vm-1", device): [1.0]}
    assert len(rig.ask(end_s=60, step_s=60, metric=DISK)) == 2


@pytest.mark.parametrize("number", [1e30, 2.0**40, 123456.789, 1e-9, 1e-300, 0.0])
def test_large_and_small_numbers_survive(rig: Rig, number: float) -> None:
    rig.write([rig.sample(0, number)])
    expected = pytest.approx(number, rel=1e-6, abs=1e-30)
    assert rig.ask(end_s=300, step_s=60)["vm-1", ""][0] == expected
    rig.roll_up(seconds=HOUR_S)
    for aggregate in Aggregate:
        assert rig.ask(end_s=300, step_s=300, aggregate=aggregate)["vm-1", ""] == [expected]


def test_means_of_many_resources_and_metrics(rig: Rig) -> None:
    """One number per line, of each resource's own tenant; the same before and after a roll-up."""
    disks = {SeriesKey(DISK, "a"): 4.0, SeriesKey(DISK, "b:c"): 6.0}
    rig.write(
        [
            *rising(rig),
            rig.sample_of("vm-2", 0, {**disks, SeriesKey(CPU): 1.0}),
            rig.sample_of("vm-2", 60, {SeriesKey(DISK, "a"): 8.0}),
            rig.sample(300, 100, resource="vm-2"),
            rig.sample(0, 50, tenant=rig.other_tenant),
            rig.sample(0, 7, resource="vm-9", tenant=rig.other_tenant),
        ]
    )
    owners = {
        "vm-1": rig.tenant,
        "vm-2": rig.tenant,
        "vm-9": rig.other_tenant,
        "vm-3": rig.tenant,
    }
    span = {"start": rig.start, "end": rig.start + timedelta(seconds=300)}
    expected = {
        "vm-1": {SeriesKey(CPU): pytest.approx(4.5)},
        "vm-2": {
            SeriesKey(CPU): 1.0,
            SeriesKey(DISK, "a"): pytest.approx(6.0),
            SeriesKey(DISK, "b:c"): 6.0,
        },
        "vm-9": {SeriesKey(CPU): 7.0},
    }
    assert rig.store.means(owners, {CPU, DISK}, **span) == expected
    rig.roll_up(seconds=HOUR_S)
    assert rig.store.means(owners, {CPU, DISK}, **span) == expected
    only = rig.store.means({"vm-2": rig.tenant}, {CPU}, **span)
    assert only == {"vm-2": {SeriesKey(CPU): 1.0}}
    assert rig.store.means({"vm-9": rig.tenant}, {CPU}, **span) == {}
    assert rig.store.means(owners, (), **span) == rig.store.means({}, {CPU}, **span) == {}
    minute = {"start": rig.start + timedelta(seconds=60), "end": rig.start + timedelta(seconds=120)}
    assert rig.store.means(owners, {CPU}, **minute) == {"vm-1": {SeriesKey(CPU): 2.5}}
    many = {f"vm-{number}": rig.tenant for number in range(MAX_RESOURCES + 1)}
    with pytest.raises(QueryTooLarge):
        rig.store.means(many, {CPU}, **span)
    with pytest.raises(ValueError, match="no id"):
        rig.store.means({"vm'": rig.tenant}, {CPU}, **span)


# -- tenants -----------------------------------------------------------------------------------


def test_what_another_tenant_owns_is_not_found(rig: Rig) -> None:
    rig.write([rig.sample(0, 1), rig.sample(0, 2, tenant=rig.other_tenant)])
    assert rig.ask(end_s=60, step_s=60) == {("vm-1", ""): [1.0]}
    assert rig.ask(end_s=60, step_s=60, tenant=rig.other_tenant) == {("vm-1", ""): [2.0]}
    assert rig.ask(end_s=60, step_s=60, tenant="tenant-none") == {}
    assert rig.ask(end_s=60, step_s=60, tenant=PLATFORM) == {}
    assert rig.store.latest("tenant-none", ["vm-1"], since=rig.start) == {}


def test_the_platform_is_a_tenant_of_its_own(rig: Rig) -> None:
    rig.write([rig.sample(0, 3, resource="host-1", tenant=PLATFORM)])
    assert rig.ask("host-1", end_s=60, step_s=60, tenant=PLATFORM) == {("host-1", ""): [3.0]}
    assert rig.ask("host-1", end_s=60, step_s=60) == {}
    assert set(rig.store.latest(PLATFORM, ["host-1"], since=rig.start)) == {"host-1"}


def test_what_changes_hands_is_told_apart(rig: Rig) -> None:
    rig.write([rig.sample(0, 1)])
    rig.write([rig.sample(30, 2, tenant=rig.other_tenant)])
    assert rig.ask(end_s=60, step_s=30) == {("vm-1", ""): [1.0, None]}
    assert rig.ask(end_s=60, step_s=30, tenant=rig.other_tenant) == {("vm-1", ""): [None, 2.0]}


# -- the latest --------------------------------------------------------------------------------


def test_the_latest_sample_of_each_resource(rig: Rig) -> None:
    key = SeriesKey(DISK, "disk-a")
    rig.write(
        [
            rig.sample_of("vm-1", 30, {SeriesKey(CPU): 2, key: 5}, {key: 1000}),
            rig.sample_of("vm-1", 0, {SeriesKey(CPU): 1}),
            rig.sample_of("vm-2", 0, {SeriesKey(CPU): 3}),
        ]
    )
    found = rig.store.latest(rig.tenant, ["vm-1", "vm-2", "vm-3"], since=rig.start)
    assert set(found) == {"vm-1", "vm-2"}
    assert found["vm-1"].at == rig.start + timedelta(seconds=30)
    assert found["vm-1"].values == {SeriesKey(CPU): 2.0, key: 5.0}
    assert found["vm-1"].totals == {key: 1000.0}
    assert found["vm-2"].values == {SeriesKey(CPU): 3.0}
    assert found["vm-2"].totals == {}


def test_what_the_latest_sample_has_not_is_not_told(rig: Rig) -> None:
    rig.write([rig.sample_of("vm-1", 0, {SeriesKey(CPU): 1, SeriesKey(DISK, "gone"): 1})])
    rig.write([rig.sample_of("vm-1", 30, {SeriesKey(CPU): 2})])
    found = rig.store.latest(rig.tenant, ["vm-1"], since=rig.start)
    assert found["vm-1"].values == {SeriesKey(CPU): 2.0}


def test_an_older_sample_replaces_no_newer_one(rig: Rig) -> None:
    rig.write([rig.sample(30, 2)])
    rig.write([rig.sample(0, 1)])
    found = rig.store.latest(rig.tenant, ["vm-1"], since=rig.start)
    assert found["vm-1"].values == {SeriesKey(CPU): 2.0}


def test_what_is_too_old_is_not_told(rig: Rig) -> None:
    rig.write([rig.sample(0, 1), rig.sample_of("vm-2", 60, {SeriesKey(CPU): 1})])
    since = rig.start + timedelta(seconds=1)
    assert set(rig.store.latest(rig.tenant, ["vm-1", "vm-2"], since=since)) == {"vm-2"}


# -- roll-ups ----------------------------------------------------------------------------------


@pytest.mark.parametrize("aggregate", list(Aggregate))
@pytest.mark.parametrize("step_s", [FIVE_MINUTES_S, HOUR_S])
def test_rolled_up_steps_say_what_their_samples_said(
    rig: Rig, aggregate: Aggregate, step_s: int
) -> None:
    # Three hours, of which the middle one has a gap and the last is not closed.
    samples = [
        rig.sample(number * EVERY_S, (number * 7) % 113)
        for number in range(300)
        if not 130 < number < 170
    ]
    rig.write(samples)
    before = rig.ask(end_s=3 * HOUR_S, step_s=step_s, aggregate=aggregate)
    rig.roll_up(seconds=9000)
    after = rig.ask(end_s=3 * HOUR_S, step_s=step_s, aggregate=aggregate)
    assert after.keys() == before.keys() == {("vm-1", "")}
    assert after["vm-1", ""] == near(before["vm-1", ""])
    if step_s == FIVE_MINUTES_S:
        assert before["vm-1", ""].count(None) == 3 + 6


def test_means_of_hours_weigh_their_samples(rig: Rig) -> None:
    rig.write([rig.sample(0, 0)] + [rig.sample(300 + 30 * n, 10) for n in range(9)])
    rig.roll_up(seconds=2 * HOUR_S)
    assert rig.ask(end_s=HOUR_S, step_s=HOUR_S) == {("vm-1", ""): [pytest.approx(9.0)]}


def test_a_device_that_comes_and_goes_leaves_the_others_alone(rig: Rig) -> None:
    for number in range(20):
        values = {SeriesKey(CPU): float(number)}
        if 5 <= number < 15:
            values[SeriesKey(DISK, "a")] = 1.0
        rig.write([rig.sample_of("vm-1", number * 30, values)])
    rig.roll_up(seconds=HOUR_S)
    assert rig.ask(end_s=600, step_s=300) == {("vm-1", ""): [4.5, 14.5]}
    last = rig.ask(end_s=600, step_s=300, aggregate=Aggregate.LAST)
    assert last == {("vm-1", ""): [9.0, 19.0]}
    assert rig.ask(end_s=600, step_s=300, metric=DISK) == {("vm-1", "a"): [1.0, 1.0]}


def test_what_comes_late_opens_its_step_again(rig: Rig) -> None:
    rig.write([rig.sample(0, 2), rig.sample(HOUR_S, 2)])
    rig.roll_up(seconds=3 * HOUR_S)
    rig.write([rig.sample(30, 4)])
    assert rig.ask(end_s=300, step_s=300) == {("vm-1", ""): [3.0]}
    rig.roll_up(seconds=3 * HOUR_S)
    assert rig.ask(end_s=300, step_s=300) == {("vm-1", ""): [3.0]}
    assert rig.ask(end_s=2 * HOUR_S, step_s=HOUR_S) == {("vm-1", ""): [3.0, 2.0]}


def test_rolling_up_again_closes_nothing_twice(rig: Rig) -> None:
    rig.write(rising(rig, steps=24))
    rig.roll_up(seconds=2 * HOUR_S + LATE_S)
    once = rig.ask(end_s=2 * HOUR_S, step_s=HOUR_S)
    rig.roll_up(seconds=2 * HOUR_S + LATE_S)
    assert rig.ask(end_s=2 * HOUR_S, step_s=HOUR_S) == once
    assert once == {("vm-1", ""): [pytest.approx(4.5), pytest.approx(4.5)]}


def test_steps_wait_for_what_may_still_come(rolling: Rig) -> None:
    rolling.write(rising(rolling))
    now = rolling.start + timedelta(seconds=FIVE_MINUTES_S + LATE_S - 1)
    assert rolling.store.roll_up(now) == 0
    assert rolling.store.roll_up(now + timedelta(seconds=1)) == 1
    assert rolling.store.roll_up(now + timedelta(seconds=1)) == 0


def test_a_clock_that_was_set_back_closes_nothing_that_is_still_written(rig: Rig) -> None:
    now = floor(datetime.now(UTC), FIVE_MINUTES_S)
    ahead = (now - rig.start).total_seconds()
    rig.write([rig.sample(ahead, 1), rig.sample(ahead + 2 * HOUR_S, 1)])
    rig.roll_up(seconds=ahead + 3 * HOUR_S)
    # The database's clock says what it is again.
    rig.write([rig.sample(ahead + 30, 3)])
    begin, end = ahead, ahead + FIVE_MINUTES_S
    assert rig.ask(start_s=begin, end_s=end, step_s=FIVE_MINUTES_S) == {("vm-1", ""): [2.0]}
    rig.roll_up(seconds=ahead + 3 * HOUR_S)
    assert rig.ask(start_s=begin, end_s=end, step_s=FIVE_MINUTES_S) == {("vm-1", ""): [2.0]}


def test_the_last_half_minute_is_a_gap_like_every_other(rig: Rig) -> None:
    begin_s = (floor(datetime.now(UTC), 5) - rig.start).total_seconds() - 20
    rig.write([rig.sample(begin_s, 1)])
    asked = rig.ask(start_s=begin_s, end_s=begin_s + 15, step_s=5)
    assert asked == {("vm-1", ""): [1.0, None, None]}


# -- retention ---------------------------------------------------------------------------------


def test_samples_go_and_what_was_rolled_up_stays(rolling: Rig) -> None:
    rolling.write(rising(rolling))
    rolling.roll_up(seconds=4 * DAY_S)
    later = rolling.start + timedelta(days=4)
    assert rolling.store.prune(later, Retention(raw=timedelta(hours=24))) > 0
    assert rolling.ask(end_s=300, step_s=30) == {}
    assert rolling.ask(end_s=300, step_s=300) == {("vm-1", ""): [4.5]}
    assert rolling.ask(end_s=HOUR_S, step_s=HOUR_S) == {("vm-1", ""): [4.5]}


def test_what_comes_very_late_takes_nothing_of_what_was_rolled_up(rolling: Rig) -> None:
    rolling.write([*rising(rolling), rolling.sample(2 * HOUR_S, 8)])
    rolling.roll_up(seconds=4 * DAY_S)
    rolling.store.prune(rolling.start + timedelta(days=4), Retention(raw=timedelta(hours=24)))
    rolling.write([rolling.sample(HOUR_S, 6, resource="vm-2"), rolling.sample(4 * DAY_S, 7)])
    rolling.roll_up(seconds=5 * DAY_S)
    assert rolling.ask("vm-1", "vm-2", end_s=3 * HOUR_S, step_s=HOUR_S) == {
        ("vm-1", ""): [4.5, None, 8.0],
        ("vm-2", ""): [None, 6.0, None],
    }
    assert rolling.ask(end_s=300, step_s=300) == {("vm-1", ""): [4.5]}
    after = rolling.ask(start_s=2 * HOUR_S, end_s=2 * HOUR_S + 300, step_s=300)
    assert after == {("vm-1", ""): [8.0]}


def test_each_resolution_goes_in_its_time(rolling: Rig) -> None:
    rolling.write(rising(rolling))
    rolling.roll_up(seconds=40 * DAY_S)
    keep = Retention(timedelta(days=1), timedelta(days=10), timedelta(days=100))
    rolling.store.prune(rolling.start + timedelta(days=40), keep)
    assert rolling.ask(end_s=300, step_s=300) == {}
    assert rolling.ask(end_s=HOUR_S, step_s=HOUR_S) == {("vm-1", ""): [4.5]}
    rolling.store.prune(rolling.start + timedelta(days=200), keep)
    assert rolling.ask(end_s=HOUR_S, step_s=HOUR_S) == {}
    assert rolling.store.prune(rolling.start + timedelta(days=200), keep) == 0


def test_samples_stay_until_they_are_rolled_up(rolling: Rig) -> None:
    rolling.write(rising(rolling))
    later = rolling.start + timedelta(days=40)
    rolling.store.prune(later, Retention(raw=timedelta(hours=24)))
    assert rolling.ask(end_s=300, step_s=300) == {("vm-1", ""): [4.5]}
    rolling.roll_up(seconds=HOUR_S + LATE_S)
    assert rolling.ask(end_s=HOUR_S, step_s=HOUR_S) == {("vm-1", ""): [4.5]}


def test_writing_goes_on_after_all_was_forgotten(rolling: Rig) -> None:
    rolling.write(rising(rolling))
    rolling.roll_up(seconds=90 * DAY_S)
    keep = Retention(timedelta(days=1), timedelta(days=2), timedelta(days=3))
    rolling.store.prune(rolling.start + timedelta(days=90), keep)
    begin = 90 * DAY_S
    rolling.write([rolling.sample(begin, 5)])
    assert rolling.ask(start_s=begin, end_s=begin + 60, step_s=60) == {("vm-1", ""): [5.0]}


# -- bad input ---------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf"), 1e31])
def test_what_is_no_number_is_no_sample(rig: Rig, number: float) -> None:
    with pytest.raises(ValueError, match="is no measurement"):
        rig.sample(0, number)


def test_samples_name_what_they_are_of(rig: Rig) -> None:
    with pytest.raises(ValueError, match="has values"):
        Sample(rig.tenant, "vm-1", rig.start, {})
    with pytest.raises(ValueError, match="zone"):
        Sample(rig.tenant, "vm-1", rig.start.replace(tzinfo=None), {SeriesKey(CPU): 1})
    with pytest.raises(ValueError, match="is no id"):
        Sample(rig.tenant, 'vm"} or {', rig.start, {SeriesKey(CPU): 1})
    with pytest.raises(ValueError, match="is no id"):
        Sample("a b", "vm-1", rig.start, {SeriesKey(CPU): 1})
    with pytest.raises(ValueError, match="has a total"):
        Sample(rig.tenant, "vm-1", rig.start, {SeriesKey(CPU): 1}, {SeriesKey(DISK): 1})
    with pytest.raises(ValueError, match="name of a metric"):
        SeriesKey("CPU usage")
    with pytest.raises(ValueError, match="name of a device"):
        SeriesKey(DISK, "x" * 65)
    with pytest.raises(ValueError, match="name of a device"):
        SeriesKey(DISK, "a\nb")


def test_questions_make_sense(rig: Rig) -> None:
    hour = timedelta(hours=1)
    with pytest.raises(ValueError, match="after it begins"):
        RangeQuery(rig.tenant, ("vm-1",), CPU, rig.start, rig.start, 60)
    with pytest.raises(ValueError, match="where steps do"):
        RangeQuery(
            rig.tenant, ("vm-1",), CPU, rig.start + timedelta(seconds=1), rig.start + hour, 60
        )
    with pytest.raises(ValueError, match="a second"):
        RangeQuery(rig.tenant, ("vm-1",), CPU, rig.start, rig.start + hour, 0)
    with pytest.raises(ValueError, match="zone"):
        RangeQuery(rig.tenant, ("vm-1",), CPU, rig.start.replace(tzinfo=None), rig.start, 60)
    with pytest.raises(ValueError, match="is no id"):
        RangeQuery(rig.tenant, ("vm 1",), CPU, rig.start, rig.start + hour, 60)


def test_questions_are_bounded(rig: Rig) -> None:
    many = tuple(f"vm-{number}" for number in range(MAX_RESOURCES + 1))
    with pytest.raises(QueryTooLarge, match="2001 steps"):
        rig.ask(end_s=(MAX_POINTS + 1) * 60, step_s=60)
    with pytest.raises(QueryTooLarge, match="1001 resources"):
        rig.ask(*many, end_s=60, step_s=60)
    with pytest.raises(QueryTooLarge, match="values"):
        rig.ask(*many[:-1], end_s=1000 * 60, step_s=60)


def test_answers_are_bounded(rig: Rig) -> None:
    values = {SeriesKey(DISK, f"d{number}"): 1.0 for number in range(401)}
    rig.write([rig.sample_of("vm-1", 0, values)])
    with pytest.raises(QueryTooLarge, match="lines"):
        rig.ask(end_s=1000 * 30, step_s=30, metric=DISK)


def test_whole_steps_around_a_time(rig: Rig) -> None:
    second = timedelta(seconds=1)
    query = RangeQuery.around(
        rig.tenant, ("vm-1",), CPU, start=rig.start + second, end=rig.start + 61 * second, step_s=60
    )
    assert (query.start, query.end) == (rig.start, rig.start + 120 * second)
    assert query.points == 2
    same = RangeQuery.around(rig.tenant, ("vm-1",), CPU, start=rig.start, end=rig.start, step_s=60)
    assert same.points == 1

"""The metrics store on PostgreSQL: a row per resource and moment, tables cut by time.

What one sample's numbers mean (tenant, resource, metric and device of each) is a *source*, written
once; the sample itself is the source's number, the time and an array. So thirty metrics cost little
more than one. A guest that stops telling something becomes another source, not a hole in an array.

Tables of each resolution are cut into parts of some days. A part is made when it is first needed
and dropped whole, which costs nothing, however many rows it has.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import psycopg
from psycopg import sql

from alarms.store.base import (
    FIVE_MINUTES_S,
    HOUR_S,
    LATE_S,
    MAX_CELLS,
    Aggregate,
    Latest,
    Line,
    QueryTooLarge,
    RangeQuery,
    Retention,
    Sample,
    SeriesKey,
    StoreRefused,
    StoreUnavailable,
    check_owners,
    check_size,
    floor,
    from_milliseconds,
    milliseconds,
)

Connection = psycopg.Connection[Any]
Connect = Callable[[], AbstractContextManager[Connection]]
"""Opens a transaction: committed at the end of the block, rolled back when it raises."""

RAW: Final = "alarms_points_raw"
FIVE: Final = "alarms_points_5m"
HOURS: Final = "alarms_points_1h"

#: How many days a part of each table is long.
PART_DAYS: Final[Mapping[str, int]] = {RAW: 1, FIVE: 7, HOURS: 28}
#: Parts that one write may make: more is a clock that has gone mad.
_PARTS_AT_ONCE = 8
#: Whole steps that one call closes.
_FIVE_AT_ONCE = 12
_HOURS_AT_ONCE = 24
_FORGET_AT_ONCE = 1000
_KNOWN_SOURCES = 50_000
#: Time by which the newest sample may be ahead before an older one replaces it: the database's
#: clock was set back.
_AHEAD = timedelta(minutes=5)

#: Less than the steps wait before they are closed, by more than a write takes.
_FRESH = timedelta(seconds=LATE_S - 60)

# Held shared by writes, and alone by what drops parts and sources.
_LOCK: Final = 0x5C10_A1A2

#: How long dropping a part waits for those who read.
_DROP_WAIT: Final = "1s"

_SEPARATOR = ":"
#: As in the statements below.
_LEAST = 1e-30


@dataclass(frozen=True, slots=True)
class _Step:
    """A resolution above the samples."""

    seconds: int
    table: str
    at_once: int


_STEPS: Final = (_Step(HOUR_S, HOURS, _HOURS_AT_ONCE), _Step(FIVE_MINUTES_S, FIVE, _FIVE_AT_ONCE))

# Of a step that was closed before and opened again. What the finer table does not have any more
# stays as it was counted when it had it.
_ANEW = """
ON CONFLICT (source, at) DO UPDATE
   SET n = EXCLUDED.n, means = EXCLUDED.means, tops = EXCLUDED.tops, lows = EXCLUDED.lows,
       lasts = EXCLUDED.lasts, last_at = EXCLUDED.last_at
"""

_CLOSE_FIVE = """
WITH picked AS (
    SELECT source, at, date_bin('5 minutes', at, 'epoch') AS step, numbers
      FROM alarms_points_raw WHERE at >= %(begin)s AND at < %(end)s
), newest AS (
    SELECT DISTINCT ON (source, step) source, step, numbers, at AS last_at
      FROM picked ORDER BY source, step, at DESC
), each AS (
    SELECT source, step, place, count(*) AS n, avg(number) AS mean, max(number) AS top,
           min(number) AS low
      FROM picked CROSS JOIN LATERAL unnest(numbers) WITH ORDINALITY AS one (number, place)
     GROUP BY source, step, place
), packed AS (
    SELECT source, step, max(n) AS n, array_agg(CASE WHEN abs(mean) < 1e-30 THEN 0 ELSE mean END
                                         ORDER BY place) AS means,
           array_agg(top ORDER BY place) AS tops, array_agg(low ORDER BY place) AS lows
      FROM each GROUP BY source, step
)
INSERT INTO alarms_points_5m (source, at, n, means, tops, lows, lasts, last_at)
SELECT source, step, n, means, tops, lows, numbers, last_at
  FROM packed JOIN newest USING (source, step)
 ORDER BY source, step
"""

_CLOSE_HOURS = """
WITH picked AS (
    SELECT source, at, date_bin('1 hour', at, 'epoch') AS step, n, means, tops, lows, lasts, last_at
      FROM alarms_points_5m WHERE at >= %(begin)s AND at < %(end)s
), newest AS (
    SELECT DISTINCT ON (source, step) source, step, lasts, last_at
      FROM picked ORDER BY source, step, at DESC
), each AS (
    SELECT source, step, place, sum(n) AS n, sum(mean * n) / sum(n) AS mean, max(top) AS top,
           min(low) AS low
      FROM picked
     CROSS JOIN LATERAL unnest(means, tops, lows) WITH ORDINALITY AS one (mean, top, low, place)
     GROUP BY source, step, place
), packed AS (
    SELECT source, step, max(n) AS n, array_agg(CASE WHEN abs(mean) < 1e-30 THEN 0 ELSE mean END
                                         ORDER BY place) AS means,
           array_agg(top ORDER BY place) AS tops, array_agg(low ORDER BY place) AS lows
      FROM each GROUP BY source, step
)
INSERT INTO alarms_points_1h (source, at, n, means, tops, lows, lasts, last_at)
SELECT source, step, n, means, tops, lows, lasts, last_at
  FROM packed JOIN newest USING (source, step)
 ORDER BY source, step
"""

_CLOSE: Final[Mapping[int, str]] = {
    FIVE_MINUTES_S: _CLOSE_FIVE + _ANEW,
    HOUR_S: _CLOSE_HOURS + _ANEW,
}

# Count, mean, top, low and last of one number of one row, and when the last one was measured: of
# a step in which a guest began or ceased to tell something there are rows of two sources.
_RAW_POINTS = "1::bigint" + ", p.numbers[w.place]" * 4 + ", p.at"
_STEP_POINTS = (
    "p.n::bigint, p.means[w.place], p.tops[w.place], p.lows[w.place], p.lasts[w.place], p.last_at"
)
_POINTS = """
    SELECT w.resource, w.key, p.at, {columns} FROM wanted w
      JOIN {table} p ON p.source = w.id AND p.at >= %(begin{number})s AND p.at < %(end{number})s
"""
_QUERY = """
WITH wanted AS MATERIALIZED (
    SELECT s.id, s.resource, k.key, k.place
      FROM alarms_source s CROSS JOIN LATERAL unnest(s.keys) WITH ORDINALITY AS k (key, place)
     WHERE s.resource = ANY(%(resources)s) AND s.tenant = %(tenant)s
       AND split_part(k.key, ':', 1) = %(metric)s
       AND (%(key)s::text IS NULL OR k.key = %(key)s)
), points (resource, key, at, n, mean, top, low, last, last_at) AS ({points})
SELECT resource, key,
       floor(extract(epoch FROM at - %(start)s) / %(step_s)s)::integer AS number,
       ({value})::double precision
  FROM points GROUP BY resource, key, number LIMIT %(limit)s
"""
# Rows are picked by source before their arrays are taken apart: each is read once, however many of
# its numbers are wanted.
_MEANS = """
WITH wanted AS MATERIALIZED (
    SELECT s.id, s.resource, s.keys, k.places
      FROM unnest(%(resources)s::text[], %(tenants)s::text[]) AS o (resource, tenant)
      JOIN alarms_source s ON s.resource = o.resource AND s.tenant = o.tenant
     CROSS JOIN LATERAL (
         SELECT array_agg(place::integer) AS places
           FROM unnest(s.keys) WITH ORDINALITY AS one (key, place)
          WHERE split_part(one.key, ':', 1) = ANY(%(metrics)s)
     ) k
     WHERE k.places IS NOT NULL
), points (resource, key, n, mean) AS ({points})
SELECT resource, key, (sum(mean * n) / sum(n))::double precision
  FROM points GROUP BY resource, key LIMIT %(limit)s
"""
_MEANS_OF = """
    SELECT w.resource, w.keys[u.place], {n}, p.{numbers}[u.place] FROM wanted w
      JOIN {table} p ON p.source = w.id AND p.at >= %(begin{number})s AND p.at < %(end{number})s
     CROSS JOIN LATERAL unnest(w.places) AS u (place)
"""
_AGGREGATES: Final[Mapping[Aggregate, str]] = {
    Aggregate.AVG: "sum(mean * n) / sum(n)",
    Aggregate.MAX: "max(top)",
    Aggregate.MIN: "min(low)",
    Aggregate.LAST: "(array_agg(last ORDER BY last_at DESC))[1]",
}


class PostgresStore:
    """The port on the tables of the migrations of ``alarms``. Safe to share between threads."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._sources: OrderedDict[bytes, int] = OrderedDict()
        self._parts: set[tuple[str, datetime]] = set()

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        """A transaction; PostgreSQL's errors become the port's."""
        try:
            with self._connect() as connection:
                yield connection
        except (psycopg.OperationalError, psycopg.InterfaceError) as error:
            raise StoreUnavailable(f"PostgreSQL did not answer: {_first_line(error)}") from error
        except psycopg.errors.CheckViolation as error:
            # The only check is that a row belongs to some part.
            raise _ForgottenPart(f"PostgreSQL refused: {_first_line(error)}") from error
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            raise StoreRefused(f"PostgreSQL refused: {_first_line(error)}") from error
        except psycopg.Error as error:
            # It is not for what is in the rows: a stand-by that may only be read, tables that the
            # migrations have yet to make. The same rows are taken once that is mended.
            raise StoreUnavailable(f"PostgreSQL refused: {_first_line(error)}") from error

    # -- writing -------------------------------------------------------------------------------

    def write(self, samples: Sequence[Sample]) -> None:
        if not samples:
            return
        rows = [_Row.of(sample) for sample in samples]
        try:
            self._write(rows)
        except (_ForgottenSource, _ForgottenPart):
            # What this process knows is not there any more: it was dropped, or the database is
            # another one since a restore.
            with self._lock:
                self._sources.clear()
                self._parts.clear()
            self._write(rows)

    def _write(self, rows: Sequence[_Row]) -> None:
        with self._transaction() as connection:
            connection.execute("SELECT pg_advisory_xact_lock_shared(%s)", [_LOCK])
            parts = self._ensure_parts(connection, RAW, (row.at for row in rows))
            sources = self._ensure_sources(connection, rows)
            self._copy(connection, rows, sources)
            _merge(connection, min(row.at for row in rows))
        with self._lock:
            # Only what is committed is known.
            self._parts |= parts
            self._sources.update(sources)
            while len(self._sources) > _KNOWN_SOURCES:
                self._sources.popitem(last=False)

    def _ensure_parts(
        self, connection: Connection, table: str, moments: Iterable[datetime]
    ) -> set[tuple[str, datetime]]:
        """Make the parts in which the moments are; return them."""
        with self._lock:
            known = set(self._parts)
        wanted = {(table, part_of(table, moment)) for moment in moments}
        new = wanted - known
        if len(new) > _PARTS_AT_ONCE:
            raise StoreRefused(f"The times of a batch are spread over {len(new)} parts.")
        for _table, begin in sorted(new):
            _make_part(connection, table, begin)
        return wanted

    def _ensure_sources(self, connection: Connection, rows: Sequence[_Row]) -> dict[bytes, int]:
        """Return the number of the source of each row, by digest; new ones are written."""
        with self._lock:
            found = {row.digest: self._sources.get(row.digest) for row in rows}
        new = {row.digest: row for row in rows if found[row.digest] is None}
        if new:
            connection.cursor().executemany(
                "INSERT INTO alarms_source (digest, tenant, resource, keys) VALUES (%s, %s, %s, %s)"
                " ON CONFLICT (digest) DO NOTHING",
                [
                    (digest, new[digest].tenant, new[digest].resource, new[digest].keys)
                    for digest in sorted(new)
                ],
            )
            ids = connection.execute(
                "SELECT digest, id FROM alarms_source WHERE digest = ANY(%s)", [list(new)]
            )
            found.update({bytes(digest): number for digest, number in ids})
        return {digest: number for digest, number in found.items() if number is not None}

    def _copy(
        self, connection: Connection, rows: Sequence[_Row], sources: Mapping[bytes, int]
    ) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "CREATE TEMPORARY TABLE IF NOT EXISTS alarms_incoming (source integer NOT NULL,"
                " digest bytea NOT NULL, at timestamptz NOT NULL,"
                " numbers double precision[] NOT NULL, totals double precision[] NOT NULL)"
                " ON COMMIT DELETE ROWS"
            )
            # Two writes may share a transaction that somebody else opened.
            cursor.execute("TRUNCATE alarms_incoming")
            with cursor.copy(
                "COPY alarms_incoming (source, digest, at, numbers, totals)"
                " FROM STDIN (FORMAT BINARY)"
            ) as copy:
                copy.set_types(["int4", "bytea", "timestamptz", "float8[]", "float8[]"])
                for row in rows:
                    number = sources[row.digest]
                    copy.write_row((number, row.digest, row.at, row.numbers, row.totals))

    # -- reading -------------------------------------------------------------------------------

    def latest(
        self, tenant: str, resources: Collection[str], *, since: datetime
    ) -> Mapping[str, Latest]:
        with self._transaction() as connection:
            rows = connection.execute(
                "SELECT l.resource, l.at, s.keys, l.numbers, l.totals FROM alarms_latest l"
                " JOIN alarms_source s ON s.id = l.source"
                " WHERE l.resource = ANY(%s) AND s.tenant = %s AND l.at >= %s",
                [sorted(resources), tenant, since],
            ).fetchall()
        return {resource: _latest(at, keys, *both) for resource, at, keys, *both in rows}

    def query(self, query: RangeQuery) -> tuple[Line, ...]:
        with self._transaction() as connection:
            statement, values = _statement(connection, query)
            rows = connection.execute(statement, values).fetchall()
        if len(rows) > MAX_CELLS:
            raise QueryTooLarge(f"More than {MAX_CELLS} values.")
        lines: dict[tuple[str, str], list[float | None]] = {}
        for resource, key, number, value in rows:
            device = _key(key).device
            line = lines.get((resource, device))
            if line is None:
                line = lines[resource, device] = [None] * query.points
            line[number] = value
        check_size(len(lines), query.points)
        return tuple(
            Line(resource, device, tuple(points))
            for (resource, device), points in sorted(lines.items())
        )

    def means(
        self, owners: Mapping[str, str], metrics: Collection[str], *, start: datetime, end: datetime
    ) -> Mapping[str, Mapping[SeriesKey, float]]:
        check_owners(owners)
        with self._transaction() as connection:
            statement, values = _means_statement(connection, start, end)
            rows = connection.execute(
                statement,
                {
                    **values,
                    "resources": list(owners),
                    "tenants": list(owners.values()),
                    "metrics": sorted(metrics),
                    "limit": MAX_CELLS + 1,
                },
            ).fetchall()
        if len(rows) > MAX_CELLS:
            raise QueryTooLarge(f"More than {MAX_CELLS} values.")
        found: dict[str, dict[SeriesKey, float]] = {}
        for resource, key, mean in rows:
            found.setdefault(resource, {})[_key(key)] = mean
        return found

    # -- roll-ups ------------------------------------------------------------------------------

    def roll_up(self, now: datetime) -> int:
        coarse, fine = _STEPS
        closed, until = self._close(fine, now - timedelta(seconds=LATE_S))
        return closed + self._close(coarse, until)[0]

    def _close(self, step: _Step, until: datetime) -> tuple[int, datetime]:
        """Close steps up to a time; return how many, and the time up to which all are closed."""
        length = timedelta(seconds=step.seconds)
        until = floor(until, step.seconds)
        with self._transaction() as connection:
            connection.execute("SELECT pg_advisory_xact_lock_shared(%s)", [_LOCK])
            begin = _done(connection, step, lock=True)
            if begin is None:
                return 0, until
            if until <= begin:
                return 0, begin
            source = RAW if step.seconds == FIVE_MINUTES_S else FIVE
            first = _first(connection, source, begin, until)
            end, parts = until, set[tuple[str, datetime]]()
            values = {"begin": begin, "end": until}
            if first is not None:
                first = floor(first, step.seconds)
                end = values["end"] = min(until, first + step.at_once * length)
                parts = self._ensure_parts(connection, step.table, (first, end - length))
            if first is not None:
                connection.execute(_CLOSE[step.seconds], values)
            connection.execute(
                "UPDATE alarms_progress SET done_until = %s WHERE step_s = %s", [end, step.seconds]
            )
        with self._lock:
            self._parts |= parts
        return int((end - begin) / length), end

    # -- retention -----------------------------------------------------------------------------

    def prune(self, now: datetime, keep: Retention) -> int:
        with self._transaction() as connection:
            hours, fives = (_done(connection, step, lock=False) for step in _STEPS)
            ahead: set[tuple[str, datetime]] = set()
            for table in (RAW, FIVE, HOURS):
                ahead |= self._ensure_parts(connection, table, (now, now + timedelta(days=1)))
        with self._lock:
            self._parts |= ahead
        # What is not rolled up yet waits, however old it is.
        limits = {
            RAW: min(now - keep.raw, fives or now),
            FIVE: min(now - keep.five_minutes, hours or now),
            HOURS: now - keep.hours,
        }
        dropped = sum(self._drop_parts(table, limit) for table, limit in limits.items())
        self._forget(now - max(keep.raw, keep.five_minutes, keep.hours))
        return dropped

    def _drop_parts(self, table: str, limit: datetime) -> int:
        with self._transaction() as connection:
            found = connection.execute(
                "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
                " WHERE i.inhparent = %s::regclass ORDER BY c.relname",
                [table],
            ).fetchall()
        length = timedelta(days=PART_DAYS[table])
        old = [name for (name,) in found if _begin_of(name) + length <= limit]
        dropped = 0
        for name in old:
            try:
                with self._transaction() as connection:
                    # While it waits for readers, writers and other readers wait behind it.
                    connection.execute(sql.SQL("SET LOCAL lock_timeout = {}").format(_DROP_WAIT))
                    connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
                    connection.execute(
                        sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(name))
                    )
            except StoreUnavailable as error:
                if isinstance(error.__cause__, psycopg.errors.LockNotAvailable):
                    # Somebody reads for long; the next call comes soon enough.
                    return dropped
                raise
            with self._lock:
                self._parts.discard((table, _begin_of(name)))
            dropped += 1
        return dropped

    def _forget(self, limit: datetime) -> None:
        """Drop sources and newest samples of which nothing is kept any more."""
        with self._transaction() as connection:
            connection.execute("DELETE FROM alarms_latest WHERE at < %s", [limit])
        # They are looked for before writers are locked out: there may be many to look through.
        with self._transaction() as connection:
            found = connection.execute(
                sql.SQL(
                    "SELECT s.id FROM alarms_source s WHERE s.created_at < %s AND {} LIMIT %s"
                ).format(_UNUSED),
                [limit, _FORGET_AT_ONCE],
            ).fetchall()
        if not found:
            return
        with self._transaction() as connection:
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
            connection.execute(
                sql.SQL("DELETE FROM alarms_source s WHERE s.id = ANY(%s) AND {}").format(_UNUSED),
                [[number for (number,) in found]],
            )


# Each is a look into the index of each part; never a reading of the parts.
_UNUSED: Final = sql.SQL(
    "NOT EXISTS (SELECT FROM alarms_latest l WHERE l.source = s.id)"
    " AND (SELECT p.source FROM alarms_points_1h p WHERE p.source = s.id LIMIT 1) IS NULL"
    " AND (SELECT p.source FROM alarms_points_5m p WHERE p.source = s.id LIMIT 1) IS NULL"
    " AND (SELECT p.source FROM alarms_points_raw p WHERE p.source = s.id LIMIT 1) IS NULL"
)


class _ForgottenPart(StoreRefused):
    """A part that this process knows is not there any more."""


class _ForgottenSource(Exception):
    """A source that this process knows is not in the table any more, or under another number."""


@dataclass(frozen=True, slots=True)
class _Row:
    """A sample as it is copied."""

    tenant: str
    resource: str
    at: datetime
    keys: list[str]
    digest: bytes
    numbers: list[float]
    totals: list[float | None]

    @classmethod
    def of(cls, sample: Sample) -> _Row:
        keys = sorted(sample.values)
        names = [_name(key) for key in keys]
        digest = hashlib.sha256(
            "\0".join((sample.tenant, sample.resource, *names)).encode()
        ).digest()[:16]
        return cls(
            sample.tenant,
            sample.resource,
            from_milliseconds(milliseconds(sample.at)),
            names,
            digest,
            [_number(sample.values[key]) for key in keys],
            [float(sample.totals[key]) if key in sample.totals else None for key in keys],
        )


def _number(value: float) -> float:
    """The value, or 0 for one that would be too small for the smaller numbers of roll-ups."""
    return 0.0 if abs(value) < _LEAST else float(value)


def _name(key: SeriesKey) -> str:
    return f"{key.metric}{_SEPARATOR}{key.device}"


def _key(text: str) -> SeriesKey:
    metric, _, device = text.partition(_SEPARATOR)
    return SeriesKey(metric, device)


def _latest(
    at: datetime, keys: Sequence[str], numbers: Sequence[float], totals: Sequence[float | None]
) -> Latest:
    named = [_key(key) for key in keys]
    return Latest(
        at.astimezone(UTC),
        dict(zip(named, numbers, strict=True)),
        {key: total for key, total in zip(named, totals, strict=True) if total is not None},
    )


def _merge(connection: Connection, oldest: datetime) -> None:
    """Bring what was copied into the tables."""
    # A number that this process remembers may be another source's since the database was restored.
    missing = connection.execute(
        "SELECT EXISTS (SELECT FROM alarms_incoming i WHERE NOT EXISTS"
        " (SELECT FROM alarms_source s WHERE s.id = i.source AND s.digest = i.digest))"
    ).fetchone()
    if missing is not None and missing[0]:
        raise _ForgottenSource
    # In one order, so that two that write the same do not lock each other out.
    connection.execute(
        "INSERT INTO alarms_points_raw (source, at, numbers)"
        " SELECT source, at, numbers FROM alarms_incoming ORDER BY source, at"
        " ON CONFLICT DO NOTHING"
    )
    connection.execute(
        "INSERT INTO alarms_latest (resource, at, source, numbers, totals)"
        " SELECT DISTINCT ON (s.resource) s.resource, i.at, i.source, i.numbers, i.totals"
        " FROM alarms_incoming i JOIN alarms_source s ON s.id = i.source"
        " ORDER BY s.resource, i.at DESC"
        " ON CONFLICT (resource) DO UPDATE SET at = EXCLUDED.at, source = EXCLUDED.source,"
        " numbers = EXCLUDED.numbers, totals = EXCLUDED.totals"
        " WHERE EXCLUDED.at > alarms_latest.at OR alarms_latest.at > now() + %s",
        [_AHEAD],
    )
    for step in _STEPS:
        # What is fresh is in no step that anybody closes now, and in a closed one only if the
        # database's clock was set back. For the rest the row is locked, which makes a roll-up that
        # is under way see these samples, or these see that it is over.
        connection.execute(
            "INSERT INTO alarms_progress (step_s, done_until) SELECT %(step)s, %(begin)s"
            " WHERE %(oldest)s < now() - %(fresh)s"
            " OR NOT EXISTS (SELECT FROM alarms_progress WHERE step_s = %(step)s"
            " AND done_until <= %(begin)s)"
            " ON CONFLICT (step_s) DO UPDATE SET done_until = EXCLUDED.done_until"
            " WHERE alarms_progress.done_until > EXCLUDED.done_until",
            {
                "step": step.seconds,
                "begin": floor(oldest, step.seconds),
                "oldest": oldest,
                "fresh": _FRESH,
            },
        )


def _done(connection: Connection, step: _Step, *, lock: bool) -> datetime | None:
    """Return up to when steps are closed; None while there is no sample at all."""
    text = "SELECT done_until FROM alarms_progress WHERE step_s = %s"
    row = connection.execute(f"{text} FOR UPDATE" if lock else text, [step.seconds]).fetchone()
    return None if row is None else row[0].astimezone(UTC)


def _first(connection: Connection, table: str, begin: datetime, end: datetime) -> datetime | None:
    """Return the time of the first row within a time."""
    row = connection.execute(
        sql.SQL("SELECT min(at) FROM {} WHERE at >= %s AND at < %s").format(sql.Identifier(table)),
        [begin, end],
    ).fetchone()
    return None if row is None or row[0] is None else row[0].astimezone(UTC)


def _statement(connection: Connection, query: RangeQuery) -> tuple[str, dict[str, Any]]:
    """The question in SQL: each time is read from the coarsest table that fits and has it."""
    selects: list[str] = []
    values: dict[str, Any] = {
        "tenant": query.tenant,
        "resources": list(query.resources),
        "metric": query.metric,
        "key": None if query.device is None else _name(SeriesKey(query.metric, query.device)),
        "start": query.start,
        "step_s": query.step_s,
        "limit": MAX_CELLS + 1,
    }
    begin = query.start
    for step in _STEPS:
        if query.step_s % step.seconds:
            continue
        done = _done(connection, step, lock=False)
        end = min(done, query.end) if done is not None else begin
        if begin < end:
            selects.append(_points(step.table, _STEP_POINTS, len(selects)))
            values |= {f"begin{len(selects) - 1}": begin, f"end{len(selects) - 1}": end}
            begin = end
    if begin < query.end:
        selects.append(_points(RAW, _RAW_POINTS, len(selects)))
        values |= {f"begin{len(selects) - 1}": begin, f"end{len(selects) - 1}": query.end}
    text = _QUERY.format(points=" UNION ALL ".join(selects), value=_AGGREGATES[query.aggregate])
    return text, values


def _means_statement(
    connection: Connection, start: datetime, end: datetime
) -> tuple[str, dict[str, Any]]:
    """The question for means: steps of five minutes where they are closed, samples after them."""
    selects: list[str] = []
    values: dict[str, Any] = {}
    begin = start
    if floor(start, FIVE_MINUTES_S) == start and floor(end, FIVE_MINUTES_S) == end:
        done = _done(connection, _STEPS[1], lock=False)
        closed = min(done, end) if done is not None else start
        if begin < closed:
            selects.append(_MEANS_OF.format(table=FIVE, n="p.n::bigint", numbers="means", number=0))
            values |= {"begin0": begin, "end0": closed}
            begin = closed
    if begin < end:
        number = len(selects)
        selects.append(_MEANS_OF.format(table=RAW, n="1::bigint", numbers="numbers", number=number))
        values |= {f"begin{number}": begin, f"end{number}": end}
    return _MEANS.format(points=" UNION ALL ".join(selects)), values


def _points(table: str, columns: str, number: int) -> str:
    return _POINTS.format(table=table, columns=columns, number=number)


# -- parts -------------------------------------------------------------------------------------


def part_of(table: str, moment: datetime) -> datetime:
    """Return the beginning of the part of a table in which a moment is."""
    return floor(moment, PART_DAYS[table] * 86_400)


def _make_part(connection: Connection, table: str, begin: datetime) -> None:
    """Make a part of a table; one that is there is fine."""
    name = f"{table}_{begin:%Y%m%d}"
    end = begin + timedelta(days=PART_DAYS[table])
    # Readers go on: attaching locks out only those who change the table's parts as well.
    connection.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [table])
    there = connection.execute("SELECT to_regclass(%s)", [name]).fetchone()
    if there is not None and there[0] is not None:
        return
    names = {"part": sql.Identifier(name), "whole": sql.Identifier(table)}
    connection.execute(sql.SQL("CREATE TABLE {part} (LIKE {whole} INCLUDING ALL)").format(**names))
    connection.execute(
        sql.SQL(
            "ALTER TABLE {whole} ATTACH PARTITION {part} FOR VALUES FROM ({a}) TO ({b})"
        ).format(**names, a=sql.Literal(begin.isoformat()), b=sql.Literal(end.isoformat()))
    )


def _begin_of(name: str) -> datetime:
    return datetime.strptime(name.rpartition("_")[2], "%Y%m%d").replace(tzinfo=UTC)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__

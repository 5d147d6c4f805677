"""The tables of the metrics store on PostgreSQL. Only ``alarms.store.postgres`` reads them.

They are no models: their parts come and go by time, and no query of rows would be fast enough.
"""

from django.db import migrations

TABLES = """
CREATE TABLE alarms_source (
    id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    digest bytea NOT NULL UNIQUE,
    tenant varchar(40) NOT NULL,
    resource varchar(40) NOT NULL,
    keys text[] NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX alarms_source_resource ON alarms_source (resource, tenant);

CREATE TABLE alarms_points_raw (
    source integer NOT NULL,
    at timestamptz NOT NULL,
    numbers double precision[] NOT NULL,
    PRIMARY KEY (source, at)
) PARTITION BY RANGE (at);
CREATE INDEX alarms_points_raw_at ON alarms_points_raw (at);

CREATE TABLE alarms_points_5m (
    source integer NOT NULL,
    at timestamptz NOT NULL,
    n integer NOT NULL,
    means real[] NOT NULL,
    tops real[] NOT NULL,
    lows real[] NOT NULL,
    lasts real[] NOT NULL,
    last_at timestamptz NOT NULL,
    PRIMARY KEY (source, at)
) PARTITION BY RANGE (at);
CREATE INDEX alarms_points_5m_at ON alarms_points_5m (at);

CREATE TABLE alarms_points_1h (
    source integer NOT NULL,
    at timestamptz NOT NULL,
    n integer NOT NULL,
    means real[] NOT NULL,
    tops real[] NOT NULL,
    lows real[] NOT NULL,
    lasts real[] NOT NULL,
    last_at timestamptz NOT NULL,
    PRIMARY KEY (source, at)
) PARTITION BY RANGE (at);
CREATE INDEX alarms_points_1h_at ON alarms_points_1h (at);

-- Rewritten every half minute: room in each page, so that no index has to follow.
CREATE TABLE alarms_latest (
    resource varchar(40) PRIMARY KEY,
    at timestamptz NOT NULL,
    source integer NOT NULL,
    numbers double precision[] NOT NULL,
    totals double precision[] NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE alarms_progress (
    step_s integer PRIMARY KEY,
    done_until timestamptz NOT NULL
);
"""

FORGET = """
DROP TABLE alarms_progress;
DROP TABLE alarms_latest;
DROP TABLE alarms_points_1h;
DROP TABLE alarms_points_5m;
DROP TABLE alarms_points_raw;
DROP TABLE alarms_source;
"""


class Migration(migrations.Migration):
    dependencies: list[tuple[str, str]] = []

    operations = [migrations.RunSQL(TABLES, FORGET)]

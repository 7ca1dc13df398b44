-- The tables of jobs/sensors.toml.
CREATE TABLE IF NOT EXISTS sensor_minutes (
    window_start     TIMESTAMPTZ NOT NULL,
    window_end       TIMESTAMPTZ NOT NULL,
    sensor_id        VARCHAR(50) NOT NULL,
    site             VARCHAR(50) NOT NULL,
    readings         BIGINT NOT NULL,
    min_temperature  DOUBLE PRECISION,
    max_temperature  DOUBLE PRECISION,
    mean_temperature DOUBLE PRECISION,
    PRIMARY KEY (window_start, sensor_id, site)
);
CREATE TABLE IF NOT EXISTS sensor_five_minutes (
    window_start     TIMESTAMPTZ NOT NULL,
    window_end       TIMESTAMPTZ NOT NULL,
    sensor_id        VARCHAR(50) NOT NULL,
    site             VARCHAR(50) NOT NULL,
    readings         BIGINT NOT NULL,
    min_temperature  DOUBLE PRECISION,
    max_temperature  DOUBLE PRECISION,
    mean_temperature DOUBLE PRECISION,
    min_humidity     DOUBLE PRECISION,
    max_humidity     DOUBLE PRECISION,
    mean_humidity    DOUBLE PRECISION,
    PRIMARY KEY (window_start, sensor_id, site)
);
CREATE TABLE IF NOT EXISTS sensor_hours (
    window_start     TIMESTAMPTZ NOT NULL,
    window_end       TIMESTAMPTZ NOT NULL,
    sensor_id        VARCHAR(50) NOT NULL,
    site             VARCHAR(50) NOT NULL,
    readings         BIGINT NOT NULL,
    min_temperature  DOUBLE PRECISION,
    max_temperature  DOUBLE PRECISION,
    mean_temperature DOUBLE PRECISION,
    min_humidity     DOUBLE PRECISION,
    max_humidity     DOUBLE PRECISION,
    mean_humidity    DOUBLE PRECISION,
    min_battery      BIGINT,
    PRIMARY KEY (window_start, sensor_id, site)
);
CREATE TABLE IF NOT EXISTS sensor_gaps (
    sensor_id    VARCHAR(50) NOT NULL,
    site         VARCHAR(50) NOT NULL,
    silent_since TIMESTAMPTZ NOT NULL,
    missed_at    TIMESTAMPTZ NOT NULL,
    spoke_since  TIMESTAMPTZ NOT NULL,
    readings     BIGINT NOT NULL,
    PRIMARY KEY (sensor_id, site, spoke_since)
);

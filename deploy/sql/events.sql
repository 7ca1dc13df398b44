-- The tables of jobs/events.toml.
CREATE TABLE IF NOT EXISTS events_per_minute (
    window_start  TIMESTAMP NOT NULL,
    window_end    TIMESTAMP NOT NULL,
    event_type    VARCHAR(20) NOT NULL,
    events        BIGINT NOT NULL,
    mean_delay_ms DOUBLE PRECISION,
    max_delay_ms  BIGINT,
    PRIMARY KEY (window_start, event_type)
);
CREATE TABLE IF NOT EXISTS services_per_minute (
    window_start TIMESTAMP NOT NULL,
    window_end   TIMESTAMP NOT NULL,
    service      VARCHAR(50) NOT NULL,
    logs         BIGINT NOT NULL,
    errors       BIGINT NOT NULL,
    error_rate   DOUBLE PRECISION NOT NULL,
    mean_ms      DOUBLE PRECISION,
    max_ms       BIGINT,
    p50_ms       DOUBLE PRECISION,
    p99_ms       DOUBLE PRECISION,
    PRIMARY KEY (window_start, service)
);
CREATE TABLE IF NOT EXISTS bad_minutes (
    window_start TIMESTAMP NOT NULL,
    window_end   TIMESTAMP NOT NULL,
    service      VARCHAR(50) NOT NULL,
    logs         BIGINT NOT NULL,
    errors       BIGINT NOT NULL,
    error_rate   DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (window_start, service)
);
CREATE TABLE IF NOT EXISTS services_per_hour (
    window_start TIMESTAMP NOT NULL,
    window_end   TIMESTAMP NOT NULL,
    service      VARCHAR(50) NOT NULL,
    logs         BIGINT NOT NULL,
    errors       BIGINT NOT NULL,
    bad_minutes  BIGINT NOT NULL,
    worst_rate   DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (window_start, service)
);
CREATE TABLE IF NOT EXISTS clicks_per_minute (
    window_start TIMESTAMP NOT NULL,
    window_end   TIMESTAMP NOT NULL,
    url          VARCHAR(255) NOT NULL,
    clicks       BIGINT NOT NULL,
    users        BIGINT NOT NULL,
    PRIMARY KEY (window_start, url)
);
CREATE TABLE IF NOT EXISTS transactions_per_minute (
    window_start TIMESTAMP NOT NULL,
    window_end   TIMESTAMP NOT NULL,
    currency     VARCHAR(3) NOT NULL,
    status       VARCHAR(20) NOT NULL,
    transactions BIGINT NOT NULL,
    amount       NUMERIC NOT NULL,
    PRIMARY KEY (window_start, currency, status)
);

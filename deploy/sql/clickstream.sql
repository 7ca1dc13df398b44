-- The tables of jobs/clickstream.toml, in the database analytics.
CREATE TABLE IF NOT EXISTS clickstream_events (
    event_id    VARCHAR(36) NOT NULL,
    user_id     VARCHAR(50) NOT NULL,
    event_ts    TIMESTAMP NOT NULL,
    url         TEXT NOT NULL,
    referrer    TEXT,
    ip          VARCHAR(64),
    received_at TIMESTAMP NOT NULL
);
-- For who looks at the newest events. Not unique: the job has removed the repeats already.
CREATE INDEX IF NOT EXISTS clickstream_events_event_ts ON clickstream_events (event_ts);
CREATE TABLE IF NOT EXISTS clickstream_agg_minute (
    window_start TIMESTAMP NOT NULL,
    window_end   TIMESTAMP NOT NULL,
    url          TEXT NOT NULL,
    hits         BIGINT NOT NULL,
    PRIMARY KEY (window_start, url)
);
CREATE TABLE IF NOT EXISTS clickstream_top_pages (
    window_start TIMESTAMP NOT NULL,
    window_end   TIMESTAMP NOT NULL,
    place        BIGINT NOT NULL,
    url          TEXT NOT NULL,
    hits         BIGINT NOT NULL,
    PRIMARY KEY (window_end, place)
);

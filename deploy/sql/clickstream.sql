-- The tables of jobs/clickstream.toml, in the database analytics.
CREATE TABLE IF NOT EXISTS clickstream_agg_minute (
    window_start TIMESTAMP NOT NULL,
    window_end   TIMESTAMP NOT NULL,
    url          TEXT NOT NULL,
    hits         BIGINT NOT NULL,
    PRIMARY KEY (window_start, url)
);

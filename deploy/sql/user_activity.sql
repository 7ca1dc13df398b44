-- The tables of jobs/user_activity.toml, as the team has them. Freshet makes its own if they are missing, and takes these if they are there.
CREATE TABLE IF NOT EXISTS page_view_counts (
    window_start TIMESTAMP NOT NULL,
    window_end   TIMESTAMP NOT NULL,
    page_url     VARCHAR(255) NOT NULL,
    view_count   BIGINT NOT NULL,
    PRIMARY KEY (window_start, page_url)
);
CREATE TABLE IF NOT EXISTS active_users (
    window_start       TIMESTAMP PRIMARY KEY,
    window_end         TIMESTAMP NOT NULL,
    active_users_count BIGINT NOT NULL
);
CREATE TABLE IF NOT EXISTS user_sessions (
    user_id                  VARCHAR(50) NOT NULL,
    session_start_time       TIMESTAMP NOT NULL,
    session_end_time         TIMESTAMP NOT NULL,
    session_duration_seconds BIGINT NOT NULL,
    PRIMARY KEY (user_id, session_start_time)
);

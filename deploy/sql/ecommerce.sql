-- The tables of jobs/ecommerce.toml.
CREATE TABLE IF NOT EXISTS events_per_minute (
    window_start TIMESTAMP NOT NULL,
    window_end   TIMESTAMP NOT NULL,
    event_type   VARCHAR(20) NOT NULL,
    device       VARCHAR(10) NOT NULL,
    location     VARCHAR(2) NOT NULL,
    events       BIGINT NOT NULL,
    users        BIGINT NOT NULL,
    PRIMARY KEY (window_start, event_type, device, location)
);
CREATE TABLE IF NOT EXISTS markets_per_hour (
    window_start TIMESTAMP NOT NULL,
    window_end   TIMESTAMP NOT NULL,
    market       VARCHAR(20) NOT NULL,
    events       BIGINT NOT NULL,
    users        BIGINT NOT NULL,
    orders       BIGINT NOT NULL,
    PRIMARY KEY (window_start, market)
);
CREATE TABLE IF NOT EXISTS revenue_per_minute (
    window_start TIMESTAMP NOT NULL,
    window_end   TIMESTAMP NOT NULL,
    currency     VARCHAR(3) NOT NULL,
    orders       BIGINT NOT NULL,
    revenue      NUMERIC NOT NULL,
    PRIMARY KEY (window_start, currency)
);
CREATE TABLE IF NOT EXISTS revenue_per_hour (
    window_start TIMESTAMP NOT NULL,
    window_end   TIMESTAMP NOT NULL,
    currency     VARCHAR(3) NOT NULL,
    orders       BIGINT NOT NULL,
    revenue      NUMERIC NOT NULL,
    mean_order   NUMERIC(12, 2) NOT NULL,
    PRIMARY KEY (window_start, currency)
);
CREATE TABLE IF NOT EXISTS products_per_hour (
    window_start TIMESTAMP NOT NULL,
    window_end   TIMESTAMP NOT NULL,
    product_id   VARCHAR(50) NOT NULL,
    clicks       BIGINT NOT NULL,
    adds         BIGINT NOT NULL,
    pieces       BIGINT,
    PRIMARY KEY (window_start, product_id)
);
CREATE TABLE IF NOT EXISTS user_sessions (
    user_id         VARCHAR(50) NOT NULL,
    session_start   TIMESTAMP NOT NULL,
    session_end     TIMESTAMP NOT NULL,
    session_seconds BIGINT NOT NULL,
    events          BIGINT NOT NULL,
    looks           BIGINT NOT NULL,
    searches        BIGINT NOT NULL,
    adds            BIGINT NOT NULL,
    purchases       BIGINT NOT NULL,
    added           NUMERIC NOT NULL,
    step            BIGINT NOT NULL,
    PRIMARY KEY (user_id, session_start)
);
CREATE TABLE IF NOT EXISTS abandoned_carts (
    user_id       VARCHAR(50) NOT NULL,
    session_start TIMESTAMP NOT NULL,
    session_end   TIMESTAMP NOT NULL,
    adds          BIGINT NOT NULL,
    added         NUMERIC NOT NULL,
    PRIMARY KEY (user_id, session_start)
);
CREATE TABLE IF NOT EXISTS searches_without_purchase (
    user_id       VARCHAR(50) NOT NULL,
    session_start TIMESTAMP NOT NULL,
    session_end   TIMESTAMP NOT NULL,
    searches      BIGINT NOT NULL,
    PRIMARY KEY (user_id, session_start)
);
CREATE TABLE IF NOT EXISTS conversion_funnel (
    hour     TIMESTAMP PRIMARY KEY,
    sessions BIGINT NOT NULL,
    looked   BIGINT NOT NULL,
    added    BIGINT NOT NULL,
    bought   BIGINT NOT NULL
);

-- The tables of jobs/payments.toml.
CREATE TABLE IF NOT EXISTS payments_per_minute (
    window_start TIMESTAMPTZ NOT NULL,
    window_end   TIMESTAMPTZ NOT NULL,
    country      VARCHAR(2) NOT NULL,
    currency     VARCHAR(3) NOT NULL,
    payments     BIGINT NOT NULL,
    amount       NUMERIC NOT NULL,
    PRIMARY KEY (window_start, country, currency)
);
CREATE TABLE IF NOT EXISTS payment_bursts (
    window_start TIMESTAMPTZ NOT NULL,
    window_end   TIMESTAMPTZ NOT NULL,
    user_id      VARCHAR(50) NOT NULL,
    payments     BIGINT NOT NULL,
    amount       NUMERIC NOT NULL,
    PRIMARY KEY (window_start, user_id)
);
CREATE TABLE IF NOT EXISTS failed_logins (
    window_start TIMESTAMPTZ NOT NULL,
    window_end   TIMESTAMPTZ NOT NULL,
    user_id      VARCHAR(50) NOT NULL,
    failures     BIGINT NOT NULL,
    addresses    BIGINT NOT NULL,
    PRIMARY KEY (window_start, user_id)
);
CREATE TABLE IF NOT EXISTS unusual_amounts (
    payment_id VARCHAR(36) NOT NULL,
    user_id    VARCHAR(50) NOT NULL,
    amount     NUMERIC(12, 2),
    merchant   VARCHAR(50),
    paid_at    TIMESTAMPTZ,
    payments   BIGINT NOT NULL,
    mean       DOUBLE PRECISION,
    deviation  DOUBLE PRECISION,
    PRIMARY KEY (payment_id)
);
CREATE TABLE IF NOT EXISTS impossible_travel (
    payment_id     VARCHAR(36) NOT NULL,
    login_id       VARCHAR(36) NOT NULL,
    user_id        VARCHAR(50) NOT NULL,
    amount         NUMERIC(12, 2),
    paid_at        TIMESTAMPTZ NOT NULL,
    paid_in        VARCHAR(50),
    logged_in_at   TIMESTAMPTZ NOT NULL,
    logged_in_from VARCHAR(50),
    km             DOUBLE PRECISION NOT NULL,
    PRIMARY KEY (payment_id, login_id)
);
CREATE TABLE IF NOT EXISTS payments_without_login (
    payment_id VARCHAR(36) PRIMARY KEY,
    user_id    VARCHAR(50) NOT NULL,
    amount     NUMERIC(12, 2),
    merchant   VARCHAR(50),
    paid_at    TIMESTAMPTZ NOT NULL,
    paid_in    VARCHAR(50)
);

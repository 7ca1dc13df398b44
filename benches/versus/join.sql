-- The table of the interval join.
CREATE TABLE payment_logins (
    payment_id   VARCHAR(36) NOT NULL,
    login_id     VARCHAR(36) NOT NULL,
    user_id      VARCHAR(50) NOT NULL,
    paid_at      TIMESTAMP NOT NULL,
    logged_in_at TIMESTAMP NOT NULL,
    amount       NUMERIC(12, 2) NOT NULL,
    PRIMARY KEY (payment_id, login_id)
);

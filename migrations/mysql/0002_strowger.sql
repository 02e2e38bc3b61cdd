-- What the exchange itself needs: which migrations ran, which tables it made, and how often each was changed.
-- A counter is spread over slots (by connection), so that two transactions rarely wait for the same row.

CREATE TABLE IF NOT EXISTS strowger_schema (
    version INT NOT NULL PRIMARY KEY,
    applied DATETIME NOT NULL
) DEFAULT CHARSET = utf8mb4;

CREATE TABLE IF NOT EXISTS strowger_tables (
    table_name VARCHAR(64) NOT NULL PRIMARY KEY
) DEFAULT CHARSET = utf8mb4;

CREATE TABLE IF NOT EXISTS strowger_changes (
    table_name VARCHAR(64) NOT NULL,
    slot INT NOT NULL,
    version BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (table_name, slot)
) DEFAULT CHARSET = utf8mb4;

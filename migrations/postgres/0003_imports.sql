-- What was imported from the files of an Asterisk: which rows, from where, and what they said, so that rows of others are
-- told from those.

CREATE TABLE IF NOT EXISTS strowger_imports (
    table_name VARCHAR(64) NOT NULL,
    row_key VARCHAR(400) NOT NULL,
    source TEXT NOT NULL,
    columns TEXT NOT NULL,
    fingerprint VARCHAR(64) NOT NULL,
    PRIMARY KEY (table_name, row_key)
);

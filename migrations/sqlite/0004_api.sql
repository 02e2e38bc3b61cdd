-- Who may use the HTTP APIs, and whose each context of the dialplan is. Columns and order are those that the product's API
-- answers with; `scopes` is read by /api/v1 only.

CREATE TABLE IF NOT EXISTS api_users (
    "uuid" TEXT NOT NULL PRIMARY KEY,
    "name" TEXT,
    "description" TEXT,
    "enable" TEXT DEFAULT 'yes',
    "api_key" TEXT NOT NULL,
    "group_uuid" TEXT,
    "scopes" TEXT
);

CREATE TABLE IF NOT EXISTS api_contexts (
    "uuid" TEXT NOT NULL PRIMARY KEY,
    "name" TEXT NOT NULL,
    "description" TEXT,
    "group_uuid" TEXT
);

CREATE INDEX IF NOT EXISTS api_contexts_name ON api_contexts ("name");

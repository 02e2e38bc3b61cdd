-- Who may use the HTTP APIs, and whose each context of the dialplan is. Columns and order are those that the product's API
-- answers with; `scopes` is read by /api/v1 only.

CREATE TABLE IF NOT EXISTS api_users (
    `uuid` VARCHAR(36) NOT NULL PRIMARY KEY,
    `name` VARCHAR(128),
    `description` VARCHAR(128),
    `enable` VARCHAR(3) DEFAULT 'yes',
    `api_key` VARCHAR(128) NOT NULL,
    `group_uuid` VARCHAR(36),
    `scopes` VARCHAR(1024)
) DEFAULT CHARSET = utf8mb4;

CREATE TABLE IF NOT EXISTS api_contexts (
    `uuid` VARCHAR(36) NOT NULL PRIMARY KEY,
    `name` VARCHAR(128) NOT NULL,
    `description` VARCHAR(128),
    `group_uuid` VARCHAR(36),
    KEY api_contexts_name (`name`)
) DEFAULT CHARSET = utf8mb4;

-- State that exchanges tell each other (RFC 3903), as Asterisk's res_pjsip_publish_asterisk keeps it.

CREATE TABLE IF NOT EXISTS ps_inbound_publications (
    `id` VARCHAR(40) NOT NULL,
    `endpoint` VARCHAR(40),
    `event_asterisk-devicestate` VARCHAR(40),
    `event_asterisk-mwi` VARCHAR(40),
    UNIQUE (`id`)
) DEFAULT CHARSET = utf8mb4;

CREATE TABLE IF NOT EXISTS ps_asterisk_publications (
    `id` VARCHAR(40) NOT NULL,
    `devicestate_publish` VARCHAR(40),
    `mailboxstate_publish` VARCHAR(40),
    `device_state` ENUM('yes','no'),
    `device_state_filter` VARCHAR(256),
    `mailbox_state` ENUM('yes','no'),
    `mailbox_state_filter` VARCHAR(256),
    UNIQUE (`id`)
) DEFAULT CHARSET = utf8mb4;

CREATE TABLE IF NOT EXISTS ps_outbound_publishes (
    `id` VARCHAR(40) NOT NULL,
    `expiration` INTEGER,
    `outbound_auth` VARCHAR(255),
    `outbound_proxy` VARCHAR(256),
    `server_uri` VARCHAR(256),
    `from_uri` VARCHAR(256),
    `to_uri` VARCHAR(256),
    `event` VARCHAR(40),
    `max_auth_attempts` INTEGER,
    `transport` VARCHAR(40),
    `multi_user` ENUM('yes','no'),
    `@body` VARCHAR(40),
    `@context` VARCHAR(256),
    `@exten` VARCHAR(256),
    `@device_state_filter` VARCHAR(256),
    `@mailbox_state_filter` VARCHAR(256),
    UNIQUE (`id`)
) DEFAULT CHARSET = utf8mb4;

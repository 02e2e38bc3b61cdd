-- State that exchanges tell each other (RFC 3903), as Asterisk's res_pjsip_publish_asterisk keeps it.

CREATE TABLE IF NOT EXISTS ps_inbound_publications (
    "id" TEXT NOT NULL,
    "endpoint" TEXT,
    "event_asterisk-devicestate" TEXT,
    "event_asterisk-mwi" TEXT,
    UNIQUE ("id")
);

CREATE TABLE IF NOT EXISTS ps_asterisk_publications (
    "id" TEXT NOT NULL,
    "devicestate_publish" TEXT,
    "mailboxstate_publish" TEXT,
    "device_state" TEXT,
    "device_state_filter" TEXT,
    "mailbox_state" TEXT,
    "mailbox_state_filter" TEXT,
    UNIQUE ("id")
);

CREATE TABLE IF NOT EXISTS ps_outbound_publishes (
    "id" TEXT NOT NULL,
    "expiration" INTEGER,
    "outbound_auth" TEXT,
    "outbound_proxy" TEXT,
    "server_uri" TEXT,
    "from_uri" TEXT,
    "to_uri" TEXT,
    "event" TEXT,
    "max_auth_attempts" INTEGER,
    "transport" TEXT,
    "multi_user" TEXT,
    "@body" TEXT,
    "@context" TEXT,
    "@exten" TEXT,
    "@device_state_filter" TEXT,
    "@mailbox_state_filter" TEXT,
    UNIQUE ("id")
);

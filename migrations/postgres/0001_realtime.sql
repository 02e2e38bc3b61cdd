-- The tables of an Asterisk realtime database, column for column, and the columns of the product in cdr.
-- Statements are separated by blank lines; each may run again. A table that exists is never altered.

DO $$ BEGIN
    CREATE TYPE ast_bool_values AS ENUM ('0', '1', 'off', 'on', 'false', 'true', 'no', 'yes');
EXCEPTION WHEN duplicate_object THEN NULL;
END $$;

DO $$ BEGIN
    CREATE TYPE strowger_connected_line_method_values AS ENUM ('invite', 'reinvite', 'update');
EXCEPTION WHEN duplicate_object THEN NULL;
END $$;

DO $$ BEGIN
    CREATE TYPE strowger_direct_media_glare_mitigation_values AS ENUM ('none', 'outgoing', 'incoming');
EXCEPTION WHEN duplicate_object THEN NULL;
END $$;

DO $$ BEGIN
    CREATE TYPE strowger_dtmf_mode_values AS ENUM ('rfc4733', 'inband', 'info', 'auto', 'auto_info');
EXCEPTION WHEN duplicate_object THEN NULL;
END $$;

DO $$ BEGIN
    CREATE TYPE strowger_timers_values AS ENUM ('forced', 'no', 'required', 'yes');
EXCEPTION WHEN duplicate_object THEN NULL;
END $$;

DO $$ BEGIN
    CREATE TYPE strowger_callerid_privacy_values AS ENUM ('allowed_not_screened', 'allowed_passed_screened', 'allowed_failed_screened', 'allowed', 'prohib_not_screened', 'prohib_passed_screened', 'prohib_failed_screened', 'prohib', 'unavailable');
EXCEPTION WHEN duplicate_object THEN NULL;
END $$;

DO $$ BEGIN
    CREATE TYPE strowger_rel_values AS ENUM ('no', 'required', 'peer_supported', 'yes');
EXCEPTION WHEN duplicate_object THEN NULL;
END $$;

DO $$ BEGIN
    CREATE TYPE strowger_media_encryption_values AS ENUM ('no', 'sdes', 'dtls');
EXCEPTION WHEN duplicate_object THEN NULL;
END $$;

DO $$ BEGIN
    CREATE TYPE strowger_t38_udptl_ec_values AS ENUM ('none', 'fec', 'redundancy');
EXCEPTION WHEN duplicate_object THEN NULL;
END $$;

DO $$ BEGIN
    CREATE TYPE strowger_dtls_setup_values AS ENUM ('active', 'passive', 'actpass');
EXCEPTION WHEN duplicate_object THEN NULL;
END $$;

DO $$ BEGIN
    CREATE TYPE strowger_redirect_method_values AS ENUM ('user', 'uri_core', 'uri_pjsip');
EXCEPTION WHEN duplicate_object THEN NULL;
END $$;

DO $$ BEGIN
    CREATE TYPE strowger_dtls_fingerprint_values AS ENUM ('SHA-1', 'SHA-256');
EXCEPTION WHEN duplicate_object THEN NULL;
END $$;

DO $$ BEGIN
    CREATE TYPE strowger_incoming_call_offer_pref_values AS ENUM ('local', 'local_first', 'remote', 'remote_first');
EXCEPTION WHEN duplicate_object THEN NULL;
END $$;

DO $$ BEGIN
    CREATE TYPE strowger_outgoing_call_offer_pref_values AS ENUM ('local', 'local_merge', 'local_first', 'remote', 'remote_merge', 'remote_first');
EXCEPTION WHEN duplicate_object THEN NULL;
END $$;

DO $$ BEGIN
    CREATE TYPE strowger_security_negotiation_values AS ENUM ('no', 'mediasec');
EXCEPTION WHEN duplicate_object THEN NULL;
END $$;

DO $$ BEGIN
    CREATE TYPE strowger_auth_type_values AS ENUM ('md5', 'userpass', 'google_oauth');
EXCEPTION WHEN duplicate_object THEN NULL;
END $$;

DO $$ BEGIN
    CREATE TYPE strowger_taskprocessor_overload_trigger_values AS ENUM ('none', 'global', 'pjsip_only');
EXCEPTION WHEN duplicate_object THEN NULL;
END $$;

DO $$ BEGIN
    CREATE TYPE strowger_method_values AS ENUM ('default', 'unspecified', 'tlsv1', 'tlsv1_1', 'tlsv1_2', 'tlsv1_3', 'sslv2', 'sslv23', 'sslv3');
EXCEPTION WHEN duplicate_object THEN NULL;
END $$;

DO $$ BEGIN
    CREATE TYPE strowger_protocol_values AS ENUM ('udp', 'tcp', 'tls', 'ws', 'wss', 'flow');
EXCEPTION WHEN duplicate_object THEN NULL;
END $$;

DO $$ BEGIN
    CREATE TYPE yesno_values AS ENUM ('yes', 'no');
EXCEPTION WHEN duplicate_object THEN NULL;
END $$;

DO $$ BEGIN
    CREATE TYPE strowger_autopause_values AS ENUM ('yes', 'no', 'all');
EXCEPTION WHEN duplicate_object THEN NULL;
END $$;

DO $$ BEGIN
    CREATE TYPE strowger_strategy_values AS ENUM ('ringall', 'leastrecent', 'fewestcalls', 'random', 'rrmemory', 'linear', 'wrandom', 'rrordered');
EXCEPTION WHEN duplicate_object THEN NULL;
END $$;

DO $$ BEGIN
    CREATE TYPE strowger_mode_values AS ENUM ('custom', 'files', 'mp3nb', 'quietmp3nb', 'quietmp3', 'playlist');
EXCEPTION WHEN duplicate_object THEN NULL;
END $$;

CREATE TABLE IF NOT EXISTS ps_endpoints (
    "id" VARCHAR(255) NOT NULL,
    "transport" VARCHAR(40),
    "aors" VARCHAR(2048),
    "auth" VARCHAR(255),
    "context" VARCHAR(40),
    "disallow" VARCHAR(200),
    "allow" VARCHAR(200),
    "direct_media" ast_bool_values,
    "connected_line_method" strowger_connected_line_method_values,
    "direct_media_method" strowger_connected_line_method_values,
    "direct_media_glare_mitigation" strowger_direct_media_glare_mitigation_values,
    "disable_direct_media_on_nat" ast_bool_values,
    "dtmf_mode" strowger_dtmf_mode_values,
    "external_media_address" VARCHAR(40),
    "force_rport" ast_bool_values,
    "ice_support" ast_bool_values,
    "identify_by" VARCHAR(80),
    "mailboxes" VARCHAR(40),
    "moh_suggest" VARCHAR(40),
    "outbound_auth" VARCHAR(255),
    "outbound_proxy" VARCHAR(255),
    "rewrite_contact" ast_bool_values,
    "rtp_ipv6" ast_bool_values,
    "rtp_symmetric" ast_bool_values,
    "send_diversion" ast_bool_values,
    "send_pai" ast_bool_values,
    "send_rpid" ast_bool_values,
    "timers_min_se" INTEGER,
    "timers" strowger_timers_values,
    "timers_sess_expires" INTEGER,
    "callerid" VARCHAR(40),
    "callerid_privacy" strowger_callerid_privacy_values,
    "callerid_tag" VARCHAR(40),
    "100rel" strowger_rel_values,
    "aggregate_mwi" ast_bool_values,
    "trust_id_inbound" ast_bool_values,
    "trust_id_outbound" ast_bool_values,
    "use_ptime" ast_bool_values,
    "use_avpf" ast_bool_values,
    "media_encryption" strowger_media_encryption_values,
    "inband_progress" ast_bool_values,
    "call_group" VARCHAR(40),
    "pickup_group" VARCHAR(40),
    "named_call_group" VARCHAR(40),
    "named_pickup_group" VARCHAR(40),
    "device_state_busy_at" INTEGER,
    "fax_detect" ast_bool_values,
    "t38_udptl" ast_bool_values,
    "t38_udptl_ec" strowger_t38_udptl_ec_values,
    "t38_udptl_maxdatagram" INTEGER,
    "t38_udptl_nat" ast_bool_values,
    "t38_udptl_ipv6" ast_bool_values,
    "tone_zone" VARCHAR(40),
    "language" VARCHAR(40),
    "one_touch_recording" ast_bool_values,
    "record_on_feature" VARCHAR(40),
    "record_off_feature" VARCHAR(40),
    "rtp_engine" VARCHAR(40),
    "allow_transfer" ast_bool_values,
    "allow_subscribe" ast_bool_values,
    "sdp_owner" VARCHAR(40),
    "sdp_session" VARCHAR(40),
    "tos_audio" VARCHAR(10),
    "tos_video" VARCHAR(10),
    "sub_min_expiry" INTEGER,
    "from_domain" VARCHAR(40),
    "from_user" VARCHAR(40),
    "mwi_from_user" VARCHAR(40),
    "dtls_verify" VARCHAR(40),
    "dtls_rekey" VARCHAR(40),
    "dtls_cert_file" VARCHAR(200),
    "dtls_private_key" VARCHAR(200),
    "dtls_cipher" VARCHAR(200),
    "dtls_ca_file" VARCHAR(200),
    "dtls_ca_path" VARCHAR(200),
    "dtls_setup" strowger_dtls_setup_values,
    "srtp_tag_32" ast_bool_values,
    "media_address" VARCHAR(40),
    "redirect_method" strowger_redirect_method_values,
    "set_var" TEXT,
    "cos_audio" INTEGER,
    "cos_video" INTEGER,
    "message_context" VARCHAR(40),
    "force_avp" ast_bool_values,
    "media_use_received_transport" ast_bool_values,
    "accountcode" VARCHAR(80),
    "user_eq_phone" ast_bool_values,
    "moh_passthrough" ast_bool_values,
    "media_encryption_optimistic" ast_bool_values,
    "rpid_immediate" ast_bool_values,
    "g726_non_standard" ast_bool_values,
    "rtp_keepalive" INTEGER,
    "rtp_timeout" INTEGER,
    "rtp_timeout_hold" INTEGER,
    "bind_rtp_to_media_address" ast_bool_values,
    "voicemail_extension" VARCHAR(40),
    "mwi_subscribe_replaces_unsolicited" ast_bool_values,
    "deny" VARCHAR(95),
    "permit" VARCHAR(95),
    "acl" VARCHAR(40),
    "contact_deny" VARCHAR(95),
    "contact_permit" VARCHAR(95),
    "contact_acl" VARCHAR(40),
    "subscribe_context" VARCHAR(40),
    "fax_detect_timeout" INTEGER,
    "contact_user" VARCHAR(80),
    "preferred_codec_only" ast_bool_values,
    "asymmetric_rtp_codec" ast_bool_values,
    "rtcp_mux" ast_bool_values,
    "allow_overlap" ast_bool_values,
    "refer_blind_progress" ast_bool_values,
    "notify_early_inuse_ringing" ast_bool_values,
    "max_audio_streams" INTEGER,
    "max_video_streams" INTEGER,
    "webrtc" ast_bool_values,
    "dtls_fingerprint" strowger_dtls_fingerprint_values,
    "incoming_mwi_mailbox" VARCHAR(40),
    "bundle" ast_bool_values,
    "dtls_auto_generate_cert" ast_bool_values,
    "follow_early_media_fork" ast_bool_values,
    "accept_multiple_sdp_answers" ast_bool_values,
    "suppress_q850_reason_headers" ast_bool_values,
    "trust_connected_line" ast_bool_values,
    "send_connected_line" ast_bool_values,
    "ignore_183_without_sdp" ast_bool_values,
    "codec_prefs_incoming_offer" VARCHAR(128),
    "codec_prefs_outgoing_offer" VARCHAR(128),
    "codec_prefs_incoming_answer" VARCHAR(128),
    "codec_prefs_outgoing_answer" VARCHAR(128),
    "stir_shaken" ast_bool_values,
    "send_history_info" ast_bool_values,
    "allow_unauthenticated_options" ast_bool_values,
    "t38_bind_udptl_to_media_address" ast_bool_values,
    "geoloc_incoming_call_profile" VARCHAR(80),
    "geoloc_outgoing_call_profile" VARCHAR(80),
    "incoming_call_offer_pref" strowger_incoming_call_offer_pref_values,
    "outgoing_call_offer_pref" strowger_outgoing_call_offer_pref_values,
    "stir_shaken_profile" VARCHAR(80),
    "security_negotiation" strowger_security_negotiation_values,
    "security_mechanisms" VARCHAR(512),
    "send_aoc" ast_bool_values,
    "overlap_context" VARCHAR(80),
    "tenantid" VARCHAR(80),
    "suppress_moh_on_sendonly" ast_bool_values,
    "follow_redirect_methods" VARCHAR(95),
    "rtp_port_start" INTEGER,
    "rtp_port_end" INTEGER,
    UNIQUE ("id")
);

CREATE TABLE IF NOT EXISTS ps_aors (
    "id" VARCHAR(255) NOT NULL,
    "contact" VARCHAR(255),
    "default_expiration" INTEGER,
    "mailboxes" VARCHAR(80),
    "max_contacts" INTEGER,
    "minimum_expiration" INTEGER,
    "remove_existing" ast_bool_values,
    "qualify_frequency" INTEGER,
    "authenticate_qualify" ast_bool_values,
    "maximum_expiration" INTEGER,
    "outbound_proxy" VARCHAR(255),
    "support_path" ast_bool_values,
    "qualify_timeout" DOUBLE PRECISION,
    "voicemail_extension" VARCHAR(40),
    "remove_unavailable" ast_bool_values,
    "qualify_2xx_only" ast_bool_values,
    UNIQUE ("id")
);

CREATE TABLE IF NOT EXISTS ps_auths (
    "id" VARCHAR(255) NOT NULL,
    "auth_type" strowger_auth_type_values,
    "nonce_lifetime" INTEGER,
    "md5_cred" VARCHAR(40),
    "password" VARCHAR(80),
    "realm" VARCHAR(255),
    "username" VARCHAR(40),
    "refresh_token" VARCHAR(255),
    "oauth_clientid" VARCHAR(255),
    "oauth_secret" VARCHAR(255),
    "password_digest" VARCHAR(1024),
    "supported_algorithms_uas" VARCHAR(1024),
    "supported_algorithms_uac" VARCHAR(1024),
    UNIQUE ("id")
);

CREATE TABLE IF NOT EXISTS ps_contacts (
    "id" VARCHAR(255) NOT NULL,
    "uri" VARCHAR(511),
    "expiration_time" BIGINT,
    "qualify_frequency" INTEGER,
    "outbound_proxy" VARCHAR(255),
    "path" TEXT,
    "user_agent" VARCHAR(255),
    "qualify_timeout" DOUBLE PRECISION,
    "reg_server" VARCHAR(255),
    "authenticate_qualify" ast_bool_values,
    "via_addr" VARCHAR(40),
    "via_port" INTEGER,
    "call_id" VARCHAR(255),
    "endpoint" VARCHAR(255),
    "prune_on_boot" ast_bool_values,
    "qualify_2xx_only" ast_bool_values,
    UNIQUE ("id", "reg_server")
);

CREATE INDEX IF NOT EXISTS ps_contacts_qualify ON ps_contacts ("qualify_frequency", "expiration_time");

CREATE TABLE IF NOT EXISTS ps_registrations (
    "id" VARCHAR(255) NOT NULL,
    "auth_rejection_permanent" ast_bool_values,
    "client_uri" VARCHAR(255),
    "contact_user" VARCHAR(40),
    "expiration" INTEGER,
    "max_retries" INTEGER,
    "outbound_auth" VARCHAR(255),
    "outbound_proxy" VARCHAR(255),
    "retry_interval" INTEGER,
    "forbidden_retry_interval" INTEGER,
    "server_uri" VARCHAR(255),
    "transport" VARCHAR(40),
    "support_path" ast_bool_values,
    "fatal_retry_interval" INTEGER,
    "line" ast_bool_values,
    "endpoint" VARCHAR(255),
    "support_outbound" ast_bool_values,
    "contact_header_params" VARCHAR(255),
    "max_random_initial_delay" INTEGER,
    "security_negotiation" strowger_security_negotiation_values,
    "security_mechanisms" VARCHAR(512),
    "user_agent" VARCHAR(255),
    UNIQUE ("id")
);

CREATE TABLE IF NOT EXISTS ps_endpoint_id_ips (
    "id" VARCHAR(255) NOT NULL,
    "endpoint" VARCHAR(255),
    "match" VARCHAR(80),
    "srv_lookups" ast_bool_values,
    "match_header" VARCHAR(255),
    "match_request_uri" VARCHAR(255),
    UNIQUE ("id")
);

CREATE INDEX IF NOT EXISTS ps_endpoint_id_ips_endpoint ON ps_endpoint_id_ips ("endpoint");

CREATE TABLE IF NOT EXISTS ps_domain_aliases (
    "id" VARCHAR(255) NOT NULL,
    "domain" VARCHAR(255),
    UNIQUE ("id")
);

CREATE TABLE IF NOT EXISTS ps_resource_list (
    "id" VARCHAR(40) NOT NULL,
    "list_item" VARCHAR(2048),
    "event" VARCHAR(40),
    "full_state" ast_bool_values,
    "notification_batch_interval" INTEGER,
    "resource_display_name" ast_bool_values,
    UNIQUE ("id")
);

CREATE TABLE IF NOT EXISTS ps_subscription_persistence (
    "id" VARCHAR(40) NOT NULL,
    "packet" VARCHAR(2048),
    "src_name" VARCHAR(128),
    "src_port" INTEGER,
    "transport_key" VARCHAR(64),
    "dest_name" VARCHAR(128),
    "local_name" VARCHAR(128),
    "local_port" INTEGER,
    "cseq" INTEGER,
    "tag" VARCHAR(128),
    "endpoint" VARCHAR(40),
    "expires" INTEGER,
    "contact_uri" VARCHAR(256),
    "prune_on_boot" ast_bool_values,
    UNIQUE ("id")
);

CREATE TABLE IF NOT EXISTS ps_globals (
    "id" VARCHAR(40) NOT NULL,
    "max_forwards" INTEGER,
    "user_agent" VARCHAR(255),
    "default_outbound_endpoint" VARCHAR(40),
    "debug" VARCHAR(40),
    "endpoint_identifier_order" VARCHAR(40),
    "max_initial_qualify_time" INTEGER,
    "default_from_user" VARCHAR(80),
    "keep_alive_interval" INTEGER,
    "regcontext" VARCHAR(80),
    "contact_expiration_check_interval" INTEGER,
    "default_voicemail_extension" VARCHAR(40),
    "disable_multi_domain" ast_bool_values,
    "unidentified_request_count" INTEGER,
    "unidentified_request_period" INTEGER,
    "unidentified_request_prune_interval" INTEGER,
    "default_realm" VARCHAR(40),
    "mwi_tps_queue_high" INTEGER,
    "mwi_tps_queue_low" INTEGER,
    "mwi_disable_initial_unsolicited" ast_bool_values,
    "ignore_uri_user_options" ast_bool_values,
    "use_callerid_contact" ast_bool_values,
    "send_contact_status_on_update_registration" ast_bool_values,
    "taskprocessor_overload_trigger" strowger_taskprocessor_overload_trigger_values,
    "norefersub" ast_bool_values,
    "allow_sending_180_after_183" ast_bool_values,
    "all_codecs_on_empty_reinvite" ast_bool_values,
    "default_auth_algorithms_uas" VARCHAR(1024),
    "default_auth_algorithms_uac" VARCHAR(1024),
    UNIQUE ("id")
);

CREATE TABLE IF NOT EXISTS ps_systems (
    "id" VARCHAR(40) NOT NULL,
    "timer_t1" INTEGER,
    "timer_b" INTEGER,
    "compact_headers" ast_bool_values,
    "threadpool_initial_size" INTEGER,
    "threadpool_auto_increment" INTEGER,
    "threadpool_idle_timeout" INTEGER,
    "threadpool_max_size" INTEGER,
    "disable_tcp_switch" ast_bool_values,
    "follow_early_media_fork" ast_bool_values,
    "accept_multiple_sdp_answers" ast_bool_values,
    "disable_rport" ast_bool_values,
    "taskpool_minimum_size" INTEGER,
    "taskpool_initial_size" INTEGER,
    "taskpool_auto_increment" INTEGER,
    "taskpool_idle_timeout" INTEGER,
    "taskpool_max_size" INTEGER,
    UNIQUE ("id")
);

CREATE TABLE IF NOT EXISTS ps_transports (
    "id" VARCHAR(40) NOT NULL,
    "async_operations" INTEGER,
    "bind" VARCHAR(40),
    "ca_list_file" VARCHAR(200),
    "cert_file" VARCHAR(200),
    "cipher" VARCHAR(200),
    "domain" VARCHAR(40),
    "external_media_address" VARCHAR(40),
    "external_signaling_address" VARCHAR(40),
    "external_signaling_port" INTEGER,
    "method" strowger_method_values,
    "local_net" VARCHAR(40),
    "password" VARCHAR(40),
    "priv_key_file" VARCHAR(200),
    "protocol" strowger_protocol_values,
    "require_client_cert" ast_bool_values,
    "verify_client" ast_bool_values,
    "verify_server" ast_bool_values,
    "tos" VARCHAR(10),
    "cos" INTEGER,
    "allow_reload" ast_bool_values,
    "symmetric_transport" ast_bool_values,
    "allow_wildcard_certs" ast_bool_values,
    "tcp_keepalive_enable" ast_bool_values,
    "tcp_keepalive_idle_time" INTEGER,
    "tcp_keepalive_interval_time" INTEGER,
    "tcp_keepalive_probe_count" INTEGER,
    "external_signaling_hostname" VARCHAR(40),
    UNIQUE ("id")
);

CREATE TABLE IF NOT EXISTS realtime_extensions (
    "id" BIGSERIAL PRIMARY KEY,
    "context" VARCHAR(80) NOT NULL,
    "exten" VARCHAR(80) NOT NULL,
    "priority" INTEGER NOT NULL,
    "app" VARCHAR(40) NOT NULL,
    "appdata" VARCHAR(1024) NOT NULL,
    UNIQUE ("context", "exten", "priority")
);

CREATE TABLE IF NOT EXISTS static_extensions (
    "id" SERIAL PRIMARY KEY,
    "cat_metric" INTEGER NOT NULL DEFAULT 0,
    "var_metric" INTEGER NOT NULL DEFAULT 0,
    "commented" INTEGER NOT NULL DEFAULT 0,
    "filename" VARCHAR(128) NOT NULL,
    "category" VARCHAR(128) NOT NULL DEFAULT 'default',
    "var_name" VARCHAR(128) NOT NULL,
    "var_val" TEXT
);

CREATE INDEX IF NOT EXISTS static_extensions_filename ON static_extensions ("filename", "commented");

CREATE TABLE IF NOT EXISTS static_pjsip (
    "id" SERIAL PRIMARY KEY,
    "cat_metric" INTEGER NOT NULL DEFAULT 0,
    "var_metric" INTEGER NOT NULL DEFAULT 0,
    "commented" INTEGER NOT NULL DEFAULT 0,
    "filename" VARCHAR(128) NOT NULL,
    "category" VARCHAR(128) NOT NULL DEFAULT 'default',
    "var_name" VARCHAR(128) NOT NULL,
    "var_val" TEXT
);

CREATE INDEX IF NOT EXISTS static_pjsip_filename ON static_pjsip ("filename", "commented");

CREATE TABLE IF NOT EXISTS static_sorcery (
    "id" SERIAL PRIMARY KEY,
    "cat_metric" INTEGER NOT NULL DEFAULT 0,
    "var_metric" INTEGER NOT NULL DEFAULT 0,
    "commented" INTEGER NOT NULL DEFAULT 0,
    "filename" VARCHAR(128) NOT NULL,
    "category" VARCHAR(128) NOT NULL DEFAULT 'default',
    "var_name" VARCHAR(128) NOT NULL,
    "var_val" TEXT
);

CREATE INDEX IF NOT EXISTS static_sorcery_filename ON static_sorcery ("filename", "commented");

CREATE TABLE IF NOT EXISTS static_manager (
    "id" SERIAL PRIMARY KEY,
    "cat_metric" INTEGER NOT NULL DEFAULT 0,
    "var_metric" INTEGER NOT NULL DEFAULT 0,
    "commented" INTEGER NOT NULL DEFAULT 0,
    "filename" VARCHAR(128) NOT NULL,
    "category" VARCHAR(128) NOT NULL DEFAULT 'default',
    "var_name" VARCHAR(128) NOT NULL,
    "var_val" TEXT
);

CREATE INDEX IF NOT EXISTS static_manager_filename ON static_manager ("filename", "commented");

CREATE TABLE IF NOT EXISTS cdr (
    "accountcode" VARCHAR(80),
    "src" VARCHAR(80),
    "dst" VARCHAR(80),
    "dcontext" VARCHAR(80),
    "clid" VARCHAR(80),
    "channel" VARCHAR(80),
    "dstchannel" VARCHAR(80),
    "lastapp" VARCHAR(80),
    "lastdata" VARCHAR(80),
    "start" TIMESTAMP,
    "answer" TIMESTAMP,
    "end" TIMESTAMP,
    "duration" INTEGER,
    "billsec" INTEGER,
    "disposition" VARCHAR(45),
    "amaflags" VARCHAR(45),
    "userfield" VARCHAR(256),
    "uniqueid" VARCHAR(150),
    "linkedid" VARCHAR(150),
    "peeraccount" VARCHAR(80),
    "sequence" INTEGER,
    "source" VARCHAR(80),
    "destination" VARCHAR(80),
    "direction" VARCHAR(80),
    "group_uuid" VARCHAR(36)
);

CREATE INDEX IF NOT EXISTS cdr_start ON cdr ("start");

CREATE INDEX IF NOT EXISTS cdr_uniqueid ON cdr ("uniqueid");

CREATE INDEX IF NOT EXISTS cdr_linkedid ON cdr ("linkedid");

CREATE TABLE IF NOT EXISTS queues (
    "name" VARCHAR(128) NOT NULL PRIMARY KEY,
    "musiconhold" VARCHAR(128),
    "announce" VARCHAR(128),
    "context" VARCHAR(128),
    "timeout" INTEGER,
    "ringinuse" yesno_values,
    "setinterfacevar" yesno_values,
    "setqueuevar" yesno_values,
    "setqueueentryvar" yesno_values,
    "monitor_format" VARCHAR(8),
    "membermacro" VARCHAR(512),
    "membergosub" VARCHAR(512),
    "queue_youarenext" VARCHAR(128),
    "queue_thereare" VARCHAR(128),
    "queue_callswaiting" VARCHAR(128),
    "queue_quantity1" VARCHAR(128),
    "queue_quantity2" VARCHAR(128),
    "queue_holdtime" VARCHAR(128),
    "queue_minutes" VARCHAR(128),
    "queue_minute" VARCHAR(128),
    "queue_seconds" VARCHAR(128),
    "queue_thankyou" VARCHAR(128),
    "queue_callerannounce" VARCHAR(128),
    "queue_reporthold" VARCHAR(128),
    "announce_frequency" INTEGER,
    "announce_to_first_user" yesno_values,
    "min_announce_frequency" INTEGER,
    "announce_round_seconds" INTEGER,
    "announce_holdtime" VARCHAR(128),
    "announce_position" VARCHAR(128),
    "announce_position_limit" INTEGER,
    "periodic_announce" VARCHAR(50),
    "periodic_announce_frequency" INTEGER,
    "relative_periodic_announce" yesno_values,
    "random_periodic_announce" yesno_values,
    "retry" INTEGER,
    "wrapuptime" INTEGER,
    "penaltymemberslimit" INTEGER,
    "autofill" yesno_values,
    "monitor_type" VARCHAR(128),
    "autopause" strowger_autopause_values,
    "autopausedelay" INTEGER,
    "autopausebusy" yesno_values,
    "autopauseunavail" yesno_values,
    "maxlen" INTEGER,
    "servicelevel" INTEGER,
    "strategy" strowger_strategy_values,
    "joinempty" VARCHAR(128),
    "leavewhenempty" VARCHAR(128),
    "reportholdtime" yesno_values,
    "memberdelay" INTEGER,
    "weight" INTEGER,
    "timeoutrestart" yesno_values,
    "defaultrule" VARCHAR(128),
    "timeoutpriority" VARCHAR(128),
    "log_restricted_caller_id" ast_bool_values
);

CREATE TABLE IF NOT EXISTS queue_members (
    "queue_name" VARCHAR(80) NOT NULL,
    "interface" VARCHAR(80) NOT NULL,
    "membername" VARCHAR(80),
    "state_interface" VARCHAR(80),
    "penalty" INTEGER,
    "paused" INTEGER,
    "uniqueid" SERIAL NOT NULL,
    "wrapuptime" INTEGER,
    "ringinuse" ast_bool_values,
    "reason_paused" VARCHAR(80),
    PRIMARY KEY ("queue_name", "interface"),
    UNIQUE ("uniqueid")
);

CREATE TABLE IF NOT EXISTS queue_rules (
    "rule_name" VARCHAR(80),
    "time" VARCHAR(32),
    "min_penalty" VARCHAR(32),
    "max_penalty" VARCHAR(32)
);

CREATE TABLE IF NOT EXISTS queue_log (
    "id" BIGSERIAL PRIMARY KEY,
    "time" TIMESTAMP,
    "callid" VARCHAR(80),
    "queuename" VARCHAR(256),
    "agent" VARCHAR(80),
    "event" VARCHAR(32),
    "data1" VARCHAR(100),
    "data2" VARCHAR(100),
    "data3" VARCHAR(100),
    "data4" VARCHAR(100),
    "data5" VARCHAR(100)
);

CREATE TABLE IF NOT EXISTS musiconhold (
    "name" VARCHAR(80) NOT NULL PRIMARY KEY,
    "mode" strowger_mode_values,
    "directory" VARCHAR(255),
    "application" VARCHAR(255),
    "digit" VARCHAR(1),
    "sort" VARCHAR(10),
    "format" VARCHAR(10),
    "stamp" TIMESTAMP,
    "loop_last" yesno_values
);

CREATE TABLE IF NOT EXISTS musiconhold_entry (
    "name" VARCHAR(80) NOT NULL,
    "position" INTEGER NOT NULL,
    "entry" VARCHAR(1024) NOT NULL,
    PRIMARY KEY ("name", "position")
);

CREATE TABLE IF NOT EXISTS voicemail (
    "uniqueid" SERIAL PRIMARY KEY,
    "context" VARCHAR(80),
    "mailbox" VARCHAR(80),
    "password" VARCHAR(80),
    "fullname" VARCHAR(80),
    "alias" VARCHAR(80),
    "email" VARCHAR(80),
    "pager" VARCHAR(80),
    "attach" yesno_values,
    "attachfmt" VARCHAR(10),
    "serveremail" VARCHAR(80),
    "language" VARCHAR(20),
    "tz" VARCHAR(30),
    "deletevoicemail" yesno_values,
    "saycid" yesno_values,
    "sendvoicemail" yesno_values,
    "review" yesno_values,
    "tempgreetwarn" yesno_values,
    "operator" yesno_values,
    "envelope" yesno_values,
    "sayduration" INTEGER,
    "forcename" yesno_values,
    "forcegreetings" yesno_values,
    "callback" VARCHAR(80),
    "dialout" VARCHAR(80),
    "exitcontext" VARCHAR(80),
    "maxmsg" INTEGER,
    "volgain" NUMERIC(5, 2),
    "imapuser" VARCHAR(80),
    "imappassword" VARCHAR(80),
    "imapserver" VARCHAR(80),
    "imapport" VARCHAR(8),
    "imapflags" VARCHAR(80),
    "stamp" TIMESTAMP
);

CREATE INDEX IF NOT EXISTS voicemail_mailbox ON voicemail ("mailbox", "context");

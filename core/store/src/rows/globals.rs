//! Settings of the whole SIP side that stand in tables: globals and system.

use super::cell::list;
use super::row;

row! {
    /// The row `global` of `ps_globals`.
    #[derive(Debug)]
    pub struct Globals = "ps_globals" {
        /// One row, `global`.
        "id" id: String = String::new();
        /// Max-Forwards of our requests. Default: `70`.
        "max_forwards" max_forwards: u32 = 70;
        /// User-Agent of our requests. Default: the exchange's own.
        "user_agent" user_agent: Option<String> = None;
        /// Endpoint used when none is named. Default: `default_outbound_endpoint`.
        "default_outbound_endpoint" default_outbound_endpoint: String = "default_outbound_endpoint".into();
        /// Yes/no/host SIP trace. Default: `no`.
        "debug" debug: String = "no".into();
        /// Ways to identify a request, in order; a comma list. Default: `ip,username,anonymous`.
        "endpoint_identifier_order" endpoint_identifier_order: Vec<String> = list("ip,username,anonymous");
        /// Seconds over which first OPTIONS are spread; 0: no limit. Default: `0`.
        "max_initial_qualify_time" max_initial_qualify_time: u32 = 0;
        /// From user when there is none. Default: `asterisk`.
        "default_from_user" default_from_user: String = "asterisk".into();
        /// CRLF keepalive on TCP/TLS. Default: `90`.
        "keep_alive_interval" keep_alive_interval: u32 = 90;
        /// NoOp exten made on register.
        "regcontext" regcontext: Option<String> = None;
        /// Seconds between looks for expired contacts. Default: `30`.
        "contact_expiration_check_interval" contact_expiration_check_interval: u32 = 30;
        /// Message-Account when the AOR has none.
        "default_voicemail_extension" default_voicemail_extension: Option<String> = None;
        /// Ignore the domain when looking up names. Default: `no`.
        "disable_multi_domain" disable_multi_domain: bool = false;
        /// Unidentified requests of one address before a security event. Default: `5`.
        "unidentified_request_count" unidentified_request_count: u32 = 5;
        /// Seconds in which they are counted. Default: `5`.
        "unidentified_request_period" unidentified_request_period: u32 = 5;
        /// Seconds between clean-ups of these counts. Default: `30`.
        "unidentified_request_prune_interval" unidentified_request_prune_interval: u32 = 30;
        /// Realm of challenges. Default: `asterisk`.
        "default_realm" default_realm: String = "asterisk".into();
        /// High water mark of MWI work. Default: `500`.
        "mwi_tps_queue_high" mwi_tps_queue_high: u32 = 500;
        /// Low water mark of MWI work; -1: 90 % of high. Default: `-1`.
        "mwi_tps_queue_low" mwi_tps_queue_low: i32 = -1;
        /// No MWI NOTIFY at start. Default: `no`.
        "mwi_disable_initial_unsolicited" mwi_disable_initial_unsolicited: bool = false;
        /// Cut user at `;`. Default: `no`.
        "ignore_uri_user_options" ignore_uri_user_options: bool = false;
        /// Caller number as user of Contact. Default: `no`.
        "use_callerid_contact" use_callerid_contact: bool = false;
        /// ContactStatus event on refresh too. Default: `no`.
        "send_contact_status_on_update_registration" send_contact_status_on_update_registration: bool = false;
        /// None, global or pjsip_only. Default: `global`.
        "taskprocessor_overload_trigger" taskprocessor_overload_trigger: String = "global".into();
        /// Advertise norefersub (RFC 4488). Default: `yes`.
        "norefersub" norefersub: bool = true;
        /// 180 may follow 183. Default: `no`.
        "allow_sending_180_after_183" allow_sending_180_after_183: bool = false;
        /// Offer all codecs in reply to a re-INVITE without SDP. Default: `no`.
        "all_codecs_on_empty_reinvite" all_codecs_on_empty_reinvite: bool = false;
        /// Digest algorithms we challenge with. Default: `MD5`.
        "default_auth_algorithms_uas" default_auth_algorithms_uas: String = "MD5".into();
        /// Digest algorithms we answer. Default: `MD5`.
        "default_auth_algorithms_uac" default_auth_algorithms_uac: String = "MD5".into();
    }
}

row! {
    /// The row `system` of `ps_systems`.
    #[derive(Debug)]
    pub struct System = "ps_systems" {
        /// One row, `system`.
        "id" id: String = String::new();
        /// Ms. Default: `500`.
        "timer_t1" timer_t1: u32 = 500;
        /// Ms. Default: `32000`.
        "timer_b" timer_b: u32 = 32000;
        /// Compact header names. Default: `no`.
        "compact_headers" compact_headers: bool = false;
        /// Ignored: there is no such pool here. Default: `4`.
        "threadpool_initial_size" threadpool_initial_size: u32 = 4;
        /// Ignored: there is no such pool here. Default: `1`.
        "threadpool_auto_increment" threadpool_auto_increment: u32 = 1;
        /// Ignored: there is no such pool here. Default: `60`.
        "threadpool_idle_timeout" threadpool_idle_timeout: u32 = 60;
        /// Ignored: there is no such pool here. Default: `50`.
        "threadpool_max_size" threadpool_max_size: u32 = 50;
        /// Do not change to TCP for large requests. Default: `yes`.
        "disable_tcp_switch" disable_tcp_switch: bool = true;
        /// Follow early media of a later fork. Default: `yes`.
        "follow_early_media_fork" follow_early_media_fork: bool = true;
        /// Take differing SDP answers of one fork. Default: `no`.
        "accept_multiple_sdp_answers" accept_multiple_sdp_answers: bool = false;
        /// No rport in our Via. Default: `no`.
        "disable_rport" disable_rport: bool = false;
        /// Ignored: there is no such pool here. Default: `4`.
        "taskpool_minimum_size" taskpool_minimum_size: u32 = 4;
        /// Ignored: there is no such pool here. Default: `4`.
        "taskpool_initial_size" taskpool_initial_size: u32 = 4;
        /// Ignored: there is no such pool here. Default: `1`.
        "taskpool_auto_increment" taskpool_auto_increment: u32 = 1;
        /// Ignored: there is no such pool here. Default: `60`.
        "taskpool_idle_timeout" taskpool_idle_timeout: u32 = 60;
        /// Ignored: there is no such pool here. Default: `50`.
        "taskpool_max_size" taskpool_max_size: u32 = 50;
    }
}

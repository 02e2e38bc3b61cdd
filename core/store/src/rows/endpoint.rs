//! Endpoints.

use super::cell::{DirectMediaMethod, DtmfMode, MediaEncryption, Rel100, SessionTimers, list};
use super::row;

row! {
    /// A row of `ps_endpoints`: one device or trunk as calls see it.
    #[derive(Debug)]
    pub struct Endpoint = "ps_endpoints" {
        /// Endpoint name.
        "id" id: String = String::new();
        /// Transport object id; empty = by URI.
        "transport" transport: Option<String> = None;
        /// Comma list of AOR ids.
        "aors" aors: Vec<String> = Vec::new();
        /// Comma list of inbound auth ids; empty = no authentication.
        "auth" auth: Vec<String> = Vec::new();
        /// Dialplan context of incoming calls. Default: `default`.
        "context" context: String = "default".into();
        /// Codecs removed first (`all`); a comma list.
        "disallow" disallow: Vec<String> = Vec::new();
        /// Codecs added in preference order (`alaw,ulaw`, `!x` removes); a comma list.
        "allow" allow: Vec<String> = Vec::new();
        /// Let RTP flow between the parties by re-INVITE. Default: `yes`.
        "direct_media" direct_media: bool = true;
        /// Re-INVITE or UPDATE for connected line. Default: `invite`.
        "connected_line_method" connected_line_method: DirectMediaMethod = DirectMediaMethod::default();
        /// Request used for direct media. Default: `invite`.
        "direct_media_method" direct_media_method: DirectMediaMethod = DirectMediaMethod::default();
        /// Which side waits on glare. Default: `none`.
        "direct_media_glare_mitigation" direct_media_glare_mitigation: String = "none".into();
        /// No direct media if NAT seen. Default: `no`.
        "disable_direct_media_on_nat" disable_direct_media_on_nat: bool = false;
        /// Rfc4733, inband, info, auto, auto_info. Default: `rfc4733`.
        "dtmf_mode" dtmf_mode: DtmfMode = DtmfMode::default();
        /// Unused (legacy column).
        "external_media_address" external_media_address: Option<String> = None;
        /// Reply to source port. Default: `yes`.
        "force_rport" force_rport: bool = true;
        /// ICE candidates in SDP. Default: `no`.
        "ice_support" ice_support: bool = false;
        /// Ways to match requests: username, auth_username, ip, header, request_uri; a comma list. Default:
        /// `username,ip`.
        "identify_by" identify_by: Vec<String> = list("username,ip");
        /// Mailboxes for unsolicited MWI; a comma list.
        "mailboxes" mailboxes: Vec<String> = Vec::new();
        /// MOH class this party suggests. Default: `default`.
        "moh_suggest" moh_suggest: String = "default".into();
        /// Auth ids used to answer challenges; a comma list.
        "outbound_auth" outbound_auth: Vec<String> = Vec::new();
        /// Full SIP URI of proxy.
        "outbound_proxy" outbound_proxy: Option<String> = None;
        /// Replace Contact host/port by source address. Default: `no`.
        "rewrite_contact" rewrite_contact: bool = false;
        /// IPv6 RTP. Default: `no`.
        "rtp_ipv6" rtp_ipv6: bool = false;
        /// Send RTP where it comes from. Default: `no`.
        "rtp_symmetric" rtp_symmetric: bool = false;
        /// Add Diversion header. Default: `yes`.
        "send_diversion" send_diversion: bool = true;
        /// Add P-Asserted-Identity. Default: `no`.
        "send_pai" send_pai: bool = false;
        /// Add Remote-Party-ID. Default: `no`.
        "send_rpid" send_rpid: bool = false;
        /// Minimum session expires. Default: `90`.
        "timers_min_se" timers_min_se: u32 = 90;
        /// Session timers: no, yes, required, forced (always). Default: `yes`.
        "timers" timers: SessionTimers = SessionTimers::default();
        /// Session expires. Default: `1800`.
        "timers_sess_expires" timers_sess_expires: u32 = 1800;
        /// `Name <num>` set on incoming calls.
        "callerid" callerid: Option<String> = None;
        /// Presentation. Default: `allowed_not_screened`.
        "callerid_privacy" callerid_privacy: String = "allowed_not_screened".into();
        /// Internal id tag.
        "callerid_tag" callerid_tag: Option<String> = None;
        /// PRACK: no, required, yes, peer_supported. Default: `yes`.
        "100rel" rel100: Rel100 = Rel100::default();
        /// One NOTIFY for all boxes. Default: `yes`.
        "aggregate_mwi" aggregate_mwi: bool = true;
        /// Accept PAI/RPID from it. Default: `no`.
        "trust_id_inbound" trust_id_inbound: bool = false;
        /// Send private identity to it. Default: `no`.
        "trust_id_outbound" trust_id_outbound: bool = false;
        /// Honour ptime. Default: `no`.
        "use_ptime" use_ptime: bool = false;
        /// RTP/AVPF profile. Default: `no`.
        "use_avpf" use_avpf: bool = false;
        /// No, sdes, dtls. Default: `no`.
        "media_encryption" media_encryption: MediaEncryption = MediaEncryption::default();
        /// Ring tone as early media instead of 180. Default: `no`.
        "inband_progress" inband_progress: bool = false;
        /// Numeric groups `1,3-5` (0-63) it rings in.
        "call_group" call_group: Option<String> = None;
        /// Numeric groups it may pick up.
        "pickup_group" pickup_group: Option<String> = None;
        /// Named groups; a comma list.
        "named_call_group" named_call_group: Vec<String> = Vec::new();
        /// Named groups it may pick up; a comma list.
        "named_pickup_group" named_pickup_group: Vec<String> = Vec::new();
        /// Channels in use to be busy. Default: `0`.
        "device_state_busy_at" device_state_busy_at: u32 = 0;
        /// CNG tone detection → `fax`. Default: `no`.
        "fax_detect" fax_detect: bool = false;
        /// Allow T.38. Default: `no`.
        "t38_udptl" t38_udptl: bool = false;
        /// None, fec, redundancy. Default: `none`.
        "t38_udptl_ec" t38_udptl_ec: String = "none".into();
        /// Override of peer's value. Default: `0`.
        "t38_udptl_maxdatagram" t38_udptl_maxdatagram: u32 = 0;
        /// Symmetric UDPTL. Default: `no`.
        "t38_udptl_nat" t38_udptl_nat: bool = false;
        /// UDPTL over IPv6. Default: `no`.
        "t38_udptl_ipv6" t38_udptl_ipv6: bool = false;
        /// Indication country.
        "tone_zone" tone_zone: Option<String> = None;
        /// Prompt language.
        "language" language: Option<String> = None;
        /// Record INFO. Default: `no`.
        "one_touch_recording" one_touch_recording: bool = false;
        /// Feature run on Record: on. Default: `automixmon`.
        "record_on_feature" record_on_feature: String = "automixmon".into();
        /// Feature run on Record: off. Default: `automixmon`.
        "record_off_feature" record_off_feature: String = "automixmon".into();
        /// Name of the RTP engine; only one exists here, so it is ignored. Default: `asterisk`.
        "rtp_engine" rtp_engine: String = "asterisk".into();
        /// REFER allowed. Default: `yes`.
        "allow_transfer" allow_transfer: bool = true;
        /// SUBSCRIBE allowed (BLF). Default: `yes`.
        "allow_subscribe" allow_subscribe: bool = true;
        /// SDP o= user. Default: `-`.
        "sdp_owner" sdp_owner: String = "-".into();
        /// SDP s=. Default: `Asterisk`.
        "sdp_session" sdp_session: String = "Asterisk".into();
        /// DSCP. Default: `0`.
        "tos_audio" tos_audio: String = "0".into();
        /// DSCP. Default: `0`.
        "tos_video" tos_video: String = "0".into();
        /// Minimum SUBSCRIBE expiry. Default: `0`.
        "sub_min_expiry" sub_min_expiry: u32 = 0;
        /// From host to it.
        "from_domain" from_domain: Option<String> = None;
        /// From user to it.
        "from_user" from_user: Option<String> = None;
        /// From user of MWI NOTIFY.
        "mwi_from_user" mwi_from_user: Option<String> = None;
        /// No, yes, fingerprint, certificate. Default: `no`.
        "dtls_verify" dtls_verify: String = "no".into();
        /// Rekey period. Default: `0`.
        "dtls_rekey" dtls_rekey: String = "0".into();
        /// Certificate for DTLS, PEM.
        "dtls_cert_file" dtls_cert_file: Option<String> = None;
        /// Private key for DTLS, PEM.
        "dtls_private_key" dtls_private_key: Option<String> = None;
        /// OpenSSL cipher list for DTLS.
        "dtls_cipher" dtls_cipher: Option<String> = None;
        /// Authorities trusted for DTLS, PEM.
        "dtls_ca_file" dtls_ca_file: Option<String> = None;
        /// Folder of trusted authorities for DTLS.
        "dtls_ca_path" dtls_ca_path: Option<String> = None;
        /// DTLS role offered: active, passive, actpass (RFC 4145).
        "dtls_setup" dtls_setup: Option<String> = None;
        /// 32-bit auth tag. Default: `no`.
        "srtp_tag_32" srtp_tag_32: bool = false;
        /// Address put in SDP.
        "media_address" media_address: Option<String> = None;
        /// 302 handling: user (Local), uri_core, uri_pjsip. Default: `user`.
        "redirect_method" redirect_method: String = "user".into();
        /// `NAME=value` set on channels.
        "set_var" set_var: Option<String> = None;
        /// 802.1p priority of audio. Default: `0`.
        "cos_audio" cos_audio: u32 = 0;
        /// 802.1p priority of video. Default: `0`.
        "cos_video" cos_video: u32 = 0;
        /// Context of MESSAGE (else context).
        "message_context" message_context: Option<String> = None;
        /// AVP with SRTP/DTLS. Default: `no`.
        "force_avp" force_avp: bool = false;
        /// Answer with offered profile. Default: `no`.
        "media_use_received_transport" media_use_received_transport: bool = false;
        /// Account code on channels.
        "accountcode" accountcode: Option<String> = None;
        /// Add user=phone. Default: `no`.
        "user_eq_phone" user_eq_phone: bool = false;
        /// Hold by re-INVITE instead of MOH. Default: `no`.
        "moh_passthrough" moh_passthrough: bool = false;
        /// Encryption if possible. Default: `no`.
        "media_encryption_optimistic" media_encryption_optimistic: bool = false;
        /// Connected line before answer. Default: `no`.
        "rpid_immediate" rpid_immediate: bool = false;
        /// G.726 in AAL2 bit order under the name of RFC 3551. Default: `no`.
        "g726_non_standard" g726_non_standard: bool = false;
        /// CN packet period. Default: `0`.
        "rtp_keepalive" rtp_keepalive: u32 = 0;
        /// Hang up after s without RTP. Default: `0`.
        "rtp_timeout" rtp_timeout: u32 = 0;
        /// Same on hold. Default: `0`.
        "rtp_timeout_hold" rtp_timeout_hold: u32 = 0;
        /// Bind RTP sockets to `media_address`. Default: `no`.
        "bind_rtp_to_media_address" bind_rtp_to_media_address: bool = false;
        /// Message-Account.
        "voicemail_extension" voicemail_extension: Option<String> = None;
        /// A SUBSCRIBE for MWI ends unsolicited NOTIFY. Default: `no`.
        "mwi_subscribe_replaces_unsolicited" mwi_subscribe_replaces_unsolicited: bool = false;
        /// Source ACL deny list (`0.0.0.0/0`); a comma list.
        "deny" deny: Vec<String> = Vec::new();
        /// Source ACL permit list; a comma list.
        "permit" permit: Vec<String> = Vec::new();
        /// Named ACL.
        "acl" acl: Option<String> = None;
        /// Contact address deny; a comma list.
        "contact_deny" contact_deny: Vec<String> = Vec::new();
        /// Contact address permit; a comma list.
        "contact_permit" contact_permit: Vec<String> = Vec::new();
        /// Named ACL for Contact.
        "contact_acl" contact_acl: Option<String> = None;
        /// Context searched for SUBSCRIBE hints.
        "subscribe_context" subscribe_context: Option<String> = None;
        /// Limit of detection, s. Default: `0`.
        "fax_detect_timeout" fax_detect_timeout: u32 = 0;
        /// Contact user sent.
        "contact_user" contact_user: Option<String> = None;
        /// Answer with one codec. Default: `no`.
        "preferred_codec_only" preferred_codec_only: bool = false;
        /// Send another codec than is received. Default: `no`.
        "asymmetric_rtp_codec" asymmetric_rtp_codec: bool = false;
        /// RTP and RTCP on one port (RFC 5761). Default: `no`.
        "rtcp_mux" rtcp_mux: bool = false;
        /// 484/overlap dialling. Default: `yes`.
        "allow_overlap" allow_overlap: bool = true;
        /// All NOTIFY sipfrag on blind transfer. Default: `yes`.
        "refer_blind_progress" refer_blind_progress: bool = true;
        /// Dialog state `early` for a ringing device that is also in use. Default: `no`.
        "notify_early_inuse_ringing" notify_early_inuse_ringing: bool = false;
        /// Limit of audio streams. Default: `1`.
        "max_audio_streams" max_audio_streams: u32 = 1;
        /// Limit of video streams. Default: `1`.
        "max_video_streams" max_video_streams: u32 = 1;
        /// Implies use_avpf, ice_support, media_use_received_transport, rtcp_mux, bundle, DTLS with auto
        /// certificate. Default: `no`.
        "webrtc" webrtc: bool = false;
        /// SHA-256 default.
        "dtls_fingerprint" dtls_fingerprint: Option<String> = None;
        /// Mailbox that takes MWI NOTIFY received from this endpoint.
        "incoming_mwi_mailbox" incoming_mwi_mailbox: Option<String> = None;
        /// One transport for all media (RFC 8843). Default: `no`.
        "bundle" bundle: bool = false;
        /// Make a certificate for DTLS at start. Default: `no`.
        "dtls_auto_generate_cert" dtls_auto_generate_cert: bool = false;
        /// Follow early media of a later fork. Default: `yes`.
        "follow_early_media_fork" follow_early_media_fork: bool = true;
        /// Take differing SDP answers of one fork. Default: `no`.
        "accept_multiple_sdp_answers" accept_multiple_sdp_answers: bool = false;
        /// No `Reason: Q.850` header. Default: `no`.
        "suppress_q850_reason_headers" suppress_q850_reason_headers: bool = false;
        /// Accept connected line updates. Default: `yes`.
        "trust_connected_line" trust_connected_line: bool = true;
        /// Send connected line updates. Default: `yes`.
        "send_connected_line" send_connected_line: bool = true;
        /// Do not pass on a 183 without SDP. Default: `no`.
        "ignore_183_without_sdp" ignore_183_without_sdp: bool = false;
        /// Prefer/operation/keep/transcode string.
        "codec_prefs_incoming_offer" codec_prefs_incoming_offer: Option<String> = None;
        /// See `codec_prefs_incoming_offer`.
        "codec_prefs_outgoing_offer" codec_prefs_outgoing_offer: Option<String> = None;
        /// See `codec_prefs_incoming_offer`.
        "codec_prefs_incoming_answer" codec_prefs_incoming_answer: Option<String> = None;
        /// See `codec_prefs_incoming_offer`.
        "codec_prefs_outgoing_answer" codec_prefs_outgoing_answer: Option<String> = None;
        /// STIR/SHAKEN attestation and verification. Default: `no`.
        "stir_shaken" stir_shaken: bool = false;
        /// Add History-Info (RFC 7044). Default: `no`.
        "send_history_info" send_history_info: bool = false;
        /// OPTIONS without auth. Default: `no`.
        "allow_unauthenticated_options" allow_unauthenticated_options: bool = false;
        /// Bind UDPTL sockets to `media_address`. Default: `no`.
        "t38_bind_udptl_to_media_address" t38_bind_udptl_to_media_address: bool = false;
        /// Geolocation profile of incoming calls.
        "geoloc_incoming_call_profile" geoloc_incoming_call_profile: Option<String> = None;
        /// Geolocation profile of outgoing calls.
        "geoloc_outgoing_call_profile" geoloc_outgoing_call_profile: Option<String> = None;
        /// Codec order. Default: `local`.
        "incoming_call_offer_pref" incoming_call_offer_pref: String = "local".into();
        /// Codec order. Default: `remote_merge`.
        "outgoing_call_offer_pref" outgoing_call_offer_pref: String = "remote_merge".into();
        /// STIR/SHAKEN profile.
        "stir_shaken_profile" stir_shaken_profile: Option<String> = None;
        /// Mediasec. Default: `no`.
        "security_negotiation" security_negotiation: String = "no".into();
        /// List of mechanisms for `security_negotiation`.
        "security_mechanisms" security_mechanisms: Option<String> = None;
        /// Send advice of charge. Default: `no`.
        "send_aoc" send_aoc: bool = false;
        /// Context searched for overlap dialling.
        "overlap_context" overlap_context: Option<String> = None;
        /// Adds Tenantid header to AMI.
        "tenantid" tenantid: Option<String> = None;
        /// No music on hold when the peer holds with sendonly. Default: `no`.
        "suppress_moh_on_sendonly" suppress_moh_on_sendonly: bool = false;
        /// Methods for which 3xx is followed.
        "follow_redirect_methods" follow_redirect_methods: Option<String> = None;
        /// First RTP port; 0: the common range. Default: `0`.
        "rtp_port_start" rtp_port_start: u32 = 0;
        /// Last RTP port; 0: the common range. Default: `0`.
        "rtp_port_end" rtp_port_end: u32 = 0;
    }
}

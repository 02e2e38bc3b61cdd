//! Outbound registrations.

use super::row;

row! {
    /// A row of `ps_registrations`: a registration we keep with another server.
    #[derive(Debug)]
    pub struct Registration = "ps_registrations" {
        /// Name (= trunk).
        "id" id: String = String::new();
        /// Stop after 401/403-type rejection. Default: `yes`.
        "auth_rejection_permanent" auth_rejection_permanent: bool = true;
        /// From/To AOR `sip:user@host`.
        "client_uri" client_uri: String = String::new();
        /// User in Contact (dialled exten of inbound calls). Default: `s`.
        "contact_user" contact_user: String = "s".into();
        /// Requested expiry. Default: `3600`.
        "expiration" expiration: u32 = 3600;
        /// Attempts after temporary failure. Default: `10`.
        "max_retries" max_retries: u32 = 10;
        /// Auth ids; a comma list.
        "outbound_auth" outbound_auth: Vec<String> = Vec::new();
        /// Full SIP URI of a proxy.
        "outbound_proxy" outbound_proxy: Option<String> = None;
        /// S after temporary failure. Default: `60`.
        "retry_interval" retry_interval: u32 = 60;
        /// S after 403; 0 = stop. Default: `0`.
        "forbidden_retry_interval" forbidden_retry_interval: u32 = 0;
        /// Registrar URI.
        "server_uri" server_uri: String = String::new();
        /// Transport object id.
        "transport" transport: Option<String> = None;
        /// Path header (RFC 3327). Default: `no`.
        "support_path" support_path: bool = false;
        /// S after fatal reply; 0 = stop. Default: `0`.
        "fatal_retry_interval" fatal_retry_interval: u32 = 0;
        /// Add line token to Contact, match inbound to endpoint. Default: `no`.
        "line" line: bool = false;
        /// Endpoint for line.
        "endpoint" endpoint: Option<String> = None;
        /// Outbound (RFC 5626). Default: `no`.
        "support_outbound" support_outbound: bool = false;
        /// Parameters added to Contact.
        "contact_header_params" contact_header_params: Option<String> = None;
        /// First REGISTER is delayed at random by up to so many seconds. Default: `10`.
        "max_random_initial_delay" max_random_initial_delay: u32 = 10;
        /// No or mediasec. Default: `no`.
        "security_negotiation" security_negotiation: String = "no".into();
        /// List of mechanisms for `security_negotiation`.
        "security_mechanisms" security_mechanisms: Option<String> = None;
        /// User-Agent of our requests.
        "user_agent" user_agent: Option<String> = None;
    }
}

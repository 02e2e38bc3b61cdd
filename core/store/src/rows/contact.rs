//! Contacts, the one table of these that the exchange itself writes.

use super::row;

row! {
    /// A row of `ps_contacts`: where an address of record can be reached now.
    #[derive(Debug)]
    pub struct Contact = "ps_contacts" {
        /// `<aor>;@<hash>` (static: `<aor>@@<hash>`).
        "id" id: String = String::new();
        /// Contact URI.
        "uri" uri: String = String::new();
        /// Epoch of expiry.
        "expiration_time" expiration_time: i64 = 0;
        /// Copied from AOR.
        "qualify_frequency" qualify_frequency: u32 = 0;
        /// Full SIP URI of a proxy.
        "outbound_proxy" outbound_proxy: Option<String> = None;
        /// Path vector.
        "path" path: Option<String> = None;
        /// Of REGISTER.
        "user_agent" user_agent: Option<String> = None;
        /// Seconds without reply to OPTIONS until unreachable.
        "qualify_timeout" qualify_timeout: f64 = 3.0;
        /// Server name that took it.
        "reg_server" reg_server: String = String::new();
        /// Answer a challenge of OPTIONS.
        "authenticate_qualify" authenticate_qualify: bool = false;
        /// Source address of last Via.
        "via_addr" via_addr: Option<String> = None;
        /// Source port of the last Via.
        "via_port" via_port: u16 = 0;
        /// Call-ID of REGISTER.
        "call_id" call_id: Option<String> = None;
        /// Endpoint that registered.
        "endpoint" endpoint: Option<String> = None;
        /// Drop on start (connection bound). Default: `no`.
        "prune_on_boot" prune_on_boot: bool = false;
        /// Only 2xx to OPTIONS counts as reachable. Default: `no`.
        "qualify_2xx_only" qualify_2xx_only: bool = false;
    }
}

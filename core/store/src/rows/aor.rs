//! Addresses of record.

use super::row;

row! {
    /// A row of `ps_aors`: an address of record, to which contacts are bound (RFC 3261 §10).
    #[derive(Debug)]
    pub struct Aor = "ps_aors" {
        /// AOR name (user part of REGISTER To).
        "id" id: String = String::new();
        /// Static contact URIs, comma list.
        "contact" contact: Vec<String> = Vec::new();
        /// Expiry when the phone sends none. Default: `3600`.
        "default_expiration" default_expiration: u32 = 3600;
        /// Boxes for MWI SUBSCRIBE; a comma list.
        "mailboxes" mailboxes: Vec<String> = Vec::new();
        /// Limit of dynamic contacts; 0 = registration refused (403). Default: `0`.
        "max_contacts" max_contacts: u32 = 0;
        /// Smaller requests raised to it. Default: `60`.
        "minimum_expiration" minimum_expiration: u32 = 60;
        /// New registration evicts the oldest beyond max_contacts. Default: `no`.
        "remove_existing" remove_existing: bool = false;
        /// OPTIONS period; 0 off. Default: `0`.
        "qualify_frequency" qualify_frequency: u32 = 0;
        /// Answer challenge of OPTIONS. Default: `no`.
        "authenticate_qualify" authenticate_qualify: bool = false;
        /// Larger requests cut. Default: `7200`.
        "maximum_expiration" maximum_expiration: u32 = 7200;
        /// Full SIP URI of a proxy.
        "outbound_proxy" outbound_proxy: Option<String> = None;
        /// Store Path, use as Route. Default: `no`.
        "support_path" support_path: bool = false;
        /// S without reply = Unreachable. Default: `3.0`.
        "qualify_timeout" qualify_timeout: f64 = 3.0;
        /// Message-Account in MWI NOTIFY.
        "voicemail_extension" voicemail_extension: Option<String> = None;
        /// Evict unreachable contacts first when full. Default: `no`.
        "remove_unavailable" remove_unavailable: bool = false;
        /// Only 2xx counts as reachable (default: any reply). Default: `no`.
        "qualify_2xx_only" qualify_2xx_only: bool = false;
    }
}

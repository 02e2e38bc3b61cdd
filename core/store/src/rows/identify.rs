//! Ways to recognise a peer that does not name itself: addresses and domain aliases.

use super::row;

row! {
    /// A row of `ps_endpoint_id_ips`: an endpoint known by address, header or request URI.
    #[derive(Debug)]
    pub struct Identify = "ps_endpoint_id_ips" {
        /// Name of the row.
        "id" id: String = String::new();
        /// Endpoint matched.
        "endpoint" endpoint: String = String::new();
        /// Comma list of IP, CIDR, host names.
        "match" matches: Vec<String> = Vec::new();
        /// SRV for host names. Default: `yes`.
        "srv_lookups" srv_lookups: bool = true;
        /// `Header: value` or `/regex/`.
        "match_header" match_header: Option<String> = None;
        /// Value or regex.
        "match_request_uri" match_request_uri: Option<String> = None;
    }
}

row! {
    /// A row of `ps_domain_aliases`: another name of a domain.
    #[derive(Debug)]
    pub struct DomainAlias = "ps_domain_aliases" {
        /// Alias domain (received).
        "id" id: String = String::new();
        /// Real domain.
        "domain" domain: String = String::new();
    }
}

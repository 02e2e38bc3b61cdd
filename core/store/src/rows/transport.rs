//! Transports.

use super::cell::TransportProtocol;
use super::row;

row! {
    /// A row of `ps_transports`: an address to listen on.
    #[derive(Debug)]
    pub struct Transport = "ps_transports" {
        /// Transport name.
        "id" id: String = String::new();
        /// Ignored. Default: `1`.
        "async_operations" async_operations: u32 = 1;
        /// Ip[:port] (5060; TLS 5061).
        "bind" bind: String = String::new();
        /// Trusted authorities, PEM.
        "ca_list_file" ca_list_file: Option<String> = None;
        /// Certificate, PEM.
        "cert_file" cert_file: Option<String> = None;
        /// OpenSSL cipher list.
        "cipher" cipher: Option<String> = None;
        /// Domain of the transport.
        "domain" domain: Option<String> = None;
        /// SDP address for non-local peers.
        "external_media_address" external_media_address: Option<String> = None;
        /// Via/Contact address for non-local peers.
        "external_signaling_address" external_signaling_address: Option<String> = None;
        /// Port for non-local peers; 0: as bound. Default: `0`.
        "external_signaling_port" external_signaling_port: u32 = 0;
        /// TLS version.
        "method" method: Option<String> = None;
        /// Networks without rewriting; several by comma or several rows; a comma list.
        "local_net" local_net: Vec<String> = Vec::new();
        /// Key password.
        "password" password: Option<String> = None;
        /// Private key, PEM.
        "priv_key_file" priv_key_file: Option<String> = None;
        /// udp tcp tls ws wss flow. Default: `udp`.
        "protocol" protocol: TransportProtocol = TransportProtocol::default();
        /// TLS: client must show a certificate. Default: `no`.
        "require_client_cert" require_client_cert: bool = false;
        /// TLS: verify the certificate of a client. Default: `no`.
        "verify_client" verify_client: bool = false;
        /// TLS: verify the certificate of a server. Default: `no`.
        "verify_server" verify_server: bool = false;
        /// DSCP of signalling. Default: `0`.
        "tos" tos: String = "0".into();
        /// 802.1p priority of signalling. Default: `0`.
        "cos" cos: u32 = 0;
        /// May be changed by reload. Default: `no`.
        "allow_reload" allow_reload: bool = false;
        /// Reuse the transport a request came by. Default: `no`.
        "symmetric_transport" symmetric_transport: bool = false;
        /// TLS: accept wildcard certificates. Default: `no`.
        "allow_wildcard_certs" allow_wildcard_certs: bool = false;
        /// TCP keep-alive. Default: `no`.
        "tcp_keepalive_enable" tcp_keepalive_enable: bool = false;
        /// Seconds idle before the first probe. Default: `30`.
        "tcp_keepalive_idle_time" tcp_keepalive_idle_time: u32 = 30;
        /// Seconds between probes. Default: `1`.
        "tcp_keepalive_interval_time" tcp_keepalive_interval_time: u32 = 1;
        /// Probes before a connection is dead. Default: `5`.
        "tcp_keepalive_probe_count" tcp_keepalive_probe_count: u32 = 5;
        /// Host name in place of `external_signaling_address`.
        "external_signaling_hostname" external_signaling_hostname: Option<String> = None;
    }
}

//! `[http]`: where HTTP listens, and how much of everything it takes.

use std::net::SocketAddr;

use serde::Deserialize;

use super::{ConfigError, within};

/// Section `http`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    pub bind: SocketAddr,
    /// Where it listens with TLS too; empty: nowhere.
    pub tls_bind: Option<SocketAddr>,
    /// Certificate with those between it and its authority, PEM, relative to the data directory.
    pub certificate: String,
    /// Its private key, PEM; empty: in the same file.
    pub key: String,
    /// Connections at once (1 to 100000).
    pub connections: usize,
    /// Of these, from one IPv4 address or IPv6 network of 64 bits (1 to 100000).
    pub connections_per_address: usize,
    /// A request has so long for its head, and a connection for its next request, in seconds (1 to 3600).
    pub head_s: u64,
    /// Who takes nothing of an answer for so long is left, in seconds (1 to 3600).
    pub stall_s: u64,
    /// So long what is being answered may take at an orderly end, in seconds (0 to 600).
    pub close_s: u64,
    /// Requests in a second of one key of the APIs (0 to 1000000); 0: no limit.
    pub requests_per_second: u32,
    /// Largest sound that may be uploaded, in MiB (1 to 1024).
    pub upload_mib: usize,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            bind: SocketAddr::from(([127, 0, 0, 1], 8088)),
            tls_bind: None,
            certificate: String::new(),
            key: String::new(),
            connections: 4000,
            connections_per_address: 500,
            head_s: 30,
            stall_s: 60,
            close_s: 10,
            requests_per_second: 200,
            upload_mib: 32,
        }
    }
}

impl Http {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        let per_address = self.connections_per_address as u64;
        within("http.connections", self.connections as u64, 1, 100_000)?;
        within("http.connections_per_address", per_address, 1, 100_000)?;
        within("http.head_s", self.head_s, 1, 3600)?;
        within("http.stall_s", self.stall_s, 1, 3600)?;
        within("http.close_s", self.close_s, 0, 600)?;
        let rate = u64::from(self.requests_per_second);
        within("http.requests_per_second", rate, 0, 1_000_000)?;
        within("http.upload_mib", self.upload_mib as u64, 1, 1024)?;
        if self.tls_bind.is_some() && self.certificate.is_empty() {
            return Err(ConfigError::Value {
                key: "http.certificate",
                message: "http.tls_bind needs the file of a certificate".to_owned(),
            });
        }
        Ok(())
    }
}

//! `[protection]` of `strowger.toml`.

use serde::Deserialize;

use crate::config::ConfigError;
use crate::endpoint::acl::Network;

/// When an address is kept out, and for how long.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Whether anything is counted and anybody kept out.
    pub enabled: bool,
    /// Wrong passwords, unknown users, denied addresses and scanners, in a window, before an address is blocked.
    pub failures: u32,
    /// Challenges that nobody answered, in a window.
    pub unanswered: u32,
    /// Unreadable messages and requests for calls that are not there, in a window.
    pub junk: u32,
    /// The window, in seconds.
    pub window_s: u64,
    /// How long the first block lasts, in seconds; each further one twice as long.
    pub block_s: u64,
    /// The longest block, in seconds. So long, too, a former block is remembered.
    pub block_max_s: u64,
    /// Networks that are never blocked.
    pub allow: Vec<String>,
    /// Whether loopback addresses are never blocked.
    pub spare_loopback: bool,
    /// Whether addresses of `ps_endpoint_id_ips` are never blocked.
    pub spare_identified: bool,
    /// How long an address counts as known after somebody there proved a password, in seconds: its limits are ten times
    /// as high.
    pub known_s: u64,
    /// Words in a User-Agent that tell a scanner.
    pub scanners: Vec<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            enabled: true,
            failures: 10,
            unanswered: 200,
            junk: 200,
            window_s: 60,
            block_s: 600,
            block_max_s: 86_400,
            allow: Vec::new(),
            spare_loopback: true,
            spare_identified: true,
            known_s: 3600,
            scanners: [
                "friendly-scanner",
                "sipvicious",
                "sundayddr",
                "sip-scan",
                "sipcli",
                "pplsip",
                "vaxsipuseragent",
                "friendly-request",
            ]
            .map(str::to_owned)
            .to_vec(),
        }
    }
}

impl Settings {
    /// Checks every value; the error names the key.
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        for (key, value, least, most) in [
            (
                "protection.failures",
                u64::from(self.failures),
                1,
                1_000_000,
            ),
            (
                "protection.unanswered",
                u64::from(self.unanswered),
                1,
                1_000_000,
            ),
            ("protection.junk", u64::from(self.junk), 1, 1_000_000),
            ("protection.window_s", self.window_s, 1, 86_400),
            ("protection.block_s", self.block_s, 1, 31_536_000),
            ("protection.block_max_s", self.block_max_s, 1, 31_536_000),
            ("protection.known_s", self.known_s, 0, 31_536_000),
        ] {
            crate::config::within(key, value, least, most)?;
        }
        self.networks()?;
        if self.scanners.iter().any(|word| word.trim().len() < 3) {
            return Err(ConfigError::Value {
                key: "protection.scanners",
                message: "a word of fewer than 3 letters would meet telephones too".to_owned(),
            });
        }
        Ok(())
    }

    /// The networks of `allow`.
    pub(super) fn networks(&self) -> Result<Vec<Network>, ConfigError> {
        self.allow
            .iter()
            .map(|text| {
                Network::parse(text).map_err(|error| ConfigError::Value {
                    key: "protection.allow",
                    message: error.to_string(),
                })
            })
            .collect()
    }
}

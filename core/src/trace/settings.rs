//! `[trace]` of the configuration.

use std::net::SocketAddr;

use serde::Deserialize;

use crate::config::ConfigError;

/// What is kept, and what is passed on.
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Calls whose messages are kept (0 to 10000); 0: none.
    pub calls: usize,
    /// Memory for them in MiB (1 to 4096).
    pub memory_mib: usize,
    /// Where messages go as HEP: `address:port`; empty: nowhere.
    pub hep: String,
    /// Our number there.
    pub hep_id: u32,
    /// What Homer wants to see of us; empty: nothing.
    pub hep_password: String,
    /// Keys of encrypted media stay in what is kept and passed on, so that whoever has both can listen.
    pub keys: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            calls: 0,
            memory_mib: 32,
            hep: String::new(),
            hep_id: 2001,
            hep_password: String::new(),
            keys: false,
        }
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("calls", &self.calls)
            .field("memory_mib", &self.memory_mib)
            .field("hep", &self.hep)
            .field("hep_id", &self.hep_id)
            .field("keys", &self.keys)
            .finish_non_exhaustive()
    }
}

impl Settings {
    /// The address of Homer.
    pub(crate) fn homer(&self) -> Result<Option<SocketAddr>, ConfigError> {
        if self.hep.is_empty() {
            return Ok(None);
        }
        let address = self.hep.parse().map_err(|_| ConfigError::Value {
            key: "trace.hep",
            message: format!(
                "\"{}\" is no address with a port; right is for example \"192.0.2.9:9060\"",
                self.hep
            ),
        })?;
        Ok(Some(address))
    }

    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let range = |key, value: usize, min: usize, max: usize| {
            if (min..=max).contains(&value) {
                return Ok(());
            }
            let message = format!("{value} is not allowed: {min} to {max}");
            Err(ConfigError::Value { key, message })
        };
        range("trace.calls", self.calls, 0, 10_000)?;
        range("trace.memory_mib", self.memory_mib, 1, 4096)?;
        if self.hep_password.len() > 256 {
            return Err(ConfigError::Value {
                key: "trace.hep_password",
                message: "is longer than 256 bytes".to_owned(),
            });
        }
        self.homer().map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_told_with_its_key_and_what_would_be_right() {
        let wrong = |change: fn(&mut Settings)| {
            let mut settings = Settings::default();
            change(&mut settings);
            settings
                .validate()
                .map_err(|error| error.to_string())
                .err()
                .unwrap_or_default()
        };
        assert_eq!(wrong(|_| {}), "");
        assert_eq!(wrong(|s| s.hep = "[2001:db8::9]:9060".to_owned()), "");
        for (told, parts) in [
            (wrong(|s| s.calls = 10_001), ["trace.calls", "0 to 10000"]),
            (
                wrong(|s| s.memory_mib = 0),
                ["trace.memory_mib", "1 to 4096"],
            ),
            (
                wrong(|s| s.hep = "homer".to_owned()),
                ["trace.hep", "192.0.2.9:9060"],
            ),
            (
                wrong(|s| s.hep_password = "x".repeat(257)),
                ["trace.hep_password", "256 bytes"],
            ),
        ] {
            assert!(parts.iter().all(|part| told.contains(part)), "{told}");
        }
        let secret = Settings {
            hep_password: "open".to_owned(),
            ..Settings::default()
        };
        assert!(!format!("{secret:?}").contains("open"));
    }
}

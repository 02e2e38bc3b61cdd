//! What the scripts of all shards share: a table of values with an end, the HTTP client, the databases.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use super::http::Client;
use super::sql::Databases;

/// Values kept at once.
const VALUES_MAX: usize = 100_000;
/// Longest key and value, in bytes.
const KEY_BYTES_MAX: usize = 256;
const VALUE_BYTES_MAX: usize = 64 * 1024;
/// Bytes of all keys and values together.
const TOTAL_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What the scripts of all shards share.
#[derive(Default)]
pub(crate) struct Services {
    pub(super) values: Mutex<Values>,
    pub(crate) http: Client,
    pub(crate) databases: Databases,
}

impl std::fmt::Debug for Services {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Services").finish_non_exhaustive()
    }
}

impl Services {
    /// With the databases that the configuration names.
    pub(crate) fn new(databases: Databases) -> Self {
        Self {
            databases,
            ..Self::default()
        }
    }
}

struct Kept {
    /// As JSON.
    value: String,
    until: Option<Instant>,
}

/// `shared`.
#[derive(Default)]
pub(super) struct Values {
    table: FxHashMap<String, Kept>,
    bytes: usize,
}

impl Values {
    pub(super) fn get(&mut self, key: &str, now: Instant) -> Option<String> {
        if self.table.get(key)?.until.is_some_and(|until| until <= now) {
            self.remove(key);
            return None;
        }
        self.table.get(key).map(|kept| kept.value.clone())
    }

    pub(super) fn remove(&mut self, key: &str) -> bool {
        match self.table.remove(key) {
            Some(kept) => {
                self.bytes -= key.len() + kept.value.len();
                true
            }
            None => false,
        }
    }

    pub(super) fn set(
        &mut self,
        key: &str,
        value: String,
        ttl: Option<Duration>,
        now: Instant,
    ) -> Result<(), String> {
        if key.is_empty() || key.len() > KEY_BYTES_MAX {
            return Err(format!(
                "a key has 1 to {KEY_BYTES_MAX} bytes, not {}",
                key.len()
            ));
        }
        if value.len() > VALUE_BYTES_MAX {
            return Err(format!(
                "the value has {} bytes as JSON; {VALUE_BYTES_MAX} are allowed",
                value.len()
            ));
        }
        self.remove(key);
        let size = key.len() + value.len();
        if self.is_full(size) {
            self.forget_old(now);
        }
        if self.is_full(size) {
            return Err(format!(
                "{VALUES_MAX} values or {TOTAL_BYTES_MAX} bytes are kept already; give values an end (ttl) or delete some"
            ));
        }
        self.bytes += size;
        let until = ttl.and_then(|ttl| now.checked_add(ttl));
        self.table.insert(key.to_owned(), Kept { value, until });
        Ok(())
    }

    /// When the value ends.
    pub(super) fn until(&self, key: &str) -> Option<Instant> {
        self.table.get(key)?.until
    }

    fn is_full(&self, more: usize) -> bool {
        self.table.len() >= VALUES_MAX || self.bytes + more > TOTAL_BYTES_MAX
    }

    fn forget_old(&mut self, now: Instant) {
        let bytes = &mut self.bytes;
        self.table.retain(|key, kept| {
            let stays = kept.until.is_none_or(|until| until > now);
            if !stays {
                *bytes -= key.len() + kept.value.len();
            }
            stays
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_end_and_a_full_table_refuses() {
        let (mut values, now) = (Values::default(), Instant::now());
        let second = Duration::from_secs(1);
        values
            .set("a", "1".to_owned(), Some(second), now)
            .expect("kept");
        assert_eq!(values.get("a", now).as_deref(), Some("1"));
        assert_eq!(values.get("a", now + second), None);
        assert_eq!(values.bytes, 0);
        let large = "x".repeat(VALUE_BYTES_MAX);
        assert!(values.set("b", format!("{large}x"), None, now).is_err());
        let mut kept = 0;
        while values
            .set(&format!("k{kept}"), large.clone(), Some(second), now)
            .is_ok()
        {
            kept += 1;
        }
        assert!(kept > 1000 && kept < 1024, "{kept}");
        // What has ended makes room.
        values
            .set("after", large, None, now + second)
            .expect("there is room again");
        assert_eq!(values.table.len(), 1);
        assert!(values.remove("after") && !values.remove("after"));
        assert_eq!(values.bytes, 0);
    }
}

//! Who may use the HTTP APIs: rows of `api_users` by the digest of their keys, the contexts of each group, and how often each
//! may ask. Read from the snapshot of the database; no request waits for SQL here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use strowger_core::Shared;
use strowger_core::call::destination::{Destination, To};
use strowger_core::counters::Counter;
use strowger_store::{CdrOwner, OptionsRow, Snapshot, Table};
use subtle::ConstantTimeEq as _;
use warp::http::StatusCode;

use crate::http::{Incoming, Parameters, Refused, is_true};
use crate::risky;

/// How long somebody waits who shows a wrong key.
const FAILURE_DELAY: Duration = Duration::from_secs(1);
/// What stands before a digest in the column `api_key`.
const HASHED: &str = "sha256:";
/// Keys whose rate is counted; all are forgotten when there are more.
const BUCKETS_MAX: usize = 10_000;

/// A row of `api_users`, in the order in which it is shown.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct User {
    pub(crate) uuid: String,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) enable: String,
    /// As it was shown to us: the row may have no more than its digest.
    pub(crate) api_key: String,
    pub(crate) group_uuid: Option<String>,
    #[serde(skip)]
    pub(crate) scopes: Vec<String>,
}

/// A row of `api_contexts`, in the order in which it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct ContextRow {
    pub(crate) uuid: String,
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) group_uuid: Option<String>,
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

impl User {
    pub(crate) fn of(row: &OptionsRow) -> Self {
        Self {
            uuid: row.get("uuid").to_owned(),
            name: row.get("name").to_owned(),
            description: row.get("description").to_owned(),
            enable: row.get("enable").to_owned(),
            api_key: row.get("api_key").to_owned(),
            group_uuid: some(row.get("group_uuid")),
            scopes: row
                .get("scopes")
                .split([',', ' '])
                .filter(|scope| !scope.is_empty())
                .map(str::to_owned)
                .collect(),
        }
    }

    /// May this user use the product's API? Keys of the product have no scopes.
    pub(crate) fn is_of_product(&self) -> bool {
        self.scopes.is_empty() || self.may("product")
    }

    /// May this user do what needs the scope? `*` is every scope, `calls` is `calls:read` and `calls:write`.
    pub(crate) fn may(&self, scope: &str) -> bool {
        let area = scope.split(':').next().unwrap_or_default();
        let mut scopes = self.scopes.iter();
        scopes.any(|own| own == "*" || own == scope || own == area)
    }
}

/// What the tables say, put in order for look-ups.
#[derive(Default)]
struct Index {
    versions: (u64, u64),
    users: FxHashMap<[u8; 32], Arc<User>>,
    contexts: Arc<FxHashMap<String, ContextRow>>,
}

impl Index {
    fn of(snapshot: &Snapshot) -> Self {
        let mut users = FxHashMap::default();
        for row in snapshot.api_users.iter() {
            let user = User::of(row);
            let Some(digest) = digest_of(&user.api_key) else {
                tracing::warn!(
                    uuid = user.uuid,
                    "api_users: a digest of api_key is {HASHED} and 64 hexadecimal digits; this key opens nothing"
                );
                continue;
            };
            if users.insert(digest, Arc::new(user)).is_some() {
                tracing::warn!("api_users: two rows have the same api_key; the later one counts");
            }
        }
        let contexts = snapshot.api_contexts.iter().map(|row| {
            let context = ContextRow {
                uuid: row.get("uuid").to_owned(),
                name: row.get("name").to_owned(),
                description: row.get("description").to_owned(),
                group_uuid: some(row.get("group_uuid")),
            };
            (context.name.clone(), context)
        });
        Self {
            versions: versions(snapshot),
            users,
            contexts: Arc::new(contexts.collect()),
        }
    }
}

fn versions(snapshot: &Snapshot) -> (u64, u64) {
    let of = |table| snapshot.version_of(table);
    (of(Table::ApiUsers), of(Table::ApiContexts))
}

/// The digest that a column stands for; None: it promises one and has none.
fn digest_of(column: &str) -> Option<[u8; 32]> {
    let Some(digits) = column.strip_prefix(HASHED) else {
        return Some(digest(column));
    };
    let mut bytes = [0u8; 32];
    if digits.len() != 64 || !digits.is_ascii() {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

fn digest(key: &str) -> [u8; 32] {
    Sha256::digest(key.as_bytes()).into()
}

/// How a key is kept that only its owner knows.
pub(crate) fn hashed(key: &str) -> String {
    let digits = digest(key).iter().fold(String::new(), |mut text, byte| {
        use std::fmt::Write as _;
        let _ = write!(text, "{byte:02x}");
        text
    });
    format!("{HASHED}{digits}")
}

/// Requests that somebody has left.
struct Bucket {
    left: f64,
    since: Instant,
}

/// What is counted of the APIs.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) requests: Counter,
    pub(crate) failures: Counter,
    pub(crate) limited: Counter,
}

/// Knows who shows which key.
pub(crate) struct Keys {
    shared: Arc<Shared>,
    index: ArcSwap<Index>,
    buckets: Mutex<FxHashMap<String, Bucket>>,
    pub(crate) counts: Counts,
}

impl Keys {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: Arc::clone(shared),
            index: ArcSwap::from_pointee(Index::of(&shared.snapshot())),
            buckets: Mutex::default(),
            counts: Counts::default(),
        }
    }

    fn index(&self) -> Arc<Index> {
        let index = self.index.load_full();
        let snapshot = self.shared.snapshot();
        if index.versions == versions(&snapshot) {
            return index;
        }
        let fresh = Arc::new(Index::of(&snapshot));
        self.index.store(Arc::clone(&fresh));
        fresh
    }

    /// Who asks, if the key that he shows opens something; a wrong key costs a second.
    ///
    /// # Errors
    /// 401 without a key that is known, 403 where its row is switched off, 429 who asks too often.
    pub(crate) async fn admit(
        &self,
        asked: &Incoming,
        parameters: &Parameters,
    ) -> Result<Caller, Refused> {
        self.counts.requests.add(1);
        let shown = parameters.given("api_key").or(asked.key_of_header());
        let Some(shown) = shown else {
            let why =
                "api_key is missing: a parameter, or the header X-API-Key or Authorization: Bearer";
            return Err(Refused::new(StatusCode::UNAUTHORIZED, why));
        };
        let index = self.index();
        let given = digest(shown);
        // What the map compares is a digest, which tells nothing of the key; and once more in constant time.
        let found = index.users.get_key_value(&given);
        let found = found.filter(|(known, _)| bool::from(known.ct_eq(&given)));
        let Some((_, user)) = found else {
            self.counts.failures.add(1);
            let from = asked.from.map(|from| from.to_string()).unwrap_or_default();
            tracing::warn!(from, path = asked.path, "API: a key that is not known");
            tokio::time::sleep(FAILURE_DELAY).await;
            return Err(Refused::new(
                StatusCode::UNAUTHORIZED,
                "api_key is not known",
            ));
        };
        if !is_true(&user.enable) {
            return Err(Refused::new(
                StatusCode::FORBIDDEN,
                "this api_key is switched off (`enable` of its row in api_users is not yes)",
            ));
        }
        if let Some(wait) = self.too_often(&user.uuid, Instant::now()) {
            self.counts.limited.add(1);
            return Err(Refused::new(
                StatusCode::TOO_MANY_REQUESTS,
                format!(
                    "{} requests in a second are the limit of a key; the next may come in {} ms",
                    self.shared.config.http.requests_per_second,
                    wait.as_millis().max(1)
                ),
            ));
        }
        let mut user = User::clone(user);
        shown.clone_into(&mut user.api_key);
        Ok(Caller {
            user,
            contexts: Arc::clone(&index.contexts),
            shared: Arc::clone(&self.shared),
        })
    }

    /// The same caller as the rows have him now; None: his key opens nothing any more.
    pub(crate) fn again(&self, caller: &Caller) -> Option<Caller> {
        let index = self.index();
        let user = index.users.get(&digest(&caller.user.api_key))?;
        if user.uuid != caller.user.uuid || !is_true(&user.enable) {
            return None;
        }
        let mut user = User::clone(user);
        caller.user.api_key.clone_into(&mut user.api_key);
        Some(Caller {
            user,
            contexts: Arc::clone(&index.contexts),
            shared: Arc::clone(&self.shared),
        })
    }

    /// How long somebody has to wait for the next request; None: not at all.
    fn too_often(&self, uuid: &str, now: Instant) -> Option<Duration> {
        let rate = f64::from(self.shared.config.http.requests_per_second);
        if rate <= 0.0 {
            return None;
        }
        let mut buckets = self.buckets.lock();
        if buckets.len() >= BUCKETS_MAX && !buckets.contains_key(uuid) {
            buckets.clear();
        }
        let bucket = buckets.entry(uuid.to_owned()).or_insert(Bucket {
            left: rate,
            since: now,
        });
        let earned = now.saturating_duration_since(bucket.since).as_secs_f64() * rate;
        bucket.left = (bucket.left + earned).min(rate);
        bucket.since = now;
        if bucket.left >= 1.0 {
            bucket.left -= 1.0;
            return None;
        }
        Some(Duration::from_secs_f64((1.0 - bucket.left) / rate))
    }

    /// What is counted, for the metrics page.
    pub(crate) fn counters(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("requests", self.counts.requests.get()),
            ("keys_refused", self.counts.failures.get()),
            ("requests_limited", self.counts.limited.get()),
        ]
    }
}

/// Who asks, and what is his.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) user: User,
    contexts: Arc<FxHashMap<String, ContextRow>>,
    shared: Arc<Shared>,
}

impl Caller {
    /// The group that bounds what is seen; None: a key without a group sees everything.
    pub(crate) fn group(&self) -> Option<&str> {
        self.user.group_uuid.as_deref()
    }

    /// The record of a context that this caller may use.
    pub(crate) fn context(&self, name: &str) -> Option<&ContextRow> {
        let row = self.contexts.get(name)?;
        match self.group() {
            None => Some(row),
            Some(group) => Some(row).filter(|row| row.group_uuid.as_deref() == Some(group)),
        }
    }

    /// Does a context belong to this caller?
    pub(crate) fn owns_context(&self, name: &str) -> bool {
        self.group().is_none() || self.context(name).is_some()
    }

    /// Does an endpoint? It is where its calls begin.
    pub(crate) fn owns_endpoint(&self, id: &str) -> bool {
        if self.group().is_none() {
            return true;
        }
        let snapshot = self.shared.snapshot();
        let endpoint = snapshot.endpoints.get(id);
        endpoint.is_some_and(|endpoint| self.owns_context(&endpoint.context))
    }

    /// Does a channel, that runs in this context now? Its own endpoint counts too.
    pub(crate) fn owns_channel(&self, name: &str, context: &str) -> bool {
        self.owns_context(context) || endpoint_of(name).is_some_and(|id| self.owns_endpoint(id))
    }

    /// May this caller have somebody called? A device whose calls begin in a context of the group, where it is registered, or a
    /// number of one. Read as the call will be.
    pub(crate) fn may_call(&self, destination: &str) -> bool {
        if self.group().is_none() {
            return true;
        }
        let snapshot = self.shared.snapshot();
        match Destination::parse(destination, &snapshot).map(|destination| destination.to) {
            Ok(To::Local { context, .. }) => self.owns_context(&context),
            Ok(To::Device { endpoint, uri, .. }) => {
                let contacts = &self.shared.contacts;
                let is_contact = |uri: &String| {
                    let mut aors = endpoint.aors.iter();
                    aors.any(|aor| {
                        let known = contacts.all(&snapshot, aor);
                        known.iter().any(|contact| contact.uri.to_string() == *uri)
                    })
                };
                self.owns_context(&endpoint.context) && uri.as_ref().is_none_or(is_contact)
            }
            Err(_) => false,
        }
    }

    /// May this caller set a variable of a channel? What the dialplan of all trusts is not for keys of a group.
    pub(crate) fn may_set(&self, name: &str) -> bool {
        if self.group().is_none() {
            return !name.chars().any(char::is_control);
        }
        risky::may_set(name, |name| self.shared.globals.get(name).is_some())
    }

    /// Whose call records this caller sees; None: all.
    pub(crate) fn cdr_owner(&self) -> Option<CdrOwner> {
        let group = self.group()?;
        let contexts = self.contexts.values();
        let mut contexts: Vec<_> = contexts
            .filter(|row| row.group_uuid.as_deref() == Some(group))
            .map(|row| row.name.clone())
            .collect();
        contexts.sort_unstable();
        Some(CdrOwner {
            group: group.to_owned(),
            contexts,
        })
    }
}

/// The endpoint in `PJSIP/<endpoint>-%08x`.
pub(crate) fn endpoint_of(channel: &str) -> Option<&str> {
    let (id, _) = channel.strip_prefix("PJSIP/")?.rsplit_once('-')?;
    Some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_by_its_text_or_by_its_digest() {
        let key = "84f8fc34-82ad-46b0-b5f3-3cfd0462beeb";
        assert_eq!(digest_of(key), Some(digest(key)));
        assert_eq!(digest_of(&hashed(key)), Some(digest(key)));
        assert_ne!(digest_of("84f8fc34"), Some(digest(key)));
        for wrong in [
            "sha256:",
            "sha256:00",
            &format!("sha256:{}", "zz".repeat(32)),
        ] {
            assert_eq!(digest_of(wrong), None, "{wrong}");
        }
        // The digest itself opens nothing.
        assert_ne!(digest_of(&hashed(key)), Some(digest(&hashed(key))));
    }

    #[test]
    fn scopes_are_whole_areas_or_one_side_of_them() {
        let user = |scopes: &str| {
            User::of(&OptionsRow {
                options: vec![
                    ("uuid".to_owned(), "1".to_owned()),
                    ("scopes".to_owned(), scopes.to_owned()),
                ],
            })
        };
        for (scopes, scope, wanted) in [
            ("", "calls:read", false),
            ("calls:read", "calls:read", true),
            ("calls:read", "calls:write", false),
            ("cdr, calls", "calls:write", true),
            ("*", "keys:write", true),
            ("call", "calls:read", false),
        ] {
            assert_eq!(user(scopes).may(scope), wanted, "{scopes} {scope}");
        }
    }

    #[test]
    fn a_channel_is_named_after_its_endpoint() {
        for (name, wanted) in [
            ("PJSIP/user-100-domain-0000001a", Some("user-100-domain")),
            ("PJSIP/100-00000000", Some("100")),
            ("Local/1@a-00000000;1", None),
            ("PJSIP/x", None),
        ] {
            assert_eq!(endpoint_of(name), wanted, "{name}");
        }
    }
}

//! Host names in `ps_endpoint_id_ips`, static contacts and registrations: looked up beside the calls, again and again, since providers move. Who asks finds the
//! addresses that are known; a name that cannot be found keeps those it had.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use rustc_hash::FxHashMap;
use strowger_sip::{Host, Uri};
use strowger_store::{Snapshot, Table};

use super::acl::Network;
use crate::shared::Shared;

/// How often names are looked up.
const AGAIN: Duration = Duration::from_secs(60);
/// How often rows are looked at for new names.
const LOOK: Duration = Duration::from_secs(1);
/// How long one name may take.
const WAIT: Duration = Duration::from_secs(8);
/// Names that are looked up; more are left out, and said so.
const NAMES_MAX: usize = 1000;
/// Addresses of one name.
const ADDRESSES_MAX: usize = 64;

type Addresses = FxHashMap<String, Vec<IpAddr>>;

/// Host names and their addresses.
#[derive(Debug, Default)]
pub struct Names {
    known: ArcSwap<Addresses>,
    version: AtomicU64,
}

impl Names {
    /// The addresses of a name, as far as they are known.
    #[must_use]
    pub fn addresses(&self, name: &str) -> Vec<IpAddr> {
        let known = self.known.load();
        known
            .get(&name.to_ascii_lowercase())
            .cloned()
            .unwrap_or_default()
    }

    /// Grows whenever an address changed.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Takes over what was found. A name without addresses keeps those it had; names that are not there are forgotten.
    pub(crate) fn found(&self, found: Vec<(String, Vec<IpAddr>)>) {
        let before = self.known.load_full();
        let now: Addresses = found
            .into_iter()
            .map(|(name, mut addresses)| {
                addresses.sort_unstable();
                addresses.dedup();
                addresses.truncate(ADDRESSES_MAX);
                if addresses.is_empty() {
                    addresses = before.get(&name).cloned().unwrap_or_default();
                }
                (name, addresses)
            })
            .collect();
        if now != *before {
            self.known.store(Arc::new(now));
            self.version.fetch_add(1, Ordering::Release);
        }
    }
}

/// The host name that an entry of `match` is, in lower case; a port behind it narrows nothing.
pub(crate) fn name_in(text: &str) -> Option<String> {
    let text = text.trim();
    let name = match text.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => text,
    };
    let letters = name.bytes().any(|b| b.is_ascii_alphabetic());
    match Host::parse(name) {
        Ok(Host::Name(name)) if letters && Network::parse(&name).is_err() => {
            Some(name.to_ascii_lowercase())
        }
        _ => None,
    }
}

/// The host of a URI, with or without angle brackets.
pub(crate) fn host_in(uri: &str) -> Option<Host> {
    let text = uri.trim();
    let text = text.rsplit_once('<').map_or(text, |(_, rest)| rest);
    let text = text.split('>').next().unwrap_or(text);
    Some(Uri::parse(text).ok()?.host)
}

/// The names of rows, and whether the targets of their SRV records are wanted too.
fn names_of(snapshot: &Snapshot) -> BTreeMap<String, bool> {
    let mut names = BTreeMap::new();
    let mut add = |name: String, services: bool| {
        *names.entry(name.to_ascii_lowercase()).or_default() |= services;
    };
    for row in snapshot.identifies.iter() {
        for name in row.matches.iter().filter_map(|text| name_in(text)) {
            add(name, row.srv_lookups);
        }
    }
    // Who calls from there is not kept out, and one name may be many machines.
    let contacts = snapshot.aors.values().flat_map(|aor| &aor.contact);
    let registrars = snapshot
        .registrations
        .iter()
        .flat_map(|row| [Some(&row.server_uri), row.outbound_proxy.as_ref()])
        .flatten();
    for uri in contacts.chain(registrars) {
        if let Some(Host::Name(name)) = host_in(uri) {
            add(name, true);
        }
    }
    names
}

/// Looks the names up on the control runtime for as long as the exchange runs.
pub(crate) fn start(shared: &Arc<Shared>) {
    let weak = Arc::downgrade(shared);
    shared.control.spawn(async move {
        let mut seen: Option<([u64; 3], Instant)> = None;
        loop {
            {
                let Some(shared) = weak.upgrade() else { return };
                let snapshot = shared.snapshot();
                let tables = [Table::Identifies, Table::Aors, Table::Registrations];
                let version = tables.map(|table| snapshot.version_of(table));
                let due = seen.is_none_or(|(known, at)| known != version || crate::clock::since(at) >= AGAIN);
                if due {
                    seen = Some((version, crate::clock::now()));
                    let mut names = names_of(&snapshot);
                    if names.len() > NAMES_MAX {
                        tracing::warn!(
                            names = names.len(),
                            "ps_endpoint_id_ips, ps_aors, ps_registrations: more than {NAMES_MAX} host names; the rest are not looked up"
                        );
                        names = names.into_iter().take(NAMES_MAX).collect();
                    }
                    let lookups: Vec<_> = names
                        .into_iter()
                        .map(|(name, services)| {
                            tokio::spawn(look_up(Arc::clone(&shared), name, services))
                        })
                        .collect();
                    let mut found = Vec::with_capacity(lookups.len());
                    for lookup in lookups {
                        found.extend(lookup.await.ok());
                    }
                    shared.gatekeeper.names().found(found);
                }
            }
            tokio::time::sleep(LOOK).await;
        }
    });
}

/// With `services` the targets of the name's SRV records too.
async fn look_up(shared: Arc<Shared>, name: String, services: bool) -> (String, Vec<IpAddr>) {
    let found = tokio::time::timeout(WAIT, shared.dns.sources(&name, services)).await;
    let addresses = found.unwrap_or_default().into_iter();
    let addresses: Vec<IpAddr> = addresses.map(|ip| ip.to_canonical()).collect();
    if addresses.is_empty() {
        tracing::warn!(host = name, "host name of a row not found");
    }
    (name, addresses)
}

#[cfg(test)]
mod tests {
    use super::*;
    use strowger_store::{Aor, Identify, Registration};

    #[test]
    fn only_host_names_are_looked_up() {
        for (text, name) in [
            ("Sip.Provider.example", Some("sip.provider.example")),
            ("provider.example:5080", Some("provider.example")),
            ("localhost", Some("localhost")),
            ("192.0.2.1", None),
            ("192.0.2.0/24", None),
            ("192.0.2.1:5060", None),
            ("2001:db8::1", None),
            ("2001:db8::/32", None),
            ("!10.0.0.0/8", None),
            ("", None),
        ] {
            assert_eq!(name_in(text).as_deref(), name, "{text}");
        }
    }

    #[test]
    fn names_of_static_contacts_and_registrars_are_looked_up_too() {
        let trunk = Aor {
            contact: vec![
                "<sip:100@Trunk.example:5070>".into(),
                "sip:192.0.2.1".into(),
            ],
            ..Aor::default()
        };
        let mut snapshot = Snapshot {
            identifies: Arc::new(vec![Identify {
                matches: vec!["peer.example".into()],
                ..Identify::default()
            }]),
            registrations: Arc::new(vec![Registration {
                server_uri: "sip:registrar.example".into(),
                outbound_proxy: Some("<sip:proxy.example;lr>".into()),
                ..Registration::default()
            }]),
            ..Snapshot::default()
        };
        Arc::make_mut(&mut snapshot.aors).insert("trunk".into(), Arc::new(trunk));
        let names: Vec<_> = names_of(&snapshot).into_iter().collect();
        let expected = [
            ("peer.example", Identify::default().srv_lookups),
            ("proxy.example", true),
            ("registrar.example", true),
            ("trunk.example", true),
        ];
        assert_eq!(names, expected.map(|(name, srv)| (name.to_owned(), srv)));
    }

    #[test]
    fn a_name_that_is_not_found_keeps_its_addresses_until_its_row_goes() {
        let names = Names::default();
        let ip: IpAddr = "192.0.2.1".parse().unwrap();
        names.found(vec![("a.example".into(), vec![ip, ip])]);
        assert_eq!(
            (names.addresses("A.example"), names.version()),
            (vec![ip], 1)
        );
        names.found(vec![("a.example".into(), Vec::new())]);
        assert_eq!(
            (names.addresses("a.example"), names.version()),
            (vec![ip], 1)
        );
        names.found(Vec::new());
        assert_eq!(
            (names.addresses("a.example"), names.version()),
            (Vec::new(), 2)
        );
    }
}

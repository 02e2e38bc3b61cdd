//! The connections of all shards: who is connected, to be found by address, by name and by number, and how many of them
//! there may be, in all and from one source.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};
use rustc_hash::{FxHashMap, FxHashSet};
use strowger_sip::{Flow, Transport};
use tokio::sync::Notify;

/// Why a connection is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// As many are open as `limits.connections` allows.
    All,
    /// As many are open from this source as `limits.connections_per_address` allows.
    Address,
}

/// Whose a connection is: a connection of one name or certificate is not to be taken for another's (RFC 5922 §7.2, RFC
/// 5923 §5).
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    /// Where our transport is bound, whose certificate the peer saw.
    pub(crate) bind: SocketAddr,
    /// The name that TLS was told when we opened it.
    pub(crate) name: Option<Arc<str>>,
    /// The peer's certificate was verified for that name.
    pub(crate) verified: bool,
}

/// Which connection will do.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wanted<'a> {
    /// Of this transport alone.
    pub(crate) bind: Option<SocketAddr>,
    /// For this name; one that was opened for none is as good where nothing is to be verified.
    pub(crate) name: Option<&'a str>,
    pub(crate) verified: bool,
}

impl Wanted<'_> {
    fn fits(&self, known: &Known) -> bool {
        let identity = &known.identity;
        let name = identity.name.as_deref();
        let named = match (self.verified, self.name, name) {
            (true, wanted, name) => identity.verified && wanted == name,
            (false, Some(wanted), Some(name)) => wanted == name,
            (false, ..) => true,
        };
        named && self.bind.is_none_or(|bind| identity.bind == bind)
    }
}

#[derive(Clone, Debug)]
struct Known {
    flow: Flow,
    identity: Identity,
}

#[derive(Debug)]
struct Open {
    flow: Flow,
    /// It is no stranger's: a request that came by it was admitted.
    trusted: AtomicBool,
}

#[derive(Debug, Default)]
struct Inner {
    /// The newest last.
    by_peer: FxHashMap<(Transport, SocketAddr), Vec<Known>>,
    by_number: FxHashMap<u64, Open>,
    sources: FxHashMap<IpAddr, usize>,
    open: usize,
    /// Those that we opened, which no stranger is to take places from.
    own: usize,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct ConnectionTable {
    inner: RwLock<Inner>,
    /// Connections that ended, whose contacts are to go.
    ended: Mutex<FxHashSet<u64>>,
    bell: Notify,
}

/// A place among the connections, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    table: Arc<ConnectionTable>,
    /// Who connected; none where we did.
    source: Option<IpAddr>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inner = self.table.inner.write();
        let Some(source) = self.source else {
            inner.own = inner.own.saturating_sub(1);
            return;
        };
        inner.open = inner.open.saturating_sub(1);
        if let Some(count) = inner.sources.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                inner.sources.remove(&source);
            }
        }
    }
}

/// Whom an address belongs to: of IPv6 the first 64 bits, since one subscriber has all of the rest.
pub(super) fn source_of(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => Ipv6Addr::from(u128::from(ip) & (u128::MAX << 64)).into(),
    }
}

impl ConnectionTable {
    /// Takes a place for a connection with `peer`.
    pub(crate) fn admit(
        self: &Arc<Self>,
        peer: IpAddr,
        most: usize,
        most_of_source: usize,
    ) -> Result<Place, Refusal> {
        let source = source_of(peer);
        let mut inner = self.inner.write();
        if inner.open >= most {
            return Err(Refusal::All);
        }
        let count = inner.sources.entry(source).or_default();
        if *count >= most_of_source {
            return Err(Refusal::Address);
        }
        *count += 1;
        inner.open += 1;
        Ok(Place {
            table: Arc::clone(self),
            source: Some(source),
        })
    }

    /// Takes a place for a connection that we open, of which there may be as many again.
    pub(crate) fn open_own(self: &Arc<Self>, most: usize) -> Option<Place> {
        let mut inner = self.inner.write();
        if inner.own >= most {
            return None;
        }
        inner.own += 1;
        Some(Place {
            table: Arc::clone(self),
            source: None,
        })
    }

    /// Connections that have a place.
    pub(crate) fn open(&self) -> usize {
        let inner = self.inner.read();
        inner.open + inner.own
    }

    /// `own`: we opened it.
    pub(crate) fn opened(&self, flow: Flow, identity: Identity, own: bool) {
        let mut inner = self.inner.write();
        let open = Open {
            flow,
            trusted: AtomicBool::new(own),
        };
        inner.by_number.insert(flow.connection, open);
        let key = (flow.transport, flow.remote);
        let known = inner.by_peer.entry(key).or_default();
        known.push(Known { flow, identity });
    }

    /// Somebody whom we know sent a request by it.
    pub(crate) fn trust(&self, number: u64) {
        if let Some(open) = self.inner.read().by_number.get(&number) {
            open.trusted.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it is more than a stranger's.
    pub(crate) fn is_trusted(&self, number: u64) -> bool {
        let inner = self.inner.read();
        let open = inner.by_number.get(&number);
        open.is_some_and(|open| open.trusted.load(Ordering::Relaxed))
    }

    /// False where it was not known.
    pub(crate) fn closed(&self, flow: &Flow) -> bool {
        let mut inner = self.inner.write();
        if inner.by_number.remove(&flow.connection).is_none() {
            return false;
        }
        let key = (flow.transport, flow.remote);
        if let Some(known) = inner.by_peer.get_mut(&key) {
            known.retain(|known| known.flow.connection != flow.connection);
            if known.is_empty() {
                inner.by_peer.remove(&key);
            }
        }
        true
    }

    /// The connection of that number, while it is open.
    pub(crate) fn by_number(&self, number: u64) -> Option<Flow> {
        let inner = self.inner.read();
        Some(inner.by_number.get(&number)?.flow)
    }

    /// The newest connection that leads to `peer` and will do.
    pub(crate) fn to(
        &self,
        transport: Transport,
        peer: SocketAddr,
        wanted: Wanted<'_>,
    ) -> Option<Flow> {
        let inner = self.inner.read();
        let known = inner.by_peer.get(&(transport, peer))?;
        let fitting = known.iter().rev().find(|known| wanted.fits(known));
        fitting.map(|known| known.flow)
    }

    /// Notes that the contacts bound to this connection cannot be reached any more.
    pub(crate) fn forget_contacts_of(&self, number: u64) {
        self.ended.lock().insert(number);
        self.bell.notify_one();
    }

    /// Waits for connections that ended, and gives all of them.
    pub(crate) async fn ended(&self) -> FxHashSet<u64> {
        loop {
            let ended = std::mem::take(&mut *self.ended.lock());
            if !ended.is_empty() {
                return ended;
            }
            self.bell.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(connection: u64, remote: &str) -> Flow {
        Flow {
            transport: Transport::Tls,
            local: "192.0.2.1:5061".parse().unwrap(),
            remote: remote.parse().unwrap(),
            connection,
        }
    }

    fn identity(name: Option<&str>, verified: bool) -> Identity {
        Identity {
            bind: "192.0.2.1:5061".parse().unwrap(),
            name: name.map(Into::into),
            verified,
        }
    }

    #[test]
    fn places_are_limited_in_all_and_for_each_source_and_come_back() {
        let table = Arc::new(ConnectionTable::default());
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let first = table.admit(ip("192.0.2.1"), 3, 1).unwrap();
        assert_eq!(
            table.admit(ip("192.0.2.1"), 3, 1).unwrap_err(),
            Refusal::Address
        );
        // Two addresses of one IPv6 subscriber.
        let _second = table.admit(ip("2001:db8::1"), 3, 1).unwrap();
        assert_eq!(
            table.admit(ip("2001:db8::2"), 3, 1).unwrap_err(),
            Refusal::Address
        );
        let _third = table.admit(ip("2001:db8:0:1::2"), 3, 1).unwrap();
        assert_eq!(
            table.admit(ip("192.0.2.7"), 3, 1).unwrap_err(),
            Refusal::All
        );
        drop(first);
        assert!(table.admit(ip("192.0.2.1"), 3, 1).is_ok());
        assert_eq!(table.open(), 2, "the last one came back at once");
    }

    #[test]
    fn connections_of_ours_need_no_place_that_strangers_can_take() {
        let table = Arc::new(ConnectionTable::default());
        let peer = "192.0.2.1".parse().unwrap();
        let _stranger = table.admit(peer, 1, 1).unwrap();
        let own = table.open_own(1).unwrap();
        assert!(table.open_own(1).is_none());
        assert_eq!(table.open(), 2);
        drop(own);
        assert!(table.open_own(1).is_some());
        assert_eq!(table.admit(peer, 1, 1).unwrap_err(), Refusal::All);
    }

    #[test]
    fn a_connection_is_found_by_peer_and_number_until_it_is_closed() {
        let table = ConnectionTable::default();
        let (old, new) = (flow(1, "192.0.2.9:5061"), flow(2, "192.0.2.9:5061"));
        table.opened(old, identity(None, false), false);
        table.opened(new, identity(Some("sip.example"), true), true);
        assert!(table.closed(&old) && !table.closed(&old));
        let to = |name, verified| {
            let wanted = Wanted {
                name,
                verified,
                ..Wanted::default()
            };
            table.to(Transport::Tls, new.remote, wanted)
        };
        assert_eq!(to(None, false), Some(new));
        assert_eq!(to(Some("sip.example"), true), Some(new));
        assert_eq!(to(Some("other.example"), true), None);
        let plain = table.to(Transport::Tcp, new.remote, Wanted::default());
        assert_eq!(plain, None);
        assert_eq!(table.by_number(2), Some(new));
        assert!(table.closed(&new));
        assert_eq!((to(None, false), table.by_number(2)), (None, None));
    }

    #[test]
    fn names_and_transports_at_one_address_have_connections_of_their_own() {
        let table = ConnectionTable::default();
        let remote = "192.0.2.9:5061";
        let (one, two, theirs) = (flow(1, remote), flow(2, remote), flow(3, remote));
        table.opened(one, identity(Some("one.example"), true), true);
        let mut other = identity(Some("two.example"), false);
        other.bind = "192.0.2.1:5063".parse().unwrap();
        table.opened(two, other.clone(), true);
        let to = |name, verified, bind| {
            let wanted = Wanted {
                name,
                verified,
                bind,
            };
            table.to(Transport::Tls, one.remote, wanted)
        };
        assert_eq!(to(Some("one.example"), true, None), Some(one));
        assert_eq!(to(Some("two.example"), false, None), Some(two));
        assert_eq!(to(Some("two.example"), true, None), None, "not verified");
        assert_eq!(to(Some("three.example"), false, None), None);
        let own = identity(None, false).bind;
        assert_eq!(to(None, false, Some(own)), Some(one));
        assert_eq!(to(Some("two.example"), false, Some(own)), None);
        // Who connected to us showed no name: he is reached by his connection where none has to be verified.
        table.opened(theirs, identity(None, false), false);
        assert_eq!(to(Some("three.example"), false, Some(own)), Some(theirs));
        assert_eq!(to(Some("one.example"), true, None), Some(one));
        assert!(table.closed(&theirs));
        assert_eq!(to(Some("one.example"), false, None), Some(one));
    }

    #[test]
    fn a_connection_is_a_strangers_until_a_request_by_it_is_admitted() {
        let table = ConnectionTable::default();
        let (theirs, ours) = (flow(1, "192.0.2.9:5061"), flow(2, "192.0.2.9:5061"));
        table.opened(theirs, identity(None, false), false);
        table.opened(ours, identity(None, false), true);
        assert!(table.is_trusted(2) && !table.is_trusted(1));
        table.trust(1);
        assert!(table.is_trusted(1));
        table.closed(&theirs);
        assert!(!table.is_trusted(1));
    }
}

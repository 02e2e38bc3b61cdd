//! The connections of all shards: who is connected, to be found by address, by name and by number, and how many of them
//! there may be, in all and from one source.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

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

#[derive(Clone, Debug)]
struct Known {
    flow: Flow,
    /// The name whose certificate was verified when we opened it.
    name: Option<Arc<str>>,
}

#[derive(Debug, Default)]
struct Inner {
    by_peer: FxHashMap<(Transport, SocketAddr), Known>,
    by_number: FxHashMap<u64, Flow>,
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
fn source_of(ip: IpAddr) -> IpAddr {
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

    pub(crate) fn opened(&self, flow: Flow, name: Option<Arc<str>>) {
        let mut inner = self.inner.write();
        inner.by_number.insert(flow.connection, flow);
        let key = (flow.transport, flow.remote);
        inner.by_peer.insert(key, Known { flow, name });
    }

    /// False where it was not known.
    pub(crate) fn closed(&self, flow: &Flow) -> bool {
        let mut inner = self.inner.write();
        if inner.by_number.remove(&flow.connection).is_none() {
            return false;
        }
        let key = (flow.transport, flow.remote);
        let same = |known: &Known| known.flow.connection == flow.connection;
        if inner.by_peer.get(&key).is_some_and(same) {
            inner.by_peer.remove(&key);
        }
        true
    }

    /// The connection of that number, while it is open.
    pub(crate) fn by_number(&self, number: u64) -> Option<Flow> {
        self.inner.read().by_number.get(&number).copied()
    }

    /// The connection that leads to `peer`. Where the certificate of `name` has to be its own, only one that was opened
    /// for that name (RFC 5923 §5).
    pub(crate) fn to(
        &self,
        transport: Transport,
        peer: SocketAddr,
        name: Option<&str>,
    ) -> Option<Flow> {
        let inner = self.inner.read();
        let known = inner.by_peer.get(&(transport, peer))?;
        let good = name.is_none_or(|name| known.name.as_deref() == Some(name));
        good.then_some(known.flow)
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
        table.opened(old, None);
        table.opened(new, Some("sip.example".into()));
        assert!(table.closed(&old) && !table.closed(&old));
        let to = |name| table.to(Transport::Tls, new.remote, name);
        assert_eq!(to(None), Some(new));
        assert_eq!(to(Some("sip.example")), Some(new));
        assert_eq!(to(Some("other.example")), None);
        assert_eq!(table.to(Transport::Tcp, new.remote, None), None);
        assert_eq!(table.by_number(2), Some(new));
        assert!(table.closed(&new));
        assert_eq!((to(None), table.by_number(2)), (None, None));
    }
}

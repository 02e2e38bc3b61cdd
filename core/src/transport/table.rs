//! The transports that are open, for every shard to look at; and who opens and closes them when rows change, and reads
//! certificates and looks names up again.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use parking_lot::Mutex;
use strowger_sip::{Flow, Transport};
use strowger_store::Table;

use super::bind;
use super::settings::{self, Settings};
use super::tls::Tls;
use crate::shard::Shard;
use crate::shard::inbox::ShardMessage;
use crate::shared::Shared;

/// How often files of certificates and names of external addresses are looked at.
const LOOK: Duration = Duration::from_secs(2);
const NAMES: Duration = Duration::from_secs(60);

/// A transport that is open.
#[derive(Debug)]
pub struct Active {
    pub settings: Settings,
    /// Of a secure one.
    pub tls: Option<Arc<Tls>>,
}

/// The open transports, in the order in which they are preferred.
#[derive(Debug, Default)]
pub struct Transports {
    list: ArcSwap<Vec<Arc<Active>>>,
    /// What is wrong at present, so that it is told once.
    problems: Mutex<Vec<String>>,
    /// Those that there are at the start are open.
    settled: AtomicBool,
}

impl Transports {
    /// Whether all are open that there are at the start: what goes out before may go by the wrong one, or by none.
    pub(crate) fn are_settled(&self) -> bool {
        self.settled.load(Ordering::Acquire)
    }

    /// All of them.
    pub fn all(&self) -> Arc<Vec<Arc<Active>>> {
        self.list.load_full()
    }

    /// What is wrong with transports at present.
    pub fn problems(&self) -> Vec<String> {
        self.problems.lock().clone()
    }

    /// The one bound to this address.
    #[must_use]
    pub fn at(&self, protocol: Transport, bind: SocketAddr) -> Option<Arc<Active>> {
        let list = self.list.load();
        let same = |active: &&Arc<Active>| {
            active.settings.protocol == protocol && active.settings.bind == bind
        };
        list.iter().find(same).cloned()
    }

    /// That of a flow: of the address itself, else of the wildcard that covers it.
    #[must_use]
    pub fn of(&self, flow: &Flow) -> Option<Arc<Active>> {
        let list = self.list.load();
        let exact = list
            .iter()
            .find(|a| a.settings.protocol == flow.transport && a.settings.bind == flow.local);
        exact
            .or_else(|| {
                list.iter()
                    .find(|a| a.settings.covers(flow.transport, flow.local))
            })
            .cloned()
    }

    /// The one to use towards `remote`: the named one, if it is of this protocol and family; else one of its protocol
    /// whose address the kernel would send from, one bound to all addresses, or the first.
    #[must_use]
    pub fn towards(
        &self,
        protocol: Transport,
        remote: SocketAddr,
        named: Option<&str>,
    ) -> Option<Arc<Active>> {
        let list = self.list.load();
        let fits = |active: &&Arc<Active>| {
            active.settings.protocol == protocol
                && active.settings.bind.is_ipv4() == remote.is_ipv4()
        };
        let mut fitting = list.iter().filter(fits);
        if let Some(name) = named
            && let Some(found) = fitting.clone().find(|active| active.settings.id == name)
        {
            return Some(Arc::clone(found));
        }
        let first = fitting.next()?;
        let Some(second) = fitting.next() else {
            return Some(Arc::clone(first));
        };
        let routed = super::source_address(remote);
        let others = || [first, second].into_iter().chain(fitting.clone());
        let exact = others().find(|active| Some(active.settings.bind.ip()) == routed);
        let any = || others().find(|active| active.settings.bind.ip().is_unspecified());
        Some(Arc::clone(exact.or_else(any).unwrap_or(first)))
    }

    /// The protocol of the transport of that name.
    #[must_use]
    pub fn protocol_of(&self, name: &str) -> Option<Transport> {
        let list = self.list.load();
        let found = list.iter().find(|active| active.settings.id == name)?;
        Some(found.settings.protocol)
    }

    /// This one alone is open, for simulations: nobody binds it.
    #[cfg(test)]
    pub(crate) fn open_alone(&self, bind: SocketAddr) {
        let settings = Settings::of_file(Transport::Udp, bind);
        self.set(vec![Arc::new(Active {
            settings,
            tls: None,
        })]);
        self.settled.store(true, Ordering::Release);
    }

    fn set(&self, list: Vec<Arc<Active>>) {
        self.list.store(Arc::new(list));
    }
}

/// A socket for one shard.
enum Bound {
    Udp(std::net::UdpSocket),
    Stream(std::net::TcpListener),
}

fn bind_all(
    settings: &Settings,
    shards: usize,
    open: &[Arc<Active>],
) -> Result<Vec<Bound>, bind::BindError> {
    if settings.lodges {
        return Ok(Vec::new());
    }
    let is_udp = settings.protocol == Transport::Udp;
    // Beside an address of ours with the same port the port cannot be tried alone: sharing is what lets us have both.
    let beside = open.iter().any(|active| {
        let other = &active.settings;
        (other.protocol == Transport::Udp) == is_udp
            && other.bind.port() == settings.bind.port()
            && other.bind.is_ipv4() == settings.bind.is_ipv4()
    });
    let place = bind::Place {
        key: format!("transport {}", settings.name()),
        address: settings.bind,
        probe: !beside,
        patience: Duration::from_secs(1),
    };
    if is_udp {
        let sockets = bind::udp_for_shards(&place, shards)?;
        for socket in &sockets {
            super::mark(&socket2::SockRef::from(socket), settings);
        }
        Ok(sockets.into_iter().map(Bound::Udp).collect())
    } else {
        let listeners = bind::tcp_for_shards(&place, settings.protocol.as_str(), shards)?;
        Ok(listeners.into_iter().map(Bound::Stream).collect())
    }
}

/// Reads the files of a secure transport; not on a signalling thread.
fn activate(settings: Settings) -> Result<Active, String> {
    let tls = match &settings.tls {
        None => None,
        Some(files) => match Tls::load(files) {
            Ok(tls) => Some(Arc::new(tls)),
            Err(error) => return Err(format!("transport {}: {error}", settings.name())),
        },
    };
    Ok(Active { settings, tls })
}

/// Transports that were bound before anything else of the process.
pub struct First {
    open: Vec<(Arc<Active>, Vec<Bound>)>,
}

impl First {
    /// Binds what `strowger.toml` names, once for each shard.
    ///
    /// # Errors
    /// An address that cannot be had, or a certificate that cannot be used: the exchange does not start half.
    pub fn bind(config: &crate::Config, shards: usize) -> Result<Self, FirstError> {
        let all = settings::of_file(config).into_iter();
        let open = all.map(|settings| first(settings, shards, bind::RETRY));
        Ok(Self {
            open: open.collect::<Result<_, _>>()?,
        })
    }

    /// Binds one address for datagrams and nothing else: for tools that talk to a single shard.
    ///
    /// # Errors
    /// The address cannot be had.
    pub fn datagrams(address: SocketAddr) -> Result<Self, FirstError> {
        let settings = Settings::of_file(Transport::Udp, address);
        Ok(Self {
            open: vec![first(settings, 1, bind::RETRY)?],
        })
    }

    /// The addresses that were bound.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let all = self.open.iter();
        all.map(|(active, _)| active.settings.bind).collect()
    }
}

fn first(
    mut settings: Settings,
    shards: usize,
    patience: Duration,
) -> Result<(Arc<Active>, Vec<Bound>), FirstError> {
    let key = match settings.protocol {
        Transport::Udp => "sip.udp",
        Transport::Tcp => "sip.tcp",
        Transport::Tls => "sip.tls",
        Transport::Ws => "sip.ws",
        Transport::Wss => "sip.wss",
    };
    let place = bind::Place {
        key: key.to_owned(),
        address: settings.bind,
        probe: true,
        patience,
    };
    let sockets: Vec<Bound> = if settings.protocol == Transport::Udp {
        let sockets = bind::udp_for_shards(&place, shards)?;
        sockets.into_iter().map(Bound::Udp).collect()
    } else {
        let listeners = bind::tcp_for_shards(&place, settings.protocol.as_str(), shards)?;
        listeners.into_iter().map(Bound::Stream).collect()
    };
    let bound = sockets.first().and_then(|socket| match socket {
        Bound::Udp(socket) => socket.local_addr().ok(),
        Bound::Stream(listener) => listener.local_addr().ok(),
    });
    settings.bind = bound.unwrap_or(settings.bind);
    let active = activate(settings).map_err(FirstError::Tls)?;
    Ok((Arc::new(active), sockets))
}

/// What stands in the way of the transports of `strowger.toml`: binds each for a moment.
pub fn check_file(config: &crate::Config) -> Vec<FirstError> {
    let all = settings::of_file(config).into_iter();
    all.filter_map(|settings| first(settings, 1, bind::RETRY).err())
        .collect()
}

/// What is wrong with the transports of rows; nothing is bound.
pub fn check_rows(config: &crate::Config, snapshot: &strowger_store::Snapshot) -> Vec<String> {
    let (all, mut problems) = settings::settle(config, &snapshot.transports);
    let rows = all.into_iter().filter(|settings| !settings.of_file);
    problems.extend(rows.filter_map(|settings| activate(settings).err()));
    problems
}

/// Why the transports of the configuration file cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum FirstError {
    #[error(transparent)]
    Bind(#[from] bind::BindError),
    #[error("configuration section tls: {0}")]
    Tls(String),
}

/// Hands the sockets of a transport to the shards.
async fn give(shared: &Arc<Shared>, active: &Arc<Active>, sockets: Vec<Bound>) {
    for (inbox, socket) in shared.inboxes().iter().zip(sockets) {
        let active = Arc::clone(active);
        let (done, opened) = tokio::sync::oneshot::channel();
        let mut message = ShardMessage::Errand(Box::new(move |shard: &Rc<Shard>| {
            match socket {
                Bound::Udp(socket) => shard.open_udp(&active, socket),
                Bound::Stream(listener) => shard.open_listener(&active, listener),
            }
            let _ = done.send(());
        }));
        while let Err(back) = inbox.send(message) {
            message = back;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let _ = opened.await;
    }
}

/// Closes a transport on all shards; its connections stay as long as they are used.
fn take(shared: &Arc<Shared>, active: &Arc<Active>) {
    for inbox in shared.inboxes() {
        let active = Arc::clone(active);
        let errand = ShardMessage::Errand(Box::new(move |shard: &Rc<Shard>| {
            shard.close_transport(active.settings.protocol, active.settings.bind);
        }));
        if inbox.send(errand).is_err() {
            tracing::error!("a shard is too busy to close a transport");
        }
    }
}

/// Opens the transports of the file and of rows, and keeps them as the rows say from then on. Returns when all are open.
pub async fn start(shared: &Arc<Shared>, first: First) {
    let mut open = Vec::new();
    for (active, sockets) in first.open {
        open.push(Arc::clone(&active));
        shared.transports.set(open.clone());
        give(shared, &active, sockets).await;
    }
    settle(shared).await;
    shared.transports.settled.store(true, Ordering::Release);
    let weak = Arc::downgrade(shared);
    let mut versions = shared.realtime.subscribe();
    shared.control.spawn(async move {
        let mut seen = None;
        let mut names = tokio::time::Instant::now();
        loop {
            let _ = tokio::time::timeout(LOOK, versions.changed()).await;
            let Some(shared) = weak.upgrade() else { return };
            let version = shared.snapshot().version_of(Table::Transports);
            if seen.replace(version) != Some(version) {
                settle(&shared).await;
            }
            renew(&shared, false).await;
            let again = names.elapsed() >= NAMES;
            if again {
                names = tokio::time::Instant::now();
                settle(&shared).await;
            }
        }
    });
    let table = Arc::downgrade(shared);
    shared.control.spawn(async move {
        loop {
            let Some(connections) = table.upgrade().map(|shared| Arc::clone(&shared.connections))
            else {
                return;
            };
            let ended = connections.ended().await;
            let Some(shared) = table.upgrade() else { return };
            for contact in shared.contacts.connections_closed(&ended) {
                tracing::info!(aor = contact.aor, uri = %contact.uri, "registration ended with its connection");
            }
        }
    });
}

/// Reads certificates again whose files changed; all of them `in_any_case`.
pub async fn renew(shared: &Arc<Shared>, in_any_case: bool) {
    let all = shared.transports.all();
    let work = tokio::task::spawn_blocking(move || {
        for active in all.iter() {
            let Some(tls) = &active.tls else { continue };
            match tls.renew(in_any_case) {
                Ok(false) => {}
                Ok(true) => {
                    tracing::info!(transport = active.settings.name(), "certificates read anew");
                }
                Err(error) => {
                    tracing::error!(transport = active.settings.name(), %error, "certificates: the former ones stay in use");
                }
            }
        }
    });
    let _ = work.await;
}

/// Makes the open transports what file and rows say. What cannot be had is told, and tried again at the next change.
async fn settle(shared: &Arc<Shared>) {
    let (mut wanted, mut problems) =
        settings::settle(&shared.config, &shared.snapshot().transports);
    let before = shared.transports.all();
    let same = |a: &Settings, b: &Settings| a.protocol == b.protocol && a.bind == b.bind;
    let mut lookups = Vec::with_capacity(wanted.len());
    for settings in &mut wanted {
        let active = before
            .iter()
            .find(|active| same(&active.settings, settings));
        let former = active.map(|active| &active.settings);
        lookups.push(look_up(shared, settings, former));
    }
    join_all(lookups).await;
    let mut open: Vec<Arc<Active>> = Vec::new();
    // What is no more, or at another address: only where the row allows it without a restart.
    for active in before.iter() {
        let found = wanted.iter().find(|s| same(s, &active.settings));
        if found.is_some() {
            continue;
        }
        let moved = wanted
            .iter()
            .find(|s| !s.id.is_empty() && s.id == active.settings.id);
        let allowed = moved.map_or(active.settings.allow_reload, |s| s.allow_reload);
        if allowed && !active.settings.of_file {
            take(shared, active);
            tracing::info!(transport = active.settings.name(), bind = %active.settings.bind, "transport closed");
        } else {
            if moved.is_some() {
                problems.push(format!(
                    "transport {}: its address changes at the next start, as allow_reload is no",
                    active.settings.id
                ));
            }
            open.push(Arc::clone(active));
        }
    }
    let kept = open.len();
    for settings in wanted {
        let known = before
            .iter()
            .find(|active| same(&active.settings, &settings));
        let held =
            |active: &Arc<Active>| !settings.id.is_empty() && active.settings.id == settings.id;
        // What the file names was opened at the start.
        if known.is_none() && settings.of_file {
            continue;
        }
        if known.is_none() && open[..kept].iter().any(held) {
            continue;
        }
        match known {
            Some(active) if active.settings == settings => open.push(Arc::clone(active)),
            Some(active) if active.settings.tls == settings.tls => open.push(Arc::new(Active {
                settings,
                tls: active.tls.clone(),
            })),
            _ => match renewed(shared, settings, known, &before).await {
                Ok(active) => open.push(active),
                Err(problem) => {
                    problems.push(problem);
                    open.extend(known.cloned());
                }
            },
        }
    }
    open.sort_by_key(|active| !active.settings.of_file);
    shared.transports.set(open);
    let mut told = shared.transports.problems.lock();
    for problem in problems.iter().filter(|problem| !told.contains(problem)) {
        tracing::error!("{problem}");
    }
    *told = problems;
}

/// Opens a transport that is new, or reads the files of one whose certificates are others now.
async fn renewed(
    shared: &Arc<Shared>,
    settings: Settings,
    known: Option<&Arc<Active>>,
    open: &[Arc<Active>],
) -> Result<Arc<Active>, String> {
    let (open, shards, is_open) = (open.to_vec(), shared.inboxes().len(), known.is_some());
    let made = tokio::task::spawn_blocking(move || {
        let active = Arc::new(activate(settings)?);
        let sockets = if is_open {
            Vec::new()
        } else {
            bind_all(&active.settings, shards, &open).map_err(|error| error.to_string())?
        };
        Ok::<_, String>((active, sockets))
    });
    let (active, sockets) = made.await.map_err(|error| error.to_string())??;
    if !is_open {
        give(shared, &active, sockets).await;
        let how = match active.settings.lodges {
            true => "transport open at /ws of the HTTP server",
            false => "transport open",
        };
        tracing::info!(transport = active.settings.name(), protocol = %active.settings.protocol, bind = %active.settings.bind, "{how}");
    }
    Ok(active)
}

/// The addresses behind names of external addresses. The former one stays where the name still has it, and where nobody
/// answers: a question that is lost must not cost calls their sound.
async fn look_up(shared: &Arc<Shared>, settings: &mut Settings, former: Option<&Settings>) {
    let want_v4 = settings.bind.is_ipv4();
    let id = settings.id.clone();
    let externals = [
        (
            &mut settings.external_signaling,
            former.and_then(|former| former.external_signaling.as_ref()),
        ),
        (
            &mut settings.external_media,
            former.and_then(|former| former.external_media.as_ref()),
        ),
    ];
    for (external, former) in externals {
        let Some(external) = external else { continue };
        if !external.is_name() {
            continue;
        }
        let former = former.filter(|former| former.text == external.text);
        let former = former.and_then(|former| former.ip);
        let found = shared.dns.addresses(&external.text).await;
        let found: Vec<IpAddr> = found
            .into_iter()
            .filter(|ip| ip.is_ipv4() == want_v4)
            .collect();
        if found.is_empty() {
            tracing::warn!(
                transport = id,
                name = external.text,
                kept = former.map(tracing::field::display),
                "the name of an external address is not found"
            );
        }
        external.ip = kept(former, &found);
    }
}

fn kept(former: Option<IpAddr>, found: &[IpAddr]) -> Option<IpAddr> {
    let still = former.filter(|ip| found.is_empty() || found.contains(ip));
    still.or_else(|| found.first().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_external_address_outlives_a_lost_answer_and_the_order_of_records() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let (old, new) = (ip("192.0.2.1"), ip("192.0.2.2"));
        assert_eq!(kept(Some(old), &[]), Some(old));
        assert_eq!(kept(Some(old), &[new, old]), Some(old));
        assert_eq!(kept(Some(old), &[new]), Some(new));
        assert_eq!(kept(None, &[new]), Some(new));
        assert_eq!(kept(None, &[]), None);
    }
}

//! The Manager interface (AMI): programs log in, are told what happens, and have things done. Over TCP ([`tcp`]) and HTTP
//! ([`web`]). What lives here waits for nobody: shards put events into one bounded stream, each session reads it at its
//! own pace, and who is too slow is told so and loses the session.

mod actions;
mod answer;
mod classes;
mod feed;
mod filter;
pub(crate) mod program;
mod request;
mod session;
mod settings;
mod tcp;
mod web;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use strowger_core::Shared;
use strowger_core::counters::Counter;
use strowger_core::events::{Event, Listener, Told};
use strowger_core::protect::{Heard, Offence, SecurityLog, Subject};
use strowger_scripting::Plans;
use strowger_store::{Store, Table};
use tokio::sync::watch;

use answer::Stamp;
use request::Request;
use session::{Refused, Session};
use settings::{Settings, User};
pub(crate) use web::routes;

/// What the greeting says; clients look at what stands before the slash.
const GREETING: &str = "Asterisk Call Manager/9.0.0\r\n";
/// How long somebody waits who gave a wrong secret.
const FAILURE_DELAY: Duration = Duration::from_secs(1);

/// How often sessions over HTTP are looked at.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

/// What is counted of the Manager.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) logins: Counter,
    pub(crate) failures: Counter,
    pub(crate) refused: Counter,
    pub(crate) actions: Counter,
    pub(crate) events: Counter,
    pub(crate) slow: Counter,
}

/// The Manager interface of this process.
pub struct Manager {
    pub(crate) shared: Arc<Shared>,
    pub(crate) plans: Arc<Plans>,
    /// For changes that programs ask for.
    store: Store,
    settings: ArcSwap<Settings>,
    /// Told of each change of the settings.
    changed: watch::Sender<u64>,
    /// Users in session, by name, as often as they are.
    users: Mutex<Vec<Arc<User>>>,
    /// Sessions over TCP that are not logged in.
    strangers: AtomicUsize,
    /// Sessions over TCP.
    connections: AtomicUsize,
    /// The exchange ends.
    ending: watch::Sender<bool>,
    web: web::Sessions,
    pub(crate) counts: Counts,
    pub(crate) reloaded: AtomicU64,
}

/// A number nobody can guess.
fn random() -> u64 {
    let mut bytes = [0u8; 8];
    match getrandom::fill(&mut bytes) {
        Ok(()) => u64::from_ne_bytes(bytes),
        // The kernel's source cannot fail after boot; the hasher's own seed is the next best.
        Err(_) => {
            use std::hash::{BuildHasher, Hasher};
            std::hash::RandomState::new().build_hasher().finish()
        }
    }
}

/// `1711272193.709205`.
pub(crate) fn timestamp() -> String {
    written(SystemTime::now())
}

fn written(time: SystemTime) -> String {
    let time = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{}.{:06}", time.as_secs(), time.subsec_micros())
}

/// The two ends of a connection.
#[derive(Clone, Copy, Debug)]
struct Peer {
    local: SocketAddr,
    remote: SocketAddr,
}

/// A user who is in session, as long as this lives.
pub(crate) struct Seat {
    manager: Arc<Manager>,
    user: Arc<User>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut users = self.manager.users.lock();
        if let Some(at) = users.iter().position(|user| user.name == self.user.name) {
            users.swap_remove(at);
        }
        drop(users);
        if self.user.display_connects {
            tracing::info!(user = self.user.name, "Manager: logged off");
        }
    }
}

impl Manager {
    /// Starts it: it listens when manager.conf, in `static_manager`, says so, and stops when it says no more.
    pub fn start(shared: &Arc<Shared>, plans: &Arc<Plans>, store: Store) -> Arc<Self> {
        let (changed, _) = watch::channel(0);
        let settings = Settings::read(&shared.snapshot().statics, shared.config.manager.bind);
        let manager = Arc::new(Self {
            shared: Arc::clone(shared),
            plans: Arc::clone(plans),
            store,
            settings: ArcSwap::from_pointee(settings),
            changed,
            users: Mutex::default(),
            strangers: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            ending: watch::channel(false).0,
            web: web::Sessions::new(),
            counts: Counts::default(),
            reloaded: AtomicU64::new(epoch()),
        });
        manager.settings_changed();
        tokio::spawn(Arc::clone(&manager).follow());
        tokio::spawn(tcp::listen(Arc::clone(&manager), tcp::Door::plain));
        tokio::spawn(tcp::listen(Arc::clone(&manager), tcp::Door::tls));
        tokio::spawn(feed::run(Arc::clone(shared)));
        let sweeping = Arc::clone(&manager);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(SWEEP_EVERY).await;
                let slow = sweeping.web.sweep();
                if slow > 0 {
                    sweeping.counts.slow.add(slow as u64);
                    tracing::warn!(slow, "Manager: sessions over HTTP fetch no events");
                }
            }
        });
        manager
    }

    /// Reads manager.conf again whenever its rows change.
    async fn follow(self: Arc<Self>) {
        let mut versions = self.shared.realtime.subscribe();
        let version = |manager: &Self| {
            manager
                .shared
                .snapshot()
                .version_of(Table::StaticExtensions)
        };
        let mut known = version(&self);
        while versions.changed().await.is_ok() {
            let now = version(&self);
            if now == known {
                continue;
            }
            known = now;
            let snapshot = self.shared.snapshot();
            let bind = self.shared.config.manager.bind;
            self.settings
                .store(Arc::new(Settings::read(&snapshot.statics, bind)));
            self.settings_changed();
            self.changed.send_modify(|version| *version += 1);
        }
    }

    fn settings_changed(&self) {
        let settings = self.settings.load();
        for problem in &settings.problems {
            tracing::warn!("manager.conf: {problem}");
        }
        let events = &self.shared.events;
        events
            .channel_variables
            .store(Arc::new(settings.channel_variables.clone()));
    }

    /// manager.conf as it stands.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    /// Listens to what happens from now on.
    fn listen(&self) -> Listener {
        self.shared.listen()
    }

    /// What every event has beside its fields.
    fn stamp(settings: &Settings, told: &Told) -> Stamp {
        Stamp {
            time: settings.timestamps.then(|| written(told.at)),
        }
    }

    /// May somebody there ask for anything at all?
    fn admits(&self, ip: IpAddr) -> bool {
        let protection = &self.shared.protection;
        if protection.is_blocked(ip) {
            protection.dropped(ip);
            self.counts.refused.add(1);
            return false;
        }
        true
    }

    /// Writes down how a login went, and counts what failed for its address.
    fn judge(&self, result: Result<(), Refused>, account: &str, peer: Peer) {
        let (heard, offence) = match result {
            Ok(()) => (Heard::SuccessfulAuth, None),
            Err(Refused::Unknown) => (Heard::InvalidAccountId, Some(Offence::Unknown)),
            Err(Refused::Denied) => (Heard::FailedAcl, Some(Offence::Denied)),
            Err(Refused::Wrong) => (Heard::InvalidPassword, Some(Offence::Password)),
        };
        let session = peer.remote.to_string();
        let subject = Subject::of_manager(account, &session, peer.local, peer.remote);
        let (shared, ip) = (&self.shared, peer.remote.ip());
        shared.protection.log.write(heard, &subject);
        shared.events.tell(|| SecurityLog::event(heard, &subject));
        match offence {
            None => shared.protection.proved(ip),
            Some(offence) => {
                self.counts.failures.add(1);
                let name: String = account.escape_debug().take(64).collect();
                tracing::warn!(user = name, from = %peer.remote, "Manager: failed to authenticate");
                let snapshot = shared.snapshot();
                shared.protection.note(ip, offence, true, &snapshot);
            }
        }
    }

    /// `Login`: the answer, and the seat of who was let in.
    fn login(
        self: &Arc<Self>,
        session: &mut Session,
        request: &Request,
        peer: Peer,
    ) -> (String, Option<Seat>) {
        if session.user().is_some() {
            return (answer::success(request, "Already authenticated"), None);
        }
        let proved = session.prove(request, &self.settings(), peer.remote.ip());
        let result = proved.as_ref().map(drop).map_err(|refused| *refused);
        self.judge(result, request.get("Username"), peer);
        let Ok(user) = proved else {
            return (answer::error(request, "Authentication failed"), None);
        };
        let Some(seat) = self.seat(&user, peer) else {
            return (answer::error(request, "Login Already In Use"), None);
        };
        session.admit(&user, request);
        (
            answer::success(request, "Authentication accepted"),
            Some(seat),
        )
    }

    /// A user is in session from now on; none for who has a session already and may not have two.
    fn seat(self: &Arc<Self>, user: &Arc<User>, peer: Peer) -> Option<Seat> {
        {
            let mut users = self.users.lock();
            if !user.multiple_logins && users.iter().any(|known| known.name == user.name) {
                return None;
            }
            users.push(Arc::clone(user));
        }
        self.counts.logins.add(1);
        if user.display_connects {
            tracing::info!(user = user.name, from = %peer.remote, "Manager: logged on");
        }
        Some(Seat {
            manager: Arc::clone(self),
            user: Arc::clone(user),
        })
    }

    /// The event that greets who listens to the system.
    fn fully_booted(&self) -> Event {
        let uptime = self.shared.started_at.elapsed().as_secs();
        let last = epoch().saturating_sub(self.reloaded.load(Ordering::Relaxed));
        Event::new("FullyBooted")
            .with("Uptime", uptime.to_string())
            .with("LastReload", last.to_string())
            .with("Status", "Fully Booted")
    }

    /// Tells everybody that the exchange ends.
    pub(crate) fn tell_end(&self) {
        let events = &self.shared.events;
        let restarts = self.shared.ending.restarts();
        events.tell(|| {
            Event::new("Shutdown")
                .with("Shutdown", "Cleanly")
                .with("Restart", if restarts { "True" } else { "False" })
        });
    }

    /// Ends sessions over TCP behind what was told, and lets nobody in any more.
    pub(crate) fn end(&self) {
        self.ending.send_replace(true);
    }

    /// Is somebody in session over TCP?
    pub(crate) fn is_busy(&self) -> bool {
        self.connections.load(Ordering::Relaxed) > 0
    }

    /// What is counted, for the metrics page.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        let counts = &self.counts;
        vec![
            ("sessions_running", self.users.lock().len() as u64),
            ("logins", counts.logins.get()),
            ("login_failures", counts.failures.get()),
            ("connections_refused", counts.refused.get()),
            ("actions", counts.actions.get()),
            ("events", counts.events.get()),
            ("sessions_too_slow", counts.slow.get()),
            ("events_refused", self.shared.events.refused.get()),
        ]
    }
}

pub(crate) fn epoch() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

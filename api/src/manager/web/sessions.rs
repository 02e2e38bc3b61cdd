//! Sessions over HTTP: who has one, how many there may be, and when they end; and the nonces of those that prove themselves
//! with every request. A nonce carries its own proof, so that strangers leave nothing behind. Knows no requests.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit as _, Mac as _};
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use sha2::Sha256;
use strowger_core::events::Listener;
use tokio::sync::watch;

use super::super::session::{Session, hex};
use super::super::{Seat, random};

/// Sessions of users at most.
pub(super) const USERS_MAX: usize = 100;
/// Sessions that nobody has logged in to, at most.
const STRANGERS_MAX: usize = 100;
/// Of these, sessions of one address.
const STRANGERS_OF_ADDRESS_MAX: usize = 10;
/// How long such a session lives.
pub(super) const STRANGER_LIFE: Duration = Duration::from_secs(5);
/// How long a nonce is good, in seconds.
pub(super) const NONCE_SECONDS: u64 = 62;
/// Nonces of ended sessions that are remembered.
const SPENT_MAX: usize = 1024;

/// By what a session is found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// Eight hexadecimal digits, in a cookie.
    Cookie(u32),
    /// The nonce of a digest.
    Nonce(String),
}

/// One session.
pub(super) struct WebSession {
    from: IpAddr,
    made: Instant,
    pub(super) expires: Mutex<Instant>,
    pub(super) state: Mutex<State>,
    /// Its place in the stream; whoever waits for events has the lock as long as he waits.
    pub(super) events: tokio::sync::Mutex<Option<Listener>>,
    /// It fetched its events too slowly, and some are lost.
    pub(super) lost: AtomicBool,
    /// The number of the newest WaitEvent, to which older ones give way.
    pub(super) waits: watch::Sender<u64>,
    /// The count of the last request with its nonce.
    pub(super) count: Mutex<u32>,
    is_users: AtomicBool,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) session: Session,
    pub(super) seat: Option<Seat>,
}

impl WebSession {
    fn new(from: IpAddr) -> Arc<Self> {
        let now = Instant::now();
        Arc::new(Self {
            from,
            made: now,
            expires: Mutex::new(now + STRANGER_LIFE),
            state: Mutex::default(),
            events: tokio::sync::Mutex::default(),
            lost: AtomicBool::default(),
            waits: watch::channel(0).0,
            count: Mutex::default(),
            is_users: AtomicBool::default(),
        })
    }

    /// Another WaitEvent has come: its number.
    pub(super) fn next_wait(&self) -> u64 {
        let mut number = 0;
        self.waits.send_modify(|newest| {
            *newest += 1;
            number = *newest;
        });
        number
    }

    fn is_users(&self) -> bool {
        self.is_users.load(Ordering::Relaxed)
    }
}

#[derive(Default)]
struct Inside {
    sessions: FxHashMap<Key, Arc<WebSession>>,
    /// Nonces of sessions that ended, oldest first: a request of such a session, repeated, is not to be done again.
    spent: VecDeque<String>,
    /// Nonces given up to this second count as spent.
    spent_until: u64,
}

impl Inside {
    fn users(&self) -> usize {
        let sessions = self.sessions.values();
        sessions.filter(|session| session.is_users()).count()
    }

    fn spend(&mut self, nonce: String) {
        if self.spent.len() >= SPENT_MAX
            && let Some(oldest) = self.spent.pop_front()
        {
            self.spent_until = self.spent_until.max(second_of(&oldest));
        }
        self.spent.push_back(nonce);
    }

    /// The oldest session of a nonce that was used once, with nobody in it and no events that wait: a program that takes a new
    /// nonce for each request does not come back to it.
    fn oldest_single(&self) -> Option<Key> {
        let singles = self.sessions.iter().filter(|(key, session)| {
            matches!(key, Key::Nonce(_))
                && Arc::strong_count(session) == 1
                && *session.count.lock() == 1
                && !session.state.lock().session.listens()
        });
        let oldest = singles.min_by_key(|(_, session)| session.made);
        oldest.map(|(key, _)| key.clone())
    }

    fn remove(&mut self, key: &Key) -> Option<Arc<WebSession>> {
        let session = self.sessions.remove(key)?;
        if let Key::Nonce(nonce) = key {
            self.spend(nonce.clone());
        }
        Some(session)
    }
}

/// The second in which a nonce was given.
fn second_of(nonce: &str) -> u64 {
    let digits = nonce.get(..8).unwrap_or_default();
    u64::from_str_radix(digits, 16).unwrap_or(0)
}

/// How good a nonce is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nonce {
    /// We never gave it to this address, or what it stood for is over.
    Foreign,
    Stale,
    Good,
}

/// All sessions over HTTP.
pub(crate) struct Sessions {
    inside: Mutex<Inside>,
    /// What proves that a nonce is ours.
    key: [u8; 32],
    since: Instant,
}

impl Sessions {
    pub(crate) fn new() -> Self {
        let mut key = [0; 32];
        for part in key.chunks_exact_mut(8) {
            part.copy_from_slice(&random().to_ne_bytes());
        }
        Self {
            inside: Mutex::default(),
            key,
            since: Instant::now(),
        }
    }

    /// Seconds since the first of all nonces could be given.
    fn second(&self) -> u64 {
        self.since.elapsed().as_secs() + 1
    }

    fn proof(&self, head: &str, from: IpAddr) -> String {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) else {
            // Keys of any length are good for it.
            return String::new();
        };
        mac.update(head.as_bytes());
        mac.update(from.to_canonical().to_string().as_bytes());
        hex(mac.finalize().into_bytes().get(..8).unwrap_or_default())
    }

    /// A nonce for this address. Nothing is kept of it.
    pub(super) fn nonce(&self, from: IpAddr) -> String {
        self.nonce_of(self.second(), from)
    }

    fn nonce_of(&self, second: u64, from: IpAddr) -> String {
        let head = format!("{second:08x}{:08x}", random() & 0xffff_ffff);
        let proof = self.proof(&head, from);
        head + &proof
    }

    /// Is it one of ours?
    pub(super) fn judge(&self, nonce: &str, from: IpAddr) -> Nonce {
        let Some((head, proof)) = nonce.split_at_checked(16) else {
            return Nonce::Foreign;
        };
        let expected = self.proof(head, from);
        let inside = self.inside.lock();
        if !super::super::session::is_same(proof, &expected)
            // Of a session that lives it is known that it goes on.
            || (second_of(nonce) <= inside.spent_until
                && !inside.sessions.contains_key(&Key::Nonce(nonce.to_owned())))
            || inside.spent.iter().any(|spent| spent == nonce)
        {
            Nonce::Foreign
        } else if self.second().saturating_sub(second_of(nonce)) > NONCE_SECONDS {
            Nonce::Stale
        } else {
            Nonce::Good
        }
    }

    pub(super) fn find(&self, key: &Key, from: IpAddr) -> Option<Arc<WebSession>> {
        let inside = self.inside.lock();
        let session = inside.sessions.get(key)?;
        // While something is asked for in it, it is not over.
        let is_used = Arc::strong_count(session) > 1;
        let lives = session.from == from && (is_used || *session.expires.lock() > Instant::now());
        lives.then(|| Arc::clone(session))
    }

    /// A session for somebody who is about to log in. The oldest such session makes room: first of the same address.
    pub(super) fn make(&self, from: IpAddr) -> (Key, Arc<WebSession>) {
        self.sweep();
        let session = WebSession::new(from);
        let mut inside = self.inside.lock();
        let oldest = |inside: &Inside, of: Option<IpAddr>, most: usize| {
            let strangers = inside.sessions.iter().filter(|(_, session)| {
                !session.is_users() && of.is_none_or(|address| session.from == address)
            });
            let (mut count, mut oldest) = (0, None);
            for (key, session) in strangers {
                count += 1;
                if oldest.as_ref().is_none_or(|(made, _)| session.made < *made) {
                    oldest = Some((session.made, key.clone()));
                }
            }
            oldest.filter(|_| count >= most).map(|(_, key)| key)
        };
        let goes = oldest(&inside, Some(from), STRANGERS_OF_ADDRESS_MAX)
            .or_else(|| oldest(&inside, None, STRANGERS_MAX));
        if let Some(key) = goes {
            inside.remove(&key);
        }
        loop {
            let key = Key::Cookie((random() & 0xffff_ffff) as u32);
            if key != Key::Cookie(0) && !inside.sessions.contains_key(&key) {
                inside.sessions.insert(key.clone(), Arc::clone(&session));
                return (key, session);
            }
        }
    }

    /// The session of a nonce that was proved, made where there is none yet; `None`: there are too many.
    pub(super) fn of_nonce(&self, nonce: &str, from: IpAddr) -> Option<Arc<WebSession>> {
        let key = Key::Nonce(nonce.to_owned());
        if let Some(session) = self.find(&key, from) {
            return Some(session);
        }
        self.sweep();
        let mut inside = self.inside.lock();
        if let Some(session) = inside.sessions.get(&key) {
            return (session.from == from).then(|| Arc::clone(session));
        }
        let mut gone = None;
        if inside.users() >= USERS_MAX {
            let single = inside.oldest_single()?;
            gone = inside.remove(&single);
        }
        let session = WebSession::new(from);
        session.is_users.store(true, Ordering::Relaxed);
        inside.sessions.insert(key, Arc::clone(&session));
        drop(inside);
        // Whoever is logged off by this is written down without the lock.
        drop(gone);
        Some(session)
    }

    /// Somebody has logged in to a session; false: too many have.
    pub(super) fn admit(&self, session: &WebSession) -> bool {
        let inside = self.inside.lock();
        let admitted = session.is_users() || inside.users() < USERS_MAX;
        if admitted {
            session.is_users.store(true, Ordering::Relaxed);
        }
        admitted
    }

    /// The session goes on under a new nonce.
    pub(super) fn renew(&self, nonce: &str, from: IpAddr) -> String {
        let new = self.nonce(from);
        let mut inside = self.inside.lock();
        if let Some(session) = inside.remove(&Key::Nonce(nonce.to_owned())) {
            *session.count.lock() = 0;
            inside.sessions.insert(Key::Nonce(new.clone()), session);
        }
        new
    }

    pub(super) fn remove(&self, key: &Key) {
        self.inside.lock().remove(key);
    }

    /// Forgets who has been away too long, and takes from the stream who reads too slowly. How many of the latter.
    pub(crate) fn sweep(&self) -> usize {
        let now = Instant::now();
        let mut inside = self.inside.lock();
        let over = inside.sessions.iter().filter(|(_, session)| {
            *session.expires.lock() <= now && Arc::strong_count(session) == 1
        });
        let over: Vec<Key> = over.map(|(key, _)| key.clone()).collect();
        let mut gone = Vec::new();
        for key in &over {
            gone.extend(inside.remove(key));
        }
        let old = self.second().saturating_sub(NONCE_SECONDS + 1);
        while inside
            .spent
            .front()
            .is_some_and(|nonce| second_of(nonce) < old)
        {
            inside.spent.pop_front();
        }
        let mut slow = 0;
        for session in inside.sessions.values() {
            if let Ok(mut events) = session.events.try_lock()
                && events.as_ref().is_some_and(Listener::is_cut_off)
            {
                *events = None;
                session.lost.store(true, Ordering::Relaxed);
                slow += 1;
            }
        }
        drop(inside);
        // Whoever is logged off by this is written down without the lock.
        drop(gone);
        slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn there(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    #[test]
    fn a_session_belongs_to_an_address_and_to_its_key() {
        let sessions = Sessions::new();
        let (key, session) = sessions.make(HERE);
        assert!(sessions.find(&key, HERE).is_some());
        assert!(sessions.find(&key, there(1)).is_none());
        assert!(sessions.find(&Key::Cookie(1), HERE).is_none());
        *session.expires.lock() = Instant::now();
        assert!(
            sessions.find(&key, HERE).is_some(),
            "something is asked for in it"
        );
        drop(session);
        assert!(sessions.find(&key, HERE).is_none());
    }

    #[test]
    fn strangers_displace_strangers_first_those_of_their_own_address_and_never_a_user() {
        let sessions = Sessions::new();
        let (user, session) = sessions.make(HERE);
        assert!(sessions.admit(&session));
        let (first, _) = sessions.make(there(1));
        for _ in 0..1000 {
            sessions.make(there(2));
        }
        assert!(sessions.find(&first, there(1)).is_some());
        for last in 3..=120 {
            sessions.make(there(last));
        }
        assert!(sessions.find(&first, there(1)).is_none());
        assert!(sessions.find(&user, HERE).is_some());
        let inside = sessions.inside.lock();
        assert_eq!(inside.sessions.len() - inside.users(), STRANGERS_MAX);
    }

    #[test]
    fn users_have_a_limit_of_their_own() {
        let sessions = Sessions::new();
        let mut kept = Vec::new();
        for number in 0..USERS_MAX {
            let nonce = sessions.nonce(HERE);
            kept.extend(sessions.of_nonce(&nonce, HERE));
            assert_eq!(kept.len(), number + 1);
        }
        assert!(sessions.of_nonce(&sessions.nonce(HERE), HERE).is_none());
        let (_, stranger) = sessions.make(HERE);
        assert!(!sessions.admit(&stranger));
        *kept[0].expires.lock() = Instant::now();
        kept.clear();
        assert!(sessions.of_nonce(&sessions.nonce(HERE), HERE).is_some());
    }

    #[test]
    fn who_takes_a_new_nonce_for_each_request_is_not_kept_out_and_keeps_nobody_out() {
        let sessions = Sessions::new();
        let make = |count: u32| {
            let nonce = sessions.nonce(HERE);
            let session = sessions.of_nonce(&nonce, HERE)?;
            *session.count.lock() = count;
            Some(nonce)
        };
        let lasting = make(2).expect("a session");
        let first = make(1).expect("a session");
        for number in 0..2 * (USERS_MAX + SPENT_MAX) {
            assert!(make(1).is_some(), "{number}");
        }
        assert_eq!(sessions.inside.lock().users(), USERS_MAX);
        assert_eq!(sessions.judge(&first, HERE), Nonce::Foreign);
        assert_eq!(sessions.judge(&lasting, HERE), Nonce::Good);
        assert!(sessions.find(&Key::Nonce(lasting), HERE).is_some());
    }

    #[test]
    fn a_nonce_is_good_for_whom_it_was_given_to_for_a_minute() {
        let sessions = Sessions::new();
        let nonce = sessions.nonce(HERE);
        assert_eq!(sessions.judge(&nonce, HERE), Nonce::Good);
        assert_eq!(sessions.judge(&nonce, there(1)), Nonce::Foreign);
        assert_eq!(Sessions::new().judge(&nonce, HERE), Nonce::Foreign);
        for forged in ["", "00000001", "ж", &nonce.replace(&nonce[..8], "ffffffff")] {
            assert_eq!(sessions.judge(forged, HERE), Nonce::Foreign, "{forged}");
        }
        let later = Sessions {
            since: Instant::now()
                .checked_sub(Duration::from_secs(NONCE_SECONDS + 10))
                .expect("the machine has run for a while"),
            ..sessions
        };
        assert_eq!(later.judge(&nonce, HERE), Nonce::Stale);
        assert!(later.inside.lock().sessions.is_empty(), "nothing is kept");
    }

    #[test]
    fn a_session_goes_on_under_a_new_nonce_and_the_old_one_is_spent() {
        let sessions = Sessions::new();
        let old = sessions.nonce(HERE);
        let session = sessions.of_nonce(&old, HERE).expect("a session");
        *session.count.lock() = 7;
        let new = sessions.renew(&old, HERE);
        let same = sessions.find(&Key::Nonce(new.clone()), HERE);
        assert!(same.is_some_and(|same| Arc::ptr_eq(&same, &session)));
        assert_eq!(*session.count.lock(), 0);
        assert_eq!(sessions.judge(&old, HERE), Nonce::Foreign);
        sessions.remove(&Key::Nonce(new.clone()));
        assert_eq!(sessions.judge(&new, HERE), Nonce::Foreign);
        // However many there are, none is forgotten while it would be good.
        for _ in 0..SPENT_MAX {
            let nonce = sessions.nonce(HERE);
            sessions.of_nonce(&nonce, HERE).expect("a session");
            sessions.remove(&Key::Nonce(nonce));
        }
        assert_eq!(sessions.judge(&old, HERE), Nonce::Foreign);
    }
}

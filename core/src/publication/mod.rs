//! State that exchanges tell each other by PUBLISH (RFC 3903), as Asterisk's `res_pjsip_publish_asterisk` does: who is free, rings or
//! talks (`asterisk-devicestate`), and how many messages wait (`asterisk-mwi`).
//!
//! What others publish here is in [`Published`], for all shards to read; what we publish elsewhere is decided, without I/O, by a
//! [`publisher::Publisher`] for each row. Sending and receiving is for shards. A subscription is none of this: telephones that watch
//! a device hear of it whoever told us.

mod inbound;
mod message;
pub(crate) mod publisher;
mod settings;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use rustc_hash::{FxHashMap, FxHashSet};
use strowger_store::Snapshot;

use crate::device::{DeviceState, device_key};
use crate::shared::Shared;
use crate::voicemail::Counts;

pub(crate) use inbound::receive;
pub(crate) use message::Said;
use settings::Rules;
pub use settings::problems;
pub(crate) use settings::{Extensions, Outbound, Package, Places, Topic, outbound};

/// How often publications are looked for whose time is over.
const SWEEP: Duration = Duration::from_secs(1);
/// Family and key of our own name among exchanges.
const OWN: (&str, &str) = ("Strowger", "eid");

/// What one exchange says of one thing: who says it, and what.
type Voices<T> = Vec<(Arc<str>, T)>;

/// What other exchanges have told us.
#[derive(Debug, Default)]
pub struct Published {
    /// What is said of devices: so that usually nobody has to look.
    count: AtomicUsize,
    devices: RwLock<Things<DeviceState>>,
    mailboxes: Mutex<Things<Counts>>,
    publications: Mutex<inbound::Publications>,
    rules: Mutex<Option<Arc<Rules>>>,
    /// Our own name.
    entity: OnceLock<String>,
    refused: AtomicU64,
    /// Things that we did not publish because too many waited.
    dropped: AtomicU64,
}

impl Published {
    /// The state of a device that is in this one here, and in others elsewhere.
    pub(crate) fn with(&self, device: &str, own: DeviceState) -> DeviceState {
        if self.count.load(Ordering::Acquire) == 0 {
            return own;
        }
        let devices = self.devices.read();
        match devices.by_name.get(&device_key(device)) {
            None => own,
            Some(voices) => {
                DeviceState::together(voices.iter().map(|(_, state)| *state).chain([own]))
            }
        }
    }

    /// Publications that live.
    pub fn len(&self) -> usize {
        self.publications.lock().len()
    }

    /// True where nobody publishes anything here.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// PUBLISH requests that were refused.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Things that we did not publish because too many waited.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    pub(crate) fn count_dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// The rules of this snapshot, read anew only where they may be others.
    fn rules(&self, snapshot: &Snapshot) -> Arc<Rules> {
        let mut rules = self.rules.lock();
        match &*rules {
            Some(rules) if rules.are_of(snapshot) => Arc::clone(rules),
            _ => {
                let new = Arc::new(Rules::read(snapshot));
                *rules = Some(Arc::clone(&new));
                new
            }
        }
    }

    /// Somebody says this of a device. False: too much is said already.
    fn set_device(&self, device: &str, entity: &Arc<str>, state: DeviceState) -> bool {
        let mut devices = self.devices.write();
        let taken = devices.say(device, entity, state).is_some();
        self.count.store(devices.voices, Ordering::Release);
        taken
    }

    /// Somebody says this of a mailbox: what all say of it together. `None`: too much is said already.
    fn set_mailbox(&self, mailbox: &str, entity: &Arc<str>, counts: Counts) -> Option<Counts> {
        let mut mailboxes = self.mailboxes.lock();
        mailboxes.say(mailbox, entity, counts).map(sum)
    }

    /// These say nothing any more: the devices that this was about.
    fn forget_devices(&self, entities: &FxHashSet<Arc<str>>) -> Vec<String> {
        let mut devices = self.devices.write();
        let changed = devices.silence(entities);
        self.count.store(devices.voices, Ordering::Release);
        changed.into_iter().map(|(device, _)| device).collect()
    }

    /// The same of mailboxes, and what others say of each; none: nobody says anything.
    fn forget_mailboxes(&self, entities: &FxHashSet<Arc<str>>) -> Vec<(String, Option<Counts>)> {
        let mut mailboxes = self.mailboxes.lock();
        let changed = mailboxes.silence(entities).into_iter();
        changed
            .map(|(mailbox, voices)| (mailbox, (!voices.is_empty()).then(|| sum(&voices))))
            .collect()
    }
}

/// Devices or mailboxes, and what others say of each.
#[derive(Debug)]
struct Things<T> {
    by_name: FxHashMap<String, Voices<T>>,
    /// How much is said of all of them.
    voices: usize,
}

impl<T> Default for Things<T> {
    fn default() -> Self {
        Self {
            by_name: FxHashMap::default(),
            voices: 0,
        }
    }
}

impl<T: Clone> Things<T> {
    /// All that is said of it now; none: too much is said already.
    fn say(&mut self, name: &str, entity: &Arc<str>, what: T) -> Option<&[(Arc<str>, T)]> {
        let said = |voices: &Voices<T>| voices.iter().position(|(who, _)| who == entity);
        let before = self.by_name.get(name).and_then(said);
        if before.is_none() && self.voices >= inbound::VOICES_MAX {
            return None;
        }
        let voices = self.by_name.entry(name.to_owned()).or_default();
        match before {
            Some(place) => voices[place].1 = what,
            None => {
                voices.push((Arc::clone(entity), what));
                self.voices += 1;
            }
        }
        Some(voices)
    }

    /// These say nothing any more: what they spoke of, and what others say of that.
    fn silence(&mut self, entities: &FxHashSet<Arc<str>>) -> Vec<(String, Voices<T>)> {
        let mut changed = Vec::new();
        let mut gone = 0;
        self.by_name.retain(|name, voices| {
            let before = voices.len();
            voices.retain(|(who, _)| !entities.contains(who));
            if voices.len() < before {
                gone += before - voices.len();
                changed.push((name.clone(), voices.clone()));
            }
            !voices.is_empty()
        });
        self.voices -= gone;
        changed
    }
}

fn sum(voices: &[(Arc<str>, Counts)]) -> Counts {
    let mut all = Counts { new: 0, old: 0 };
    for (_, counts) in voices {
        all.new = all.new.saturating_add(counts.new);
        all.old = all.old.saturating_add(counts.old);
    }
    all
}

impl Shared {
    /// Our own name among exchanges, six bytes as Asterisk writes them. It is kept, so that what we published before a restart is
    /// overwritten by what we publish after it.
    pub(crate) fn entity(&self) -> &str {
        self.published.entity.get_or_init(|| {
            let (family, key) = OWN;
            self.astdb.get(family, key).unwrap_or_else(|| {
                let [a, b, c, d, e, ..] = crate::random_u64().to_be_bytes();
                // Locally administered: nobody's network card has it.
                let new = format!("02:{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}");
                if let Err(error) = self.astdb.put(family, key, &new) {
                    tracing::warn!(%error, "our name among exchanges is a new one after each start");
                }
                new
            })
        })
    }

    /// What other exchanges say of a mailbox counts where it is not one of ours; none: nobody says anything any more.
    fn take_mailbox(&self, mailbox: &str, counts: Option<Counts>) {
        match counts {
            None => self.voicemail.forget_external(mailbox),
            Some(counts) => {
                if self.mailbox(mailbox).is_none() {
                    self.voicemail.set_external(mailbox, counts);
                }
            }
        }
    }

    /// Has a publication of ours tell everything anew.
    fn publish_all(&self, name: &str) {
        let inboxes = self.inboxes();
        let owner = crate::endpoint::registration::owner(name, inboxes.len());
        let Some(inbox) = inboxes.get(owner) else {
            return;
        };
        let name = name.to_owned();
        let errand = crate::shard::inbox::ShardMessage::Errand(Box::new(
            move |shard: &std::rc::Rc<crate::shard::Shard>| shard.publish_all(&name),
        ));
        if inbox.send(errand).is_err() {
            tracing::warn!("a shard is too busy to publish everything anew");
        }
    }
}

/// Ends publications whose time is over, as long as the exchange lives.
pub(crate) fn start(shared: &Arc<Shared>) {
    let weak = Arc::downgrade(shared);
    shared.control.spawn(async move {
        let mut turns = tokio::time::interval(SWEEP);
        turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            let Some(shared) = weak.upgrade() else {
                return;
            };
            inbound::sweep(&shared, std::time::Instant::now());
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(entity: &Arc<str>) -> FxHashSet<Arc<str>> {
        [Arc::clone(entity)].into_iter().collect()
    }

    #[test]
    fn a_device_is_what_it_is_here_and_elsewhere_together() {
        let published = Published::default();
        let with = |own| published.with("pjsip/alice", own);
        assert_eq!(with(DeviceState::Unavailable), DeviceState::Unavailable);
        let (one, two): (Arc<str>, Arc<str>) = ("one".into(), "two".into());
        assert!(published.set_device("PJSIP/alice", &one, DeviceState::NotInUse));
        assert_eq!(with(DeviceState::Invalid), DeviceState::NotInUse);
        assert!(published.set_device("PJSIP/alice", &two, DeviceState::InUse));
        assert_eq!(with(DeviceState::NotInUse), DeviceState::InUse);
        assert_eq!(with(DeviceState::Ringing), DeviceState::RingInUse);
        assert_eq!(published.forget_devices(&set(&two)), ["PJSIP/alice"]);
        assert_eq!(with(DeviceState::Invalid), DeviceState::NotInUse);
        assert!(published.forget_devices(&set(&two)).is_empty());
        published.forget_devices(&set(&one));
        assert_eq!(with(DeviceState::Invalid), DeviceState::Invalid);
        assert_eq!(published.count.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn messages_of_one_mailbox_on_several_exchanges_are_added_up() {
        let published = Published::default();
        let (one, two): (Arc<str>, Arc<str>) = ("one".into(), "two".into());
        let counts = |new, old| Counts { new, old };
        let say = |who: &Arc<str>, told| published.set_mailbox("7@default", who, told);
        assert_eq!(say(&one, counts(2, 1)), Some(counts(2, 1)));
        assert_eq!(say(&two, counts(1, 0)), Some(counts(3, 1)));
        assert_eq!(say(&one, counts(0, 3)), Some(counts(1, 3)));
        let left = |who| published.forget_mailboxes(&set(who));
        assert_eq!(left(&one), [("7@default".to_owned(), Some(counts(1, 0)))]);
        assert_eq!(left(&two), [("7@default".to_owned(), None)]);
        assert!(left(&two).is_empty());
    }

    #[test]
    fn what_is_said_has_a_limit_however_it_is_spread_over_devices_and_exchanges() {
        let published = Published::default();
        let say =
            |device: &str, who: &Arc<str>| published.set_device(device, who, DeviceState::InUse);
        let one: Arc<str> = "one".into();
        for number in 0..inbound::VOICES_MAX - 1 {
            let who: Arc<str> = format!("exchange {}", number % 7).into();
            assert!(say(&format!("PJSIP/{}", number / 7), &who), "{number}");
        }
        assert!(say("PJSIP/last", &one));
        assert!(!say("PJSIP/more", &one), "another device");
        assert!(!say("PJSIP/0", &one), "another voice");
        assert!(say("PJSIP/last", &one), "what was said can be changed");
        published.forget_devices(&set(&one));
        assert!(say("PJSIP/more", &one));
    }
}

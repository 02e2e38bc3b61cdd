//! Parked calls of all shards: lots, their spaces, and who stands in which. Locked for a moment by signalling threads only. A space
//! is a device, `park:701@context` (or `@lot`), so that lamps show whether somebody stands there.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use strowger_store::Snapshot;

/// Spaces of one lot.
const SPACES_MAX: u32 = 10_000;

/// A lot as `res_parking.conf` describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lot {
    pub name: String,
    pub spaces: RangeInclusive<u32>,
    /// `context`: where a call goes whose time is over and that comes back to no telephone.
    pub context: String,
    /// How long a call stays.
    pub time: Duration,
    /// It comes back to the telephone that parked it.
    pub comes_back: bool,
    /// How long that telephone rings.
    pub dial_time: Duration,
    pub music_class: String,
    /// The space behind the one used last comes first.
    pub next: bool,
}

impl Lot {
    fn usual(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            spaces: 701..=750,
            context: "parkedcalls".to_owned(),
            time: Duration::from_secs(45),
            comes_back: true,
            dial_time: Duration::from_secs(30),
            music_class: String::new(),
            next: false,
        }
    }

    /// The lot of this name; empty is `default`, which there always is.
    pub fn find(snapshot: &Snapshot, name: &str) -> Option<Self> {
        let name = if name.is_empty() { "default" } else { name };
        let mut lot = Self::usual(name);
        let mut known = name == "default";
        let files = ["res_parking.conf", "parking.conf"];
        for row in snapshot.statics.iter() {
            if !files.contains(&row.filename.as_str()) || row.category != name {
                continue;
            }
            known = true;
            let value = row.var_val.trim_start_matches('>').trim();
            let seconds = || value.parse().ok().map(Duration::from_secs);
            let truth = matches!(value, "yes" | "true" | "1" | "on");
            match row.var_name.as_str() {
                "parkpos" => {
                    let (from, to) = value.split_once('-').unwrap_or((value, value));
                    let range = from.trim().parse::<u32>().ok().zip(to.trim().parse().ok());
                    if let Some((from, to)) = range.filter(|(from, to)| from <= to) {
                        lot.spaces = from..=to.min(from.saturating_add(SPACES_MAX - 1));
                    }
                }
                "context" => value.clone_into(&mut lot.context),
                "parkingtime" => lot.time = seconds().unwrap_or(lot.time),
                "comebackdialtime" => lot.dial_time = seconds().unwrap_or(lot.dial_time),
                "comebacktoorigin" => lot.comes_back = truth,
                "parkedmusicclass" => value.clone_into(&mut lot.music_class),
                "findslot" => lot.next = value == "next",
                _ => {}
            }
        }
        known.then_some(lot)
    }
}

/// A call that stands in a space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parked {
    pub channel: String,
    pub shard: usize,
}

#[derive(Debug)]
struct Entry {
    who: Parked,
    /// Which [`Place`] it is.
    token: u64,
    /// Somebody is about to take the call.
    fetched: bool,
}

#[derive(Debug, Default)]
struct Spaces {
    taken: BTreeMap<u32, Entry>,
    last: u32,
    /// The `context` of the lot, as it was when a call was parked there last.
    context: String,
}

#[derive(Debug, Default)]
struct Lots {
    lots: BTreeMap<String, Spaces>,
    tokens: u64,
}

impl Lots {
    fn entry(&mut self, (lot, space, token): (&str, u32, u64)) -> Option<&mut Entry> {
        let entry = self.lots.get_mut(lot)?.taken.get_mut(&space);
        entry.filter(|entry| entry.token == token)
    }
}

/// Told the device of a space where a call came or left.
pub type Listener = Box<dyn Fn(&str) + Send + Sync>;

#[derive(Default)]
struct House {
    lots: Mutex<Lots>,
    listener: OnceLock<Listener>,
}

impl std::fmt::Debug for House {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(&self.lots, f)
    }
}

impl House {
    /// The space may have another state, by whichever name it is shown.
    fn tell(&self, space: u32, lot: &str, context: &str) {
        let Some(listener) = self.listener.get() else {
            return;
        };
        listener(&format!("park:{space}@{context}"));
        if lot != context {
            listener(&format!("park:{space}@{lot}"));
        }
    }
}

/// The parked calls.
#[derive(Debug, Default)]
pub struct ParkedCalls(Arc<House>);

/// A space that is taken; free again when this is dropped.
#[derive(Debug)]
pub struct Place {
    house: Arc<House>,
    lot: String,
    context: String,
    space: u32,
    token: u64,
}

impl Place {
    /// Name of the lot.
    pub fn lot(&self) -> &str {
        &self.lot
    }

    pub fn space(&self) -> u32 {
        self.space
    }

    /// Is somebody about to take the call that stands here?
    pub fn is_fetched(&self) -> bool {
        let mut lots = self.house.lots.lock();
        let entry = lots.entry((&self.lot, self.space, self.token));
        entry.is_some_and(|entry| entry.fetched)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        {
            let mut lots = self.house.lots.lock();
            if lots.entry((&self.lot, self.space, self.token)).is_some()
                && let Some(spaces) = lots.lots.get_mut(&self.lot)
            {
                spaces.taken.remove(&self.space);
            }
        }
        self.house.tell(self.space, &self.lot, &self.context);
    }
}

/// A call that somebody fetches. Others can fetch it again when this is dropped, if it stands there still.
#[derive(Debug)]
pub struct Fetched {
    house: Arc<House>,
    lot: String,
    pub space: u32,
    token: u64,
    pub who: Parked,
}

impl Drop for Fetched {
    fn drop(&mut self) {
        let mut lots = self.house.lots.lock();
        if let Some(entry) = lots.entry((&self.lot, self.space, self.token)) {
            entry.fetched = false;
        }
    }
}

impl ParkedCalls {
    /// Has `listener` told which space has another state. It must return at once; only the first one is kept.
    pub fn on_change(&self, listener: Listener) {
        let _ = self.0.listener.set(listener);
    }

    /// Whether a call stands in this space of a lot, which is named by its `context` or its own name.
    pub fn is_taken(&self, space: u32, place: &str) -> bool {
        let lots = self.0.lots.lock();
        lots.lots.iter().any(|(lot, spaces)| {
            (lot == place || spaces.context == place) && spaces.taken.contains_key(&space)
        })
    }

    /// Takes a space: this one, or the first that is free. None: it is taken, or the lot is full.
    pub fn take(&self, lot: &Lot, wanted: Option<u32>, who: Parked) -> Option<Place> {
        let mut lots = self.0.lots.lock();
        lots.tokens += 1;
        let token = lots.tokens;
        let spaces = lots.lots.entry(lot.name.clone()).or_default();
        let free = |space: &u32| !spaces.taken.contains_key(space);
        let space = match wanted {
            Some(space) => Some(space).filter(free),
            None if lot.next => {
                let behind = lot.spaces.clone().filter(|space| *space > spaces.last);
                behind.chain(lot.spaces.clone()).find(free)
            }
            None => lot.spaces.clone().find(free),
        }?;
        spaces.last = space;
        let entry = Entry {
            who,
            token,
            fetched: false,
        };
        spaces.taken.insert(space, entry);
        spaces.context.clone_from(&lot.context);
        drop(lots);
        self.0.tell(space, &lot.name, &lot.context);
        Some(Place {
            house: Arc::clone(&self.0),
            lot: lot.name.clone(),
            context: lot.context.clone(),
            space,
            token,
        })
    }

    /// The call in this space, or in the lowest that is taken, for whoever asks.
    pub fn fetch(&self, lot: &str, space: Option<u32>) -> Option<Fetched> {
        let mut lots = self.0.lots.lock();
        let taken = &mut lots.lots.get_mut(lot)?.taken;
        let mut all = taken.iter_mut();
        let (space, entry) =
            all.find(|(at, entry)| !entry.fetched && space.is_none_or(|space| space == **at))?;
        entry.fetched = true;
        Some(Fetched {
            house: Arc::clone(&self.0),
            lot: lot.to_owned(),
            space: *space,
            token: entry.token,
            who: entry.who.clone(),
        })
    }

    /// All parked calls: lot, space, who.
    pub fn list(&self) -> Vec<(String, u32, Parked)> {
        let lots = self.0.lots.lock();
        let all = lots.lots.iter().flat_map(|(lot, spaces)| {
            let taken = spaces.taken.iter();
            taken.map(move |(space, entry)| (lot.clone(), *space, entry.who.clone()))
        });
        all.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parked(name: &str) -> Parked {
        Parked {
            channel: name.to_owned(),
            shard: 0,
        }
    }

    fn space(place: &Option<Place>) -> Option<u32> {
        place.as_ref().map(Place::space)
    }

    #[test]
    fn spaces_are_taken_once_and_freed() {
        let mut lot = Lot::usual("default");
        lot.spaces = 701..=702;
        let calls = ParkedCalls::default();
        let first = calls.take(&lot, None, parked("a"));
        assert_eq!(space(&first), Some(701));
        assert!(calls.take(&lot, Some(701), parked("b")).is_none());
        let second = calls.take(&lot, None, parked("b"));
        assert_eq!(space(&second), Some(702));
        assert!(calls.take(&lot, None, parked("c")).is_none());
        drop(first);
        let again = calls.take(&lot, Some(701), parked("c"));
        assert_eq!(space(&again), Some(701));
        drop((second, again));
        assert!(calls.list().is_empty());
    }

    #[test]
    fn a_space_is_a_device_that_is_told_when_a_call_comes_and_leaves() {
        let mut lot = Lot::usual("sales");
        lot.context = "parkedsales".to_owned();
        let calls = ParkedCalls::default();
        let told = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&told);
        calls.on_change(Box::new(move |device| heard.lock().push(device.to_owned())));
        let devices = ["park:701@parkedsales", "park:701@sales"];
        let place = calls.take(&lot, None, parked("a"));
        assert_eq!(std::mem::take(&mut *told.lock()), devices);
        assert!(calls.is_taken(701, "parkedsales") && calls.is_taken(701, "sales"));
        assert!(!calls.is_taken(702, "sales") && !calls.is_taken(701, "default"));
        drop(place);
        assert_eq!(*told.lock(), devices);
        assert!(!calls.is_taken(701, "parkedsales"));
    }

    #[test]
    fn a_call_is_fetched_by_one_and_stays_where_that_fails() {
        let lot = Lot::usual("default");
        let calls = ParkedCalls::default();
        let place = calls.take(&lot, None, parked("a")).expect("a free space");
        let fetched = calls.fetch("default", None).expect("a parked call");
        assert_eq!((fetched.space, &fetched.who), (701, &parked("a")));
        assert!(place.is_fetched());
        assert!(calls.fetch("default", Some(701)).is_none());
        drop(fetched);
        assert!(!place.is_fetched());
        let fetched = calls.fetch("default", Some(701)).expect("the same call");
        // Whoever comes into the space meanwhile is not touched by the end of the fetching.
        drop(place);
        let other = calls.take(&lot, Some(701), parked("b")).expect("the space");
        let by_another = calls.fetch("default", None).expect("the other call");
        drop(fetched);
        assert!(other.is_fetched());
        drop(by_another);
        assert_eq!(calls.list().len(), 1);
    }

    #[test]
    fn the_next_space_is_the_one_behind_the_last() {
        let mut lot = Lot::usual("default");
        (lot.spaces, lot.next) = (701..=703, true);
        let calls = ParkedCalls::default();
        drop(calls.take(&lot, None, parked("a")));
        let taken: Vec<_> = (0..3)
            .map(|_| calls.take(&lot, None, parked("a")))
            .collect();
        let spaces: Vec<_> = taken.iter().map(space).collect();
        assert_eq!(spaces, [Some(702), Some(703), Some(701)]);
    }
}

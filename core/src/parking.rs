//! Parked calls of all shards: lots, their spaces, and who stands in which. Locked for a moment by signalling threads only. A space
//! is a device, `park:701@context` (or `@lot`), so that lamps show whether somebody stands there.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use strowger_store::{Snapshot, StaticRow};

/// Spaces of one lot.
const SPACES_MAX: u32 = 10_000;
/// The lot that there always is.
const DEFAULT: &str = "default";
const DEFAULT_EXTENSION: &str = "700";

/// A lot as `res_parking.conf` describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lot {
    pub name: String,
    pub spaces: RangeInclusive<u32>,
    /// `parkext`: the number that parks; empty: neither that nor its spaces are made numbers.
    pub extension: String,
    /// The number parks here, whatever lot the channel names.
    pub exclusive: bool,
    /// Each space has a hint.
    pub hints: bool,
    /// `context`: where its numbers are made, and where a call goes whose time is over and that comes back to no telephone.
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
            extension: String::new(),
            exclusive: false,
            hints: false,
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
        let name = if name.is_empty() { DEFAULT } else { name };
        Self::read(&settings(snapshot), name)
    }

    /// All lots, in the order of their sections. With settings but without a section of its own, `default` has the number 700, as
    /// Asterisk gives it.
    pub fn all(snapshot: &Snapshot) -> Vec<Self> {
        let rows = settings(snapshot);
        let mut names: Vec<&str> = Vec::new();
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        for row in &rows {
            // What is said of all lots is no lot.
            if row.category != "general" && seen.insert(&row.category) {
                names.push(&row.category);
            }
        }
        let mut lots: Vec<Self> = Vec::new();
        if !rows.is_empty() && !seen.contains(DEFAULT) {
            let mut lot = Self::usual(DEFAULT);
            DEFAULT_EXTENSION.clone_into(&mut lot.extension);
            lots.push(lot);
        }
        // One pass over the rows for each name would be their square.
        let mut sections: BTreeMap<&str, Vec<&StaticRow>> = BTreeMap::new();
        for row in rows {
            sections.entry(&row.category).or_default().push(row);
        }
        let sections = names.iter().map(|name| (*name, sections.remove(name)));
        lots.extend(
            sections.filter_map(|(name, rows)| Self::read(&rows.unwrap_or_default(), name)),
        );
        lots
    }

    fn read(rows: &[&StaticRow], name: &str) -> Option<Self> {
        let mut lot = Self::usual(name);
        let mut known = name == DEFAULT;
        for row in rows.iter().filter(|row| row.category == name) {
            known = true;
            let value = row.var_val.trim_start_matches('>').trim();
            let seconds = || value.parse().ok().map(Duration::from_secs);
            let truth = ["yes", "true", "y", "t", "1", "on"]
                .iter()
                .any(|yes| yes.eq_ignore_ascii_case(value));
            match row.var_name.as_str() {
                "parkext" => value.clone_into(&mut lot.extension),
                "parkext_exclusive" => lot.exclusive = truth,
                "parkinghints" => lot.hints = truth,
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

/// The rows of the file of lots, under its name of today or its former one.
fn settings(snapshot: &Snapshot) -> Vec<&StaticRow> {
    const FILES: [&str; 2] = ["res_parking.conf", "parking.conf"];
    let rows = snapshot.statics.iter();
    rows.filter(|row| FILES.contains(&row.filename.as_str()))
        .collect()
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
    fn lots_are_read_with_their_numbers_and_the_default_one_has_700_unless_it_is_written() {
        let row = |category: &str, name: &str, value: &str| StaticRow {
            filename: "res_parking.conf".into(),
            category: category.into(),
            var_name: name.into(),
            var_val: value.into(),
            ..StaticRow::default()
        };
        let read = |rows: &[StaticRow]| {
            let snapshot = Snapshot {
                statics: Arc::new(rows.to_vec()),
                ..Snapshot::default()
            };
            let lots = Lot::all(&snapshot).into_iter();
            lots.map(|lot| (lot.name, lot.extension, lot.exclusive, lot.hints))
                .collect::<Vec<_>>()
        };
        let lot = |name: &str, exten: &str, exclusive, hints| {
            (name.to_owned(), exten.to_owned(), exclusive, hints)
        };
        assert_eq!(read(&[]), []);
        let rows = [
            row("general", "parkeddynamic", "yes"),
            row("sales", "parkext", "> 800"),
            row("sales", "parkext_exclusive", "Yes"),
            row("sales", "parkinghints", "on"),
            row("default", "parkpos", "701-702"),
        ];
        let sales = lot("sales", "800", true, true);
        assert_eq!(
            read(&rows[..4]),
            [lot("default", "700", false, false), sales.clone()]
        );
        assert_eq!(read(&rows), [sales, lot("default", "", false, false)]);
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

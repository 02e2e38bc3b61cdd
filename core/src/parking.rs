//! Parked calls of all shards: lots, their spaces, and who stands in which. Locked for a moment by signalling threads only.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
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

#[derive(Debug, Default)]
struct Spaces {
    taken: BTreeMap<u32, Parked>,
    last: u32,
}

/// The parked calls.
#[derive(Debug, Default)]
pub struct ParkedCalls(Mutex<BTreeMap<String, Spaces>>);

impl ParkedCalls {
    /// Takes a space: this one, or the first that is free. None: it is taken, or the lot is full.
    pub fn take(&self, lot: &Lot, wanted: Option<u32>, who: Parked) -> Option<u32> {
        let mut lots = self.0.lock();
        let spaces = lots.entry(lot.name.clone()).or_default();
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
        spaces.taken.insert(space, who);
        Some(space)
    }

    /// Says who stands in a space that was taken for another.
    pub fn set(&self, lot: &str, space: u32, who: Parked) {
        if let Some(spaces) = self.0.lock().get_mut(lot) {
            spaces.taken.insert(space, who);
        }
    }

    /// Frees a space; who stood there.
    pub fn free(&self, lot: &str, space: u32) -> Option<Parked> {
        self.0.lock().get_mut(lot)?.taken.remove(&space)
    }

    /// The space that has waited longest, or this one, freed for whoever asks.
    pub fn fetch(&self, lot: &str, space: Option<u32>) -> Option<(u32, Parked)> {
        let mut lots = self.0.lock();
        let spaces = lots.get_mut(lot)?;
        let space = space.or_else(|| spaces.taken.keys().next().copied())?;
        Some((space, spaces.taken.remove(&space)?))
    }

    /// All parked calls: lot, space, who.
    pub fn list(&self) -> Vec<(String, u32, Parked)> {
        let lots = self.0.lock();
        let all = lots.iter().flat_map(|(lot, spaces)| {
            let taken = spaces.taken.iter();
            taken.map(move |(space, parked)| (lot.clone(), *space, parked.clone()))
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

    #[test]
    fn spaces_are_taken_once_and_freed() {
        let mut lot = Lot::usual("default");
        lot.spaces = 701..=702;
        let calls = ParkedCalls::default();
        assert_eq!(calls.take(&lot, None, parked("a")), Some(701));
        assert_eq!(calls.take(&lot, Some(701), parked("b")), None);
        assert_eq!(calls.take(&lot, None, parked("b")), Some(702));
        assert_eq!(calls.take(&lot, None, parked("c")), None);
        assert_eq!(calls.fetch("default", Some(701)), Some((701, parked("a"))));
        assert_eq!(calls.fetch("default", Some(701)), None);
        assert_eq!(calls.fetch("default", None), Some((702, parked("b"))));
        assert!(calls.list().is_empty());
    }

    #[test]
    fn the_next_space_is_the_one_behind_the_last() {
        let mut lot = Lot::usual("default");
        (lot.spaces, lot.next) = (701..=703, true);
        let calls = ParkedCalls::default();
        assert_eq!(calls.take(&lot, None, parked("a")), Some(701));
        calls.free("default", 701);
        assert_eq!(calls.take(&lot, None, parked("a")), Some(702));
        assert_eq!(calls.take(&lot, None, parked("b")), Some(703));
        assert_eq!(calls.take(&lot, None, parked("c")), Some(701));
    }
}

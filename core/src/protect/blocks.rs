//! Blocks in the order in which they end, so that what is over goes first and nothing is searched.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::atomic::AtomicU64;
use std::time::{Instant, SystemTime};

use super::Offence;

/// Blocked addresses at most, those included whose block is over and remembered.
pub(super) const BLOCKS_MAX: usize = 16_384;
/// How many records that count no more go for a new one.
const SWEEP: usize = 4;

#[derive(Debug)]
pub(super) struct Block {
    pub(super) since: SystemTime,
    pub(super) until: Instant,
    /// When it may be forgotten that there was one.
    pub(super) forget: Instant,
    pub(super) why: Offence,
    pub(super) times: u32,
    pub(super) dropped: AtomicU64,
}

#[derive(Debug, Default)]
pub(super) struct Blocks {
    by_address: HashMap<IpAddr, Block>,
    by_end: BTreeSet<(Instant, IpAddr)>,
}

impl Blocks {
    pub(super) fn get(&self, address: IpAddr) -> Option<&Block> {
        self.by_address.get(&address)
    }

    pub(super) fn len(&self) -> usize {
        self.by_address.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&IpAddr, &Block)> {
        self.by_address.iter()
    }

    /// Takes one more. True if a block that lasts had to go for it: the one that would have ended first.
    pub(super) fn insert(&mut self, address: IpAddr, block: Block, now: Instant) -> bool {
        self.remove(address);
        for _ in 0..SWEEP {
            let first = self.by_end.first().map(|(_, address)| *address);
            let over = first.filter(|first| self.get(*first).is_none_or(|b| b.forget <= now));
            let Some(over) = over else { break };
            self.remove(over);
        }
        let mut early = false;
        if self.len() >= BLOCKS_MAX
            && let Some((until, first)) = self.by_end.first().copied()
        {
            early = until > now;
            self.remove(first);
        }
        self.by_end.insert((block.until, address));
        self.by_address.insert(address, block);
        early
    }

    pub(super) fn remove(&mut self, address: IpAddr) -> Option<Block> {
        let block = self.by_address.remove(&address)?;
        self.by_end.remove(&(block.until, address));
        Some(block)
    }

    pub(super) fn clear(&mut self) {
        self.by_address.clear();
        self.by_end.clear();
    }
}

//! Which indexes of a stream were seen: estimated from 16-bit sequence numbers (RFC 3711 §3.3.1), refused when they come
//! again (§3.3.2).

/// Packets below the newest that are told from repeated ones; RFC 3711 §3.3.2 wants 64 at least.
pub(super) const WINDOW: u64 = 128;

/// The newest index and which of those below it were seen.
#[derive(Copy, Clone, Debug)]
pub(super) struct Window {
    newest: u64,
    /// Bit n: `newest - n` was seen.
    seen: u128,
}

impl Window {
    /// Begins with this index, which counts as seen.
    pub(super) fn new(index: u64) -> Self {
        Self {
            newest: index,
            seen: 1,
        }
    }

    /// The newest index.
    pub(super) fn newest(&self) -> u64 {
        self.newest
    }

    /// The index that a sequence number near the newest stands for; `None`: before the first of all, or after the last.
    #[inline]
    pub(super) fn estimate(&self, sequence: u16) -> Option<u64> {
        estimate(self.newest, sequence)
    }

    /// Was this index neither seen nor too old?
    #[inline]
    pub(super) fn is_fresh(&self, index: u64) -> bool {
        match self.newest.checked_sub(index) {
            None => true,
            Some(age) => age < WINDOW && self.seen & (1 << age) == 0,
        }
    }

    /// Notes a fresh index.
    #[inline]
    pub(super) fn mark(&mut self, index: u64) {
        match self.newest.checked_sub(index) {
            None => {
                let ahead = index - self.newest;
                self.seen = if ahead < WINDOW {
                    (self.seen << ahead) | 1
                } else {
                    1
                };
                self.newest = index;
            }
            Some(age) if age < WINDOW => self.seen |= 1 << age,
            Some(_) => {}
        }
    }
}

/// The index nearest to `newest` with this sequence number in its low 16 bits.
#[inline]
pub(super) fn estimate(newest: u64, sequence: u16) -> Option<u64> {
    let distance = sequence.wrapping_sub(newest as u16) as i16;
    newest
        .checked_add_signed(i64::from(distance))
        .filter(|index| index >> 48 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_index_follows_the_sequence_across_its_wrap_in_both_directions() {
        let window = Window::new(65_530);
        assert_eq!(window.estimate(65_535), Some(65_535));
        assert_eq!(window.estimate(3), Some(65_539));
        let window = Window::new(65_539);
        assert_eq!(window.estimate(65_531), Some(65_531));
        assert_eq!(Window::new(5).estimate(65_530), None, "before the first");
        let last = (1 << 48) - 1;
        assert_eq!(Window::new(last).estimate(0), None, "after the last");
    }

    proptest! {
        #[test]
        fn each_index_is_taken_once_and_old_ones_never(steps in proptest::collection::vec(-200i64..200, 1..500)) {
            let mut window = Window::new(100_000);
            let mut taken = std::collections::HashSet::from([100_000u64]);
            let mut newest = 100_000u64;
            for step in steps {
                let index = newest.saturating_add_signed(step);
                let expected = !taken.contains(&index) && index + WINDOW > newest;
                prop_assert_eq!(window.is_fresh(index), expected);
                if expected {
                    window.mark(index);
                    taken.insert(index);
                    newest = newest.max(index);
                    prop_assert_eq!(window.newest(), newest);
                }
            }
        }
    }
}

//! How long packets have to wait so that nearly all of them have come when they are needed.
//!
//! The transit of a packet is its arrival minus its timestamp, on clocks whose difference nobody knows; only how much
//! longer it took than the fastest one means something. A histogram of that, which forgets, tells the wait that all but
//! one in a hundred packets need. Drift of the sender's clock moves fastest and slowest together, so it is followed too.

/// Width of a bucket, milliseconds.
const BUCKET_MS: i64 = 5;
const BUCKETS: usize = 64;
/// Of so many packets one may need longer.
const OUTLIERS: u32 = 100;
/// What was seen is forgotten after one to two windows of this length, milliseconds of audio.
const WINDOW_MS: i64 = 5000;
/// Packets that come as they usually do are counted so many at a time.
const TOGETHER: usize = 16;

#[derive(Clone, Debug)]
#[repr(C)]
pub(super) struct Delay {
    clock_rate: i64,
    bucket: i64,
    /// Transit at which the first bucket begins, a multiple of the bucket's width.
    origin: i64,
    /// The sum of each.
    total: [u32; 2],
    /// No bucket above this has anything in it.
    top: usize,
    /// Least transit in the same windows.
    least: Option<[i64; 2]>,
    min: i64,
    max: i64,
    wait: i64,
    /// The buckets of packets that are not counted yet, and how many there are.
    uncounted: [u8; TOGETHER],
    uncounted_len: usize,
    /// The weight of each of them.
    weight: u32,
    /// Units of audio in each bucket: in the window that is filled, and in the one before.
    seen: [[u32; BUCKETS]; 2],
}

impl Delay {
    /// The wait stays between `min_ms` and `max_ms`.
    pub(super) fn new(clock_rate: u32, min_ms: u32, max_ms: u32) -> Self {
        let clock_rate = i64::from(clock_rate);
        let units = |ms: i64| ms * clock_rate / 1000;
        let min = units(i64::from(min_ms));
        Self {
            clock_rate,
            bucket: units(BUCKET_MS).max(1),
            origin: 0,
            seen: [[0; BUCKETS]; 2],
            total: [0; 2],
            top: 0,
            least: None,
            min,
            max: units(i64::from(max_ms)).max(min),
            wait: min,
            uncounted: [0; TOGETHER],
            uncounted_len: 0,
            weight: 0,
        }
    }

    /// Bytes at the beginning that usual packets need.
    pub(super) const USUAL_BYTES: usize = std::mem::offset_of!(Self, seen);

    /// Least transit of late; `None` before anything came.
    pub(super) fn base(&self) -> Option<i64> {
        self.least.map(|[now, before]| now.min(before))
    }

    /// Units that a packet of the least transit should wait.
    pub(super) fn wait(&self) -> i64 {
        self.wait
    }

    /// The longest wait.
    pub(super) fn max(&self) -> i64 {
        self.max
    }

    /// A packet of so many units took so long.
    pub(super) fn arrived(&mut self, transit: i64, units: i64) {
        // Packets without audio (comfort noise) count as a millisecond of it.
        let weight = u32::try_from(units)
            .unwrap_or(0)
            .max(self.clock_rate as u32 / 1000);
        if !self.set_aside(transit, weight) {
            self.count(transit, weight);
        }
    }

    /// Leaves the counting of a packet for later, if it can neither lengthen the wait nor is the fastest.
    fn set_aside(&mut self, transit: i64, weight: u32) -> bool {
        let Some([now, before]) = self.least else {
            return false;
        };
        let bucket = (transit - self.origin) / self.bucket;
        let needed = self.origin + (bucket + 2) * self.bucket - now.min(before);
        if transit < now || needed > self.wait || weight != self.weight {
            return false;
        }
        let Ok(bucket) = u8::try_from(bucket) else {
            return false;
        };
        match self.uncounted.get_mut(self.uncounted_len) {
            Some(place) => {
                *place = bucket;
                self.uncounted_len += 1;
                true
            }
            None => false,
        }
    }

    fn count_set_aside(&mut self) {
        for &bucket in self.uncounted.iter().take(self.uncounted_len) {
            let bucket = usize::from(bucket).min(BUCKETS - 1);
            self.seen[0][bucket] += self.weight;
            self.top = self.top.max(bucket);
            self.total[0] += self.weight;
        }
        self.uncounted_len = 0;
    }

    fn count(&mut self, transit: i64, weight: u32) {
        self.count_set_aside();
        self.weight = weight;
        let least = match self.least {
            None => {
                self.origin = transit.div_euclid(self.bucket) * self.bucket;
                [transit; 2]
            }
            Some([now, _]) if i64::from(self.total[0]) * 1000 >= WINDOW_MS * self.clock_rate => {
                self.seen = [[0; BUCKETS], self.seen[0]];
                self.total = [0, self.total[0]];
                self.find_top();
                [transit, now]
            }
            Some([now, before]) => [now.min(transit), before],
        };
        self.least = Some(least);
        let base = least[0].min(least[1]);
        self.move_origin(base);
        let bucket = ((transit - self.origin) / self.bucket).clamp(0, BUCKETS as i64 - 1);
        self.seen[0][bucket as usize] += weight;
        self.top = self.top.max(bucket as usize);
        self.total[0] += weight;
        let needed = self.origin + (self.slowest() + 2) * self.bucket - base;
        self.wait = needed.clamp(self.min, self.max);
    }

    /// The bucket that all but the outliers are in or below.
    fn slowest(&self) -> i64 {
        let mut outliers = (self.total[0] + self.total[1]) / OUTLIERS;
        for index in (0..=self.top.min(BUCKETS - 1)).rev() {
            let here = self.seen[0][index] + self.seen[1][index];
            match outliers.checked_sub(here) {
                Some(left) => outliers = left,
                None => return index as i64,
            }
        }
        0
    }

    fn find_top(&mut self) {
        let [now, before] = &self.seen;
        let any = |(now, before): (&u32, &u32)| (now | before) != 0;
        self.top = now.iter().zip(before).rposition(any).unwrap_or(0);
    }

    /// Shifts the histogram so that it begins at the least transit.
    fn move_origin(&mut self, least: i64) {
        let origin = least.div_euclid(self.bucket) * self.bucket;
        let shift = (origin - self.origin) / self.bucket;
        self.origin = origin;
        if shift == 0 {
            return;
        }
        let width = usize::try_from(shift.unsigned_abs())
            .unwrap_or(BUCKETS)
            .min(BUCKETS);
        for seen in &mut self.seen {
            if shift > 0 {
                let below: u32 = seen[..width].iter().sum();
                seen.copy_within(width.., 0);
                seen[BUCKETS - width..].fill(0);
                seen[0] += below;
            } else if shift < 0 {
                let above: u32 = seen[BUCKETS - width..].iter().sum();
                seen.copy_within(..BUCKETS - width, width);
                seen[..width].fill(0);
                seen[BUCKETS - 1] += above;
            }
        }
        self.find_top();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 8;

    fn delay() -> Delay {
        Delay::new(8000, 20, 300)
    }

    #[test]
    fn the_wait_covers_the_jitter_that_is_usual_and_no_single_outlier() {
        let mut d = delay();
        for n in 0..2000i64 {
            let outlier = if n % 400 == 399 { 250 * MS } else { 0 };
            d.arrived(123_456 + n * 7919 % (60 * MS) + outlier, 160);
        }
        assert!((60 * MS..=72 * MS).contains(&d.wait()), "{}", d.wait());
        for _ in 0..2500 {
            d.arrived(123_456, 160);
        }
        assert_eq!(d.wait(), 20 * MS, "what is over is forgotten");
    }

    #[test]
    fn a_longer_and_a_shorter_way_are_followed() {
        let mut d = delay();
        let level = |d: &mut Delay, transit: i64| {
            for _ in 0..1000 {
                d.arrived(transit, 160);
            }
            d.base().expect("packets came") + d.wait() - transit
        };
        assert_eq!(level(&mut d, -5000), 20 * MS);
        assert_eq!(level(&mut d, -5000 + 150 * MS), 20 * MS);
        assert!(level(&mut d, -9000) <= 30 * MS);
    }

    #[test]
    fn drift_does_not_look_like_jitter() {
        for ppm in [-300i64, 300] {
            let mut d = delay();
            for n in 0..200_000i64 {
                let transit = n * 160 * ppm / 1_000_000;
                d.arrived(transit, 160);
                let late = d.base().expect("packets came") + d.wait() - transit;
                assert!(
                    (10 * MS..=30 * MS).contains(&late),
                    "{ppm} ppm, packet {n}: {late}"
                );
            }
        }
    }

    #[test]
    fn the_wait_is_bounded() {
        let mut d = delay();
        for n in 0..1000i64 {
            d.arrived(if n % 2 == 0 { 0 } else { 5000 * MS }, 160);
        }
        assert_eq!(d.wait(), 300 * MS);
    }
}

//! Making decoded audio a little longer or shorter without being heard: a period of the voice is repeated or left out,
//! the seam faded over its whole length (WSOLA).

use super::TURN_MS;
use crate::dsp::Concealer;
use crate::uring::prefetch;

/// Shortest and longest period that is looked for: 400 Hz to 67 Hz.
const LAG_MIN_US: usize = 2500;
const LAG_MAX_US: usize = 15_000;
/// So alike (of 1) two periods have to be in speech; in silence it does not matter.
const LIKENESS: f32 = 0.6;
/// So many frames are heard before what is kept moves to the front: moving costs little then, and few lines of the cache are
/// walked through.
const TURNS: usize = 6;
/// Mean magnitude below which nobody hears a seam: about -56 dBFS.
const SILENCE: i32 = 50;

/// Decoded audio that waits to be heard, behind what was heard last. Audio is decoded where it will be heard: nothing is moved
/// at each turn, but all of it to the front once in a few turns.
#[derive(Debug)]
pub(super) struct Pcm {
    samples: Box<[i16]>,
    /// Where what waits begins; right before it lies what was heard last.
    start: usize,
    end: usize,
    /// What is before it is of another stream.
    known: usize,
    /// Samples of a frame.
    frame: usize,
    /// Samples before `start` that are kept.
    past: usize,
    /// Samples that may wait.
    capacity: usize,
    lags: Lags,
}

/// What periods are looked for, in samples.
#[derive(Copy, Clone, Debug)]
struct Lags {
    min: usize,
    max: usize,
    /// All are multiples of it: whole clock units, and every eighth of a millisecond is near enough.
    grain: usize,
}

impl Lags {
    fn of(rate: u32) -> Self {
        let rate = rate as usize;
        let grain = (rate / 8000).max(1);
        let lag = |us: usize| (us * rate / 1_000_000).next_multiple_of(grain);
        Self {
            min: lag(LAG_MIN_US),
            max: lag(LAG_MAX_US),
            grain,
        }
    }
}

fn frame_of(rate: u32) -> usize {
    (rate * TURN_MS / 1000) as usize
}

/// What concealment and the search for periods look back at, and a frame.
fn past_of(rate: u32) -> usize {
    let longest = Lags::of(rate).max.max(frame_of(rate));
    Concealer::past(rate).max(longest)
}

impl Pcm {
    /// Room for `capacity` samples that wait; what was heard last is kept for concealment and periods.
    pub(super) fn new(rate: u32, capacity: usize) -> Self {
        let frame = frame_of(rate);
        let past = past_of(rate);
        Self {
            samples: vec![0; past + (TURNS + 1) * frame + capacity].into_boxed_slice(),
            start: past,
            end: past,
            known: 0,
            frame,
            past,
            capacity,
            lags: Lags::of(rate),
        }
    }

    /// Forgets everything; from now on it is of another rate, not above the first one.
    pub(super) fn set_rate(&mut self, rate: u32) {
        self.lags = Lags::of(rate);
        self.frame = frame_of(rate);
        self.past = past_of(rate);
        self.samples.fill(0);
        self.start = self.past.min(self.samples.len());
        self.end = self.start;
        self.known = 0;
    }

    /// What follows is of another stream.
    pub(super) fn part(&mut self) {
        self.known = self.end;
    }

    /// Asks for the samples of the next turn.
    #[inline]
    pub(super) fn expect(&self) {
        if let Some(samples) = self.samples.get(self.start..self.end + self.frame) {
            prefetch::slice(samples);
        }
    }

    /// Samples of a frame.
    pub(super) fn frame(&self) -> usize {
        self.frame
    }

    /// Samples that wait.
    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    /// Samples that have to wait so that a period can be left out.
    pub(super) fn shorten_needs(&self) -> usize {
        2 * self.lags.max
    }

    /// Moves everything to the front where little room is left. To be called before each turn.
    pub(super) fn settle(&mut self) {
        if self.start >= self.past + TURNS * self.frame {
            let from = self.start - self.past;
            self.samples.copy_within(from..self.end, 0);
            self.start -= from;
            self.end -= from;
            self.known = self.known.saturating_sub(from);
        }
    }

    /// What was heard and waits, of this stream, and the room behind it.
    fn halves(&mut self) -> (&mut [i16], &mut [i16]) {
        let limit = (self.start + self.capacity).clamp(self.end, self.samples.len());
        let (known, room) = self.samples.split_at_mut(self.end);
        let from = self.known.min(known.len());
        (&mut known[from..], &mut room[..limit - self.end])
    }

    /// Appends what `fill` writes; it says how much that was.
    pub(super) fn append(&mut self, fill: impl FnOnce(&mut [i16]) -> usize) -> usize {
        let (_, room) = self.halves();
        let count = fill(room).min(room.len());
        self.end += count;
        count
    }

    /// Appends so many samples (as many as there is room for) that `fill` writes; it is shown what is before them.
    pub(super) fn extend(&mut self, count: usize, fill: impl FnOnce(&[i16], &mut [i16])) -> usize {
        let (known, room) = self.halves();
        let count = count.min(room.len());
        fill(known, &mut room[..count]);
        self.end += count;
        count
    }

    /// Takes `count` samples away that begin `back` samples before the end.
    pub(super) fn cut(&mut self, back: usize, count: usize) {
        let from = self.end - back.min(self.len());
        let count = count.min(self.end - from);
        self.samples.copy_within(from + count..self.end, from);
        self.end -= count;
    }

    /// The next frame is heard: what waits, and silence where that is too little.
    pub(super) fn take(&mut self) {
        let missing = self.frame.saturating_sub(self.len());
        if missing > 0 {
            self.extend(missing, |_, out| out.fill(0));
        }
        self.start = (self.start + self.frame).min(self.end);
    }

    /// The frame that was heard last.
    pub(super) fn heard(&self) -> &[i16] {
        let from = self.start.saturating_sub(self.frame);
        self.samples.get(from..self.start).unwrap_or(&[])
    }

    /// Is the next `count` samples' audio silent?
    pub(super) fn is_silent(&self, count: usize) -> bool {
        let count = count.min(self.len());
        let part = &self.samples[self.start..self.start + count];
        let sum: i64 = part.iter().map(|&s| i64::from(i32::from(s).abs())).sum();
        count > 0 && sum < i64::from(SILENCE) * count as i64
    }

    /// Leaves a period out; how many samples that was, 0 when no two periods are alike enough.
    pub(super) fn shorten(&mut self, silent: bool) -> usize {
        if self.len() < self.shorten_needs() {
            return 0;
        }
        let start = self.start;
        let Some(lag) = self.find_lag(silent, |lag| (start, start + lag)) else {
            return 0;
        };
        for i in 0..lag {
            self.samples[start + i] = faded(
                self.samples[start + i],
                self.samples[start + lag + i],
                i,
                lag,
            );
        }
        self.samples
            .copy_within(start + 2 * lag..self.end, start + lag);
        self.end -= lag;
        lag
    }

    /// Repeats a period; how many samples that added, 0 when it would be heard or there is no room.
    pub(super) fn lengthen(&mut self, silent: bool) -> usize {
        if self.len() < self.lags.max || self.len() + self.lags.max > self.capacity {
            return 0;
        }
        let start = self.start;
        let Some(lag) = self.find_lag(silent, |lag| (start, start - lag)) else {
            return 0;
        };
        self.samples.copy_within(start..self.end, start + lag);
        self.end += lag;
        // From the present into the period before it, whose end the present follows.
        for i in 0..lag {
            self.samples[start + i] = faded(
                self.samples[start + lag + i],
                self.samples[start - lag + i],
                i,
                lag,
            );
        }
        lag
    }

    /// The period at which the two pieces that `at` names are most alike.
    fn find_lag(&self, silent: bool, at: impl Fn(usize) -> (usize, usize)) -> Option<usize> {
        if silent {
            return Some(self.lags.max);
        }
        let mut best: Option<(f32, usize)> = None;
        let mut lag = self.lags.min;
        while lag <= self.lags.max {
            let (a, b) = at(lag);
            let likeness = self.likeness(a, b, lag);
            if best.is_none_or(|(most, _)| likeness > most) {
                best = Some((likeness, lag));
            }
            lag += self.lags.grain;
        }
        best.filter(|&(likeness, _)| likeness >= LIKENESS)
            .map(|(_, lag)| lag)
    }

    /// Normalised correlation of two pieces of `len` samples, each `grain`th of them.
    fn likeness(&self, a: usize, b: usize, len: usize) -> f32 {
        let (a, b) = (&self.samples[a..a + len], &self.samples[b..b + len]);
        let (mut ab, mut aa, mut bb) = (0.0f32, 1.0f32, 1.0f32);
        for (&x, &y) in a.iter().zip(b).step_by(self.lags.grain) {
            let (x, y) = (f32::from(x), f32::from(y));
            ab += x * y;
            aa += x * x;
            bb += y * y;
        }
        ab / (aa * bb).sqrt()
    }
}

/// From `a` to `b` at step `i` of `len`.
fn faded(a: i16, b: i16, i: usize, len: usize) -> i16 {
    let (i, len) = (i as i32, len as i32);
    ((i32::from(a) * (len - i) + i32::from(b) * i) / len) as i16
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A voice-like sum of harmonics.
    fn voice(rate: u32, hz: f32, n: usize) -> i16 {
        let t = n as f32 / rate as f32;
        let wave = |k: f32| (std::f32::consts::TAU * hz * k * t).sin() / k;
        (6000.0 * (wave(1.0) + wave(2.0) + wave(3.0))) as i16
    }

    fn steepest(samples: &[i16]) -> i32 {
        samples
            .windows(2)
            .map(|w| (i32::from(w[1]) - i32::from(w[0])).abs())
            .max()
            .unwrap_or(0)
    }

    #[test]
    fn a_period_is_left_out_or_repeated_without_a_step() {
        for rate in [8000u32, 16_000, 48_000] {
            let frame = rate as usize / 50;
            for hz in [80.0, 123.0, 210.0, 340.0] {
                for shorten in [true, false] {
                    let mut pcm = Pcm::new(rate, 4 * frame);
                    let mut n = 0;
                    let mut heard = Vec::new();
                    let mut changed = 0usize;
                    for turn in 0..50 {
                        while pcm.len() < 2 * frame {
                            pcm.extend(frame, |_, out| {
                                for s in out {
                                    *s = voice(rate, hz, n);
                                    n += 1;
                                }
                            });
                        }
                        if turn % 5 == 4 {
                            changed += if shorten {
                                pcm.shorten(false)
                            } else {
                                pcm.lengthen(false)
                            };
                        }
                        pcm.take();
                        heard.extend_from_slice(pcm.heard());
                        pcm.settle();
                        assert_eq!(pcm.heard(), &heard[heard.len() - frame..]);
                    }
                    let whole: Vec<i16> = (0..n).map(|n| voice(rate, hz, n)).collect();
                    let what = format!("{rate} Hz, voice of {hz} Hz, shorten {shorten}");
                    assert!(
                        changed >= 10 * rate as usize / 400,
                        "{what}: only {changed}"
                    );
                    let total = heard.len() + pcm.len();
                    let expected = if shorten { n - changed } else { n + changed };
                    assert_eq!(total, expected, "{what}");
                    assert!(
                        steepest(&heard) <= steepest(&whole) * 5 / 4,
                        "{what}: {} after {}",
                        steepest(&heard),
                        steepest(&whole)
                    );
                }
            }
        }
    }

    #[test]
    fn noise_is_left_alone_unless_nobody_hears_it() {
        let mut state = 1u32;
        let mut noise = |level: i32| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            ((state >> 16) as i32 % (2 * level) - level) as i16
        };
        let mut pcm = Pcm::new(8000, 640);
        pcm.extend(480, |_, out| out.iter_mut().for_each(|s| *s = noise(8000)));
        assert!(!pcm.is_silent(160));
        assert_eq!(pcm.shorten(false), 0);
        let mut pcm = Pcm::new(8000, 640);
        pcm.extend(480, |_, out| out.iter_mut().for_each(|s| *s = noise(40)));
        assert!(pcm.is_silent(160));
        assert_eq!(pcm.shorten(true), 120);
        assert_eq!(pcm.lengthen(true), 120);
        assert_eq!(pcm.len(), 480);
    }
}

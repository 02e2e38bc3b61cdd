//! DTMF digits in audio (ITU-T Q.23, Q.24): found by correlation with the eight frequencies, kept apart from speech by
//! what speech cannot do.
//!
//! Audio of 8000 Hz is cut into steps of 5 ms. Two neighbours make a window of 10 ms, in which the strongest low and high
//! frequency have to hold most of the energy. Six such windows in a row (30 ms) make a candidate: a tone of 40 ms always
//! has them, one of 23 ms never. A candidate is a digit when over these windows both tones stand still (phase advances
//! as a sine's does, amplitude holds), lie within 2.5 % of their frequencies, differ in level no more than lines make
//! them, have no second harmonics, and hold nearly all energy. Dial tone (350 to 440 Hz) is counted out.

use std::f32::consts::TAU;
use std::sync::LazyLock;

use crate::rtp::dtmf::Press;
use crate::sound::SAMPLE_RATE;

/// Samples of a step.
const STEP: usize = 40;
const STEP_MS: u32 = 5;
/// Samples of a window: two steps.
const WINDOW: f32 = 80.0;
/// Windows that make a candidate.
const CANDIDATE: usize = 6;
/// Windows without the digit that end it: a gap of 40 ms has seven, one of 10 ms three.
const MISSES: u32 = 5;
/// Low group, high group, and two that between them catch the dial tones of the world.
const FREQUENCIES: [f32; LANES] = [
    697.0, 770.0, 852.0, 941.0, 1209.0, 1336.0, 1477.0, 1633.0, 350.0, 440.0, 0.0, 0.0,
];
/// A multiple of what the machine computes at once.
const LANES: usize = 12;
const DIAL: [usize; 2] = [8, 9];
const KEYS: [[char; 4]; 4] = [
    ['1', '2', '3', 'A'],
    ['4', '5', '6', 'B'],
    ['7', '8', '9', 'C'],
    ['*', '0', '#', 'D'],
];
/// Least peak amplitude of a tone: -32 dBm0 (a sine of 0 dBm0 peaks at 22378).
const AMPLITUDE_MIN: f32 = 560.0;
/// Share of the energy that the two tones have in each window of a candidate.
const SHARE_WINDOW: f32 = 0.6;
/// The same over a candidate, at the frequencies the tones really have.
const SHARE: f32 = 0.8;
/// The low tone may be stronger by 9 dB, the high one by 5 dB, as ratios of power.
const TWIST_LOW: f32 = 7.9;
const TWIST_HIGH: f32 = 3.2;
/// Greatest distance from the nominal frequency, as its part.
const OFF_FREQUENCY: f32 = 0.025;
/// How much of the amplitudes' product the phase of a sine keeps from one window to the next.
const STEADY_PHASE: f32 = 0.93;
/// Greatest over least power within a candidate.
const STEADY_POWER: f32 = 4.0;
/// Second harmonic over its tone, as ratio of amplitudes.
const HARMONIC: f32 = 0.2;
/// A harmonic so near the other tone cannot be told from it, Hz.
const HARMONIC_CLEAR: f32 = 120.0;
/// Samples over which harmonics are sought.
const HISTORY: usize = STEP * (CANDIDATE + 1);

#[derive(Copy, Clone, Debug, Default)]
struct Complex {
    re: f32,
    im: f32,
}

impl Complex {
    fn turn(angle: f32) -> Self {
        Self {
            re: angle.cos(),
            im: angle.sin(),
        }
    }

    fn conj(self) -> Self {
        Self {
            re: self.re,
            im: -self.im,
        }
    }

    fn times(self, other: Self) -> Self {
        Self {
            re: self.re * other.re - self.im * other.im,
            im: self.re * other.im + self.im * other.re,
        }
    }

    fn plus(self, other: Self) -> Self {
        Self {
            re: self.re + other.re,
            im: self.im + other.im,
        }
    }

    fn scaled(self, by: f32) -> Self {
        Self {
            re: self.re * by,
            im: self.im * by,
        }
    }

    fn power(self) -> f32 {
        self.re * self.re + self.im * self.im
    }
}

/// What depends on the frequencies only.
struct Tables {
    cos: [[f32; LANES]; STEP],
    sin: [[f32; LANES]; STEP],
    /// e^-jw over one step.
    step: [Complex; LANES],
    /// How a sine at the high frequency shows at the low one over a window: [row][column].
    leak: [[Complex; 4]; 4],
    /// The same for the two dial tone lanes.
    leak_dial: Complex,
}

static TABLES: LazyLock<Tables> = LazyLock::new(|| {
    let w = |lane: usize| TAU * FREQUENCIES[lane] / SAMPLE_RATE as f32;
    let leak = |from: usize, to: usize| {
        (0..WINDOW as usize).fold(Complex::default(), |sum, n| {
            sum.plus(Complex::turn((w(from) - w(to)) * n as f32))
        })
    };
    let mut tables = Tables {
        cos: [[0.0; LANES]; STEP],
        sin: [[0.0; LANES]; STEP],
        step: [Complex::default(); LANES],
        leak: [[Complex::default(); 4]; 4],
        leak_dial: leak(DIAL[1], DIAL[0]),
    };
    for lane in 0..DIAL[1] + 1 {
        tables.step[lane] = Complex::turn(-w(lane) * STEP as f32);
        for n in 0..STEP {
            tables.cos[n][lane] = (w(lane) * n as f32).cos();
            tables.sin[n][lane] = -(w(lane) * n as f32).sin();
        }
    }
    for (row, leaks) in tables.leak.iter_mut().enumerate() {
        for (column, value) in leaks.iter_mut().enumerate() {
            *value = leak(4 + column, row);
        }
    }
    tables
});

/// The correlations of one step.
#[derive(Copy, Clone, Debug)]
struct Step {
    re: [f32; LANES],
    im: [f32; LANES],
    energy: f32,
}

const SILENCE: Step = Step {
    re: [0.0; LANES],
    im: [0.0; LANES],
    energy: 0.0,
};

impl Step {
    fn of(tables: &Tables, samples: &[f32; STEP]) -> Self {
        let energy = samples.iter().map(|x| x * x).sum();
        // Half of what the weakest tone has: nothing to be found here.
        if energy < AMPLITUDE_MIN * AMPLITUDE_MIN * STEP as f32 / 4.0 {
            return Self { energy, ..SILENCE };
        }
        let mut step = Self { energy, ..SILENCE };
        for ((x, cos), sin) in samples.iter().zip(&tables.cos).zip(&tables.sin) {
            for lane in 0..LANES {
                step.re[lane] += x * cos[lane];
                step.im[lane] += x * sin[lane];
            }
        }
        step
    }

    fn at(&self, lane: usize) -> Complex {
        Complex {
            re: self.re[lane],
            im: self.im[lane],
        }
    }
}

/// A window with two tones in it.
#[derive(Copy, Clone, Debug, Default)]
struct Window {
    row: u8,
    column: u8,
    /// Half the amplitude of each tone, with its phase at the beginning of the window.
    low: Complex,
    high: Complex,
    /// Without dial tone.
    energy: f32,
}

impl Window {
    fn of(tables: &Tables, before: &Step, last: &Step) -> Option<Self> {
        let at = |lane: usize| before.at(lane).plus(last.at(lane).times(tables.step[lane]));
        let strongest = |lanes: std::ops::Range<usize>| {
            lanes
                .map(|lane| (lane, at(lane)))
                .max_by(|a, b| a.1.power().total_cmp(&b.1.power()))
        };
        let energy = before.energy + last.energy;
        let (low_lane, c_low) = strongest(0..4)?;
        let (high_lane, c_high) = strongest(4..8)?;
        let (row, column) = (low_lane, high_lane - 4);
        // Each tone leaks into the other's correlation: two equations, two unknowns.
        let leak = tables.leak[row][column];
        let scale = 1.0 / (WINDOW * WINDOW - leak.power());
        let low = c_low
            .scaled(WINDOW)
            .plus(leak.times(c_high).scaled(-1.0))
            .scaled(scale);
        let high = c_high
            .scaled(WINDOW)
            .plus(leak.conj().times(c_low).scaled(-1.0))
            .scaled(scale);
        let least = AMPLITUDE_MIN * AMPLITUDE_MIN / 4.0;
        if low.power() < least || high.power() < least {
            return None;
        }
        let window = Self {
            row: row as u8,
            column: column as u8,
            low,
            high,
            energy: (energy - dial_energy(tables, at(DIAL[0]), at(DIAL[1]))).max(1.0),
        };
        (window.tones() >= SHARE_WINDOW * window.energy).then_some(window)
    }

    /// Energy of the two tones.
    fn tones(&self) -> f32 {
        2.0 * WINDOW * (self.low.power() + self.high.power())
    }

    fn is_of(&self, other: &Self) -> bool {
        (self.row, self.column) == (other.row, other.column)
    }
}

/// Energy that two sines at the dial tone lanes explain.
fn dial_energy(tables: &Tables, a: Complex, b: Complex) -> f32 {
    let leak = tables.leak_dial;
    let cross = a.conj().times(leak).times(b).re;
    let explained = WINDOW * (a.power() + b.power()) - 2.0 * cross;
    (2.0 * explained / (WINDOW * WINDOW - leak.power())).max(0.0)
}

/// One tone over the windows of a candidate.
struct Course {
    /// Distance from the nominal frequency, Hz.
    off_hz: f32,
    /// 1: its phase advances as a sine's.
    steadiness: f32,
    /// Of half its amplitude.
    power: f32,
    power_max: f32,
    power_min: f32,
}

impl Course {
    fn of(step: Complex, windows: &[Complex]) -> Self {
        let mut sum = Complex::default();
        let mut product = 0.0;
        for pair in windows.windows(2) {
            sum = sum.plus(pair[1].times(pair[0].conj()).times(step));
            product += (pair[1].power() * pair[0].power()).sqrt();
        }
        let inner = windows.get(1..windows.len() - 1).unwrap_or_default();
        let powers = || inner.iter().map(|w| w.power());
        Self {
            off_hz: sum.im.atan2(sum.re) / TAU * SAMPLE_RATE as f32 / STEP as f32,
            steadiness: sum.power().sqrt() / product.max(1.0),
            power: powers().sum::<f32>() / inner.len().max(1) as f32,
            power_max: powers().fold(0.0, f32::max),
            power_min: powers().fold(f32::MAX, f32::min),
        }
    }

    /// What part of the power of a sine off its nominal frequency a window at that frequency sees.
    fn seen(&self) -> f32 {
        let x = std::f32::consts::PI * self.off_hz * WINDOW / SAMPLE_RATE as f32;
        if x.abs() < 1e-3 {
            1.0
        } else {
            (x.sin() / x).powi(2)
        }
    }

    fn is_steady(&self, hz: f32) -> bool {
        self.off_hz.abs() <= OFF_FREQUENCY * hz
            && self.steadiness >= STEADY_PHASE
            && self.power_max <= STEADY_POWER * self.power_min
    }
}

#[derive(Copy, Clone, Debug)]
struct Down {
    digit: char,
    row: u8,
    column: u8,
    /// Windows since it began, and without it since it was seen last.
    windows: u32,
    misses: u32,
}

/// Finds digits in audio of 8000 Hz. About 2 KiB.
#[derive(Clone, Debug)]
pub struct DtmfDetector {
    /// Samples that make no step yet.
    waiting: [f32; STEP],
    filled: usize,
    history: [f32; HISTORY],
    before: Step,
    /// The newest windows of one pair of tones, the last one newest.
    windows: [Window; CANDIDATE],
    in_row: usize,
    down: Option<Down>,
}

impl Default for DtmfDetector {
    fn default() -> Self {
        Self {
            waiting: [0.0; STEP],
            filled: 0,
            history: [0.0; HISTORY],
            before: SILENCE,
            windows: [Window::default(); CANDIDATE],
            in_row: 0,
            down: None,
        }
    }
}

impl DtmfDetector {
    /// Takes the next samples, any number of them. A digit is told to begin 30 to 40 ms after its tone did, and to end
    /// 25 to 35 ms after its tone did.
    pub fn feed(&mut self, samples: &[i16], mut tell: impl FnMut(Press)) {
        let tables = &*TABLES;
        let mut rest = samples;
        while !rest.is_empty() {
            let count = (STEP - self.filled).min(rest.len());
            let (now, later) = rest.split_at(count);
            for (place, &sample) in self.waiting.iter_mut().skip(self.filled).zip(now) {
                *place = f32::from(sample);
            }
            self.filled += count;
            rest = later;
            if self.filled == STEP {
                self.filled = 0;
                self.step(tables, &mut tell);
            }
        }
    }

    /// No more audio comes for now: a digit that is down ends.
    pub fn finish(&mut self, mut tell: impl FnMut(Press)) {
        self.end(&mut tell);
        *self = Self::default();
    }

    /// Is a digit down?
    pub fn is_down(&self) -> bool {
        self.down.is_some()
    }

    fn step(&mut self, tables: &Tables, tell: &mut impl FnMut(Press)) {
        self.history.copy_within(STEP.., 0);
        if let Some(newest) = self.history.last_chunk_mut::<STEP>() {
            *newest = self.waiting;
        }
        let last = Step::of(tables, &self.waiting);
        let window = if self.before.re[0] == 0.0 && last.re[0] == 0.0 {
            None
        } else {
            Window::of(tables, &self.before, &last)
        };
        self.before = last;
        self.follow(window.as_ref(), tell);
        match window {
            Some(window) => {
                if self.in_row > 0 && !self.windows[CANDIDATE - 1].is_of(&window) {
                    self.in_row = 0;
                }
                self.windows.rotate_left(1);
                self.windows[CANDIDATE - 1] = window;
                self.in_row += 1;
            }
            None => self.in_row = 0,
        }
        let known = self.down.is_some_and(|down| {
            let newest = &self.windows[CANDIDATE - 1];
            (down.row, down.column) == (newest.row, newest.column)
        });
        if self.in_row >= CANDIDATE && !known && self.is_digit(tables) {
            self.end(tell);
            let newest = &self.windows[CANDIDATE - 1];
            let digit = KEYS[usize::from(newest.row)][usize::from(newest.column)];
            self.down = Some(Down {
                digit,
                row: newest.row,
                column: newest.column,
                windows: self.in_row as u32,
                misses: 0,
            });
            tell(Press::Begin(digit));
        }
    }

    /// Does the digit that is down go on?
    fn follow(&mut self, window: Option<&Window>, tell: &mut impl FnMut(Press)) {
        let Some(down) = &mut self.down else {
            return;
        };
        down.windows += 1;
        if window.is_some_and(|w| (w.row, w.column) == (down.row, down.column)) {
            down.misses = 0;
            return;
        }
        down.misses += 1;
        if down.misses >= MISSES {
            self.end(tell);
        }
    }

    fn end(&mut self, tell: &mut impl FnMut(Press)) {
        if let Some(down) = self.down.take() {
            let steps = down.windows.saturating_sub(down.misses) + 1;
            tell(Press::End(down.digit, steps * STEP_MS));
        }
    }

    /// Are the windows of a candidate those of a digit?
    fn is_digit(&self, tables: &Tables) -> bool {
        let newest = &self.windows[CANDIDATE - 1];
        let (row, column) = (usize::from(newest.row), usize::from(newest.column));
        let (low_hz, high_hz) = (FREQUENCIES[row], FREQUENCIES[4 + column]);
        let low = Course::of(tables.step[row], &self.windows.map(|w| w.low));
        let high = Course::of(tables.step[4 + column], &self.windows.map(|w| w.high));
        if !low.is_steady(low_hz) || !high.is_steady(high_hz) {
            return false;
        }
        let (low_power, high_power) = (low.power / low.seen(), high.power / high.seen());
        if low_power > TWIST_LOW * high_power || high_power > TWIST_HIGH * low_power {
            return false;
        }
        let inner = &self.windows[1..CANDIDATE - 1];
        let energy = inner.iter().map(|w| w.energy).sum::<f32>() / inner.len() as f32;
        if 2.0 * WINDOW * (low_power + high_power) < SHARE * energy {
            return false;
        }
        let (low_hz, high_hz) = (low_hz + low.off_hz, high_hz + high.off_hz);
        let clear = (2.0 * low_hz - high_hz).abs() >= HARMONIC_CLEAR;
        let of_low = clear && self.amplitude(2.0 * low_hz) > HARMONIC * 2.0 * low_power.sqrt();
        let of_high = self.amplitude(2.0 * high_hz) > HARMONIC * 2.0 * high_power.sqrt();
        !of_low && !of_high
    }

    /// Peak amplitude of a frequency over the candidate.
    fn amplitude(&self, hz: f32) -> f32 {
        let w = TAU * hz / SAMPLE_RATE as f32;
        let coefficient = 2.0 * w.cos();
        let (mut s1, mut s2) = (0.0f32, 0.0f32);
        for &x in &self.history {
            let s0 = x + coefficient * s1 - s2;
            s2 = s1;
            s1 = s0;
        }
        let power = s1 * s1 + s2 * s2 - coefficient * s1 * s2;
        2.0 * power.max(0.0).sqrt() / HISTORY as f32
    }
}

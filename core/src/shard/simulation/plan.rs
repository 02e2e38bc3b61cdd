//! What is going to happen: the settings of a world and of each call in it, all drawn from the seed before anything runs.

use std::time::Duration;

use strowger_store::{Rel100, SessionTimers};

use crate::channel::Cause;

/// xorshift64*: the same numbers for the same seed, everywhere.
#[derive(Clone, Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit.max(1)
    }

    pub(super) fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }

    pub(super) fn ms(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(least + self.below(most - least + 1))
    }
}

/// What the link does to a datagram.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weather {
    pub(super) loss_percent: u64,
    pub(super) duplicate_percent: u64,
    /// Delays differ by datagram, so this is how far they overtake each other too.
    pub(super) delay_ms_max: u64,
    /// One of a thousand is late by up to three seconds more, which is less than T4.
    pub(super) late_per_mille: u64,
}

/// How the exchanges are configured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) exchanges: usize,
    pub(super) shards: usize,
    pub(super) rel100: Rel100,
    pub(super) timers: SessionTimers,
    pub(super) direct_media: bool,
    /// In seconds; 0 is none.
    pub(super) rtp_timeout: u32,
    pub(super) weather: Weather,
}

impl Settings {
    pub(super) fn draw(random: &mut Random, exchanges: usize) -> Self {
        let rel100 = match random.below(4) {
            0 => Rel100::No,
            1 => Rel100::PeerSupported,
            2 => Rel100::Required,
            _ => Rel100::Yes,
        };
        let (timers, rtp_timeout) = match random.below(4) {
            // Who vanishes has to be missed by something.
            0 => (SessionTimers::No, 20),
            1 => (SessionTimers::Required, 0),
            2 => (SessionTimers::Forced, 30),
            _ => (SessionTimers::Yes, 0),
        };
        Self {
            exchanges,
            shards: 1 + random.below(2) as usize,
            rel100,
            timers,
            direct_media: random.percent(40),
            rtp_timeout,
            weather: Weather {
                loss_percent: random.below(21),
                duplicate_percent: random.below(16),
                delay_ms_max: [20, 100, 300, 800][random.below(4) as usize],
                late_per_mille: random.below(5),
            },
        }
    }
}

/// What a party does to a call that is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    Hold,
    Resume,
    /// A refresh: by UPDATE, or by re-INVITE.
    Refresh(bool),
    /// Blind transfer of the other party.
    Transfer,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Talk {
    /// Each behind the one before.
    pub(super) acts: Vec<(Duration, Act)>,
    /// Behind the last of these; None waits for the other side.
    pub(super) hang_up: Option<Duration>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    Ringing,
    Progress,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Answer,
    Refuse(Cause),
    /// Rings on, for a minute at most.
    Ring,
}

#[derive(Clone, Debug)]
pub(super) struct CallPlan {
    /// The exchanges it goes through; the first calls, the last is called, one between dials on.
    pub(super) path: Vec<usize>,
    pub(super) start: Duration,
    /// The caller gives up after so long.
    pub(super) patience: Duration,
    /// One between gives up after so long.
    pub(super) dial_timeout: Duration,
    /// One between ends the call after so long.
    pub(super) limit: Option<Duration>,
    pub(super) signs: Vec<(Duration, Sign)>,
    pub(super) verdict: (Duration, Verdict),
    pub(super) caller: Talk,
    pub(super) callee: Talk,
    /// So long after the start nothing of one dialog arrives any more; which one.
    pub(super) cut: Option<(Duration, usize)>,
}

fn talk(random: &mut Random, transfers: bool) -> Talk {
    let acts = match random.below(3) {
        0 => random.below(5),
        _ => 0,
    };
    let mut held = false;
    let acts = (0..acts)
        .map(|_| {
            let act = match random.below(8) {
                0..4 => {
                    held = !held;
                    if held { Act::Hold } else { Act::Resume }
                }
                4 | 5 => Act::Refresh(random.percent(50)),
                6 if transfers => Act::Transfer,
                _ => Act::Refresh(false),
            };
            (random.ms(0, 4000), act)
        })
        .collect();
    Talk {
        acts,
        hang_up: random.percent(60).then(|| random.ms(0, 20_000)),
    }
}

impl CallPlan {
    pub(super) fn draw(random: &mut Random, settings: &Settings, within: Duration) -> Self {
        let count = settings.exchanges as u64;
        let first = random.below(count) as usize;
        let mut path = vec![first];
        // Two exchanges pass calls on, too: back to where they came from.
        let hops = if random.percent(50) { 2 } else { 1 };
        while path.len() <= hops {
            let last = path[path.len() - 1];
            let next = random.below(count) as usize;
            if next != last {
                path.push(next);
            }
        }
        let mut signs = Vec::new();
        for _ in 0..random.below(3) {
            let sign = if random.percent(65) {
                Sign::Ringing
            } else {
                Sign::Progress
            };
            signs.push((random.ms(0, 2500), sign));
        }
        let verdict = match random.below(10) {
            0 => Verdict::Refuse(Cause::USER_BUSY),
            1 => Verdict::Refuse(Cause::CALL_REJECTED),
            2 => Verdict::Ring,
            _ => Verdict::Answer,
        };
        let verdict = (random.ms(0, 6000), verdict);
        let rings: Duration = signs.iter().map(|(after, _)| *after).sum();
        let rings = rings + verdict.0;
        let patience = match random.below(4) {
            // The CANCEL meets the answer.
            0 => (rings + random.ms(0, 800)).saturating_sub(Duration::from_millis(400)),
            1 => random.ms(50, 9000),
            _ => random.ms(20_000, 45_000),
        };
        let (mut caller, mut callee) = (talk(random, true), talk(random, hops > 1));
        match random.below(8) {
            // Both hang up at once, or nearly.
            0 | 1 => {
                let after = random.ms(0, 8000);
                let late = random.ms(0, 2 * settings.weather.delay_ms_max);
                (caller.acts, callee.acts) = (Vec::new(), Vec::new());
                caller.hang_up = Some(after + late);
                callee.hang_up = Some(after);
            }
            // Both change something at once.
            2 => {
                let after = random.ms(0, 3000);
                caller.acts.insert(0, (after, Act::Hold));
                callee.acts.insert(0, (after, Act::Hold));
            }
            // At once behind the answer.
            3 => callee.hang_up = Some(Duration::ZERO),
            _ => {}
        }
        if caller.hang_up.is_none() && callee.hang_up.is_none() {
            caller.hang_up = Some(random.ms(0, 140_000));
        }
        let cut = random.percent(6).then(|| {
            if random.percent(50) {
                (caller.hang_up, callee.hang_up) = (None, None);
            }
            (random.ms(0, 20_000), random.below(hops as u64) as usize)
        });
        Self {
            start: random.ms(0, within.as_millis() as u64),
            patience,
            dial_timeout: random.ms(15_000, 50_000),
            limit: random.percent(10).then(|| random.ms(0, 15_000)),
            path,
            signs,
            verdict,
            caller,
            callee,
            cut,
        }
    }

    pub(super) fn last(&self) -> usize {
        self.path.len() - 1
    }
}

/// What a call is dialled by at a place of its path: `c<call>p<place>`; `t<call>p<place>` is where it is transferred to.
pub(super) fn exten(letter: char, call: usize, place: usize) -> String {
    format!("{letter}{call}p{place}")
}

/// Letter, call and place of an extension.
pub(super) fn read_exten(exten: &str) -> Option<(char, usize, usize)> {
    let letter = exten
        .chars()
        .next()
        .filter(|letter| "ct".contains(*letter))?;
    let (call, place) = exten.get(1..)?.split_once('p')?;
    Some((letter, call.parse().ok()?, place.parse().ok()?))
}

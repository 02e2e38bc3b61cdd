//! How a call sounds, as far as packets tell: running statistics, bursts of loss (RFC 3611 §4.7.2), and the E-model of
//! ITU-T G.107 in its usual short form. Estimates for people, not measurements of speech.

use crate::codec::Codec;

/// Packets received in a row that end a burst of losses (RFC 3611 §4.7.2).
pub const GMIN: u64 = 16;

/// Smallest, largest, mean and deviation of a number seen now and then.
#[derive(Copy, Clone, Debug, Default, PartialEq)]
pub struct Series {
    count: u32,
    min: f32,
    max: f32,
    mean: f32,
    /// Sum of the squared distances from the mean (Welford).
    squares: f32,
}

impl Series {
    /// Takes another value; what is no number is left out.
    pub fn add(&mut self, value: f32) {
        if !value.is_finite() {
            return;
        }
        self.min = if self.count == 0 {
            value
        } else {
            self.min.min(value)
        };
        self.max = if self.count == 0 {
            value
        } else {
            self.max.max(value)
        };
        self.count = self.count.saturating_add(1);
        let before = value - self.mean;
        self.mean += before / self.count as f32;
        self.squares += before * (value - self.mean);
    }

    /// Values taken.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// 0 before the first value, as the other figures.
    pub fn min(&self) -> f32 {
        self.min
    }

    /// The largest.
    pub fn max(&self) -> f32 {
        self.max
    }

    /// The mean.
    pub fn mean(&self) -> f32 {
        self.mean
    }

    /// The standard deviation.
    pub fn deviation(&self) -> f32 {
        if self.count == 0 {
            0.0
        } else {
            (self.squares / self.count as f32).max(0.0).sqrt()
        }
    }
}

/// What was seen of a leg at each report. Times in seconds, scores 1..=4.5.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Quality {
    /// Jitter of what we receive.
    pub jitter: Series,
    /// Packets lost on the way to us since the report before.
    pub loss: Series,
    /// Jitter and loss that the remote reports of what we send.
    pub remote_jitter: Series,
    pub remote_loss: Series,
    pub round_trip: Series,
    /// Scores of what we receive, and of what the remote does.
    pub mos: Series,
    pub remote_mos: Series,
}

/// How a codec suffers (ITU-T G.113 appendix I).
#[derive(Copy, Clone, Debug, PartialEq)]
pub struct Impairment {
    /// Ie: what it costs without loss.
    pub equipment: f32,
    /// Bpl: how well it bears loss, percent.
    pub robustness: f32,
}

impl Impairment {
    /// Of a codec. G.113 has no figures for Opus and linear audio, and none for G.722 on the scale of telephone bands:
    /// Opus is taken for transparent with good concealment, the others for G.711.
    pub fn of(codec: Codec) -> Self {
        let (equipment, robustness) = match codec.name() {
            // Full rate: Ie 20; concealment as that of the enhanced full rate codec.
            "GSM" => (20.0, 10.0),
            "G729" => (11.0, 19.0),
            "opus" => (0.0, 20.0),
            // G.711 without concealment, as a relay can assume nothing of the far end.
            _ => (0.0, 4.3),
        };
        Self {
            equipment,
            robustness,
        }
    }
}

/// One-way delay that the listener has, ms: half the round trip, a buffer of twice the jitter, 20 ms of packet.
pub fn delay_ms(round_trip_s: f32, jitter_s: f32) -> f32 {
    500.0 * round_trip_s + 2000.0 * jitter_s + 20.0
}

/// Transmission rating R, 0..=93.2: 93.2 less what delay and loss (percent, random) impair.
pub fn r_factor(impairment: Impairment, loss_percent: f32, delay_ms: f32) -> f32 {
    let late = (delay_ms - 177.3).max(0.0);
    let delay = 0.024 * delay_ms + 0.11 * late;
    let Impairment {
        equipment,
        robustness,
    } = impairment;
    let loss = equipment + (95.0 - equipment) * loss_percent / (loss_percent + robustness);
    (93.2 - delay - loss).clamp(0.0, 100.0)
}

/// Mean opinion score 1..=4.5 of a rating (G.107 annex B).
pub fn mos(r: f32) -> f32 {
    let mos = 1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6;
    mos.clamp(1.0, 4.5)
}

/// Losses in bursts and gaps, counted as RFC 3611 appendix A.2 does, but only when packets are lost: a stream without loss
/// costs nothing. Packets that come late after all stay lost here.
#[derive(Copy, Clone, Debug, Default)]
pub struct Bursts {
    /// Received in gaps.
    c11: u64,
    /// Bursts.
    c13: u64,
    /// Losses in gaps.
    c14: u64,
    /// Received in bursts between received ones, losses after a received one, losses after a loss.
    c22: u64,
    c23: u64,
    c33: u64,
    /// Losses in the burst that goes on.
    lost: u64,
    /// Where the last loss was.
    last: Option<u64>,
}

/// The figures of [`Bursts`].
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct BurstFigures {
    /// Parts of 256.
    pub burst_density: u8,
    pub gap_density: u8,
    /// Mean lengths, packets.
    pub burst_packets: u64,
    pub gap_packets: u64,
}

impl Bursts {
    /// `count` packets from number `first` on are lost. `base`: number of the first packet of the stream.
    pub fn lost(&mut self, base: u64, first: u64, count: u64) {
        if count == 0 {
            return;
        }
        let before = self.last.map_or(base, |last| last + 1);
        self.loss_after(first.saturating_sub(before));
        // The others follow at once.
        self.lost += count - 1;
        self.c33 += count - 1;
        self.last = Some(first + count - 1);
    }

    fn loss_after(&mut self, received: u64) {
        if received >= GMIN || self.lost == 0 {
            self.close(received);
            self.lost = 1;
        } else {
            self.lost += 1;
            if received == 0 {
                self.c33 += 1;
            } else {
                self.c23 += 1;
                self.c22 += received - 1;
            }
        }
    }

    /// What was before is a burst, or a single loss in a gap; `received` packets of a gap came after it.
    fn close(&mut self, received: u64) {
        match self.lost {
            0 => {}
            1 => self.c14 += 1,
            _ => self.c13 += 1,
        }
        self.c11 += received;
    }

    /// The figures when packet `highest` came last.
    pub fn figures(&self, highest: u64) -> BurstFigures {
        let Some(last) = self.last else {
            return BurstFigures {
                gap_packets: 0,
                ..BurstFigures::default()
            };
        };
        let mut c = *self;
        c.close(highest.saturating_sub(last));
        let share = |part: u64, of: u64| part as f64 / (of.max(1)) as f64;
        let (c31, c32) = (c.c13, c.c23);
        let p32 = share(c32, c31 + c32 + c.c33);
        let p23 = if c.c22 + c.c23 == 0 {
            1.0
        } else {
            1.0 - share(c.c22, c.c22 + c.c23)
        };
        let total = c.c11 + c.c14 + c.c13 + c.c22 + c.c23 + c31 + c32 + c.c33;
        let gaps = c.c11 + c.c14 + c.c13;
        let bursts = c.c13.max(1);
        let byte = |x: f64| (256.0 * x).min(255.0) as u8;
        let in_burst = c.c13 > 0;
        BurstFigures {
            burst_density: if in_burst { byte(p23 / (p23 + p32)) } else { 0 },
            gap_density: byte(share(c.c14, c.c11 + c.c14)),
            burst_packets: if in_burst { (total - gaps) / bursts } else { 0 },
            gap_packets: gaps / bursts,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_series_tells_its_figures() {
        let mut series = Series::default();
        assert_eq!(
            (series.min(), series.max(), series.deviation()),
            (0.0, 0.0, 0.0)
        );
        for value in [2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0, f32::NAN] {
            series.add(value);
        }
        assert_eq!((series.count(), series.min(), series.max()), (8, 2.0, 9.0));
        assert!((series.mean() - 5.0).abs() < 1e-5);
        assert!((series.deviation() - 2.0).abs() < 1e-5);
    }

    /// G.107 annex B has R 93.2 at 4.41, 80 at 4.03, 70 at 3.60, 60 at 3.10, 50 at 2.58.
    #[test]
    fn ratings_become_the_scores_of_the_standard() {
        for (r, score) in [
            (93.2, 4.41),
            (90.0, 4.34),
            (80.0, 4.03),
            (70.0, 3.60),
            (60.0, 3.10),
            (50.0, 2.58),
            (0.0, 1.0),
        ] {
            assert!((mos(r) - score).abs() < 0.01, "{r}: {}", mos(r));
        }
    }

    #[test]
    fn loss_and_delay_impair_as_the_model_says() {
        let g711 = Impairment::of(Codec::Pcma);
        assert!((r_factor(g711, 0.0, 0.0) - 93.2).abs() < 0.01);
        assert!((r_factor(g711, 0.0, 100.0) - 90.8).abs() < 0.01);
        // 200 ms: 4.8 and 0.11 * 22.7.
        assert!((r_factor(g711, 0.0, 200.0) - 85.9).abs() < 0.01);
        // 4.3 % with Bpl 4.3: half of 95.
        assert!((r_factor(g711, 4.3, 0.0) - 45.7).abs() < 0.01);
        assert!((r_factor(Impairment::of(Codec::Gsm), 0.0, 0.0) - 73.2).abs() < 0.01);
        assert!(r_factor(g711, 100.0, 2000.0) < 1.0);
    }

    #[test]
    fn single_losses_are_of_a_gap_and_close_ones_a_burst() {
        let mut bursts = Bursts::default();
        assert_eq!(bursts.figures(1000), BurstFigures::default());
        // One in a hundred.
        for n in 1..=10 {
            bursts.lost(0, n * 100, 1);
        }
        let figures = bursts.figures(1050);
        assert_eq!((figures.burst_density, figures.burst_packets), (0, 0));
        assert!((2..=3).contains(&figures.gap_density), "{figures:?}");
        // Every second of twenty is lost: a burst of half its packets.
        for n in 0..10 {
            bursts.lost(0, 1200 + 2 * n, 1);
        }
        let figures = bursts.figures(2000);
        assert!((120..=140).contains(&figures.burst_density), "{figures:?}");
        assert!((17..=21).contains(&figures.burst_packets), "{figures:?}");
        // Ten in a row: nothing of it came.
        let mut whole = Bursts::default();
        whole.lost(0, 500, 10);
        let figures = whole.figures(1000);
        assert_eq!((figures.burst_density, figures.burst_packets), (255, 10));
    }

    proptest! {
        #[test]
        fn bursts_of_any_kind_have_figures(
            losses in proptest::collection::vec((0u64..60, 0u64..3000), 0..100), after in 0u64..1000,
        ) {
            let mut bursts = Bursts::default();
            let mut at = 70_000;
            for (received, count) in losses {
                at += received;
                bursts.lost(70_000, at, count);
                at += count;
            }
            let figures = bursts.figures(at + after);
            prop_assert!(figures.burst_packets <= at + after);
        }
    }
}

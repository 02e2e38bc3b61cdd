//! When calls begin and how long they last. No clock: the time comes in.

use crate::scenario::{Arrivals, Length, Step};

/// The arrivals of one step.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    step: Step,
    /// The next one comes when so many would have come at an even rate.
    next: f64,
}

impl Schedule {
    pub(crate) fn new(step: Step, chance: &mut fastrand::Rng) -> Self {
        let mut schedule = Self { step, next: 0.0 };
        schedule.advance(chance);
        schedule
    }

    fn advance(&mut self, chance: &mut fastrand::Rng) {
        self.next += match self.step.arrivals {
            Arrivals::Even => 1.0,
            Arrivals::Poisson => exponential(1.0, chance),
        };
    }

    /// How many would have come by second `t` of the step.
    fn expected(&self, t: f64) -> f64 {
        let step = &self.step;
        let slope = step
            .rate_to
            .map_or(0.0, |to| (to - step.rate) / step.seconds);
        step.rate * t + slope * t * t / 2.0
    }

    /// How many have come since the last question.
    pub(crate) fn due(&mut self, t: f64, chance: &mut fastrand::Rng) -> u32 {
        let expected = self.expected(t.min(self.step.seconds));
        let mut due = 0;
        while self.next <= expected {
            due += 1;
            self.advance(chance);
        }
        due
    }
}

/// A length in seconds; `None`: to the end.
pub(crate) fn length(length: Length, chance: &mut fastrand::Rng) -> Option<f64> {
    Some(match length {
        Length::End => return None,
        Length::Fixed { seconds } => seconds,
        Length::Uniform { from, to } => from + (to - from) * chance.f64(),
        Length::Exponential { mean } => exponential(mean, chance),
        Length::Lognormal { median, sigma } => median * (sigma * normal(chance)).exp(),
    })
}

fn exponential(mean: f64, chance: &mut fastrand::Rng) -> f64 {
    -mean * (1.0 - chance.f64()).ln()
}

/// A number of the standard normal distribution (Box and Muller).
fn normal(chance: &mut fastrand::Rng) -> f64 {
    let radius = (-2.0 * (1.0 - chance.f64()).ln()).sqrt();
    radius * (std::f64::consts::TAU * chance.f64()).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(arrivals: Arrivals, rate_to: Option<f64>) -> Step {
        Step {
            seconds: 100.0,
            calls: None,
            rate: 50.0,
            rate_to,
            arrivals,
        }
    }

    fn by_second(step: Step, chance: &mut fastrand::Rng) -> Vec<u32> {
        let mut schedule = Schedule::new(step, chance);
        (1..=100)
            .map(|t| schedule.due(f64::from(t), chance))
            .collect()
    }

    #[test]
    fn arrivals_are_as_many_as_the_rate_says() {
        let mut chance = fastrand::Rng::with_seed(3);
        assert_eq!(
            by_second(step(Arrivals::Even, None), &mut chance),
            [50; 100]
        );
        let ramp = by_second(step(Arrivals::Even, Some(150.0)), &mut chance);
        assert_eq!(ramp.iter().sum::<u32>(), 10_000);
        assert!(ramp[0] < 52 && ramp[99] > 148, "{ramp:?}");
        let strangers = by_second(step(Arrivals::Poisson, None), &mut chance);
        let sum: u32 = strangers.iter().sum();
        assert!((4700..5300).contains(&sum), "{sum}");
        // Their variance is their mean.
        let variance: f64 = strangers
            .iter()
            .map(|&n| (f64::from(n) - 50.0).powi(2))
            .sum::<f64>()
            / 100.0;
        assert!((25.0..90.0).contains(&variance), "{variance}");
    }

    #[test]
    fn lengths_have_the_mean_that_is_told() {
        let mut chance = fastrand::Rng::with_seed(4);
        for distribution in [
            Length::Fixed { seconds: 7.0 },
            Length::Uniform {
                from: 2.0,
                to: 12.0,
            },
            Length::Exponential { mean: 7.0 },
            Length::Lognormal {
                median: 5.0,
                sigma: 0.8,
            },
        ] {
            let mean = (0..20_000)
                .filter_map(|_| length(distribution, &mut chance))
                .sum::<f64>()
                / 20_000.0;
            let told = distribution.mean_seconds().expect("a mean");
            assert!((mean / told - 1.0).abs() < 0.05, "{distribution:?}: {mean}");
        }
        assert_eq!(length(Length::End, &mut chance), None);
    }
}

//! What callers are told while they wait: where they are, how long it will take, and now and then something else.

use std::time::{Duration, Instant};

use strowger_core::channel::Played;
use strowger_core::queue::{HoldTime, Position, Settings};

use super::super::play::load_all;
use super::caller::{Caller, End};
use crate::say::{self, Gender, Grammar};

/// What was said when.
pub(super) struct Announced {
    position: usize,
    position_at: Option<Instant>,
    periodic_at: Instant,
    periodic_next: usize,
}

impl Announced {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            position: 0,
            position_at: None,
            periodic_at: now,
            periodic_next: 0,
        }
    }
}

/// The prompts of a position.
pub(super) fn position_prompts(
    settings: &Settings,
    grammar: Grammar,
    position: usize,
    wait: Option<Duration>,
) -> Vec<String> {
    let prompts = &settings.prompts;
    let number = |number: usize, gender| {
        say::number(grammar, i64::try_from(number).unwrap_or(i64::MAX), gender)
    };
    let limit = settings.announce_position_limit;
    let mut said = Vec::new();
    match settings.announce_position {
        Position::No => {}
        Position::Limit if position > limit => {}
        _ if position == 1 => said.push(prompts.you_are_next.clone()),
        Position::More if position > limit => {
            said.push(prompts.quantity1.clone());
            said.extend(number(limit, Gender::Masculine));
            said.push(prompts.quantity2.clone());
        }
        _ => {
            said.push(prompts.there_are.clone());
            said.extend(number(position, Gender::Masculine));
            said.push(prompts.calls_waiting.clone());
        }
    }
    if let Some(wait) = wait {
        let seconds = wait.as_secs();
        let minutes = seconds / 60;
        let rest = match settings.announce_round_seconds {
            0 => 0,
            rounding => (seconds % 60) / rounding * rounding,
        };
        if minutes + rest > 0 {
            said.push(prompts.hold_time.clone());
            if minutes > 0 {
                let count = usize::try_from(minutes).unwrap_or(usize::MAX);
                said.extend(number(count, Gender::Feminine));
                said.push(if minutes == 1 {
                    prompts.minute.clone()
                } else {
                    prompts.minutes.clone()
                });
            }
            if rest > 0 {
                let count = usize::try_from(rest).unwrap_or(usize::MAX);
                said.extend(number(count, Gender::Feminine));
                said.push(prompts.seconds.clone());
            }
        }
    }
    if !said.is_empty() {
        said.push(prompts.thank_you.clone());
    }
    said.retain(|prompt| !prompt.is_empty());
    said
}

impl Caller<'_> {
    /// Says what is due now.
    pub(super) async fn announce(&self) -> Result<(), End> {
        if let Some(prompts) = self.due_position() {
            self.tell(&prompts).await?;
        }
        if let Some(prompt) = self.due_periodic() {
            self.tell(&[prompt]).await?;
            if self.settings().relative_periodic_announce {
                self.announced.borrow_mut().periodic_at = Instant::now();
            }
        }
        Ok(())
    }

    fn due_position(&self) -> Option<Vec<String>> {
        let settings = self.settings();
        if settings.announce_frequency.is_zero() {
            return None;
        }
        let position = self.position()?;
        let mut announced = self.announced.borrow_mut();
        let now = Instant::now();
        if let Some(at) = announced.position_at {
            let since = now.saturating_duration_since(at);
            let moved = announced.position != position;
            if since < settings.min_announce_frequency
                || (!moved && since < settings.announce_frequency)
            {
                return None;
            }
        }
        let first = announced.position_at.replace(now).is_none();
        announced.position = position;
        let wanted = match settings.announce_hold_time {
            HoldTime::No => false,
            HoldTime::Yes => true,
            HoldTime::Once => first,
        };
        let statistics = self
            .call
            .shared()
            .queue(|table, _, _| table.statistics(&self.queue));
        let average = statistics.map_or(0, |statistics| statistics.hold_time);
        // Half a minute is added so that minutes are rounded and not cut.
        let left = Duration::from_secs(average + 30).checked_sub(self.waited());
        let wait = left.filter(|_| wanted && average > 0);
        let grammar = Grammar::of(&self.channel().data().language);
        Some(position_prompts(&settings, grammar, position, wait))
    }

    fn due_periodic(&self) -> Option<String> {
        let settings = self.settings();
        let every = settings.periodic_announce_frequency;
        let files = &settings.periodic_announce;
        let mut announced = self.announced.borrow_mut();
        if every.is_zero() || files.is_empty() || announced.periodic_at.elapsed() < every {
            return None;
        }
        announced.periodic_at = Instant::now();
        let next = announced.periodic_next;
        announced.periodic_next = if settings.random_periodic_announce {
            // The low digits of the clock are chance enough.
            next + 1 + usize::try_from(self.joined.elapsed().subsec_micros()).unwrap_or(0)
        } else {
            next + 1
        };
        files.get(next % files.len()).cloned()
    }

    /// Plays prompts in place of the music; a digit that is a way out ends them.
    async fn tell(&self, prompts: &[String]) -> Result<(), End> {
        let names = prompts.iter().map(String::as_str);
        let sounds = load_all(self.call, names, None).await.0;
        if sounds.is_empty() {
            return Ok(());
        }
        self.stop_background();
        let played = self
            .channel()
            .play(sounds, true, &|digit| self.leaves_with(digit))
            .await?;
        if let Played::Digit(digit) = played {
            return Err(End::Key(digit));
        }
        self.start_background().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(options: &[(&str, &str)], position: usize, wait: Option<u64>) -> String {
        let (settings, problems) = Settings::read("q", options.iter().copied());
        assert!(problems.is_empty(), "{problems:?}");
        let wait = wait.map(Duration::from_secs);
        position_prompts(&settings, Grammar::English, position, wait).join(" ")
    }

    #[test]
    fn a_caller_hears_where_he_is_and_how_long_it_takes() {
        for (options, position, wait, wanted) in [
            (&[][..], 1, None, "queue-youarenext queue-thankyou"),
            (
                &[],
                3,
                Some(130),
                "queue-thereare digits/3 queue-callswaiting queue-holdtime digits/2 queue-minutes queue-thankyou",
            ),
            (
                &[("announce_round_seconds", "10")],
                1,
                Some(85),
                "queue-youarenext queue-holdtime digits/1 queue-minute digits/20 queue-seconds queue-thankyou",
            ),
            (&[("announce_position", "no")], 4, None, ""),
            (
                &[
                    ("announce_position", "limit"),
                    ("announce_position_limit", "3"),
                ],
                4,
                None,
                "",
            ),
            (
                &[
                    ("announce_position", "more"),
                    ("announce_position_limit", "3"),
                ],
                4,
                None,
                "queue-quantity1 digits/3 queue-quantity2 queue-thankyou",
            ),
        ] {
            assert_eq!(said(options, position, wait), wanted, "{options:?}");
        }
    }
}

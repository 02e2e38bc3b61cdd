//! Rules: how the penalties that a caller accepts change while he waits.

use std::time::Duration;

/// The penalties that a caller accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Penalties {
    pub min: Option<u32>,
    pub max: Option<u32>,
    /// Lower penalties count as this.
    pub raise: Option<u32>,
}

impl Penalties {
    /// The penalty of a member as it counts for the caller; `None`: he does not want it.
    pub(super) fn of(self, penalty: u32) -> Option<u32> {
        let penalty = self.raise.map_or(penalty, |raise| raise.max(penalty));
        let wanted =
            self.min.is_none_or(|min| penalty >= min) && self.max.is_none_or(|max| penalty <= max);
        wanted.then_some(penalty)
    }
}

/// A number, or a change of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    To(u32),
    By(i64),
}

impl Step {
    fn read(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.starts_with(['+', '-']) {
            text.parse().ok().map(Self::By)
        } else {
            text.parse().ok().map(Self::To)
        }
    }

    fn apply(step: Option<Self>, value: Option<u32>) -> Option<u32> {
        match step {
            None => value,
            Some(Self::To(number)) => Some(number),
            Some(Self::By(by)) => {
                let changed = i64::from(value.unwrap_or(0)).saturating_add(by).max(0);
                Some(u32::try_from(changed).unwrap_or(u32::MAX))
            }
        }
    }
}

/// One change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    after: Duration,
    min: Option<Step>,
    max: Option<Step>,
    raise: Option<Step>,
}

impl Rule {
    /// Reads a row; `None` without a time.
    pub(super) fn read(time: &str, max: &str, min: &str, raise: &str) -> Option<Self> {
        Some(Self {
            after: Duration::from_secs(time.trim().parse().ok()?),
            min: Step::read(min),
            max: Step::read(max),
            raise: Step::read(raise),
        })
    }

    /// Reads `seconds,max[,min[,raise]]` of `queuerules.conf`.
    pub(super) fn from_line(line: &str) -> Option<Self> {
        let parts: Vec<&str> = line.split(',').collect();
        let part = |index: usize| parts.get(index).copied().unwrap_or_default();
        Self::read(part(0), part(1), part(2), part(3))
    }
}

/// Puts rules in the order of their times, however they are written down.
pub(super) fn sort(rules: &mut [Rule]) {
    rules.sort_by_key(|rule| rule.after);
}

/// What the penalties are after so long, beginning with `first`.
pub(super) fn penalties(rules: &[Rule], first: Penalties, waited: Duration) -> Penalties {
    let due = rules.iter().filter(|rule| rule.after <= waited);
    due.fold(first, |now, rule| Penalties {
        min: Step::apply(rule.min, now.min),
        max: Step::apply(rule.max, now.max),
        raise: Step::apply(rule.raise, now.raise),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn penalties_change_as_time_goes_by() {
        let mut rules: Vec<Rule> = ["30,+3,1", "60,,,2", "10,5"]
            .iter()
            .filter_map(|line| Rule::from_line(line))
            .collect();
        sort(&mut rules);
        let at = |seconds| penalties(&rules, Penalties::default(), Duration::from_secs(seconds));
        assert_eq!(at(9), Penalties::default());
        assert_eq!(at(10).max, Some(5));
        assert_eq!((at(30).max, at(30).min), (Some(8), Some(1)));
        assert_eq!(at(60).raise, Some(2));
        assert_eq!(at(60).of(0), Some(2));
        assert_eq!(at(60).of(9), None);
        assert_eq!(at(30).of(0), None);
        assert!(Rule::from_line("soon,1").is_none());
    }

    #[test]
    fn a_limit_of_no_penalty_is_a_limit() {
        let penalties = Penalties {
            max: Some(0),
            ..Penalties::default()
        };
        assert_eq!(penalties.of(0), Some(0));
        assert_eq!(penalties.of(1), None);
    }
}

//! Times at which a jump or an include holds: `times,weekdays,mdays,months[,timezone]`.

use chrono::{DateTime, Datelike, Local, Timelike, Utc};
use chrono_tz::Tz;
use thiserror::Error;

/// Why a time specification is not one.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TimeSpecError {
    /// Not `HH:MM` or a range of it.
    #[error("`{0}` is not a time of day HH:MM or a range of two")]
    Time(String),
    /// Not a weekday.
    #[error("`{0}` is not a weekday sun, mon, tue, wed, thu, fri, sat or a range of two")]
    Weekday(String),
    /// Not a day of a month.
    #[error("`{0}` is not a day of the month 1 to 31 or a range of two")]
    Day(String),
    /// Not a month.
    #[error("`{0}` is not a month jan to dec or a range of two")]
    Month(String),
    /// Not in the time zone database.
    #[error("`{0}` is not a time zone name as Europe/Moscow")]
    Zone(String),
}

/// A parsed time specification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeSpec {
    /// Ranges of minutes of the day, both ends included; the first may be greater: over midnight.
    times: Vec<(u32, u32)>,
    /// Bit n: n days after Sunday.
    weekdays: u32,
    /// Bit n: day n + 1.
    days: u32,
    /// Bit n: month n + 1.
    months: u32,
    zone: Option<Tz>,
}

const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const LAST_MINUTE: u32 = 24 * 60 - 1;

impl TimeSpec {
    /// Parses `times,weekdays,mdays,months[,timezone]`. Fields that are missing, empty or `*` hold always; lists are joined by
    /// `&`; a range whose end comes before its start wraps around.
    ///
    /// # Errors
    /// [`TimeSpecError`] with the part that is wrong.
    pub fn parse(text: &str) -> Result<Self, TimeSpecError> {
        let mut fields = text.split(',').map(str::trim);
        let mut field = || {
            fields
                .next()
                .filter(|field| !field.is_empty() && *field != "*")
        };
        let times = match field() {
            None => vec![(0, LAST_MINUTE)],
            Some(times) => times.split('&').map(time_range).collect::<Result<_, _>>()?,
        };
        let weekdays = mask(field(), 7, &WEEKDAYS, TimeSpecError::Weekday)?;
        let days = mask(field(), 31, &[], TimeSpecError::Day)?;
        let months = mask(field(), 12, &MONTHS, TimeSpecError::Month)?;
        let zone = match field() {
            None => None,
            Some(name) => Some(
                name.parse()
                    .map_err(|_| TimeSpecError::Zone(name.to_owned()))?,
            ),
        };
        Ok(Self {
            times,
            weekdays,
            days,
            months,
            zone,
        })
    }

    /// Does it hold at `now`? Without a time zone of its own the machine's local time counts.
    #[must_use]
    pub fn holds(&self, now: DateTime<Utc>) -> bool {
        match self.zone {
            Some(zone) => self.holds_at(&now.with_timezone(&zone)),
            None => self.holds_at(&now.with_timezone(&Local)),
        }
    }

    fn holds_at(&self, time: &(impl Datelike + Timelike)) -> bool {
        let minute = time.hour() * 60 + time.minute();
        let in_time = self.times.iter().any(|(from, to)| {
            if from <= to {
                (*from..=*to).contains(&minute)
            } else {
                minute >= *from || minute <= *to
            }
        });
        in_time
            && self.weekdays & (1 << time.weekday().num_days_from_sunday()) != 0
            && self.days & (1 << time.day0()) != 0
            && self.months & (1 << time.month0()) != 0
    }
}

fn time_range(text: &str) -> Result<(u32, u32), TimeSpecError> {
    let wrong = || TimeSpecError::Time(text.to_owned());
    let text_trimmed = text.trim();
    if text_trimmed == "*" {
        return Ok((0, LAST_MINUTE));
    }
    let (from, to) = text_trimmed
        .split_once('-')
        .unwrap_or((text_trimmed, text_trimmed));
    Ok((
        minute(from).ok_or_else(wrong)?,
        minute(to).ok_or_else(wrong)?,
    ))
}

/// `HH:MM` as minute of the day.
fn minute(text: &str) -> Option<u32> {
    let (hour, minute) = text.trim().split_once(':')?;
    Some(number(hour, 23)? * 60 + number(minute, 59)?)
}

fn number(text: &str, last: u32) -> Option<u32> {
    let digits = (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| digits && *number <= last)
}

/// A set of days or months as bits.
fn mask(
    field: Option<&str>,
    count: u32,
    names: &[&str],
    error: fn(String) -> TimeSpecError,
) -> Result<u32, TimeSpecError> {
    let Some(field) = field else {
        return Ok((1 << count) - 1);
    };
    let mut mask = 0;
    for part in field.split('&').map(str::trim) {
        if part == "*" {
            return Ok((1 << count) - 1);
        }
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let place =
            |text: &str| position(text.trim(), count, names).ok_or_else(|| error(part.to_owned()));
        let (mut at, to) = (place(from)?, place(to)?);
        mask |= 1 << at;
        while at != to {
            at = (at + 1) % count;
            mask |= 1 << at;
        }
    }
    Ok(mask)
}

/// A name, or a number counted from 1, as a position counted from 0.
fn position(text: &str, count: u32, names: &[&str]) -> Option<u32> {
    let named = names
        .iter()
        .position(|name| name.eq_ignore_ascii_case(text))
        .and_then(|place| u32::try_from(place).ok());
    named.or_else(|| number(text, count).and_then(|number| number.checked_sub(1)))
}

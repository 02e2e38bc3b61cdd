//! Times as text: `STRFTIME` and `STRPTIME`.

use std::fmt::Write as _;

use chrono::format::{Parsed, StrftimeItems};
use chrono::{DateTime, Local, NaiveDateTime, NaiveTime, TimeZone, Utc};
use chrono_tz::Tz;

/// Formats a moment (seconds since the epoch and nanoseconds) in a zone (empty: local time). Besides C's specifiers,
/// `%q` is the fraction of the second in three digits, `%1q` to `%9q` in so many.
pub(crate) fn format_time(
    seconds: i64,
    nanoseconds: u32,
    zone: &str,
    format: &str,
) -> Result<String, String> {
    let moment = DateTime::<Utc>::from_timestamp(seconds, nanoseconds)
        .ok_or_else(|| format!("STRFTIME: {seconds} is outside of all calendars"))?;
    let format = if format.is_empty() { "%c" } else { format };
    let format = expand_fraction(format, nanoseconds);
    let mut out = String::new();
    let written = match parse_zone(zone)? {
        Some(zone) => write!(out, "{}", moment.with_timezone(&zone).format(&format)),
        None => write!(out, "{}", moment.with_timezone(&Local).format(&format)),
    };
    written.map_err(|_| {
        format!("STRFTIME: the format \"{format}\" has a specifier that is not known")
    })?;
    Ok(out)
}

/// Reads a time written in `format`; seconds since the epoch. Fields the format lacks are zero.
pub(crate) fn parse_time(text: &str, zone: &str, format: &str) -> Result<i64, String> {
    let mut parsed = Parsed::new();
    chrono::format::parse(&mut parsed, text.trim(), StrftimeItems::new(format))
        .map_err(|_| format!("STRPTIME: \"{text}\" is not written as \"{format}\""))?;
    if let Some(seconds) = parsed.timestamp() {
        return Ok(seconds);
    }
    let date = parsed
        .to_naive_date()
        .map_err(|_| format!("STRPTIME: \"{format}\" gives no full date"))?;
    let time = parsed.to_naive_time().unwrap_or_else(|_| {
        // A format with the hour only, or with no time at all.
        let hour = match (parsed.hour_div_12(), parsed.hour_mod_12()) {
            (Some(half), Some(hour)) => half * 12 + hour,
            _ => 0,
        };
        NaiveTime::from_hms_opt(hour, parsed.minute().unwrap_or(0), 0).unwrap_or_default()
    });
    let moment = NaiveDateTime::new(date, time);
    if let Some(offset) = parsed.offset() {
        return Ok(moment.and_utc().timestamp() - i64::from(offset));
    }
    let local = match parse_zone(zone)? {
        Some(zone) => zone
            .from_local_datetime(&moment)
            .earliest()
            .map(|moment| moment.timestamp()),
        None => Local
            .from_local_datetime(&moment)
            .earliest()
            .map(|moment| moment.timestamp()),
    };
    // An hour that the change to summer time leaves out is read as if it were UTC.
    Ok(local.unwrap_or_else(|| moment.and_utc().timestamp()))
}

/// Reads `1700000000` or `1700000000.123`.
pub(crate) fn parse_epoch(text: &str) -> Result<(i64, u32), String> {
    let text = text.trim();
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds = seconds
        .parse()
        .map_err(|_| format!("STRFTIME: \"{text}\" is no time in seconds since 1970"))?;
    let digits: String = fraction
        .chars()
        .take_while(char::is_ascii_digit)
        .take(9)
        .collect();
    let nanoseconds = format!("{digits:0<9}").parse().unwrap_or(0);
    Ok((seconds, nanoseconds))
}

fn parse_zone(zone: &str) -> Result<Option<Tz>, String> {
    let zone = zone.trim();
    if zone.is_empty() {
        return Ok(None);
    }
    zone.parse()
        .map(Some)
        .map_err(|_| format!("\"{zone}\" is no time zone; write one such as Europe/Moscow"))
}

fn expand_fraction(format: &str, nanoseconds: u32) -> String {
    let fraction = format!("{nanoseconds:09}");
    let mut out = String::with_capacity(format.len());
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let mut chars = after.chars();
        let (digits, used) = match (chars.next(), chars.next()) {
            (Some('q'), _) => (Some(3), 1),
            (Some(count @ '1'..='9'), Some('q')) => (count.to_digit(10), 2),
            (Some(other), _) => (None, other.len_utf8()),
            (None, _) => (None, 0),
        };
        match digits {
            Some(digits) => out.push_str(&fraction[..digits as usize]),
            None => {
                out.push('%');
                out.push_str(&after[..used]);
            }
        }
        rest = &after[used..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_written_in_their_zone() {
        for (epoch, zone, format, wanted) in [
            ("0", "UTC", "%Y-%m-%d %H:%M:%S", "1970-01-01 00:00:00"),
            (
                "1700000000",
                "Europe/Moscow",
                "%d.%m.%Y %H:%M",
                "15.11.2023 01:13",
            ),
            ("1700000000.1239", "UTC", "%S.%3q", "20.123"),
            ("1700000000.5", "UTC", "%q %1q %9q", "500 5 500000000"),
            ("1700000000", "UTC", "%%q %A %j", "%q Tuesday 318"),
            ("1700000000", "UTC", "%s", "1700000000"),
            ("0", "UTC", "", "Thu Jan  1 00:00:00 1970"),
        ] {
            let (seconds, nanoseconds) = parse_epoch(epoch).expect(epoch);
            assert_eq!(
                format_time(seconds, nanoseconds, zone, format).as_deref(),
                Ok(wanted),
                "{format}"
            );
        }
    }

    #[test]
    fn what_cannot_be_written_is_an_error_that_says_why() {
        assert!(
            format_time(0, 0, "Mars/Base", "%c")
                .unwrap_err()
                .contains("Mars/Base")
        );
        assert!(format_time(0, 0, "UTC", "%!").is_err());
        assert!(format_time(i64::MAX, 0, "UTC", "%c").is_err());
        assert!(parse_epoch("soon").is_err());
    }

    #[test]
    fn times_are_read_back() {
        for (text, zone, format, wanted) in [
            (
                "2023-11-14 22:13:20",
                "UTC",
                "%Y-%m-%d %H:%M:%S",
                1_700_000_000,
            ),
            (
                "2023-11-15 01:13:20",
                "Europe/Moscow",
                "%Y-%m-%d %H:%M:%S",
                1_700_000_000,
            ),
            ("14.11.2023", "UTC", "%d.%m.%Y", 1_699_920_000),
            ("2023-11-14 22:13", "UTC", "%Y-%m-%d %H:%M", 1_699_999_980),
            (
                "2023-11-15 01:13:20 +0300",
                "UTC",
                "%Y-%m-%d %H:%M:%S %z",
                1_700_000_000,
            ),
        ] {
            assert_eq!(parse_time(text, zone, format), Ok(wanted), "{text}");
        }
        assert!(parse_time("tomorrow", "UTC", "%Y").is_err());
    }

    proptest! {
        #[test]
        fn any_format_is_written_or_refused(format in ".{0,30}", text in ".{0,20}", seconds in any::<i64>()) {
            let _ = format_time(seconds, 1, "UTC", &format);
            let _ = parse_time(&text, "UTC", &format);
            let _ = parse_epoch(&text);
        }
    }
}

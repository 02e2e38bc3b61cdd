//! Conditions, numbers and times.

use std::cell::Cell;
use std::time::{SystemTime, UNIX_EPOCH};

use strowger_dialplan::{TimeSpec, args, subst, truth};

use super::text::{leading_number, number};
use super::{Function, argument, clock, math};
use crate::task::Task;

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::read("IF", "IF(condition?[yes][:no])", "one of two texts", choose),
    Function::read(
        "IFTIME",
        "IFTIME(times,weekdays,mdays,months[,timezone]?[yes][:no])",
        "by the time now",
        by_time,
    ),
    Function::read("ISNULL", "ISNULL(text)", "1 if empty, else 0", |_, args| {
        Ok(bit(args.is_empty()))
    }),
    Function::read(
        "EXISTS",
        "EXISTS(text)",
        "1 if not empty, else 0",
        |_, args| Ok(bit(!args.is_empty())),
    ),
    Function::read(
        "SET",
        "SET(variable=value)",
        "sets a variable and gives its value",
        set,
    )
    .reaching(),
    Function::read(
        "MATH",
        "MATH(number operator number[,type])",
        "one operation",
        |_, args| {
            let (expression, kind) = args.rsplit_once(',').unwrap_or((args, ""));
            math::evaluate(expression, kind)
        },
    ),
    Function::read(
        "INC",
        "INC(variable)",
        "adds one to a variable",
        |task, args| step(task, args, 1.0),
    )
    .reaching(),
    Function::read(
        "DEC",
        "DEC(variable)",
        "takes one from a variable",
        |task, args| step(task, args, -1.0),
    )
    .reaching(),
    Function::read("ABS", "ABS(number)", "without sign", |_, args| {
        Ok(number(one(args)?.abs()))
    }),
    Function::read("MIN", "MIN(a,b)", "the smaller number", |_, args| {
        let (a, b) = two(args)?;
        Ok(number(a.min(b)))
    }),
    Function::read("MAX", "MAX(a,b)", "the greater number", |_, args| {
        let (a, b) = two(args)?;
        Ok(number(a.max(b)))
    }),
    Function::read(
        "RAND",
        "RAND([min][,max])",
        "a random integer, both ends possible",
        random,
    ),
    Function::read(
        "STRFTIME",
        "STRFTIME([epoch][,[timezone][,format]])",
        "a time as text",
        format_time,
    ),
    Function::read(
        "STRPTIME",
        "STRPTIME(text,timezone,format)",
        "seconds since 1970 of a written time",
        parse_time,
    ),
    Function::read(
        "UUID",
        "UUID()",
        "a random UUID (RFC 9562 §5.4)",
        |_, _| Ok(uuid()),
    ),
];

fn bit(value: bool) -> String {
    u8::from(value).to_string()
}

fn choose(_: &Task, args: &str) -> Result<String, String> {
    let Some(branches) = args::parse_exec_if(args) else {
        return Err(format!("IF({args}): write it as IF(condition?yes:no)"));
    };
    let taken = if truth::is_true(branches.condition.trim()) {
        branches.yes
    } else {
        branches.no
    };
    Ok(taken.map(args::unquote).unwrap_or_default())
}

fn by_time(task: &Task, args: &str) -> Result<String, String> {
    // Times have a `:` themselves, but before the `?`.
    let Some(branches) = args::parse_goto_if(args) else {
        return Err(format!(
            "IFTIME({args}): write it as IFTIME(times,weekdays,mdays,months?yes:no)"
        ));
    };
    let spec = TimeSpec::parse(branches.condition)
        .map_err(|error| format!("IFTIME({}): {error}", branches.condition))?;
    let taken = if spec.holds(task.now()) {
        branches.yes
    } else {
        branches.no
    };
    Ok(taken.map(args::unquote).unwrap_or_default())
}

fn set(task: &Task, args: &str) -> Result<String, String> {
    let Some((name, value)) = args::parse_set(args) else {
        return Err(format!("SET({args}): write it as SET(variable=value)"));
    };
    task.assign(name, value)?;
    Ok(value.to_owned())
}

fn step(task: &Task, name: &str, by: f64) -> Result<String, String> {
    let name = name.trim();
    let value = subst::resolve(name, task);
    let before = if value.is_empty() {
        Some(0.0)
    } else {
        leading_number(&value)
    };
    let Some(before) = before else {
        return Err(format!(
            "variable {name} is \"{value}\", which is no number"
        ));
    };
    let after = number(before + by);
    task.assign(name, &after)?;
    Ok(after)
}

fn one(args: &str) -> Result<f64, String> {
    leading_number(args).ok_or_else(|| format!("\"{args}\" is no number"))
}

fn two(args: &str) -> Result<(f64, f64), String> {
    let (a, b) = args
        .split_once(',')
        .ok_or_else(|| format!("({args}): two numbers are needed"))?;
    Ok((one(a)?, one(b)?))
}

thread_local! {
    static RANDOM: Cell<u64> = const { Cell::new(0) };
}

/// SplitMix64, seeded by the clock and the thread: good for choosing, not for secrets.
fn next_random() -> u64 {
    RANDOM.with(|cell| {
        let mut state = cell.get();
        if state == 0 {
            let now = SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default()
                .as_nanos() as u64;
            state = now ^ std::ptr::from_ref(cell) as u64;
        }
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        cell.set(state);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    })
}

fn random(_: &Task, args: &str) -> Result<String, String> {
    let bound = |index, default| {
        let text = argument(args, index);
        if text.is_empty() {
            Ok(default)
        } else {
            text.parse::<i64>()
                .map_err(|_| format!("RAND({args}): \"{text}\" is no integer"))
        }
    };
    let (min, max) = (bound(0, 0)?, bound(1, 2_147_483_647)?);
    let (min, max) = (min.min(max), min.max(max));
    let span = (i128::from(max) - i128::from(min) + 1) as u128;
    Ok((i128::from(min) + (u128::from(next_random()) % span) as i128).to_string())
}

fn uuid() -> String {
    let (high, low) = (next_random(), next_random());
    let high = high & !0xf000 | 0x4000;
    let low = low & !(0b11 << 62) | 0b10 << 62;
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    )
}

fn format_time(task: &Task, args: &str) -> Result<String, String> {
    let parts = args::split_at_most(args, 3);
    let epoch = parts.first().map(|epoch| epoch.trim()).unwrap_or_default();
    let zone = parts.get(1).map(String::as_str).unwrap_or_default();
    let format = parts
        .get(2)
        .map(|format| format.trim_matches('"'))
        .unwrap_or_default();
    let (seconds, nanoseconds) = if epoch.is_empty() {
        let now = task.now();
        (now.timestamp(), now.timestamp_subsec_nanos())
    } else {
        clock::parse_epoch(epoch)?
    };
    clock::format_time(seconds, nanoseconds, zone, format)
}

fn parse_time(_: &Task, args: &str) -> Result<String, String> {
    let parts = args::split_at_most(args, 3);
    let [text, zone, format] = parts.as_slice() else {
        return Err("STRPTIME takes a text, a time zone (or nothing) and a format".to_owned());
    };
    clock::parse_time(text, zone, format.trim_matches('"')).map(|seconds| seconds.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_identifiers_are_distinct_and_well_formed() {
        let (a, b) = (uuid(), uuid());
        assert_ne!(a, b);
        assert_eq!(a.len(), 36);
        assert_eq!(a.as_bytes()[14], b'4');
        assert!(matches!(a.as_bytes()[19], b'8' | b'9' | b'a' | b'b'), "{a}");
    }

    #[test]
    fn two_numbers_are_read_or_refused() {
        assert_eq!(two("7,4"), Ok((7.0, 4.0)));
        assert!(two("7").is_err());
        assert!(two("a,4").is_err());
    }
}

//! `FEATURE` and `FEATUREMAP`: the codes and times of features in the calls of one channel.

use strowger_core::channel::{Channel, setting_variable};

use super::{Function, argument};
use crate::app::features::{CODES, TIMES, configured_code, configured_time};
use crate::func::text::{is_no, is_yes, leading_number};
use crate::task::Task;

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::read_write(
        "FEATURE",
        "FEATURE(inherit|transferdigittimeout|atxfernoanswertimeout)",
        "an option of features in the calls of this channel",
        |task, args| {
            let name = option(args)?;
            if name == INHERIT {
                return Ok(if inherits(&task.channel) { "yes" } else { "no" }.to_owned());
            }
            let own = task.channel.setting(&key(name));
            let usual = configured_time(&task.shared().snapshot(), name);
            Ok(own.unwrap_or_else(|| super::text::number(usual.as_secs_f64())))
        },
        |task, args, value| {
            let name = option(args)?;
            let value = value.trim();
            if name == INHERIT {
                if !is_yes(value) && !is_no(value) {
                    return Err(format!(
                        "FEATURE(inherit): \"{value}\" is neither yes nor no"
                    ));
                }
            } else if leading_number(value).is_none_or(|time| !(0.0..=3600.0).contains(&time)) {
                return Err(format!(
                    "FEATURE({name}): \"{value}\" is no time from 0 to 3600 seconds"
                ));
            }
            keep(task, name, value);
            Ok(())
        },
    ),
    Function::read_write(
        "FEATUREMAP",
        "FEATUREMAP(atxfer|automixmon|blindxfer|disconnect|parkcall)",
        "the code of a feature in the calls of this channel",
        |task, args| {
            let name = feature(args)?;
            let own = task.channel.setting(&key(name));
            let usual = || configured_code(&task.shared().snapshot(), name);
            Ok(own.or_else(usual).unwrap_or_default())
        },
        |task, args, value| {
            let name = feature(args)?;
            let value = value.trim();
            let digit = |char: char| char.is_ascii_digit() || "*#ABCD".contains(char);
            if value.len() > CODE_MAX || !value.chars().all(digit) {
                return Err(format!(
                    "FEATUREMAP({name}): \"{value}\" is no code: up to {CODE_MAX} of 0-9 * # A-D"
                ));
            }
            keep(task, name, value);
            Ok(())
        },
    ),
];

const INHERIT: &str = "inherit";
/// Digits of a code.
const CODE_MAX: usize = 11;

/// The name under which a channel keeps it.
pub(crate) fn key(name: &str) -> String {
    format!("feature.{name}")
}

/// Are the codes of this channel those of the channels that it calls?
pub(crate) fn inherits(channel: &Channel) -> bool {
    channel
        .setting(&key(INHERIT))
        .is_some_and(|value| is_yes(&value))
}

fn keep(task: &Task, name: &str, value: &str) {
    task.channel
        .set_variable(&setting_variable(&key(name)), value);
}

fn option(args: &str) -> Result<&'static str, String> {
    let name = argument(args, 0).to_ascii_lowercase();
    if name == INHERIT {
        return Ok(INHERIT);
    }
    let known = TIMES.iter().map(|(known, _)| *known);
    known.clone().find(|known| *known == name).ok_or_else(|| {
        let names: Vec<&str> = known.collect();
        format!("FEATURE({name}): known are inherit, {}", names.join(", "))
    })
}

fn feature(args: &str) -> Result<&'static str, String> {
    let name = argument(args, 0).to_ascii_lowercase();
    let known = CODES.iter().map(|(known, _, _)| *known);
    known.clone().find(|known| *known == name).ok_or_else(|| {
        let names: Vec<&str> = known.collect();
        format!("FEATUREMAP({name}): known are {}", names.join(", "))
    })
}

//! `REDIRECTING`: who sent the call on, and why. The number it was sent on from is the one of `CALLERID(rdnis)`.

use strowger_core::channel::Party;

use super::party::{read, write};
use super::{Function, argument};
use crate::task::Task;

pub(crate) const FUNCTIONS: &[Function] = &[Function::read_write(
    "REDIRECTING",
    "REDIRECTING(orig-|from-|to-item, reason, orig-reason or count[,i])",
    "who sent the call on, and why",
    redirecting,
    set_redirecting,
)];

/// Reasons by the names and numbers of the original.
const REASONS: [&str; 17] = [
    "unknown",
    "cfb",
    "cfnr",
    "unavailable",
    "time_of_day",
    "dnd",
    "deflection",
    "follow_me",
    "out_of_order",
    "away",
    "cf_dte",
    "cfu",
    "send_to_vm",
    "no_answer",
    "user_busy",
    "unconditional",
    "caller_defined",
];
const COUNT_MAX: u32 = 999;

const KNOWN: &str =
    "known are orig-, from- and to- with an item of CALLERID, reason, orig-reason and count";

/// Which party is meant, and which of its items.
fn split(item: &str) -> Option<(&'static str, &str)> {
    // Items of the private network (priv-...) are not kept.
    ["orig", "from", "to"].into_iter().find_map(|party| {
        let rest = item.strip_prefix(party)?.strip_prefix('-')?;
        Some((party, rest))
    })
}

fn party(task: &Task, which: &str) -> Party {
    let data = task.channel.data();
    match which {
        "orig" => data.redirecting.orig.clone(),
        "to" => data.redirecting.to.clone(),
        _ => Party {
            number: data.rdnis.clone(),
            ..data.redirecting.from.clone()
        },
    }
}

fn redirecting(task: &Task, args: &str) -> Result<String, String> {
    let item = argument(args, 0).to_ascii_lowercase();
    let known = |reason: &str| {
        let reason = if reason.is_empty() {
            REASONS[0]
        } else {
            reason
        };
        reason.to_owned()
    };
    let data = task.channel.data();
    match item.as_str() {
        "reason" => Ok(known(&data.redirecting.reason)),
        "orig-reason" => Ok(known(&data.redirecting.orig_reason)),
        "count" => Ok(data.redirecting.count.to_string()),
        _ => {
            drop(data);
            split(&item)
                .and_then(|(which, rest)| read(&party(task, which), rest))
                .ok_or_else(|| format!("REDIRECTING({item}): there is no such item; {KNOWN}"))
        }
    }
}

fn set_redirecting(task: &Task, args: &str, value: &str) -> Result<(), String> {
    let item = argument(args, 0).to_ascii_lowercase();
    let value = value.trim();
    match item.as_str() {
        "reason" | "orig-reason" => {
            let lower = value.to_ascii_lowercase();
            let named = match lower.parse::<usize>() {
                Ok(number) => REASONS.get(number).copied().unwrap_or(&lower).to_owned(),
                // Another word is a reason of the network's own (RFC 5806).
                Err(_) => lower,
            };
            let redirecting = &mut task.channel.data_mut().redirecting;
            if item == "reason" {
                redirecting.reason = named;
            } else {
                redirecting.orig_reason = named;
            }
            Ok(())
        }
        "count" => match value.parse::<u32>() {
            Ok(count) if count <= COUNT_MAX => {
                task.channel.data_mut().redirecting.count = count;
                Ok(())
            }
            _ => Err(format!(
                "REDIRECTING(count): \"{value}\" is no number from 0 to {COUNT_MAX}"
            )),
        },
        _ => {
            let unknown = || format!("REDIRECTING({item}): there is no such item; {KNOWN}");
            let (which, rest) = split(&item).ok_or_else(unknown)?;
            let mut changed = party(task, which);
            if !write(&mut changed, rest, value)? {
                return Err(unknown());
            }
            let mut data = task.channel.data_mut();
            match which {
                "orig" => data.redirecting.orig = changed,
                "to" => data.redirecting.to = changed,
                _ => {
                    data.rdnis.clone_from(&changed.number);
                    data.redirecting.from = changed;
                }
            }
            Ok(())
        }
    }
}

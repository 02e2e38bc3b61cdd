//! `REDIRECTING`: who sent the call on, and why. The number it was sent on from is the one of `CALLERID(rdnis)`; the rest is
//! kept with the channel for the dialplan.

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

/// The variable in which an item is kept.
fn hidden(item: &str) -> String {
    format!("~REDIRECTING~{item}")
}

/// Which party is meant, and which of its items.
fn split(item: &str) -> Option<(&'static str, &str)> {
    // Items of the private network (priv-...) are not kept.
    ["orig", "from", "to"].into_iter().find_map(|party| {
        let rest = item.strip_prefix(party)?.strip_prefix('-')?;
        Some((party, rest))
    })
}

fn party(task: &Task, which: &str) -> Party {
    let kept = |item: &str| {
        let name = hidden(&format!("{which}-{item}"));
        task.channel.variable(&name).unwrap_or_default()
    };
    let number = match which {
        "from" => task.channel.data().rdnis.clone(),
        _ => kept("num"),
    };
    let mut party = Party {
        number,
        name: kept("name"),
        tag: kept("tag"),
        ..Party::default()
    };
    let shown = kept("pres");
    if !shown.is_empty() {
        // What is kept was written by this function.
        let _ = write(&mut party, "pres", &shown);
    }
    party
}

fn redirecting(task: &Task, args: &str) -> Result<String, String> {
    let item = argument(args, 0).to_ascii_lowercase();
    match item.as_str() {
        "reason" | "orig-reason" => Ok(task
            .channel
            .variable(&hidden(&item))
            .unwrap_or_else(|| REASONS[0].to_owned())),
        "count" => Ok(task
            .channel
            .variable(&hidden("count"))
            .unwrap_or_else(|| "0".to_owned())),
        _ => split(&item)
            .and_then(|(which, rest)| read(&party(task, which), rest))
            .ok_or_else(|| format!("REDIRECTING({item}): there is no such item; {KNOWN}")),
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
            task.channel.set_variable(&hidden(&item), &named);
            Ok(())
        }
        "count" => match value.parse::<u32>() {
            Ok(count) if count <= COUNT_MAX => {
                task.channel.set_variable(&hidden("count"), value);
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
            if which == "from" {
                task.channel.data_mut().rdnis.clone_from(&changed.number);
            }
            let shown = read(&changed, "pres").unwrap_or_default();
            for (item, text) in [
                ("num", &changed.number),
                ("name", &changed.name),
                ("tag", &changed.tag),
                ("pres", &shown),
            ] {
                task.channel
                    .set_variable(&hidden(&format!("{which}-{item}")), text);
            }
            Ok(())
        }
    }
}

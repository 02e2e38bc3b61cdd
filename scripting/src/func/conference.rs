//! Functions about conferences.

use strowger_core::conference::MemberInfo;

use super::{Function, argument};
use crate::conference::Kind;
use crate::task::Task;

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::write(
        "CONFBRIDGE",
        "CONFBRIDGE(bridge|user|menu,option)",
        "an option of the conference that this channel enters next",
        set,
    ),
    Function::read(
        "CONFBRIDGE_INFO",
        "CONFBRIDGE_INFO(parties|admins|marked|locked|muted,conference)",
        "a number about a conference, or 1 and 0",
        info,
    ),
    Function::read(
        "CONFBRIDGE_CHANNELS",
        "CONFBRIDGE_CHANNELS(parties|admins|participants,conference)",
        "the channels in a conference",
        channels,
    ),
];

fn set(task: &Task, args: &str, value: &str) -> Result<(), String> {
    let kind = argument(args, 0);
    let kind = Kind::parse(&kind)
        .ok_or_else(|| format!("CONFBRIDGE({kind}): known are bridge, user, menu"))?;
    let option = argument(args, 1);
    let mut custom = task.conference.borrow_mut();
    if option.eq_ignore_ascii_case("clear") {
        custom.clear(kind);
        return Ok(());
    }
    let snapshot = task.shared().snapshot();
    custom.set(&snapshot.statics, kind, &option, value)
}

fn info(task: &Task, args: &str) -> Result<String, String> {
    let (what, name) = (argument(args, 0), argument(args, 1));
    let info = task.shared().conferences.read(|table| table.info(&name));
    let number = |of: fn(&strowger_core::conference::ConferenceInfo) -> usize| {
        info.as_ref().map_or(0, of).to_string()
    };
    Ok(match what.to_ascii_lowercase().as_str() {
        "parties" => number(|info| info.parties),
        "admins" => number(|info| info.admins),
        "marked" => number(|info| info.marked),
        "locked" => number(|info| usize::from(info.locked)),
        "muted" => number(|info| usize::from(info.muted)),
        other => {
            return Err(format!(
                "CONFBRIDGE_INFO({other}): known are parties, admins, marked, locked, muted"
            ));
        }
    })
}

fn channels(task: &Task, args: &str) -> Result<String, String> {
    let (what, name) = (argument(args, 0), argument(args, 1));
    let wanted: fn(&MemberInfo) -> bool = match what.to_ascii_lowercase().as_str() {
        "parties" => |_| true,
        "admins" => |member| member.admin,
        "participants" => |member| !member.admin,
        other => {
            return Err(format!(
                "CONFBRIDGE_CHANNELS({other}): known are parties, admins, participants"
            ));
        }
    };
    let members = task.shared().conferences.read(|table| table.members(&name));
    let names = members
        .into_iter()
        .filter(wanted)
        .map(|member| member.channel);
    Ok(names.collect::<Vec<_>>().join(","))
}

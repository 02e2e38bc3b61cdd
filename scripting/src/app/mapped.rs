//! Applications that parties of a bridge run with keys (`[applicationmap]` of `features.conf`, variable `DYNAMIC_FEATURES`), and
//! the two of them that transfer.

use std::rc::Rc;

use strowger_core::channel::{Cause, Channel, Location};
use strowger_dialplan::Vars as _;
use strowger_store::Snapshot;

use super::features::line;
use super::{App, AppResult, Call, Next, Stop, app};
use crate::runner::{Walk, walk};
use crate::task::Task;
use crate::turns::Turns;

pub(super) const APPS: &[App] = &[
    app!(
        "BlindTransfer",
        "BlindTransfer(exten[,context])",
        "transfers whom the channel talks with",
        blind
    ),
    app!(
        "AttendedTransfer",
        "AttendedTransfer(exten)",
        "transfers whom the channel talks with, after a talk with the target",
        attended
    ),
];

/// Features that one bridge may have.
const FEATURES_MAX: usize = 64;

/// A line of the application map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mapped {
    pub(super) code: String,
    /// It runs on who dialled the code, else on the other.
    pub(super) on_self: bool,
    /// The caller may dial it, else the callee.
    pub(super) of_caller: bool,
    application: String,
    data: String,
}

/// What an application wants of the bridge it was run in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wish {
    Blind(Location),
    Attended(Location),
}

/// Reads `code,self|peer[/caller|callee|both],application[,data[,music]]`. Who may dial it is who has the variable; what the
/// line says of that counts no more in Asterisk either.
fn read(text: &str, of_caller: bool) -> Option<Mapped> {
    let mut parts = text.splitn(4, ',').map(str::trim);
    let code = parts.next().filter(|code| !code.is_empty())?;
    let place = parts.next()?.to_ascii_lowercase();
    let (on, by) = place.split_once('/').unwrap_or((&place, ""));
    let (application, rest) = (parts.next()?, parts.next().unwrap_or_default());
    if !matches!(by.trim(), "" | "caller" | "callee" | "both") {
        return None;
    }
    let on_self = match on.trim() {
        "self" => true,
        "peer" => false,
        _ => return None,
    };
    let (application, rest) = match application.split_once('(') {
        // As `extensions.conf` writes it.
        Some((name, data)) => {
            let all = if rest.is_empty() {
                data.to_owned()
            } else {
                format!("{data},{rest}")
            };
            let inside = all
                .rsplit_once(')')
                .map_or(all.as_str(), |(inside, _)| inside);
            (name.trim(), inside.to_owned())
        }
        None => (application, without_music(rest)),
    };
    (!application.is_empty()).then(|| Mapped {
        code: code.to_owned(),
        on_self,
        of_caller,
        application: application.to_owned(),
        data: rest,
    })
}

/// Data may stand in quotes with the music class of the other behind it; that he hears in any case.
fn without_music(rest: &str) -> String {
    match rest.strip_prefix('"') {
        Some(quoted) => quoted
            .split_once('"')
            .map_or(quoted, |(data, _)| data)
            .to_owned(),
        None => rest.to_owned(),
    }
}

/// The features that two parties may use, by the variable of each.
pub(super) fn of(call: &Call, peer: &Channel) -> Vec<Mapped> {
    let snapshot = call.shared().snapshot();
    let mut all: Vec<Mapped> = Vec::new();
    for (channel, of_caller) in [(call.channel(), true), (peer, false)] {
        let names = channel.variable("DYNAMIC_FEATURES").unwrap_or_default();
        for name in names
            .split('#')
            .map(str::trim)
            .filter(|name| !name.is_empty())
        {
            for (text, code) in lines(&snapshot, name) {
                match read(text, of_caller) {
                    Some(one) if all.len() < FEATURES_MAX => all.push(Mapped {
                        code: code.unwrap_or(one.code),
                        ..one
                    }),
                    Some(_) => {}
                    None => call.warn(&format!(
                        "features.conf: {name} => {text}: this is not code,self|peer[/caller|callee|both],application[,data]"
                    )),
                }
            }
        }
    }
    all
}

/// The line of a feature, or the lines of a group with codes of its own.
fn lines<'s>(snapshot: &'s Snapshot, name: &str) -> Vec<(&'s str, Option<String>)> {
    if let Some(text) = line(snapshot, "applicationmap", name) {
        return vec![(text, None)];
    }
    let rows = snapshot.statics.iter();
    let group = rows.filter(|row| row.filename == "features.conf" && row.category == name);
    group
        .filter_map(|row| {
            let text = line(snapshot, "applicationmap", &row.var_name)?;
            let code = row.var_val.trim_start_matches('>').trim();
            Some((text, Some(code.to_owned()).filter(|code| !code.is_empty())))
        })
        .collect()
}

/// Runs the application on one party while the other hears music; what it wants of the bridge.
pub(super) async fn run(call: &Call, one: &Mapped, on: &Channel, far: &Channel) -> Option<Wish> {
    let own = on.id() == call.channel().id();
    let task = if own {
        Rc::clone(&call.task)
    } else {
        Task::new(&call.task.host, on.clone())
    };
    let class = far.data().music_class.clone();
    let music = far.music(&class).await.ok();
    let music =
        music.and_then(|music| far.start_play(music.sounds, strowger_media::Repeat::Forever));
    task.in_bridge.set(true);
    task.wish.take();
    let before = {
        let data = on.data();
        (data.application.clone(), data.application_data.clone())
    };
    let data = strowger_dialplan::subst::substitute(&one.data, &*task);
    let depth = task.frame_depth();
    let reach = task.as_dialplan();
    let mut result = Box::pin(super::execute(&task, &one.application, data, None)).await;
    if let Ok(Next::Jump(target)) = &result
        && task.frame_depth() > depth
    {
        result = entered_subroutine(&task, target.clone()).await;
    }
    drop(reach);
    while task.frame_depth() > depth && task.pop_frame().is_some() {}
    task.in_bridge.set(false);
    on.set_application(&before.0, &before.1);
    if let Some(play) = music {
        far.stop_play(play);
    }
    match result {
        Err(Stop::Failed(error)) => {
            call.warn(&format!("features.conf: {}: {error}", one.application));
        }
        // As in a dialplan, which ends its call.
        Ok(Next::End) => {
            let cause = match on.data().cause {
                Cause(0) => Cause::NORMAL_CLEARING,
                cause => cause,
            };
            on.hangup(cause);
        }
        _ => {}
    }
    if !own {
        crate::script::forget(&task);
    }
    task.wish.take()
}

/// Goes through the subroutine that an application of a bridge has entered at `target`, and comes back.
async fn entered_subroutine(task: &Rc<Task>, target: Location) -> AppResult {
    let back = task.channel.location();
    task.end_with_return();
    task.channel.set_location(target);
    let end = Box::pin(walk(task, &mut Turns::default())).await;
    task.channel.set_location(back);
    match end {
        Walk::End => Ok(Next::End),
        Walk::Interrupted(interrupt) | Walk::InterruptedBefore(interrupt) => Err(interrupt.into()),
        Walk::Missing => {
            task.warn("subroutine ended without Return");
            Ok(Next::Continue)
        }
        Walk::Returned(_) | Walk::Digit(_) | Walk::Incomplete | Walk::Failed => Ok(Next::Continue),
    }
}

/// The place that an application names: the number of the arguments in a context of transfers.
fn place(call: &Call) -> Location {
    let context = match call.arg(1) {
        "" => {
            let channel = call.channel();
            super::features::context_of(channel, channel, &channel.location().context)
        }
        context => context.to_owned(),
    };
    Location::new(&context, call.arg(0), 1)
}

/// What becomes of a transfer that is asked for here.
fn wish(call: &Call, status: &str, make: fn(Location) -> Wish) -> AppResult {
    let place = place(call);
    let said = if place.exten.is_empty() {
        call.warn("a transfer needs a number to transfer to");
        "FAILURE"
    } else if !call.task.in_bridge.get() {
        // It talks with nobody: only an application of features.conf runs on a channel in a bridge.
        "INVALID"
    } else if !call.task.exists(&place.context, &place.exten, 1) {
        "FAILURE"
    } else {
        call.task.wish.replace(Some(make(place)));
        "SUCCESS"
    };
    call.set(status, said);
    Ok(Next::Continue)
}

async fn blind(call: Call) -> AppResult {
    wish(&call, "BLINDTRANSFERSTATUS", Wish::Blind)
}

async fn attended(call: Call) -> AppResult {
    wish(&call, "ATTENDEDTRANSFERSTATUS", Wish::Attended)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_application_map_are_read_as_asterisk_reads_them() {
        let mapped = read("*8,self/both,Playback,beep", true).expect("a line");
        assert_eq!(
            (mapped.code.as_str(), mapped.on_self, mapped.of_caller),
            ("*8", true, true)
        );
        assert_eq!(
            (mapped.application.as_str(), mapped.data.as_str()),
            ("Playback", "beep")
        );
        let mapped = read("#9,peer/callee,MixMonitor(a.wav,b),default", true).expect("a line");
        assert!(!mapped.on_self);
        assert_eq!(mapped.data, "a.wav,b");
        let mapped = read("#9,self,Playback,\"one&two\",jazz", false).expect("a line");
        assert_eq!(mapped.data, "one&two");
        assert!(!mapped.of_caller);
        for wrong in [
            "",
            "*8",
            "*8,self",
            "*8,nobody,NoOp",
            "*8,self/all,NoOp",
            ",self,NoOp",
        ] {
            assert_eq!(read(wrong, true), None, "{wrong}");
        }
    }
}

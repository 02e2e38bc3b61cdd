//! `Page`: telephones that answer by themselves hear the caller, all at once.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use strowger_core::call::originate::{OriginateRequest, Target, call_out};
use strowger_core::channel::Cause;
use strowger_core::conference::{Rate, Request, Seat};
use strowger_media::Sound;
use strowger_media::room::MemberOptions;
use tokio::sync::Notify;

use super::bridge::is_named;
use super::play::{end_background, load};
use super::{App, AppResult, Call, Next, app};

pub(super) const APPS: &[App] = &[app!(
    "Page",
    "Page(technology/resource[&...][,options[,timeout]])",
    "speaks to several telephones at once",
    page
)];

const OPTIONS: &str = "AbBdinqrs";
/// Telephones that one Page calls.
const DEVICES_MAX: usize = 256;

/// The end of a page, which its telephones wait for.
#[derive(Default)]
struct End {
    over: Cell<bool>,
    told: Notify,
}

impl Drop for Finish {
    fn drop(&mut self) {
        self.0.over.set(true);
        self.0.told.notify_waiters();
    }
}

/// The caller's part: when it ends, however that is, all end.
struct Finish(Rc<End>);

fn seat(name: &str, admin: bool) -> Request {
    Request {
        conference: name.to_owned(),
        conference_rate: Rate::Auto,
        max_members: 0,
        admin,
        marked: false,
        wait_marked: false,
        end_marked: false,
        muted: false,
    }
}

async fn page(call: Call) -> AppResult {
    let channel = call.channel();
    let options = call.options("Page", 1);
    call.warn_unknown("Page", &options, OPTIONS);
    let devices: Vec<String> = call
        .arg(0)
        .split('&')
        .map(str::trim)
        .filter(|device| !device.is_empty())
        .map(str::to_owned)
        .collect();
    if devices.is_empty() {
        call.warn("Page needs devices, for example Page(PJSIP/100&PJSIP/101)");
        return Ok(Next::Continue);
    }
    end_background(&call);
    channel.answer(Duration::from_millis(500)).await?;
    let announcement = match options.argument('A').filter(|name| !name.is_empty()) {
        Some(name) => load(&call, name, None).await.0,
        None => Vec::new(),
    };
    let name = format!("page-{}", channel.uniqueid());
    let end = Rc::new(End::default());
    let finish = Finish(Rc::clone(&end));
    let duplex = options.has('d');
    for device in devices.iter().take(DEVICES_MAX) {
        if options.has('s') && is_used(&call, device) {
            continue;
        }
        let target = Target::Application {
            name: "NoOp".to_owned(),
            data: String::new(),
        };
        let mut request = OriginateRequest::new(device, target);
        if let Some(timeout) = call.seconds(2).filter(|timeout| !timeout.is_zero()) {
            request.timeout = timeout;
        }
        {
            let data = channel.data();
            request.caller = Some(data.caller.clone());
            request.linkedid = Some(data.linkedid.clone());
            request.max_forwards = data.max_forwards();
            request.language = Some(data.language.clone());
            request.variables = data.variables.inherited().marked();
            request.variables.reverse();
        }
        if let Some(text) = options.argument('b') {
            request.pre_dial = Some(super::originate::pre_dial(&call, text)?);
        }
        let member = Member {
            name: name.clone(),
            end: Rc::clone(&end),
            duplex,
            announcement: announcement.clone(),
            shard: Rc::clone(channel.shard()),
        };
        channel.spawn(member.run(request));
    }
    if options.has('r') {
        let file = format!("{name}.wav");
        let data = format!("{file},b");
        let _ = Box::pin(super::execute(&call.task, "MixMonitor", data, None)).await;
    }
    if !options.has('q') {
        let beep = vec![call.shared().sounds.beep()];
        channel.play(beep, false, &|_| false).await?;
    }
    if !announcement.is_empty() && !options.has('n') {
        channel.play(announcement, false, &|_| false).await?;
    }
    let Ok(seat) = Seat::take(channel, seat(&name, true)) else {
        channel.check()?;
        return Ok(Next::Continue);
    };
    seat.apply(Some(MemberOptions::default()));
    // Until the caller hangs up, or presses the key that ends it.
    let result = loop {
        match channel.wait_digit(Duration::from_secs(86_400)).await {
            Err(interrupt) => break Err(interrupt.into()),
            Ok(Some('#')) => break Ok(Next::Continue),
            Ok(_) => {}
        }
    };
    drop(seat);
    drop(finish);
    result
}

/// Does a telephone of this device talk or ring?
fn is_used(call: &Call, device: &str) -> bool {
    let Some((_, resource)) = device.split_once('/') else {
        return false;
    };
    let endpoint = resource.split('/').next().unwrap_or_default();
    let device = format!("PJSIP/{endpoint}");
    let directory = &call.shared().directory;
    !directory.names(|name| is_named(name, &device)).is_empty()
}

/// One of the telephones.
struct Member {
    name: String,
    end: Rc<End>,
    duplex: bool,
    announcement: Vec<Arc<Sound>>,
    shard: Rc<strowger_core::shard::Shard>,
}

impl Member {
    async fn run(self, request: OriginateRequest) {
        let called = {
            let calling = call_out(&self.shard, &request);
            tokio::pin!(calling);
            loop {
                let told = self.end.told.notified();
                if self.end.over.get() {
                    // Dropped while it rings: nobody would hear it.
                    break None;
                }
                tokio::select! {
                    called = &mut calling => break called.ok(),
                    () = told => {}
                }
            }
        };
        let Some(channel) = called else { return };
        if !self.announcement.is_empty() {
            let _ = channel
                .play(self.announcement.clone(), false, &|_| false)
                .await;
        }
        if let Ok(seat) = Seat::take(&channel, seat(&self.name, false)) {
            seat.apply(Some(MemberOptions {
                muted: !self.duplex,
                ..MemberOptions::default()
            }));
            loop {
                let told = self.end.told.notified();
                if self.end.over.get() || channel.is_over() {
                    break;
                }
                tokio::select! {
                    () = told => {}
                    () = channel.until_over() => {}
                }
            }
        }
        channel.hangup(Cause::NORMAL_CLEARING);
    }
}

#[cfg(test)]
mod tests {
    use strowger_dialplan::args;

    use super::*;

    #[test]
    fn options_may_have_arguments() {
        let options = args::Options::parse("dA(hello)s").expect("well formed");
        assert!(options.unknown(OPTIONS).is_empty());
        assert_eq!(options.argument('A'), Some("hello"));
    }
}

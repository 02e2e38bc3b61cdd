//! What programs that watch the exchange are told of a channel: that it came and went, and what is different on it. A change
//! is found by comparing with what was told last, so that nobody who changes a channel has to think of events. Nothing is
//! compared, and nothing kept, while nobody listens.

use std::rc::Rc;

use strowger_store::Cdr;

use super::{Cause, Channel, ChannelId, LegEnd, State};
use crate::events::{BridgeBlock, Event, Events, Listener, escape};
use crate::shard::Shard;
use crate::shard::inbox::ShardMessage;
use crate::shared::Shared;

/// What was told last.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// Who listened then ([`Events::era`]).
    era: u64,
    state: State,
    caller: (String, String),
    connected: (String, String),
    accountcode: String,
    held: bool,
}

/// An outgoing channel whose dialling was told of, and whose end of dialling was not.
#[derive(Debug)]
pub(crate) struct Dialling {
    caller: Option<ChannelId>,
    string: String,
}

impl Channel {
    pub(super) fn events(&self) -> &Events {
        &self.0.shard.shared().events
    }

    pub(super) fn tell(&self, event: impl FnOnce() -> Event) {
        self.events().tell(event);
    }

    fn as_told(&self) -> Told {
        let data = self.data();
        let party = |party: &super::Party| (party.number.clone(), party.name.clone());
        Told {
            era: self.events().era(),
            state: data.state,
            caller: party(&data.caller),
            connected: party(&data.connected),
            accountcode: data.accountcode.clone(),
            held: data.held,
        }
    }

    /// The channel exists from now on, with the variables that it began with.
    pub(crate) fn tell_new(&self) {
        if !self.events().are_heard() {
            return;
        }
        *self.0.told.borrow_mut() = Some(self.as_told());
        self.tell(|| Event::of("Newchannel", self));
        let variables: Vec<_> = {
            let data = self.data();
            let all = data.variables.iter();
            all.map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect()
        };
        for (name, value) in variables.iter().rev() {
            self.tell_variable(name, value);
        }
    }

    /// The channel is gone.
    pub(crate) fn tell_gone(&self) {
        self.tell(|| {
            let cause = self.data().cause;
            Event::of("Hangup", self)
                .with("Cause", cause.0.to_string())
                .with("Cause-txt", cause.text())
        });
        for record in std::mem::take(&mut self.data_mut().record_events) {
            self.tell(|| record);
        }
    }

    /// A call record is complete; it is told of when the channel is gone.
    pub(crate) fn note_record(&self, record: &Cdr) {
        if self.events().are_heard() {
            self.data_mut().record_events.push(cdr(record));
        }
    }

    /// It ends, before anything else is done about that.
    pub(crate) fn tell_end(&self, end: &LegEnd) {
        if !self.events().are_heard() {
            return;
        }
        let answered = self.data().progress.answered.is_some();
        self.tell_dial_end(match end.cause {
            _ if answered => "ANSWER",
            Cause::USER_BUSY => "BUSY",
            Cause::NO_ANSWER | Cause::NO_USER_RESPONSE => "NOANSWER",
            Cause::NORMAL_CIRCUIT_CONGESTION => "CONGESTION",
            _ if !end.by_peer => "CANCEL",
            Cause::NORMAL_CLEARING => "NOANSWER",
            _ => "CHANUNAVAIL",
        });
        if end.by_peer {
            self.tell(|| Event::of("HangupRequest", self).with("Cause", end.cause.0.to_string()));
        }
    }

    /// Somebody other than the parties and the dialplan ends the call.
    pub fn hang_up_softly(&self, cause: Cause) {
        if !self.is_over() {
            self.tell(|| Event::of("SoftHangupRequest", self).with("Cause", cause.0.to_string()));
        }
        self.hangup(cause);
    }

    /// Somebody listens again who did not: what is different from now on is told.
    fn begin_to_tell(&self) {
        let now = self.as_told();
        let mut place = self.0.told.borrow_mut();
        if place.as_ref().is_none_or(|told| told.era != now.era) {
            *place = Some(now);
        }
    }

    /// Tells what is different from what was told last.
    pub(super) fn tell_changes(&self) {
        if !self.events().are_heard() {
            return;
        }
        let mut place = self.0.told.borrow_mut();
        let now = self.as_told();
        let era = now.era;
        let Some(before) = place.replace(now).filter(|before| before.era == era) else {
            // It is older than whoever listens.
            return;
        };
        let Some(now) = place.as_ref().filter(|now| **now != before) else {
            return;
        };
        if now.caller != before.caller {
            self.tell(|| {
                Event::of("NewCallerid", self)
                    .with("CID-CallingPres", "0 (Presentation Allowed, Not Screened)")
            });
        }
        if now.connected != before.connected {
            self.tell(|| Event::of("NewConnectedLine", self));
        }
        if now.accountcode != before.accountcode {
            let old = before.accountcode;
            self.tell(|| Event::of("NewAccountCode", self).with("OldAccountCode", old));
        }
        if now.state != before.state {
            self.tell(|| Event::of("Newstate", self));
        }
        match (before.held, now.held) {
            (false, true) => self.tell(|| Event::of("Hold", self)),
            (true, false) => self.tell(|| Event::of("Unhold", self)),
            _ => {}
        }
    }

    /// A step of the dialplan begins.
    pub fn tell_step(&self, application: &str, data: &str) {
        if !self.events().are_heard() {
            return;
        }
        self.tell_changes();
        self.tell(|| {
            let exten = self.data().location.exten.clone();
            Event::of("Newexten", self)
                .with("Extension", exten)
                .with("Application", application)
                .with("AppData", escape(data))
        });
    }

    /// A variable has a value.
    pub(super) fn tell_variable(&self, name: &str, value: &str) {
        if self.is_surrogate() {
            return;
        }
        self.tell(|| {
            Event::of("VarSet", self)
                .with("Variable", escape(name.trim_start_matches('_')))
                .with("Value", escape(value))
        });
    }

    /// A digit came from the far end (`Received`) or goes there (`Sent`).
    pub(crate) fn tell_digit(&self, digit: char, duration_ms: u32, direction: &'static str) {
        self.tell(|| {
            Event::of("DTMFBegin", self)
                .with("Digit", digit.to_string())
                .with("Direction", direction)
        });
        self.tell(|| {
            Event::of("DTMFEnd", self)
                .with("Digit", digit.to_string())
                .with("DurationMs", duration_ms.to_string())
                .with("Direction", direction)
        });
    }

    /// It is dialled, by a channel or by nobody in particular.
    pub(crate) fn tell_dial_begin(&self, caller: Option<&Self>, string: &str) {
        // Its end may be told to who does not listen yet.
        self.data_mut().dialling = Some(Box::new(Dialling {
            caller: caller.map(Self::id),
            string: string.to_owned(),
        }));
        self.tell(|| dial("DialBegin", caller, self, string));
    }

    /// Dialling it goes on: it rings (`RINGING`), or has something to be heard (`PROGRESS`).
    pub(crate) fn tell_dial_state(&self, status: &'static str) {
        if !self.events().are_heard() {
            return;
        }
        let dialling = {
            let data = self.data();
            let dialling = data.dialling.as_deref();
            dialling.map(|dialling| (dialling.caller, dialling.string.clone()))
        };
        let Some((caller, string)) = dialling else {
            return;
        };
        self.tell_changes();
        let caller = caller.and_then(|id| self.shard().channel(id));
        self.tell(|| dial("DialState", caller.as_ref(), self, &string).with("DialStatus", status));
    }

    /// Dialling it has ended; told once.
    pub(crate) fn tell_dial_end(&self, status: &'static str) {
        let Some(dialling) = self.data_mut().dialling.take() else {
            return;
        };
        let caller = dialling.caller.and_then(|id| self.shard().channel(id));
        self.tell(|| {
            dial("DialEnd", caller.as_ref(), self, &dialling.string).with("DialStatus", status)
        });
    }

    /// The two are in a bridge from now on.
    pub(crate) fn tell_bridged(&self, peer: &Self) {
        for channel in [self, peer] {
            channel.tell_dial_end("ANSWER");
            channel.tell_changes();
        }
        let id: Rc<str> = crate::shared::new_uuid().into();
        self.tell(|| Event::new("BridgeCreate").bridge("", two(&id, 0)));
        for (channels, channel) in [(1, peer), (2, self)] {
            channel.data_mut().bridge_id = Some(Rc::clone(&id));
            self.tell(|| {
                Event::new("BridgeEnter")
                    .bridge("", two(&id, channels))
                    .channel("", channel)
            });
        }
    }

    /// It has left the bridge that it was in, and `left` others are still there; with the last the bridge ends.
    pub(crate) fn tell_unbridged(&self, left: usize) {
        let Some(id) = self.data_mut().bridge_id.take() else {
            return;
        };
        self.tell(|| {
            Event::new("BridgeLeave")
                .bridge("", two(&id, left))
                .channel("", self)
        });
        if left == 0 {
            self.tell(|| Event::new("BridgeDestroy").bridge("", two(&id, 0)));
        }
    }

    /// The two are the halves of a Local channel.
    pub(crate) fn tell_pair(&self, second: &Self, stays: bool) {
        self.tell(|| {
            let place = second.location();
            Event::new("LocalBridge")
                .channel("LocalOne", self)
                .channel("LocalTwo", second)
                .with("Context", place.context)
                .with("Exten", place.exten)
                .with("LocalOptimization", if stays { "No" } else { "Yes" })
        });
    }

    /// Music begins.
    pub fn tell_music(&self, class: &str) {
        self.tell(|| {
            let class = if class.is_empty() { "default" } else { class };
            Event::of("MusicOnHoldStart", self).with("Class", class)
        });
    }

    /// Music ends.
    pub fn tell_music_over(&self) {
        self.tell(|| Event::of("MusicOnHoldStop", self));
    }
}

/// Channels that are looked at in one turn.
const CHANNELS_OF_TURN: usize = 50;

impl Shared {
    /// Listens to events from now on. Channels that were there before are told of from their next change.
    pub fn listen(&self) -> Listener {
        let is_first = !self.events.are_heard();
        let listener = self.events.subscribe();
        if is_first {
            for inbox in self.inboxes() {
                // Where the queue is full, the first change of each channel is what it begins with.
                let _ = inbox.send(ShardMessage::Errand(Box::new(|shard| {
                    let channels = shard.channels();
                    Shard::spawn(async move {
                        for channels in channels.chunks(CHANNELS_OF_TURN) {
                            channels.iter().for_each(Channel::begin_to_tell);
                            tokio::task::yield_now().await;
                        }
                    });
                })));
            }
        }
        listener
    }
}

/// `2024-03-24 12:13:33` in local time; empty for no time.
fn written(time_us: Option<i64>) -> String {
    let time = time_us.and_then(chrono::DateTime::from_timestamp_micros);
    time.map_or_else(String::new, |time| {
        let local = time.with_timezone(&chrono::Local);
        local.format("%Y-%m-%d %H:%M:%S").to_string()
    })
}

fn cdr(record: &Cdr) -> Event {
    Event::new("Cdr")
        .with("AccountCode", &record.accountcode)
        .with("Source", &record.src)
        .with("Destination", &record.dst)
        .with("DestinationContext", &record.dcontext)
        .with("CallerID", &record.clid)
        .with("Channel", &record.channel)
        .with("DestinationChannel", &record.dstchannel)
        .with("LastApplication", &record.lastapp)
        .with("LastData", &record.lastdata)
        .with("StartTime", written(Some(record.start_us)))
        .with("AnswerTime", written(record.answer_us))
        .with("EndTime", written(Some(record.end_us)))
        .with("Duration", record.duration.to_string())
        .with("BillableSeconds", record.billsec.to_string())
        .with("Disposition", &record.disposition)
        .with("AMAFlags", &record.amaflags)
        .with("UniqueID", &record.uniqueid)
        .with("UserField", &record.userfield)
}

fn dial(name: &'static str, caller: Option<&Channel>, dialled: &Channel, string: &str) -> Event {
    let event = match caller {
        Some(caller) => Event::of(name, caller),
        None => Event::new(name),
    };
    event.channel("Dest", dialled).with("DialString", string)
}

/// A bridge of two channels.
fn two(id: &str, channels: usize) -> BridgeBlock<'_> {
    BridgeBlock {
        id,
        kind: "basic",
        technology: "simple_bridge",
        creator: "",
        name: "",
        channels,
    }
}

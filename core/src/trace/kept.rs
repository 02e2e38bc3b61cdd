//! The calls whose messages are kept: recent ones, failed ones longer, and few of those that never became a channel, so that no
//! stranger empties what is kept; within limits of calls, messages and bytes.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use rustc_hash::FxHashMap;
use strowger_sip::{Message, Method};

use super::{Line, Named};

/// Messages of one call; those in the middle of a long one go.
const MESSAGES_MAX: usize = 200;
/// Of these, the first ones that stay.
const FIRST: usize = 100;
/// What a message costs beside its bytes.
const OVERHEAD: usize = 160;
/// How long a request is waited for to be answered, or a challenge (64 T1, RFC 3261 §17.1.1.2).
const PATIENCE: Duration = Duration::from_secs(32);
/// The part of calls and of memory that those may have that are no channel: one of so many.
const STRANGERS: usize = 10;
/// So many of them have room though their part be smaller, or else half: a call is a channel only after its challenge.
const STRANGERS_MIN: usize = 16;

/// How a call stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Ringing,
    Answered,
    Over,
    Cancelled,
    Failed(u16, String),
}

impl Standing {
    pub(super) fn text(&self) -> String {
        match self {
            Self::Ringing => "ringing".to_owned(),
            Self::Answered => "answered".to_owned(),
            Self::Over => "over".to_owned(),
            Self::Cancelled => "cancelled".to_owned(),
            Self::Failed(status, reason) => format!("failed: {status} {reason}"),
        }
    }
}

/// A call of SIP.
#[derive(Clone)]
pub(super) struct Call {
    pub(super) named: Named,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) standing: Standing,
    pub(super) lines: Vec<Line>,
    /// Messages that had no room.
    pub(super) cut: usize,
    /// The number of its beginning.
    number: u64,
    bytes: usize,
    /// The number of its latest INVITE that begins a dialog.
    cseq: u32,
    /// What it has come to if nothing more is heard until [`PATIENCE`] after this.
    unless: Option<(SystemTime, Standing)>,
    class: Class,
}

/// How dear a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// Never a channel.
    Stranger,
    Failed,
    Other,
}

/// Calls of one class, in the order in which they began.
#[derive(Default)]
struct Shelf {
    order: BTreeMap<u64, String>,
    bytes: usize,
}

/// What a list shows of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// When its first message came or went.
    pub began: SystemTime,
    /// Its Call-ID.
    pub call_id: String,
    /// The channel; empty: it never was one.
    pub channel: String,
    /// Its uniqueid.
    pub uniqueid: String,
    /// Who calls whom, users of From and To.
    pub from: String,
    /// See `from`.
    pub to: String,
    /// How it stands.
    pub standing: String,
    /// Messages kept.
    pub messages: usize,
}

pub(super) struct Kept {
    calls_max: usize,
    bytes_max: usize,
    calls: FxHashMap<String, Call>,
    /// By [`Class`].
    shelves: [Shelf; 3],
    began: u64,
    cut: u64,
}

impl Kept {
    pub(super) fn new(calls_max: usize, bytes_max: usize) -> Self {
        Self {
            calls_max,
            bytes_max,
            calls: FxHashMap::default(),
            shelves: Default::default(),
            began: 0,
            cut: 0,
        }
    }

    pub(super) fn keeps(&self) -> bool {
        self.calls_max > 0
    }

    /// Calls, bytes, messages that had no room.
    pub(super) fn numbers(&self) -> (u64, u64, u64) {
        (self.calls.len() as u64, self.bytes() as u64, self.cut)
    }

    fn bytes(&self) -> usize {
        self.shelves.iter().map(|shelf| shelf.bytes).sum()
    }

    pub(super) fn named(&mut self, named: Named) {
        if !self.keeps() {
            return;
        }
        let call_id = named.call_id.clone();
        // Perhaps its INVITE is still to be sent.
        if !self.calls.contains_key(&call_id) {
            self.begin(&call_id);
        }
        if let Some(call) = self.calls.get_mut(&call_id) {
            call.named = named;
        }
        self.sort(&call_id);
        self.make_room();
    }

    fn begin(&mut self, call_id: &str) {
        self.began += 1;
        let call = Call {
            named: Named {
                call_id: call_id.to_owned(),
                ..Named::default()
            },
            from: String::new(),
            to: String::new(),
            standing: Standing::Ringing,
            lines: Vec::new(),
            cut: 0,
            number: self.began,
            bytes: 0,
            cseq: 0,
            unless: None,
            class: Class::Stranger,
        };
        let shelf = &mut self.shelves[Class::Stranger as usize];
        shelf.order.insert(call.number, call_id.to_owned());
        self.calls.insert(call_id.to_owned(), call);
    }

    /// Puts a call where it belongs by now.
    fn sort(&mut self, call_id: &str) {
        let Some(call) = self.calls.get_mut(call_id) else {
            return;
        };
        let class = call.class();
        if class != call.class {
            let shelf = &mut self.shelves[call.class as usize];
            shelf.order.remove(&call.number);
            shelf.bytes = shelf.bytes.saturating_sub(call.bytes);
            let shelf = &mut self.shelves[class as usize];
            shelf.order.insert(call.number, call_id.to_owned());
            shelf.bytes += call.bytes;
            call.class = class;
        }
    }

    /// Settles what nobody will answer any more.
    pub(super) fn settle(&mut self, now: SystemTime) {
        let mut settled = Vec::new();
        for (call_id, call) in &mut self.calls {
            let over = |(since, _): &mut (SystemTime, Standing)| {
                now.duration_since(*since)
                    .is_ok_and(|waited| waited >= PATIENCE)
            };
            if let Some((_, standing)) = call.unless.take_if(over) {
                call.standing = standing;
                settled.push(call_id.clone());
            }
        }
        for call_id in settled {
            self.sort(&call_id);
        }
    }

    pub(super) fn message(&mut self, line: Line) {
        if !self.keeps() {
            return;
        }
        let Ok(message) = Message::parse(line.bytes.clone()) else {
            return;
        };
        let Ok(call_id) = message.call_id() else {
            return;
        };
        let call_id = call_id.to_owned();
        let known = self.calls.contains_key(&call_id);
        // Calls begin with an INVITE; everything else is none.
        if !known && message.method() != Some(Method::Invite) {
            return;
        }
        let size = line.bytes.len() + OVERHEAD;
        if !known {
            self.begin(&call_id);
        }
        let Some(call) = self.calls.get_mut(&call_id) else {
            return;
        };
        if call.from.is_empty() {
            let user = |name: Result<&strowger_sip::NameAddr, _>| {
                let name = name.ok()?;
                let user = name.uri.user.as_deref().unwrap_or_default();
                Some(plain(user))
            };
            call.from = user(message.from()).unwrap_or_default();
            call.to = user(message.to()).unwrap_or_default();
        }
        call.follow(&message, line.at);
        let mut freed = 0;
        if call.lines.len() >= MESSAGES_MAX {
            let gone = call.lines.remove(FIRST);
            freed = gone.bytes.len() + OVERHEAD;
            call.cut += 1;
            self.cut += 1;
        }
        // A message may be a part of a larger buffer, which is not to be kept with it.
        let bytes = Bytes::copy_from_slice(&line.bytes);
        call.lines.push(Line { bytes, ..line });
        call.bytes = (call.bytes + size).saturating_sub(freed);
        let shelf = &mut self.shelves[call.class as usize];
        shelf.bytes = (shelf.bytes + size).saturating_sub(freed);
        self.sort(&call_id);
        self.make_room();
    }

    /// Lets calls go until the rest is within the limits, the oldest first: strangers above their share, then others, and
    /// failed ones only where they are more than half.
    fn make_room(&mut self) {
        let share = (self.calls_max / STRANGERS).max(STRANGERS_MIN.min(self.calls_max / 2));
        loop {
            let [strangers, failed, others] = &self.shelves;
            let full = self.calls.len() > self.calls_max || self.bytes() > self.bytes_max;
            let class = if strangers.order.len() > share.max(1)
                || strangers.bytes > self.bytes_max / STRANGERS
            {
                Class::Stranger
            } else if !full {
                return;
            } else if !failed.order.is_empty() && failed.order.len() > others.order.len() {
                Class::Failed
            } else if !others.order.is_empty() {
                Class::Other
            } else {
                Class::Stranger
            };
            let shelf = &mut self.shelves[class as usize];
            let Some((_, call_id)) = shelf.order.pop_first() else {
                return;
            };
            if let Some(call) = self.calls.remove(&call_id) {
                shelf.bytes = shelf.bytes.saturating_sub(call.bytes);
            }
        }
    }

    pub(super) fn list(&self) -> Vec<Summary> {
        let mut calls: Vec<&Call> = self.calls.values().collect();
        calls.sort_by_key(|call| std::cmp::Reverse(call.number));
        let calls = calls.into_iter().filter_map(|call| {
            let first = call.lines.first()?;
            Some(Summary {
                began: first.at,
                call_id: call.named.call_id.clone(),
                channel: call.named.channel.clone(),
                uniqueid: call.named.uniqueid.clone(),
                from: call.from.clone(),
                to: call.to.clone(),
                standing: call.standing.text(),
                messages: call.lines.len(),
            })
        });
        calls.collect()
    }

    /// The call of this name, and those that belong to it, in the order in which they began.
    pub(super) fn belonging(&self, name: &str) -> Vec<Call> {
        let mut said = self.calls.values().filter(|call| !call.lines.is_empty());
        let Some(first) = said.find(|call| call.named.is(name)) else {
            return Vec::new();
        };
        let linked = &first.named.linkedid;
        let belongs = |call: &&Call| {
            !call.lines.is_empty()
                && (call.number == first.number
                    || (!linked.is_empty() && call.named.linkedid == *linked))
        };
        let mut calls: Vec<Call> = self.calls.values().filter(belongs).cloned().collect();
        calls.sort_by_key(|call| call.number);
        calls
    }

    /// The messages of calls of this number, endpoint, channel or Call-ID; empty: of all.
    pub(super) fn matching<'k>(&'k self, wanted: &'k str) -> impl Iterator<Item = &'k Line> {
        let calls = self.calls.values().filter(move |call| {
            let named = &call.named;
            let endpoint = named.channel.split_once('/').map(|(_, rest)| rest);
            let endpoint = endpoint
                .and_then(|rest| rest.rsplit_once('-'))
                .map(|(name, _)| name);
            wanted.is_empty()
                || call.from == wanted
                || call.to == wanted
                || endpoint == Some(wanted)
                || named.is(wanted)
        });
        calls.flat_map(|call| &call.lines)
    }
}

/// Text from outside, for a terminal.
fn plain(text: &str) -> String {
    text.chars()
        .map(|char| if char.is_control() { '?' } else { char })
        .collect()
}

impl Call {
    fn class(&self) -> Class {
        match &self.standing {
            _ if self.named.channel.is_empty() => Class::Stranger,
            Standing::Failed(..) => Class::Failed,
            _ => Class::Other,
        }
    }

    /// What a message means for the call.
    fn follow(&mut self, message: &Message, at: SystemTime) {
        let cseq = message.cseq().ok();
        match (message.method(), message.status()) {
            (Some(Method::Invite), _) => {
                let within = message.to().is_ok_and(|to| to.tag().is_some());
                let number = cseq.as_ref().map_or(0, |cseq| cseq.number);
                let open = match self.standing {
                    // The same again is a repetition, unless it was refused: then another is asked.
                    Standing::Ringing => number != self.cseq,
                    Standing::Failed(..) | Standing::Cancelled => true,
                    Standing::Answered | Standing::Over => false,
                };
                if within || !open {
                    return;
                }
                self.cseq = number;
                self.standing = Standing::Ringing;
                let nobody = Standing::Failed(408, "nothing was answered".to_owned());
                self.unless = Some((at, nobody));
            }
            (Some(Method::Cancel), _) if self.standing == Standing::Ringing => {
                self.unless = Some((at, Standing::Cancelled));
            }
            (Some(Method::Bye), _) if self.standing == Standing::Answered => {
                self.standing = Standing::Over;
            }
            (None, Some(status))
                if cseq
                    .as_ref()
                    .is_some_and(|cseq| cseq.method == Method::Invite) =>
            {
                self.answered(status, message.reason(), at);
            }
            _ => {}
        }
    }

    /// An answer to an INVITE.
    fn answered(&mut self, status: u16, reason: &str, at: SystemTime) {
        let refused = || Standing::Failed(status, plain(reason));
        match (status, &self.standing) {
            (_, Standing::Over) => {}
            // Whatever others said: one has answered.
            (200..300, _) => {
                self.standing = Standing::Answered;
                self.unless = None;
            }
            (_, Standing::Answered | Standing::Cancelled | Standing::Failed(..)) => {}
            // Who rings may ring long. Of a call that is cancelled only its end is waited for.
            (..200, _) => {
                self.unless
                    .take_if(|(_, unless)| *unless != Standing::Cancelled);
            }
            (487, _) => {
                self.standing = Standing::Cancelled;
                self.unless = None;
            }
            // The INVITE comes again with credentials, or never.
            (401 | 407, _) => self.unless = Some((at, refused())),
            _ => {
                self.standing = refused();
                self.unless = None;
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::SocketAddr;
    use std::time::{Duration, UNIX_EPOCH};

    use strowger_sip::Transport;

    use super::*;

    pub(crate) fn line(sent: bool, at_ms: u64, call_id: &str, first: &str, method: &str) -> Line {
        let text = format!(
            "{first}\r\nVia: SIP/2.0/UDP 192.0.2.1:5060;branch=z9hG4bK1\r\nFrom: <sip:100@a>;tag=1\r\n\
             To: <sip:101@a>\r\nCall-ID: {call_id}\r\nCSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n"
        );
        Line {
            at: UNIX_EPOCH + Duration::from_millis(1_700_000_000_000 + at_ms),
            sent,
            transport: Transport::Udp,
            local: SocketAddr::from(([192, 0, 2, 1], 5060)),
            remote: SocketAddr::from(([198, 51, 100, 7], 5062)),
            bytes: Bytes::from(text),
        }
    }

    fn invite(call_id: &str) -> Line {
        line(false, 0, call_id, "INVITE sip:101@a SIP/2.0", "INVITE")
    }

    #[test]
    fn a_call_is_followed_from_its_invite_to_its_end() {
        let mut kept = Kept::new(10, 1 << 20);
        kept.message(line(false, 0, "other", "OPTIONS sip:a SIP/2.0", "OPTIONS"));
        assert!(kept.list().is_empty());
        kept.message(invite("a"));
        let standing = |kept: &Kept| kept.list()[0].standing.clone();
        for (first, method, wanted) in [
            ("SIP/2.0 401 Unauthorized", "INVITE", "ringing"),
            ("SIP/2.0 180 Ringing", "INVITE", "ringing"),
            ("SIP/2.0 200 OK", "INVITE", "answered"),
            ("BYE sip:101@a SIP/2.0", "BYE", "over"),
            ("SIP/2.0 486 Busy Here", "INVITE", "over"),
        ] {
            kept.message(line(true, 5, "a", first, method));
            assert_eq!(standing(&kept), wanted, "{first}");
        }
        let call = &kept.list()[0];
        assert_eq!(
            (call.from.as_str(), call.to.as_str(), call.messages),
            ("100", "101", 6)
        );
        kept.message(invite("b"));
        kept.message(line(true, 5, "b", "SIP/2.0 486 Busy Here", "INVITE"));
        assert_eq!(standing(&kept), "failed: 486 Busy Here");
    }

    /// A line at this second, with the number of its CSeq.
    fn at(second: u64, call_id: &str, first: &str, method: &str, number: u32) -> Line {
        let line = line(true, second * 1000, call_id, first, method);
        let text = String::from_utf8_lossy(&line.bytes).into_owned();
        let text = text.replace("CSeq: 1 ", &format!("CSeq: {number} "));
        Line {
            bytes: Bytes::from(text),
            ..line
        }
    }

    #[test]
    fn a_call_that_is_tried_again_stands_as_its_last_try() {
        const INVITE: &str = "INVITE sip:101@a SIP/2.0";
        for (messages, wanted) in [
            // Another address, a longer interval, another telephone of a fork.
            (
                &[
                    (INVITE, 1),
                    ("SIP/2.0 503 Full", 1),
                    (INVITE, 1),
                    ("SIP/2.0 200 OK", 1),
                ][..],
                "answered",
            ),
            (
                &[
                    (INVITE, 1),
                    ("SIP/2.0 422 Too Small", 1),
                    (INVITE, 2),
                    ("SIP/2.0 200 OK", 2),
                ],
                "answered",
            ),
            (
                &[(INVITE, 1), ("SIP/2.0 486 Busy", 1), ("SIP/2.0 200 OK", 1)],
                "answered",
            ),
            (
                &[(INVITE, 1), ("SIP/2.0 503 Full", 1), (INVITE, 1)],
                "ringing",
            ),
            (
                &[
                    (INVITE, 1),
                    ("SIP/2.0 200 OK", 1),
                    ("BYE sip:a SIP/2.0", 2),
                    ("SIP/2.0 200 OK", 1),
                ],
                "over",
            ),
            (
                &[(INVITE, 1), ("SIP/2.0 180 Ringing", 1), (INVITE, 1)],
                "ringing",
            ),
        ] {
            let mut kept = Kept::new(10, 1 << 20);
            for (first, number) in messages {
                let method = if first.starts_with("BYE") {
                    "BYE"
                } else {
                    "INVITE"
                };
                kept.message(at(0, "a", first, method, *number));
            }
            assert_eq!(kept.list()[0].standing, wanted, "{messages:?}");
        }
    }

    #[test]
    fn what_nobody_answers_has_failed_in_the_end() {
        const INVITE: &str = "INVITE sip:101@a SIP/2.0";
        for (messages, wanted) in [
            (
                &[(INVITE, "INVITE")][..],
                "failed: 408 nothing was answered",
            ),
            (
                &[(INVITE, "INVITE"), ("SIP/2.0 401 Unauthorized", "INVITE")],
                "failed: 401 Unauthorized",
            ),
            (
                &[(INVITE, "INVITE"), ("SIP/2.0 180 Ringing", "INVITE")],
                "ringing",
            ),
            (
                &[
                    (INVITE, "INVITE"),
                    ("SIP/2.0 180 Ringing", "INVITE"),
                    ("CANCEL sip:a SIP/2.0", "CANCEL"),
                ],
                "cancelled",
            ),
        ] {
            let mut kept = Kept::new(10, 1 << 20);
            for (first, method) in messages {
                kept.message(at(0, "a", first, method, 1));
            }
            let begin = kept.list()[0].began;
            kept.settle(begin + Duration::from_secs(31));
            assert_eq!(kept.list()[0].standing, "ringing", "{messages:?}");
            kept.settle(begin + Duration::from_secs(32));
            assert_eq!(kept.list()[0].standing, wanted, "{messages:?}");
        }
        // Credentials came after all.
        let mut kept = Kept::new(10, 1 << 20);
        kept.message(at(0, "a", INVITE, "INVITE", 1));
        kept.message(at(1, "a", "SIP/2.0 407 Who", "INVITE", 1));
        kept.message(at(30, "a", INVITE, "INVITE", 2));
        let begin = kept.list()[0].began;
        kept.settle(begin + Duration::from_secs(40));
        assert_eq!(kept.list()[0].standing, "ringing");
        kept.settle(begin + Duration::from_secs(70));
        assert_eq!(kept.list()[0].standing, "failed: 408 nothing was answered");
    }

    /// The INVITE of a call that is a channel.
    fn channel(kept: &mut Kept, call_id: &str) {
        kept.named(Named {
            call_id: call_id.to_owned(),
            channel: format!("PJSIP/{call_id}-00000001"),
            ..Named::default()
        });
        kept.message(invite(call_id));
    }

    fn ids(kept: &Kept) -> Vec<String> {
        kept.list().into_iter().map(|call| call.call_id).collect()
    }

    #[test]
    fn the_oldest_go_first_and_failed_ones_stay_longer() {
        let mut kept = Kept::new(4, 1 << 20);
        channel(&mut kept, "bad");
        kept.message(line(true, 5, "bad", "SIP/2.0 503 Full", "INVITE"));
        for number in 0..20 {
            channel(&mut kept, &format!("good-{number}"));
        }
        assert_eq!(ids(&kept), ["good-19", "good-18", "good-17", "bad"]);
        // But not all that is kept is failures.
        for number in 0..20 {
            let name = format!("bad-{number}");
            channel(&mut kept, &name);
            kept.message(line(true, 5, &name, "SIP/2.0 503 Full", "INVITE"));
        }
        channel(&mut kept, "good");
        let ids = ids(&kept);
        assert!(
            ids.contains(&"good".to_owned()) && ids.contains(&"bad-19".to_owned()),
            "{ids:?}"
        );
        assert_eq!(ids.len(), 4);
    }

    #[test]
    fn strangers_have_a_share_and_push_nobody_else_out() {
        let mut kept = Kept::new(400, 4 << 20);
        for number in 0..360 {
            channel(&mut kept, &format!("call-{number}"));
        }
        for number in 0..10_000 {
            let name = format!("stranger-{number}");
            kept.message(invite(&name));
            kept.message(line(true, 5, &name, "SIP/2.0 401 Unauthorized", "INVITE"));
        }
        let left = ids(&kept);
        assert_eq!(left.len(), 400);
        assert_eq!(
            left.iter().filter(|id| id.starts_with("call-")).count(),
            360
        );
        assert_eq!(
            left[..4],
            [
                "stranger-9999",
                "stranger-9998",
                "stranger-9997",
                "stranger-9996"
            ]
        );
        // One that is let in is none any more.
        channel(&mut kept, "stranger-9996");
        for number in 0..40 {
            kept.message(invite(&format!("late-{number}")));
        }
        assert!(ids(&kept).contains(&"stranger-9996".to_owned()));
        assert!(!ids(&kept).contains(&"stranger-9999".to_owned()));
    }

    #[test]
    fn messages_and_bytes_have_limits() {
        let mut kept = Kept::new(1000, 100_000);
        channel(&mut kept, "long");
        for number in 0..1000 {
            kept.message(line(true, number, "long", "INFO sip:101@a SIP/2.0", "INFO"));
        }
        let long = &kept.list()[0];
        assert_eq!(long.messages, MESSAGES_MAX);
        assert_eq!(kept.numbers().2, 801);
        for number in 0..1000 {
            channel(&mut kept, &format!("call-{number}"));
            assert!(kept.numbers().1 <= 100_000);
        }
        assert!(kept.list().len() > 100);
        let mut off = Kept::new(0, 100_000);
        off.message(invite("a"));
        off.named(Named::default());
        assert_eq!(off.numbers(), (0, 0, 0));
    }

    #[test]
    fn calls_are_found_by_all_their_names() {
        let mut kept = Kept::new(10, 1 << 20);
        for (call_id, channel, uniqueid) in [
            ("a", "PJSIP/100-00000001", "1.1"),
            ("b", "PJSIP/trunk-x-00000002", "1.2"),
        ] {
            kept.named(Named {
                call_id: call_id.to_owned(),
                channel: channel.to_owned(),
                uniqueid: uniqueid.to_owned(),
                linkedid: "1.1".to_owned(),
            });
            kept.message(invite(call_id));
        }
        kept.message(invite("c"));
        for (name, wanted) in [
            ("a", 2),
            ("b", 2),
            ("1.2", 2),
            ("PJSIP/100-00000001", 2),
            ("c", 1),
            ("x", 0),
        ] {
            assert_eq!(kept.belonging(name).len(), wanted, "{name}");
        }
        for (wanted, count) in [
            ("", 3),
            ("100", 3),
            ("101", 3),
            ("trunk-x", 1),
            ("1.2", 1),
            ("102", 0),
        ] {
            assert_eq!(kept.matching(wanted).count(), count, "{wanted}");
        }
    }
}

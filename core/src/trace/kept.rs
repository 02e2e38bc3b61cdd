//! The calls whose messages are kept: recent ones, and failed ones longer, within limits of calls, messages and bytes.

use std::time::SystemTime;

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
    bytes: usize,
    began: u64,
    cut: u64,
}

impl Kept {
    pub(super) fn new(calls_max: usize, bytes_max: usize) -> Self {
        Self {
            calls_max,
            bytes_max,
            calls: FxHashMap::default(),
            bytes: 0,
            began: 0,
            cut: 0,
        }
    }

    pub(super) fn keeps(&self) -> bool {
        self.calls_max > 0
    }

    /// Calls, bytes, messages that had no room.
    pub(super) fn numbers(&self) -> (u64, u64, u64) {
        (self.calls.len() as u64, self.bytes as u64, self.cut)
    }

    pub(super) fn named(&mut self, named: Named) {
        if let Some(call) = self.calls.get_mut(&named.call_id) {
            call.named = named;
        } else if self.keeps() {
            // Its INVITE is still to be sent.
            let call_id = named.call_id.clone();
            let call = self.begin(&call_id);
            call.named = named;
        }
    }

    fn begin(&mut self, call_id: &str) -> &mut Call {
        self.began += 1;
        let number = self.began;
        self.calls
            .entry(call_id.to_owned())
            .or_insert_with(|| Call {
                named: Named {
                    call_id: call_id.to_owned(),
                    ..Named::default()
                },
                from: String::new(),
                to: String::new(),
                standing: Standing::Ringing,
                lines: Vec::new(),
                cut: 0,
                number,
                bytes: 0,
            })
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
        let known = self.calls.contains_key(call_id);
        // Calls begin with an INVITE; everything else is none.
        if !known && message.method() != Some(Method::Invite) {
            return;
        }
        let size = line.bytes.len() + OVERHEAD;
        if !known {
            self.begin(call_id);
        }
        let Some(call) = self.calls.get_mut(call_id) else {
            return;
        };
        if call.from.is_empty() {
            let user = |name: Result<strowger_sip::NameAddr, _>| {
                let name = name.ok()?;
                let user = name.uri.user.as_deref().unwrap_or_default();
                Some(plain(user))
            };
            call.from = user(message.from()).unwrap_or_default();
            call.to = user(message.to()).unwrap_or_default();
        }
        call.follow(&message);
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
        self.bytes = (self.bytes + size).saturating_sub(freed);
        self.make_room();
    }

    /// Lets calls go until the rest is within the limits: the oldest, but failed ones only where they are more than half.
    fn make_room(&mut self) {
        while self.calls.len() > self.calls_max || self.bytes > self.bytes_max {
            let failures = self.calls.values().filter(|call| call.has_failed()).count();
            let spare = failures * 2 <= self.calls.len();
            let oldest = |spare: bool| {
                let calls = self.calls.iter();
                calls
                    .filter(|(_, call)| !(spare && call.has_failed()))
                    .min_by_key(|(_, call)| call.number)
                    .map(|(call_id, _)| call_id.clone())
            };
            let Some(call_id) = oldest(spare).or_else(|| oldest(false)) else {
                return;
            };
            if let Some(call) = self.calls.remove(&call_id) {
                self.bytes = self.bytes.saturating_sub(call.bytes);
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

    /// The call of this name, and those that belong to it.
    pub(super) fn belonging(&self, name: &str) -> Vec<&Call> {
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
        let mut calls: Vec<&Call> = self.calls.values().filter(belongs).collect();
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
    fn has_failed(&self) -> bool {
        matches!(self.standing, Standing::Failed(..))
    }

    /// What a message means for the call.
    fn follow(&mut self, message: &Message) {
        match (message.method(), message.status()) {
            (Some(Method::Bye), _) if self.standing == Standing::Answered => {
                self.standing = Standing::Over;
            }
            (None, Some(status)) => {
                let of_invite = message
                    .cseq()
                    .is_ok_and(|cseq| cseq.method == Method::Invite);
                let open = matches!(self.standing, Standing::Ringing);
                if !of_invite || !open {
                    return;
                }
                match status {
                    200..300 => self.standing = Standing::Answered,
                    487 => self.standing = Standing::Cancelled,
                    // The INVITE comes again with credentials.
                    401 | 407 => {}
                    300.. => self.standing = Standing::Failed(status, plain(message.reason())),
                    _ => {}
                }
            }
            _ => {}
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

    #[test]
    fn the_oldest_go_first_and_failed_ones_stay_longer() {
        let mut kept = Kept::new(4, 1 << 20);
        kept.message(invite("bad"));
        kept.message(line(true, 5, "bad", "SIP/2.0 503 Full", "INVITE"));
        for number in 0..20 {
            kept.message(invite(&format!("good-{number}")));
        }
        let ids: Vec<String> = kept.list().into_iter().map(|call| call.call_id).collect();
        assert_eq!(ids, ["good-19", "good-18", "good-17", "bad"]);
        // But not all that is kept is failures.
        for number in 0..20 {
            let name = format!("bad-{number}");
            kept.message(invite(&name));
            kept.message(line(true, 5, &name, "SIP/2.0 503 Full", "INVITE"));
        }
        kept.message(invite("good"));
        let ids: Vec<String> = kept.list().into_iter().map(|call| call.call_id).collect();
        assert!(
            ids.contains(&"good".to_owned()) && ids.contains(&"bad-19".to_owned()),
            "{ids:?}"
        );
        assert_eq!(ids.len(), 4);
    }

    #[test]
    fn messages_and_bytes_have_limits() {
        let mut kept = Kept::new(1000, 100_000);
        kept.message(invite("long"));
        for number in 0..1000 {
            kept.message(line(true, number, "long", "INFO sip:101@a SIP/2.0", "INFO"));
        }
        let long = &kept.list()[0];
        assert_eq!(long.messages, MESSAGES_MAX);
        assert_eq!(kept.numbers().2, 801);
        for number in 0..1000 {
            kept.message(invite(&format!("call-{number}")));
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

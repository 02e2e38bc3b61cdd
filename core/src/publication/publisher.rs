//! One publication of ours at another exchange (RFC 3903 §4): what is told when, one PUBLISH at a time; refresh, removal, and a new
//! beginning where the other has forgotten us (412). Messages and times come in, messages and times go out.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rustc_hash::{FxHashMap, FxHashSet};
use strowger_sip::{Builder, HeaderName, Message, Method, Uri};
use strowger_store::Snapshot;

use super::message::Said;
use super::settings::{Filter, Outbound};
use crate::endpoint::client_auth::{Known, answer_challenge, without_credentials};
use crate::endpoint::registration::read_uri;

/// A refresh goes out so long before the publication would end.
const BEFORE_END: Duration = Duration::from_secs(10);
/// What fails is tried again after this, unless the other says when.
const RETRY: Duration = Duration::from_secs(60);
/// The longest wait that Retry-After is believed, s.
const RETRY_AFTER_MAX_S: u32 = 3600;
/// The longest life asked for or believed, s.
const EXPIRES_MAX_S: u32 = 86_400;
/// New beginnings and longer lives in a row: who wants more makes no sense.
const CORRECTIONS_MAX: u8 = 3;
/// A request whose end nobody told is over then.
const FORGOTTEN: Duration = Duration::from_secs(120);
/// Things that may wait to be told.
const PENDING_MAX: usize = 100_000;
/// Things looked at in one turn: most of them have nothing new.
const LOOKS: usize = 256;

/// Where a PUBLISH is sent from.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    pub(crate) via: String,
    /// For a publication that has none yet.
    pub(crate) call_id: String,
    pub(crate) tag: String,
    pub(crate) user_agent: String,
}

/// A request under way.
#[derive(Debug)]
struct Asked {
    sent: Option<Message>,
    /// What it tells, and by which body; none: it refreshes or removes.
    item: Option<(String, String)>,
    unasked: bool,
    authentications: u32,
    removes: bool,
    /// It named a publication.
    named: bool,
}

/// The name under which the wish to be told everything waits.
const REFRESH: &str = "";

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Publisher {
    row: Outbound,
    filter: Filter,
    entity: String,
    etag: Option<String>,
    call_id: String,
    tag: String,
    cseq: u32,
    pending: VecDeque<String>,
    waiting: FxHashSet<String>,
    /// The body that told of each thing last.
    told: FxHashMap<String, String>,
    asked: Option<Asked>,
    attempt: u64,
    /// Nothing is sent before.
    not_before: Option<Instant>,
    /// The publication is to be refreshed; of a request under way: it is forgotten.
    at: Option<Instant>,
    expires_s: u32,
    corrections: u8,
    known: Known,
    leaves: bool,
}

impl Publisher {
    pub(crate) fn new(row: Outbound, entity: &str) -> Self {
        let mut publisher = Self {
            filter: Filter::read(&row.filter),
            entity: entity.to_owned(),
            expires_s: row.expiration.clamp(1, EXPIRES_MAX_S),
            row,
            etag: None,
            call_id: String::new(),
            tag: String::new(),
            cseq: 0,
            pending: VecDeque::new(),
            waiting: FxHashSet::default(),
            told: FxHashMap::default(),
            asked: None,
            attempt: 0,
            not_before: None,
            at: None,
            corrections: 0,
            known: Known::default(),
            leaves: false,
        };
        publisher.ask();
        publisher
    }

    pub(crate) fn row(&self) -> &Outbound {
        &self.row
    }

    /// Wants to be told everything, where the row says so.
    fn ask(&mut self) {
        if self.row.asks && !self.leaves && self.waiting.insert(REFRESH.to_owned()) {
            self.pending.push_front(REFRESH.to_owned());
        }
    }

    /// This thing may be told anew. False: too many wait, and it is not told.
    pub(crate) fn note(&mut self, name: &str) -> bool {
        // Who leaves tells nothing more.
        if self.leaves
            || name.is_empty()
            || self.waiting.contains(name)
            || !self.filter.passes(name)
        {
            return true;
        }
        if self.pending.len() >= PENDING_MAX {
            return false;
        }
        self.waiting.insert(name.to_owned());
        self.pending.push_back(name.to_owned());
        true
    }

    /// Everything is to be told, whether it was told before or not.
    pub(crate) fn forget_told(&mut self) {
        let told: Vec<String> = self.told.drain().map(|(name, _)| name).collect();
        for name in told {
            // There is room: it was all told by way of this queue.
            self.note(&name);
        }
    }

    /// The publication is taken back.
    pub(crate) fn leave(&mut self) {
        self.leaves = true;
        self.pending.clear();
        self.waiting.clear();
        self.not_before = None;
    }

    /// Nothing more is to be done.
    pub(crate) fn is_gone(&self) -> bool {
        self.leaves && self.asked.is_none() && self.etag.is_none()
    }

    /// When [`Self::due`] has something to do.
    pub(crate) fn next_timeout(&self, now: Instant) -> Option<Instant> {
        if self.asked.is_some() {
            return self.at;
        }
        if self.leaves {
            return self.etag.as_ref().map(|_| now);
        }
        let next = match self.pending.is_empty() {
            true => self.at?,
            false => now,
        };
        Some(self.not_before.map_or(next, |at| next.max(at)))
    }

    pub(crate) fn awaits(&self, attempt: u64) -> bool {
        self.asked.is_some() && self.attempt == attempt
    }

    /// Begins a request if one is due: its number and first hop. `said` is the body that says what is so of a thing now; none where
    /// that is nothing, unless it was spoken of before: then it is asked with `true`.
    pub(crate) fn due(
        &mut self,
        now: Instant,
        mut said: impl FnMut(&str, bool) -> Option<String>,
    ) -> Option<(u64, Uri)> {
        if self.asked.is_some() {
            if self.at.is_some_and(|at| at <= now) {
                self.failed(408, None, now);
            }
            return None;
        }
        if self.not_before.is_some_and(|at| at > now) {
            return None;
        }
        self.not_before = None;
        let mut item = None;
        for _ in 0..LOOKS {
            let Some(name) = self.pending.pop_front() else {
                break;
            };
            self.waiting.remove(&name);
            let before = self.told.get(&name);
            let body = match name.as_str() {
                REFRESH => Some(Said::Refresh.write(&self.entity)),
                name => said(name, before.is_some()),
            };
            if let Some(body) = body.filter(|body| before != Some(body)) {
                item = Some((name, body));
                break;
            }
        }
        let refresh = self.etag.is_some() && self.at.is_some_and(|at| at <= now);
        let removes = self.leaves && self.etag.is_some();
        if item.is_none() && !refresh && !removes {
            return None;
        }
        let hop = self.row.outbound_proxy.as_deref();
        let hop = read_uri(hop.unwrap_or(&self.row.server_uri))?.uri;
        self.attempt += 1;
        self.asked = Some(Asked {
            sent: None,
            item,
            unasked: false,
            authentications: 0,
            removes,
            named: self.etag.is_some(),
        });
        self.at = Some(now + FORGOTTEN);
        Some((self.attempt, hop))
    }

    /// The request is sent to another address: it has as long again.
    pub(crate) fn goes_on(&mut self, now: Instant) {
        self.at = Some(now + FORGOTTEN);
    }

    /// The PUBLISH of the request under way.
    pub(crate) fn request(&mut self, snapshot: &Snapshot, sender: &Sender) -> Option<Message> {
        let asked = self.asked.as_mut()?;
        if self.call_id.is_empty() {
            self.call_id.clone_from(&sender.call_id);
            self.tag.clone_from(&sender.tag);
        }
        self.cseq += 1;
        let mut target = read_uri(&self.row.server_uri)?.uri;
        let (from, to) = self.row.ends()?;
        target.headers.clear();
        let mut request =
            Builder::request(Method::Publish, &target).header(HeaderName::Via, &sender.via);
        let proxy = self.row.outbound_proxy.as_deref();
        if let Some(proxy) = proxy.and_then(read_uri) {
            request.push(HeaderName::Route, format!("<{}>", proxy.uri));
        }
        let expires = if asked.removes { 0 } else { self.expires_s };
        request = request
            .header(
                HeaderName::MaxForwards,
                snapshot.globals.max_forwards.to_string(),
            )
            .header(HeaderName::From, from.with_tag(&self.tag).to_string())
            .header(HeaderName::To, to.to_string())
            .header(HeaderName::CallId, &self.call_id)
            .header(HeaderName::CSeq, format!("{} PUBLISH", self.cseq))
            .header(HeaderName::Event, self.row.topic.event())
            .header(HeaderName::Expires, expires.to_string())
            .header(HeaderName::UserAgent, &sender.user_agent);
        if let Some(etag) = &self.etag {
            request.push(HeaderName::SipIfMatch, etag);
        }
        if let Some((_, body)) = &asked.item {
            request = request.body(self.row.topic.media_type(), body.clone());
        }
        let auths = &self.row.outbound_auth;
        let (request, unasked) = self.known.authorize(snapshot, auths, request.finish());
        asked.sent = Some(request.clone());
        asked.unasked = unasked;
        Some(request)
    }

    /// A response came. Some: to be sent again, on the same way.
    pub(crate) fn answered(
        &mut self,
        snapshot: &Snapshot,
        response: &Message,
        via: &str,
        now: Instant,
    ) -> Option<Message> {
        let status = response.status().unwrap_or(0);
        let asked = self.asked.as_mut()?;
        if status < 200 {
            return None;
        }
        if matches!(status, 401 | 407)
            && asked.authentications < self.row.max_auth_attempts
            && let Some(sent) = &asked.sent
        {
            let base = match asked.unasked {
                true => without_credentials(sent),
                false => sent.clone(),
            };
            let auths = &self.row.outbound_auth;
            let again = answer_challenge(snapshot, auths, &base, response, via);
            if let Some(again) = again {
                asked.authentications += 1;
                asked.unasked = false;
                asked.sent = Some(again.clone());
                self.cseq = again.cseq().map_or(self.cseq, |cseq| cseq.number);
                self.known.learn(response);
                return Some(again);
            }
        }
        let number = |name: &HeaderName| -> Option<u32> {
            let text = response.header(name)?.trim_start();
            let digits = text.split(|c: char| !c.is_ascii_digit()).next()?;
            digits.parse().ok()
        };
        if asked.removes {
            self.asked = None;
            self.etag = None;
            self.at = None;
            return None;
        }
        match status {
            200..=299 => match response.header(&HeaderName::SipEtag).map(str::trim) {
                Some(etag) if !etag.is_empty() => self.accepted(etag.to_owned(), response, now),
                // RFC 3903 §6: it has to be there, and without it nothing can be refreshed.
                _ => self.failed(500, None, now),
            },
            412 if asked.named && self.corrections < CORRECTIONS_MAX => {
                self.corrections += 1;
                let item = self.asked.take().and_then(|asked| asked.item);
                self.etag = None;
                self.at = None;
                self.forget_told();
                self.again(item);
                self.ask();
            }
            423 if self.corrections < CORRECTIONS_MAX => {
                let least = number(&HeaderName::MinExpires);
                match least.filter(|least| (self.expires_s + 1..=EXPIRES_MAX_S).contains(least)) {
                    None => self.failed(status, None, now),
                    Some(least) => {
                        self.corrections += 1;
                        self.expires_s = least;
                        let item = self.asked.take().and_then(|asked| asked.item);
                        // What has no body refreshes: at once again.
                        self.at = Some(now);
                        self.again(item);
                    }
                }
            }
            _ => self.failed(status, number(&HeaderName::RetryAfter), now),
        }
        None
    }

    /// What was not told is told next.
    fn again(&mut self, item: Option<(String, String)>) {
        if let Some((name, _)) = item
            && !self.leaves
            && self.waiting.insert(name.clone())
        {
            self.pending.push_front(name);
        }
    }

    fn accepted(&mut self, etag: String, response: &Message, now: Instant) {
        let item = self.asked.take().and_then(|asked| asked.item);
        self.etag = Some(etag);
        self.corrections = 0;
        if let Some((name, body)) = item.filter(|(name, _)| name != REFRESH) {
            self.told.insert(name, body);
        }
        let life = response.expires().unwrap_or(self.expires_s).max(1);
        let life = Duration::from_secs(u64::from(life.min(EXPIRES_MAX_S)));
        self.at = Some(if life > 2 * BEFORE_END {
            now + life - BEFORE_END
        } else {
            now + life / 2
        });
    }

    /// It was refused, or nothing was heard (408), or it could not be sent (503).
    pub(crate) fn failed(&mut self, status: u16, retry_after: Option<u32>, now: Instant) {
        let Some(asked) = self.asked.take() else {
            return;
        };
        self.corrections = 0;
        self.known.clear();
        if asked.removes {
            self.etag = None;
            self.at = None;
            return;
        }
        if self.leaves {
            // What was published before is taken back nevertheless, at once.
            self.at = None;
            return;
        }
        self.again(asked.item);
        let wait = retry_after.filter(|seconds| *seconds > 0);
        let wait = wait.map_or(RETRY, |seconds| {
            Duration::from_secs(seconds.min(RETRY_AFTER_MAX_S).into())
        });
        tracing::warn!(
            publication = self.row.id,
            server_uri = self.row.server_uri,
            status,
            again_in_s = wait.as_secs(),
            "not published"
        );
        self.not_before = Some(now + wait);
        // What it refreshed may have ended meanwhile: 412 will say so.
        self.at = self.etag.as_ref().map(|_| now + wait);
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::{Package, Topic};
    use super::*;
    use crate::device::DeviceState;

    fn row() -> Outbound {
        Outbound {
            id: "out".into(),
            expiration: 600,
            outbound_auth: Vec::new(),
            outbound_proxy: None,
            server_uri: "sip:office@192.0.2.7".into(),
            from_uri: String::new(),
            to_uri: String::new(),
            topic: Topic::Of(Package::DeviceState),
            max_auth_attempts: 5,
            transport: None,
            filter: "^PJSIP/".into(),
            asks: false,
        }
    }

    fn sender() -> Sender {
        Sender {
            via: "SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1".into(),
            call_id: "c@192.0.2.1".into(),
            tag: "t".into(),
            user_agent: "Strowger".into(),
        }
    }

    /// Everybody talks, but for those whose names end with x.
    fn said(name: &str, before: bool) -> Option<String> {
        let said = Said::Device {
            device: name.to_owned(),
            state: DeviceState::InUse,
        };
        (before || !name.ends_with('x')).then(|| said.write("me"))
    }

    /// The next request.
    fn next(publisher: &mut Publisher, now: Instant) -> Option<Message> {
        let (attempt, hop) = publisher.due(now, said)?;
        assert!(publisher.awaits(attempt));
        assert_eq!(hop.to_string(), "sip:office@192.0.2.7");
        publisher.request(&Snapshot::default(), &sender())
    }

    fn answer(
        publisher: &mut Publisher,
        request: &Message,
        status: u16,
        headers: &[(HeaderName, &str)],
        now: Instant,
    ) {
        let mut response = Builder::response_to(request, status, "").to_tag("r");
        for (name, value) in headers {
            response.push(name.clone(), *value);
        }
        let snapshot = Snapshot::default();
        let again = publisher.answered(&snapshot, &response.finish(), "", now);
        assert!(again.is_none());
    }

    fn if_match(request: &Message) -> Option<&str> {
        request.header(&HeaderName::SipIfMatch)
    }

    fn device(request: &Message) -> String {
        let body = String::from_utf8_lossy(request.body()).into_owned();
        let rest = body.split("\"device\":\"").nth(1).unwrap_or_default();
        rest.split('"').next().unwrap_or_default().to_owned()
    }

    const OK: [(HeaderName, &str); 2] = [(HeaderName::SipEtag, "e1"), (HeaderName::Expires, "100")];

    #[test]
    fn one_thing_is_told_at_a_time_and_the_publication_is_refreshed_and_taken_back() {
        let now = Instant::now();
        let mut publisher = Publisher::new(row(), "me");
        assert_eq!(publisher.next_timeout(now), None);
        for name in ["PJSIP/a", "Custom:a", "PJSIP/x", "PJSIP/b", "PJSIP/a"] {
            publisher.note(name);
        }
        let first = next(&mut publisher, now).expect("a PUBLISH");
        assert_eq!(
            (device(&first).as_str(), if_match(&first)),
            ("PJSIP/a", None)
        );
        assert_eq!(
            first.header(&HeaderName::Event),
            Some("asterisk-devicestate")
        );
        assert_eq!(first.expires(), Some(600));
        assert!(next(&mut publisher, now).is_none(), "one at a time");
        answer(&mut publisher, &first, 200, &OK, now);
        let second = next(&mut publisher, now).expect("a PUBLISH");
        assert_eq!(
            device(&second),
            "PJSIP/b",
            "what says nothing new is passed over"
        );
        assert_eq!(if_match(&second), Some("e1"));
        answer(&mut publisher, &second, 200, &OK, now);
        publisher.note("PJSIP/a");
        assert!(next(&mut publisher, now).is_none(), "it was told so");
        let refresh = now + Duration::from_secs(90);
        assert_eq!(publisher.next_timeout(now), Some(refresh));
        let third = next(&mut publisher, refresh).expect("a refresh");
        assert!(third.body().is_empty() && if_match(&third) == Some("e1"));
        answer(&mut publisher, &third, 200, &OK, refresh);
        publisher.leave();
        let last = next(&mut publisher, refresh).expect("a removal");
        assert_eq!((last.expires(), if_match(&last)), (Some(0), Some("e1")));
        answer(&mut publisher, &last, 200, &[], refresh);
        assert!(publisher.is_gone());
    }

    #[test]
    fn who_leaves_tells_nothing_more_and_takes_back_what_was_told_whatever_is_answered() {
        for (status, headers) in [(200, &OK[..]), (503, &[]), (423, &[]), (401, &[])] {
            let now = Instant::now();
            let mut publisher = Publisher::new(row(), "me");
            publisher.note("PJSIP/a");
            let first = next(&mut publisher, now).expect("a PUBLISH");
            answer(&mut publisher, &first, 200, &OK, now);
            publisher.note("PJSIP/b");
            let second = next(&mut publisher, now).expect("a PUBLISH");
            publisher.leave();
            publisher.note("PJSIP/c");
            assert!(next(&mut publisher, now).is_none(), "one at a time");
            answer(&mut publisher, &second, status, headers, now);
            assert!(!publisher.is_gone());
            assert_eq!(publisher.next_timeout(now), Some(now), "{status}");
            let last = next(&mut publisher, now).expect("a removal");
            assert_eq!((last.expires(), last.body()), (Some(0), &b""[..]));
            assert_eq!(if_match(&last), Some("e1"));
            answer(&mut publisher, &last, 503, &[], now);
            assert!(publisher.is_gone());
        }
        // Where it is forgotten already nothing is left to take back.
        let now = Instant::now();
        let mut publisher = Publisher::new(row(), "me");
        publisher.note("PJSIP/a");
        let first = next(&mut publisher, now).expect("a PUBLISH");
        answer(&mut publisher, &first, 200, &OK, now);
        publisher.note("PJSIP/b");
        let second = next(&mut publisher, now).expect("a PUBLISH");
        publisher.leave();
        answer(&mut publisher, &second, 412, &[], now);
        assert!(publisher.is_gone() && next(&mut publisher, now).is_none());
    }

    #[test]
    fn who_has_forgotten_us_is_told_everything_anew() {
        let now = Instant::now();
        let asks = Outbound {
            asks: true,
            ..row()
        };
        let mut publisher = Publisher::new(asks, "me");
        publisher.note("PJSIP/a");
        let asked = next(&mut publisher, now).expect("a PUBLISH");
        assert!(String::from_utf8_lossy(asked.body()).contains("\"refresh\""));
        answer(&mut publisher, &asked, 200, &OK, now);
        let first = next(&mut publisher, now).expect("a PUBLISH");
        answer(&mut publisher, &first, 200, &OK, now);
        publisher.note("PJSIP/b");
        let second = next(&mut publisher, now).expect("a PUBLISH");
        answer(&mut publisher, &second, 412, &[], now);
        let mut anew = Vec::new();
        for _ in 0..3 {
            let request = next(&mut publisher, now).expect("a PUBLISH");
            assert_eq!(if_match(&request).is_some(), !anew.is_empty());
            anew.push(device(&request));
            answer(&mut publisher, &request, 200, &OK, now);
        }
        anew.sort();
        assert_eq!(anew, ["", "PJSIP/a", "PJSIP/b"]);
        assert!(next(&mut publisher, now).is_none());
    }

    #[test]
    fn a_short_life_is_lengthened_and_a_refusal_is_tried_again_later() {
        let now = Instant::now();
        let mut publisher = Publisher::new(row(), "me");
        publisher.note("PJSIP/a");
        let first = next(&mut publisher, now).expect("a PUBLISH");
        answer(
            &mut publisher,
            &first,
            423,
            &[(HeaderName::MinExpires, "900")],
            now,
        );
        let longer = next(&mut publisher, now).expect("a PUBLISH");
        assert_eq!(longer.expires(), Some(900));
        answer(
            &mut publisher,
            &longer,
            503,
            &[(HeaderName::RetryAfter, "5")],
            now,
        );
        assert!(next(&mut publisher, now).is_none());
        let later = now + Duration::from_secs(5);
        assert_eq!(publisher.next_timeout(now), Some(later));
        let again = next(&mut publisher, later).expect("a PUBLISH");
        assert_eq!(device(&again), "PJSIP/a");
        // A 412 to what named nothing is no reason to begin anew.
        answer(&mut publisher, &again, 412, &[], later);
        assert!(next(&mut publisher, later).is_none());
        assert_eq!(publisher.next_timeout(later), Some(later + RETRY));
        // A 200 without a tag cannot be gone on with.
        let again = next(&mut publisher, later + RETRY).expect("a PUBLISH");
        answer(&mut publisher, &again, 200, &[], later + RETRY);
        assert!(next(&mut publisher, later + RETRY).is_none());
    }
}

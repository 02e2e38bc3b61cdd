//! Session timers: RFC 4028. Who refreshes a session, how often, and when it is over because nobody did.
//!
//! [`Policy`] is what one side wants; it writes the headers of requests, answers those of the other side and reads its
//! responses. [`SessionTimer`] is the clock of one session. Neither sends anything.

use std::fmt;
use std::time::{Duration, Instant};

use crate::message::{Builder, HeaderName, Message};

/// The option tag of RFC 4028.
pub const OPTION: &str = "timer";

/// The shortest interval that anybody has to accept (§5), s.
pub const MIN_SE_S: u32 = 90;

/// Who sends the refreshing requests: the side that sends the request with the header, or that answers it (§4).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Refresher {
    /// Who sends the request.
    Uac,
    /// Who answers it.
    Uas,
}

/// The value of Session-Expires.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct SessionExpires {
    /// The session is over so long after its last refresh, s.
    pub interval_s: u32,
    /// Who refreshes; `None` leaves it to the answerer.
    pub refresher: Option<Refresher>,
}

impl SessionExpires {
    /// Reads `1800;refresher=uac`; `None` where it cannot be read. A refresher of another name counts as none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(';');
        let interval_s = seconds(parts.next()?)?;
        let refresher = parts.find_map(|part| {
            let (name, value) = part.split_once('=')?;
            if !name.trim().eq_ignore_ascii_case("refresher") {
                return None;
            }
            match value.trim() {
                value if value.eq_ignore_ascii_case("uac") => Some(Refresher::Uac),
                value if value.eq_ignore_ascii_case("uas") => Some(Refresher::Uas),
                _ => None,
            }
        });
        Some(Self {
            interval_s,
            refresher,
        })
    }

    /// That of a message.
    #[must_use]
    pub fn of(message: &Message) -> Option<Self> {
        Self::parse(message.header(&HeaderName::SessionExpires)?)
    }
}

impl fmt::Display for SessionExpires {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.interval_s)?;
        match self.refresher {
            Some(Refresher::Uac) => f.write_str(";refresher=uac"),
            Some(Refresher::Uas) => f.write_str(";refresher=uas"),
            None => Ok(()),
        }
    }
}

/// The Min-SE of a message, s; parameters do not matter.
#[must_use]
pub fn min_se_of(message: &Message) -> Option<u32> {
    seconds(message.header(&HeaderName::MinSe)?.split(';').next()?)
}

fn seconds(text: &str) -> Option<u32> {
    let text = text.trim();
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // Longer than any number here is "for ever".
    digits.then(|| text.parse().unwrap_or(u32::MAX))
}

/// Whether a session has a timer.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub enum Wish {
    /// Never: what the other side says of it is passed over.
    Never,
    /// Where the other side asks for it. We offer it.
    #[default]
    Offered,
    /// The other side has to support it.
    Required,
    /// Always; we refresh alone where the other side knows nothing of it.
    Always,
}

/// What was agreed about a session.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// From a refresh to the end, s.
    pub interval_s: u32,
    /// We send the refreshing requests.
    pub we_refresh: bool,
}

/// Why a request must be refused.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 422, with this Min-SE.
    TooSmall(u32),
    /// 421, with `Require: timer`.
    Unsupported,
}

/// What our side wants of one session.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    wish: Wish,
    interval_s: u32,
    min_se_s: u32,
}

impl Policy {
    /// A session of `interval_s` that nobody may make shorter than `min_se_s`. Values below the RFC's least, and an
    /// interval below the least, are raised.
    #[must_use]
    pub fn new(wish: Wish, interval_s: u32, min_se_s: u32) -> Self {
        let min_se_s = min_se_s.max(MIN_SE_S);
        Self {
            wish,
            interval_s: interval_s.max(min_se_s),
            min_se_s,
        }
    }

    /// Timers are spoken of at all.
    #[must_use]
    pub fn is_spoken(&self) -> bool {
        self.wish != Wish::Never
    }

    /// Adds what an INVITE or UPDATE of ours says (§7.1, §7.4). In a session that has terms they go on; Supported is
    /// written by who makes the request.
    #[must_use]
    pub fn ask(&self, request: Builder, terms: Option<Terms>) -> Builder {
        if !self.is_spoken() {
            return request;
        }
        let expires = SessionExpires {
            interval_s: terms.map_or(self.interval_s, |terms| terms.interval_s.max(self.min_se_s)),
            refresher: terms.map(|terms| {
                if terms.we_refresh {
                    Refresher::Uac
                } else {
                    Refresher::Uas
                }
            }),
        };
        let request = request
            .header(HeaderName::SessionExpires, expires.to_string())
            .header(HeaderName::MinSe, self.min_se_s.to_string());
        if self.wish == Wish::Required {
            request.header(HeaderName::Require, OPTION)
        } else {
            request
        }
    }

    /// A 422 came: the next request asks for what it wants (§7.3). False where it says nothing that helps.
    #[must_use]
    pub fn raise(&mut self, response: &Message) -> bool {
        if !self.is_spoken() {
            return false;
        }
        let Some(least) =
            min_se_of(response).filter(|least| *least > self.interval_s.min(self.min_se_s))
        else {
            return false;
        };
        self.min_se_s = self.min_se_s.max(least);
        self.interval_s = self.interval_s.max(least);
        true
    }

    /// Decides about an INVITE or UPDATE of the other side (§9): the terms from now on, `None` for no timer. In a session
    /// that has terms already, `before`, silence of the other side ends them (§7.4) unless we insist.
    pub fn judge(
        &self,
        request: &Message,
        before: Option<Terms>,
    ) -> Result<Option<Terms>, Refusal> {
        if !self.is_spoken() {
            return Ok(None);
        }
        let supports = request.lists(&HeaderName::Supported, OPTION)
            || request.lists(&HeaderName::Require, OPTION);
        let Some(asked) = SessionExpires::of(request) else {
            if self.wish == Wish::Required && !supports && before.is_none() {
                return Err(Refusal::Unsupported);
            }
            let insists = matches!(self.wish, Wish::Required | Wish::Always);
            return Ok(insists.then(|| Terms {
                interval_s: self.interval_s.max(min_se_of(request).unwrap_or(0)),
                // Who does not know of timers cannot refresh.
                we_refresh: before.is_some_and(|terms| terms.we_refresh) || !supports,
            }));
        };
        if self.wish == Wish::Required && !supports {
            return Err(Refusal::Unsupported);
        }
        let mut interval_s = asked.interval_s;
        if interval_s < self.min_se_s {
            if supports {
                return Err(Refusal::TooSmall(self.min_se_s));
            }
            // §9: who does not know of 422 is given what is right. A proxy put the header there.
            interval_s = self.min_se_s;
        }
        // §9: it may be made shorter, but not below what the request itself says.
        let least = min_se_of(request).unwrap_or(0).max(self.min_se_s);
        let interval_s = interval_s.min(self.interval_s.max(least));
        let we_refresh = match asked.refresher {
            _ if !supports => true,
            Some(refresher) => refresher == Refresher::Uas,
            // Table 2: the answerer chooses; who asks, refreshes.
            None => false,
        };
        Ok(Some(Terms {
            interval_s,
            we_refresh,
        }))
    }

    /// Adds what a 2xx of ours to `request` says of the terms (§9).
    #[must_use]
    pub fn tell(request: &Message, response: Builder, terms: Option<Terms>) -> Builder {
        let Some(terms) = terms else {
            return response;
        };
        let refresher = Some(if terms.we_refresh {
            Refresher::Uas
        } else {
            Refresher::Uac
        });
        let expires = SessionExpires {
            interval_s: terms.interval_s,
            refresher,
        };
        let response = response.header(HeaderName::SessionExpires, expires.to_string());
        let supports = request.lists(&HeaderName::Supported, OPTION)
            || request.lists(&HeaderName::Require, OPTION);
        if supports {
            response.header(HeaderName::Require, OPTION)
        } else {
            response
        }
    }

    /// Reads a 2xx to a request of ours (§7.2): the terms from now on.
    #[must_use]
    pub fn read(&self, response: &Message) -> Option<Terms> {
        if !self.is_spoken() {
            return None;
        }
        match SessionExpires::of(response) {
            Some(told) => Some(Terms {
                interval_s: told.interval_s.max(MIN_SE_S),
                we_refresh: told.refresher != Some(Refresher::Uas),
            }),
            // §7.2: who does not know of timers lets us refresh alone.
            None => matches!(self.wish, Wish::Always | Wish::Required).then_some(Terms {
                interval_s: self.interval_s,
                we_refresh: true,
            }),
        }
    }
}

/// What is due in a session.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Due {
    /// Send a refreshing request.
    Refresh,
    /// Nobody refreshed: end the session with a BYE (§10).
    Expired,
}

/// So long after a refresh that was refused the next is sent.
const RETRY: Duration = Duration::from_secs(10);

/// The clock of one session.
#[derive(Copy, Clone, Debug)]
pub struct SessionTimer {
    terms: Terms,
    refreshed_at: Instant,
    /// A refresh of ours was asked for and has not come back.
    asked: bool,
    /// When a refresh that was refused is tried again.
    retry_at: Option<Instant>,
}

impl SessionTimer {
    /// The session was begun, or refreshed, now.
    #[must_use]
    pub fn new(now: Instant, terms: Terms) -> Self {
        Self {
            terms,
            refreshed_at: now,
            asked: false,
            retry_at: None,
        }
    }

    /// What was agreed.
    #[must_use]
    pub fn terms(&self) -> Terms {
        self.terms
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(self.terms.interval_s.into())
    }

    /// §10: a BYE slightly before the end, so that both sides end it alike.
    #[must_use]
    pub fn ends_at(&self) -> Instant {
        let early = (self.terms.interval_s / 3).min(32);
        self.refreshed_at + self.interval() - Duration::from_secs(early.into())
    }

    /// When to call [`SessionTimer::handle_timeout`].
    #[must_use]
    pub fn next_timeout(&self) -> Instant {
        if self.terms.we_refresh && !self.asked {
            let next = self.retry_at;
            next.unwrap_or(self.refreshed_at + self.interval() / 2)
                .min(self.ends_at())
        } else {
            self.ends_at()
        }
    }

    /// Our refresh was refused: the session lives on until its end, and it is tried again (§7.4, §10).
    pub fn refused(&mut self, now: Instant) {
        self.asked = false;
        self.retry_at = Some(now + RETRY);
    }

    /// What is due at `now`, if anything; a refresh once.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<Due> {
        if now >= self.ends_at() {
            return Some(Due::Expired);
        }
        if now < self.next_timeout() {
            return None;
        }
        self.asked = true;
        Some(Due::Refresh)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn message(first: &str, more: &str) -> Message {
        let text = format!(
            "{first}\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:c@d>;tag=2\r\n\
             Call-ID: x\r\nCSeq: 7 INVITE\r\n{more}Content-Length: 0\r\n\r\n"
        );
        Message::parse(Bytes::from(text)).expect("a message")
    }

    fn request(more: &str) -> Message {
        message("INVITE sip:c@d SIP/2.0", more)
    }

    fn terms(interval_s: u32, we_refresh: bool) -> Option<Terms> {
        Some(Terms {
            interval_s,
            we_refresh,
        })
    }

    #[test]
    fn session_expires_is_read_and_written() {
        for (text, interval_s, refresher, written) in [
            ("1800", 1800, None, "1800"),
            (
                " 90 ; refresher = UAC ",
                90,
                Some(Refresher::Uac),
                "90;refresher=uac",
            ),
            (
                "90;x=1;refresher=uas",
                90,
                Some(Refresher::Uas),
                "90;refresher=uas",
            ),
            ("90;refresher=me", 90, None, "90"),
        ] {
            let read = SessionExpires::parse(text).expect(text);
            assert_eq!((read.interval_s, read.refresher), (interval_s, refresher));
            assert_eq!(read.to_string(), written);
        }
        for bad in ["", "x", "-1", ";refresher=uac"] {
            assert_eq!(SessionExpires::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_called_side_decides_as_table_2_says() {
        const TIMER: &str = "Supported: timer\r\n";
        use Wish::{Always, Never, Offered, Required};
        for (wish, headers, decided) in [
            (
                Never,
                "Supported: timer\r\nSession-Expires: 600\r\n",
                Ok(None),
            ),
            (Offered, "", Ok(None)),
            (Offered, TIMER, Ok(None)),
            (Offered, "Session-Expires: 600\r\n", Ok(terms(600, true))),
            (
                Offered,
                "Supported: timer\r\nSession-Expires: 600\r\n",
                Ok(terms(600, false)),
            ),
            (
                Offered,
                "Supported: timer\r\nSession-Expires: 600;refresher=uac\r\n",
                Ok(terms(600, false)),
            ),
            (
                Offered,
                "Supported: timer\r\nx: 600;refresher=uas\r\n",
                Ok(terms(600, true)),
            ),
            (
                Offered,
                "Supported: timer\r\nSession-Expires: 100\r\n",
                Err(Refusal::TooSmall(120)),
            ),
            (Offered, "Session-Expires: 100\r\n", Ok(terms(120, true))),
            // Ours is shorter, unless the other side forbids it.
            (
                Offered,
                "Supported: timer\r\nSession-Expires: 9000\r\n",
                Ok(terms(1800, false)),
            ),
            (
                Offered,
                "Supported: timer\r\nSession-Expires: 9000\r\nMin-SE: 3600\r\n",
                Ok(terms(3600, false)),
            ),
            (Required, "", Err(Refusal::Unsupported)),
            (Required, TIMER, Ok(terms(1800, false))),
            (Always, "", Ok(terms(1800, true))),
            (Always, TIMER, Ok(terms(1800, false))),
        ] {
            let policy = Policy::new(wish, 1800, 120);
            let request = request(headers);
            assert_eq!(policy.judge(&request, None), decided, "{wish:?} {headers}");
        }
    }

    #[test]
    fn a_2xx_names_the_refresher_and_requires_timers_of_who_knows_them() {
        let knows = request("Supported: timer\r\n");
        let answer = Builder::response_to(&knows, 200, "OK");
        let answer = Policy::tell(&knows, answer, terms(600, true)).finish();
        assert_eq!(
            answer.header(&HeaderName::SessionExpires),
            Some("600;refresher=uas")
        );
        assert!(answer.lists(&HeaderName::Require, OPTION));
        let knows_not = request("");
        let answer = Builder::response_to(&knows_not, 200, "OK");
        let answer = Policy::tell(&knows_not, answer, terms(600, true)).finish();
        assert!(!answer.lists(&HeaderName::Require, OPTION));
        let policy = Policy::new(Wish::Offered, 1800, 90);
        assert_eq!(
            policy.read(&answer),
            terms(600, false),
            "as its receiver reads it"
        );
    }

    #[test]
    fn a_422_raises_what_the_next_request_asks_for_and_never_twice_for_the_same() {
        let mut policy = Policy::new(Wish::Offered, 200, 90);
        let refused = message("SIP/2.0 422 Session Interval Too Small", "Min-SE: 3600\r\n");
        assert!(policy.raise(&refused));
        let again = policy
            .ask(Builder::from_message(&request("")), None)
            .finish();
        assert_eq!(again.header(&HeaderName::SessionExpires), Some("3600"));
        assert_eq!(again.header(&HeaderName::MinSe), Some("3600"));
        assert!(!policy.raise(&refused), "that it had");
        let silent = message("SIP/2.0 422 Session Interval Too Small", "");
        assert!(!policy.raise(&silent));
    }

    #[test]
    fn a_refresh_says_who_refreshes() {
        let policy = Policy::new(Wish::Required, 1800, 90);
        for (we_refresh, written) in [(true, "600;refresher=uac"), (false, "600;refresher=uas")] {
            let builder = Builder::from_message(&request(""));
            let asked = policy.ask(builder, terms(600, we_refresh)).finish();
            assert_eq!(asked.header(&HeaderName::SessionExpires), Some(written));
            assert!(asked.lists(&HeaderName::Require, OPTION));
        }
    }

    #[test]
    fn what_an_answer_without_a_timer_means_depends_on_the_wish() {
        let silent = message("SIP/2.0 200 OK", "");
        for (wish, read) in [
            (Wish::Never, None),
            (Wish::Offered, None),
            (Wish::Always, terms(1800, true)),
        ] {
            assert_eq!(Policy::new(wish, 1800, 90).read(&silent), read, "{wish:?}");
        }
    }

    #[test]
    fn the_refresher_asks_at_half_time_once_and_both_end_it_a_little_before_the_end() {
        let start = Instant::now();
        let after = |s| start + Duration::from_secs(s);
        let ours = Terms {
            interval_s: 1800,
            we_refresh: true,
        };
        let mut timer = SessionTimer::new(start, ours);
        assert_eq!(timer.next_timeout(), after(900));
        assert_eq!(timer.handle_timeout(after(899)), None);
        assert_eq!(timer.handle_timeout(after(900)), Some(Due::Refresh));
        assert_eq!(timer.handle_timeout(after(901)), None);
        timer.refused(after(901));
        assert_eq!(timer.handle_timeout(after(910)), None);
        assert_eq!(timer.handle_timeout(after(911)), Some(Due::Refresh));
        assert_eq!(timer.next_timeout(), after(1768));
        assert_eq!(timer.handle_timeout(after(1768)), Some(Due::Expired));
        let theirs = Terms {
            interval_s: 90,
            we_refresh: false,
        };
        let mut timer = SessionTimer::new(start, theirs);
        assert_eq!(timer.next_timeout(), after(60));
        assert_eq!(timer.handle_timeout(after(59)), None);
        assert_eq!(timer.handle_timeout(after(60)), Some(Due::Expired));
    }
}

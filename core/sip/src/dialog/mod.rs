//! Dialogs: RFC 3261 §12, with target refresh (§12.2, RFC 3311), overlapping INVITEs (§14) and forking (§13.2.2.4).
//!
//! A [`Dialog`] is what two user agents remember of each other between requests: tags, sequence numbers, the remote
//! target and the route. It builds requests and checks received ones; it sends nothing, owns no transaction and keeps no
//! time. Never here: offers and answers, timers, what a call does with a request.

mod forks;

use std::fmt;
use std::time::Duration;

pub use forks::{Fork, Forks};

use crate::headers::{NameAddr, Via};
use crate::message::{Builder, HeaderName, Message, Method};
use crate::reliable::{RAck, Receipt, ReceivedReliable};
use crate::uri::{Scheme, Uri};

/// What identifies a dialog at our side (§12). Tags are compared byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DialogId {
    /// Call-ID.
    pub call_id: Box<str>,
    /// The tag that we chose.
    pub local_tag: Box<str>,
    /// The tag that the other side chose; empty for a peer of RFC 2543.
    pub remote_tag: Box<str>,
}

impl DialogId {
    /// The dialog that a received request belongs to; `None` outside dialogs (no To tag).
    #[must_use]
    pub fn of_request(request: &Message) -> Option<Self> {
        let to = request.to().ok()?;
        let from = request.from().ok()?;
        Some(Self {
            call_id: request.call_id().ok()?.into(),
            local_tag: to.tag()?.into(),
            remote_tag: from.tag().unwrap_or_default().into(),
        })
    }

    /// The dialog that a received response belongs to or creates; `None` if it has no To tag (100, or any response but
    /// a 2xx of a peer of RFC 2543).
    #[must_use]
    pub fn of_response(response: &Message) -> Option<Self> {
        let to = response.to().ok()?;
        let from = response.from().ok()?;
        let success = matches!(response.status(), Some(200..=299));
        let remote_tag = match to.tag() {
            Some(tag) => tag,
            None if success => "",
            None => return None,
        };
        Some(Self {
            call_id: response.call_id().ok()?.into(),
            local_tag: from.tag()?.into(),
            remote_tag: remote_tag.into(),
        })
    }
}

impl fmt::Display for DialogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            call_id,
            local_tag,
            remote_tag,
        } = self;
        write!(f, "{call_id} local {local_tag} remote {remote_tag}")
    }
}

/// Early until a 2xx, then confirmed (§12).
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum DialogState {
    /// Created by a 101-199.
    Early,
    /// A 2xx was sent or received.
    Confirmed,
    /// Ended: nothing more can be sent in it.
    Terminated,
}

/// Why a dialog cannot be made from a message, or a request not in a dialog.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DialogError {
    /// A header that the dialog is made of is missing or cannot be read: answer 400.
    #[error("{0} is missing or cannot be read")]
    Header(HeaderName),
    /// The response creates no dialog (100, failure, or without a To tag).
    #[error("the response creates no dialog")]
    NoDialog,
    /// More forks answered one INVITE than we follow.
    #[error("too many forks")]
    TooManyForks,
}

/// Why a received request in a dialog must be refused.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Its CSeq is lower than that of an earlier request (§12.2.2).
    #[error("CSeq out of order")]
    OutOfOrder,
    /// An INVITE came before our final response to the one before (§14.2).
    #[error("an INVITE is being answered already")]
    InviteInProgress {
        /// Retry-After, seconds, 0 to 10.
        retry_after_s: u8,
    },
    /// An INVITE came while ours is under way (§14.2).
    #[error("INVITEs crossed")]
    Glare,
    /// Its Contact cannot be read.
    #[error("bad Contact")]
    BadContact,
    /// The dialog has ended.
    #[error("the dialog has ended")]
    Terminated,
}

impl Rejection {
    /// The status to answer.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::OutOfOrder | Self::InviteInProgress { .. } => 500,
            Self::Glare => 491,
            Self::BadContact => 400,
            Self::Terminated => 481,
        }
    }

    /// The Retry-After to answer with, seconds.
    #[must_use]
    pub fn retry_after_s(self) -> Option<u8> {
        match self {
            Self::InviteInProgress { retry_after_s } => Some(retry_after_s),
            _ => None,
        }
    }
}

/// What a received response means for its dialog.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing changed.
    Unchanged,
    /// The dialog is confirmed now.
    Confirmed,
    /// The peer does not know the dialog, or is gone (481, 408; §12.2.1.2): it has ended, no BYE is needed.
    Ended,
}

/// One dialog at our side.
#[derive(Clone, Debug)]
pub struct Dialog {
    id: DialogId,
    state: DialogState,
    /// We sent the request that created it, hence chose the Call-ID.
    caller: bool,
    secure: bool,
    /// From of our requests, To of theirs, with tags, as first written.
    local_party: String,
    remote_party: String,
    local_contact: String,
    local_cseq: u32,
    remote_cseq: Option<u32>,
    remote_target: Uri,
    route_set: Vec<NameAddr>,
    /// The CSeq number of our INVITE that has no final response yet.
    inviting: Option<u32>,
    /// The CSeq number of their INVITE that has no final response of ours yet.
    invited: Option<u32>,
    /// The newest ACK of ours, to be sent again for each repeated 2xx.
    ack: Option<(u32, Message)>,
    reliable: ReceivedReliable,
}

impl Dialog {
    /// The dialog of the called side (§12.1.1), made when the first 101-299 to `request` is sent with `local_tag`.
    /// `contact` is the value of our Contact header, `<sip:...>`. Early until [`Dialog::responded`] sees a 2xx.
    pub fn uas(request: &Message, local_tag: &str, contact: &str) -> Result<Self, DialogError> {
        let header = |name: HeaderName| kept(request, name);
        let from = request
            .from()
            .map_err(|_| DialogError::Header(HeaderName::From))?;
        let to = request
            .to()
            .map_err(|_| DialogError::Header(HeaderName::To))?;
        let cseq = request
            .cseq()
            .map_err(|_| DialogError::Header(HeaderName::CSeq))?;
        let target = target_of(request)?.ok_or(DialogError::Header(HeaderName::Contact))?;
        let mut local_party = header(HeaderName::To)?;
        if to.tag().is_none() {
            local_party.push_str(";tag=");
            local_party.push_str(local_tag);
        }
        Ok(Self {
            id: DialogId {
                call_id: header(HeaderName::CallId)?.into(),
                local_tag: local_tag.into(),
                remote_tag: from.tag().unwrap_or_default().into(),
            },
            state: DialogState::Early,
            caller: false,
            secure: is_secure(request),
            local_party,
            remote_party: header(HeaderName::From)?,
            local_contact: contact.to_owned(),
            local_cseq: 0,
            remote_cseq: Some(cseq.number),
            remote_target: target,
            route_set: record_route(request)?,
            inviting: None,
            invited: (cseq.method == Method::Invite).then_some(cseq.number),
            ack: None,
            reliable: ReceivedReliable::default(),
        })
    }

    /// The dialog of the calling side (§12.1.2), made from the first 101-299 with a new To tag to our `request`. Early or
    /// confirmed by the status. A peer that sends no Contact is reached at the Request-URI.
    pub fn uac(request: &Message, response: &Message) -> Result<Self, DialogError> {
        let status = response.status().unwrap_or_default();
        let id = DialogId::of_response(response)
            .filter(|_| (101..=299).contains(&status))
            .ok_or(DialogError::NoDialog)?;
        let cseq = request
            .cseq()
            .map_err(|_| DialogError::Header(HeaderName::CSeq))?;
        let target = match target_of(response)? {
            Some(target) => target,
            None => request
                .uri()
                .and_then(Result::ok)
                .ok_or(DialogError::Header(HeaderName::Contact))?,
        };
        let mut route_set = record_route(response)?;
        route_set.reverse();
        let confirmed = status >= 200;
        Ok(Self {
            id,
            state: if confirmed {
                DialogState::Confirmed
            } else {
                DialogState::Early
            },
            caller: true,
            secure: is_secure(request),
            local_party: kept(request, HeaderName::From)?,
            remote_party: kept(response, HeaderName::To)?,
            local_contact: request
                .header(&HeaderName::Contact)
                .unwrap_or_default()
                .to_owned(),
            local_cseq: cseq.number,
            remote_cseq: None,
            remote_target: target,
            route_set,
            inviting: (cseq.method == Method::Invite && !confirmed).then_some(cseq.number),
            invited: None,
            ack: None,
            reliable: ReceivedReliable::default(),
        })
    }

    /// Its identity at our side.
    #[must_use]
    pub fn id(&self) -> &DialogId {
        &self.id
    }

    /// Early, confirmed or over.
    #[must_use]
    pub fn state(&self) -> DialogState {
        self.state
    }

    /// We sent the request that created it.
    #[must_use]
    pub fn is_caller(&self) -> bool {
        self.caller
    }

    /// Made by a `sips:` request over TLS (§12.1.1).
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// Where requests in it go at last (§12.2): the newest Contact of the peer.
    #[must_use]
    pub fn remote_target(&self) -> &Uri {
        &self.remote_target
    }

    /// The routers in between, nearest first.
    #[must_use]
    pub fn route_set(&self) -> &[NameAddr] {
        &self.route_set
    }

    /// The address that a request in it must be sent to: the first route, or the remote target (§8.1.2).
    #[must_use]
    pub fn next_hop(&self) -> &Uri {
        self.route_set
            .first()
            .map_or(&self.remote_target, |route| &route.uri)
    }

    /// The From header of our requests, with tag.
    #[must_use]
    pub fn local_party(&self) -> &str {
        &self.local_party
    }

    /// The To header of our requests, with tag where the peer has one.
    #[must_use]
    pub fn remote_party(&self) -> &str {
        &self.remote_party
    }

    /// The CSeq number of our newest request; 0 before the first.
    #[must_use]
    pub fn local_cseq(&self) -> u32 {
        self.local_cseq
    }

    /// Our INVITE is under way, or theirs is not answered yet: a re-INVITE must wait (§14.1).
    #[must_use]
    pub fn is_inviting(&self) -> bool {
        self.inviting.is_some() || self.invited.is_some()
    }

    /// Changes the remote target without a Contact: where an endpoint's contacts are rewritten to the address that its
    /// messages came from.
    pub fn set_remote_target(&mut self, target: Uri) {
        self.remote_target = target;
    }

    /// Changes the Contact of our following requests.
    pub fn set_local_contact(&mut self, contact: &str) {
        self.local_contact = contact.to_owned();
    }

    /// A request in the dialog (§12.2.1.1) with the next CSeq: Request-URI, Via, Route, From, To, Call-ID, CSeq,
    /// Max-Forwards, and Contact where the method refreshes targets. Not for ACK and CANCEL.
    pub fn request(&mut self, method: Method, via: &Via) -> Builder {
        // §8.1.1.5: below 2^31. A dialog that gets there has sent a request a second for 68 years.
        self.local_cseq = (self.local_cseq + 1) & 0x7fff_ffff;
        if method == Method::Invite {
            self.inviting = Some(self.local_cseq);
        }
        let cseq = self.local_cseq;
        let contact = refreshes_target(&method) && !self.local_contact.is_empty();
        let mut builder = self.builder(method, cseq, via);
        if contact {
            builder = builder.header(HeaderName::Contact, &self.local_contact);
        }
        builder
    }

    /// A request of ours as it would be made now: to the present target by the present route, under the newest number.
    #[must_use]
    pub fn renewed(&self, request: &Message, via: &Via) -> Message {
        let Some(method) = request.method() else {
            return request.clone();
        };
        let number = request.cseq().map_or(0, |cseq| cseq.number);
        let mut renewed = self.builder(method, number.max(self.local_cseq), via);
        for (name, value) in request.all_headers_bytes() {
            let name = HeaderName::parse(name);
            if !renewed.has(&name) && !matches!(name, HeaderName::Route | HeaderName::ContentType) {
                renewed.push(name, value);
            }
        }
        if let Some(content) = request.header(&HeaderName::ContentType) {
            let body = request.body().to_vec();
            renewed = renewed.body(content, body);
        }
        renewed.finish()
    }

    /// A number for a request of this dialog that is sent again, with credentials (§22.2): higher than all before it.
    pub fn next_cseq(&mut self) -> u32 {
        self.local_cseq = (self.local_cseq + 1) & 0x7fff_ffff;
        self.local_cseq
    }

    /// The ACK for a 2xx to `invite`, our INVITE that created or refreshed this dialog (§13.2.2.4): its CSeq number and
    /// credentials, the route of the dialog, a branch of its own in `via`. Add the answer if the 2xx had the offer, then
    /// keep it with [`Dialog::keep_ack`].
    #[must_use]
    pub fn ack(&self, invite: &Message, via: &Via) -> Builder {
        let cseq = invite.cseq().map_or(self.local_cseq, |cseq| cseq.number);
        let mut builder = self.builder(Method::Ack, cseq, via);
        for name in [HeaderName::Authorization, HeaderName::ProxyAuthorization] {
            for value in invite.headers(&name) {
                builder.push(name.clone(), value);
            }
        }
        builder
    }

    /// Looks at a provisional response to our INVITE: may it be taken, and is it to be acknowledged (RFC 3262 §4)?
    pub fn receive_provisional(&mut self, response: &Message) -> Receipt {
        self.reliable.receive(response)
    }

    /// The PRACK for a provisional response (RFC 3262 §4).
    pub fn prack(&mut self, rack: &RAck, via: &Via) -> Builder {
        self.request(Method::Prack, via)
            .header(HeaderName::RAck, rack.to_string())
    }

    /// A request of ours was sent again with credentials and the next CSeq (§22.2).
    pub fn sent_again(&mut self, request: &Message) {
        let Ok(cseq) = request.cseq() else { return };
        self.local_cseq = self.local_cseq.max(cseq.number);
        if cseq.method == Method::Invite {
            self.inviting = Some(cseq.number);
        }
    }

    /// The next request has a number behind this one: what was sent before a new start is not known any more.
    pub fn go_on_from(&mut self, cseq: u32) {
        self.local_cseq = self.local_cseq.max(cseq);
    }

    /// Keeps an ACK to be sent again whenever its 2xx is repeated.
    pub fn keep_ack(&mut self, ack: Message) {
        let cseq = ack.cseq().map_or(0, |cseq| cseq.number);
        self.ack = Some((cseq, ack));
    }

    /// The ACK kept for this repeated 2xx.
    #[must_use]
    pub fn kept_ack(&self, response: &Message) -> Option<&Message> {
        let number = response.cseq().ok()?.number;
        let (cseq, ack) = self.ack.as_ref()?;
        (*cseq == number).then_some(ack)
    }

    fn builder(&self, method: Method, cseq: u32, via: &Via) -> Builder {
        let cseq = format!("{cseq} {method}");
        // §12.2.1.1: a strict router as first hop wants to stand in the Request-URI, the target at the end of the route.
        let strict = self
            .route_set
            .first()
            .filter(|route| !route.uri.is_loose_route());
        let mut builder = match strict {
            Some(route) => {
                let mut uri = route.uri.clone();
                uri.headers.clear();
                uri.params.remove("method");
                Builder::request(method, uri)
            }
            None => Builder::request(method, &self.remote_target),
        };
        builder.push(HeaderName::Via, via.to_string());
        let skip = usize::from(strict.is_some());
        for route in self.route_set.iter().skip(skip) {
            builder.push(HeaderName::Route, route.to_string());
        }
        if strict.is_some() {
            builder.push(HeaderName::Route, format!("<{}>", self.remote_target));
        }
        builder
            .header(HeaderName::MaxForwards, "70")
            .header(HeaderName::From, &self.local_party)
            .header(HeaderName::To, &self.remote_party)
            .header(HeaderName::CallId, self.id.call_id.as_ref())
            .header(HeaderName::CSeq, cseq)
    }

    /// Checks a received request in this dialog (§12.2.2) and takes what it changes: sequence number and remote target.
    /// On `Err` answer with that status; the request has no effect. ACK and CANCEL always pass.
    pub fn receive_request(&mut self, request: &Message) -> Result<(), Rejection> {
        let Some(method) = request.method() else {
            return Ok(());
        };
        if matches!(method, Method::Ack | Method::Cancel) {
            return Ok(());
        }
        if self.state == DialogState::Terminated {
            return Err(Rejection::Terminated);
        }
        let number = request.cseq().map_err(|_| Rejection::OutOfOrder)?.number;
        if self.remote_cseq.is_some_and(|last| number < last) {
            return Err(Rejection::OutOfOrder);
        }
        let target = if refreshes_target(&method) {
            target_of(request).map_err(|_| Rejection::BadContact)?
        } else {
            None
        };
        // A request that is refused below has had its turn all the same: the next one must be higher.
        self.remote_cseq = Some(number);
        if method == Method::Invite {
            if self.invited.is_some() {
                let spread = self
                    .id
                    .remote_tag
                    .bytes()
                    .fold(number, |sum, byte| sum.wrapping_mul(31) + u32::from(byte));
                return Err(Rejection::InviteInProgress {
                    retry_after_s: (spread % 11) as u8,
                });
            }
            if self.inviting.is_some() {
                return Err(Rejection::Glare);
            }
            self.invited = Some(number);
        }
        if let Some(target) = target {
            self.remote_target = target;
        }
        Ok(())
    }

    /// Notes a response of ours to a request in (or creating) this dialog. A 2xx to an INVITE confirms an early dialog, a
    /// failure of the INVITE that created it ends it (§12.3).
    pub fn responded(&mut self, response: &Message) {
        let (Ok(cseq), Some(status)) = (response.cseq(), response.status()) else {
            return;
        };
        if cseq.method == Method::Bye && (200..300).contains(&status) {
            self.state = DialogState::Terminated;
        }
        // An overlapping INVITE is refused (§14.2) while the first goes on: only the one under way counts.
        if cseq.method != Method::Invite || status < 200 || self.invited != Some(cseq.number) {
            return;
        }
        self.invited = None;
        if self.state == DialogState::Early {
            self.state = if status < 300 {
                DialogState::Confirmed
            } else {
                DialogState::Terminated
            };
        }
    }

    /// Takes a response to our `request` in this dialog, or to the INVITE that created it: confirms it, refreshes the
    /// target, ends it on 481 and 408 (§12.2.1.2).
    pub fn receive_response(&mut self, response: &Message) -> Outcome {
        let (Ok(cseq), Some(status)) = (response.cseq(), response.status()) else {
            return Outcome::Unchanged;
        };
        let invite = cseq.method == Method::Invite;
        if status < 200 || self.state == DialogState::Terminated {
            return Outcome::Unchanged;
        }
        if invite && self.inviting == Some(cseq.number) {
            self.inviting = None;
        }
        match status {
            200..=299 => {
                if refreshes_target(&cseq.method)
                    && let Ok(Some(target)) = target_of(response)
                {
                    self.remote_target = target;
                }
                if cseq.method == Method::Bye {
                    self.state = DialogState::Terminated;
                    return Outcome::Ended;
                }
                if self.state == DialogState::Early && invite {
                    self.state = DialogState::Confirmed;
                    // §13.2.2.4: only here may the route change.
                    if let Ok(mut routes) = record_route(response) {
                        routes.reverse();
                        self.route_set = routes;
                    }
                    return Outcome::Confirmed;
                }
                Outcome::Unchanged
            }
            408 | 481 => {
                self.state = DialogState::Terminated;
                Outcome::Ended
            }
            // §12.3: a failure ends the early dialogs of its INVITE.
            300..=699 if invite && self.state == DialogState::Early => {
                self.state = DialogState::Terminated;
                Outcome::Ended
            }
            _ => Outcome::Unchanged,
        }
    }

    /// Our INVITE ended without a response (timeout, transport error): another may be sent.
    pub fn invite_failed(&mut self) {
        self.inviting = None;
    }

    /// Ends the dialog: our BYE was sent, or the call gave it up.
    pub fn terminate(&mut self) {
        self.state = DialogState::Terminated;
    }

    /// How long to wait after a 491 to our INVITE before trying again (§14.1): 2.1 to 4 s for the caller, 0 to 2 s for
    /// the called, in steps of 10 ms chosen by `random`.
    #[must_use]
    pub fn glare_delay(&self, random: u32) -> Duration {
        let steps = u64::from(random);
        Duration::from_millis(if self.caller {
            2100 + steps % 191 * 10
        } else {
            steps % 201 * 10
        })
    }
}

/// §12.2, RFC 3311, RFC 6665 §3.1, RFC 3515: the methods whose Contact replaces the remote target.
fn refreshes_target(method: &Method) -> bool {
    matches!(
        method,
        Method::Invite | Method::Update | Method::Subscribe | Method::Notify | Method::Refer
    )
}

/// A header that our requests will repeat: what cannot be written again as it is cannot be kept.
fn kept(message: &Message, name: HeaderName) -> Result<String, DialogError> {
    match message.header(&name) {
        Some(value) if !value.is_empty() && !value.contains(|c: char| c.is_ascii_control()) => {
            Ok(value.to_owned())
        }
        _ => Err(DialogError::Header(name)),
    }
}

fn target_of(message: &Message) -> Result<Option<Uri>, DialogError> {
    let contacts = message
        .contacts()
        .map_err(|_| DialogError::Header(HeaderName::Contact))?;
    Ok(contacts.first().map(|contact| contact.uri.clone()))
}

fn record_route(message: &Message) -> Result<Vec<NameAddr>, DialogError> {
    message
        .record_routes()
        .map_err(|_| DialogError::Header(HeaderName::RecordRoute))
}

fn is_secure(request: &Message) -> bool {
    let sips = matches!(request.uri(), Some(Ok(uri)) if uri.scheme == Scheme::Sips);
    sips && request
        .via()
        .is_ok_and(|via| via.transport.eq_ignore_ascii_case("TLS"))
}

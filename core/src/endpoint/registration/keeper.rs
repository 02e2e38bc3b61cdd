//! One registration: REGISTER, refresh, retry, give up, leave (RFC 3261 §10.2, with the rules of `res_pjsip`).

use std::hash::{Hash, Hasher};
use std::time::{Duration, Instant};

use rustc_hash::FxHasher;
use strowger_sip::auth::Algorithm;
use strowger_sip::headers::Contacts;
use strowger_sip::uri::Scheme;
use strowger_sip::{Builder, HeaderName, Message, Method, NameAddr, Uri};
use strowger_store::{Registration as Row, Snapshot};

use super::super::client_auth::{Known, answer_challenge, without_credentials};
use super::{Place, State, Status};

/// A refresh goes out so long before the registration would end.
const BEFORE_END: Duration = Duration::from_secs(10);
/// Challenges answered in one attempt: a proxy's and the registrar's, each with a nonce that turned stale.
const AUTHENTICATIONS_MAX: u8 = 4;
/// Redirections followed, and shorter lives than the registrar wants corrected, in one attempt.
const CORRECTIONS_MAX: u8 = 5;
/// The longest wait that Retry-After is believed.
const RETRY_AFTER_MAX_S: u32 = 86_400;
/// The longest life asked for or believed.
const EXPIRES_MAX_S: u32 = 30 * 86_400;
/// An attempt whose end nobody told is over then; transactions end within timer F.
const FORGOTTEN: Duration = Duration::from_secs(120);
/// A registration whose connection broke waits this long at most.
const AFTER_LOSS_MAX_MS: u64 = 2000;

/// A request under way.
#[derive(Debug)]
struct Asked {
    /// What was sent last; `None` while its way is looked up.
    sent: Option<Message>,
    /// It carried credentials that nobody had asked for.
    unasked: bool,
    authentications: u8,
    /// It takes the registration back.
    removes: bool,
}

/// What is wanted of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    /// To be registered.
    Keep,
    /// To be taken back, and left alone.
    Rest,
    /// To be taken back, and forgotten.
    Leave,
}

#[derive(Debug)]
pub(super) struct Keeper {
    row: Row,
    /// What the row's credentials were like, to notice new ones.
    auths: u64,
    /// A row to be taken over once the registration of the old one is taken back.
    next_row: Option<(Row, u64)>,
    wish: Wish,
    state: State,
    /// When something is to be done.
    at: Option<Instant>,
    attempt: u64,
    asked: Option<Asked>,
    call_id: String,
    tag: String,
    cseq: u32,
    line: String,
    contact: String,
    connection: u64,
    /// The life asked for, in seconds.
    expires: u32,
    /// Where a redirection led.
    redirected: Option<Uri>,
    corrections: u8,
    retries: u32,
    known: Known,
    last: Option<(u16, String)>,
    granted_s: Option<u32>,
    since: Option<Instant>,
    touched: bool,
}

/// A number that changes with the credentials that these auths have.
fn fingerprint(row: &Row, snapshot: &Snapshot) -> u64 {
    let mut hasher = FxHasher::default();
    for id in &row.outbound_auth {
        id.hash(&mut hasher);
        if let Some(auth) = snapshot.auths.get(id.trim()) {
            (&auth.username, &auth.password, &auth.md5_cred, &auth.realm).hash(&mut hasher);
            (&auth.password_digest, &auth.supported_algorithms_uac).hash(&mut hasher);
        }
    }
    hasher.finish()
}

/// A URI, with or without angle brackets.
pub(crate) fn read(text: &str) -> Option<NameAddr> {
    let text = text.trim();
    let parsed = if text.contains('<') {
        NameAddr::parse(text)
    } else {
        NameAddr::parse(&format!("<{text}>"))
    };
    parsed
        .ok()
        .filter(|address| matches!(address.uri.scheme, Scheme::Sip | Scheme::Sips))
}

impl Keeper {
    pub(super) fn new(row: Row, snapshot: &Snapshot, at: Instant) -> Self {
        let mut keeper = Self {
            auths: fingerprint(&row, snapshot),
            expires: 0,
            row,
            next_row: None,
            wish: Wish::Keep,
            state: State::Unregistered,
            at: Some(at),
            attempt: 0,
            asked: None,
            call_id: String::new(),
            tag: String::new(),
            cseq: 0,
            line: String::new(),
            contact: String::new(),
            connection: 0,
            redirected: None,
            corrections: 0,
            retries: 0,
            known: Known::default(),
            last: None,
            granted_s: None,
            since: None,
            touched: true,
        };
        keeper.begin();
        keeper
    }

    /// Takes the row as if it were new.
    fn begin(&mut self) {
        self.expires = self.row.expiration.clamp(1, EXPIRES_MAX_S);
        self.redirected = None;
        self.corrections = 0;
        self.retries = 0;
        self.known.clear();
        self.granted_s = None;
        self.since = None;
        self.connection = 0;
        self.contact.clear();
        self.line = format!("{:016x}", crate::random_u64());
        self.touched = true;
    }

    pub(super) fn row(&self) -> &Row {
        &self.row
    }

    /// The row as the table has it now.
    pub(super) fn row_is(&mut self, row: &Row, snapshot: &Snapshot, now: Instant) {
        let auths = fingerprint(row, snapshot);
        let (current, known) = match &self.next_row {
            Some((next, auths)) => (next, *auths),
            None => (&self.row, self.auths),
        };
        if self.wish != Wish::Leave && row == current && auths == known {
            return;
        }
        self.wish = Wish::Keep;
        if *row == self.row && self.next_row.is_none() {
            // Other credentials only: the registration stays, and what was refused is tried again.
            self.auths = auths;
            self.known.clear();
            if self.state != State::Registered {
                self.register_now(now);
            }
            return;
        }
        self.next_row = Some((row.clone(), auths));
        if self.state == State::Registered || self.asked.is_some() {
            // The registrar may know the old contact. One request at a time (§10.2): an answer that is due comes first.
            if self.asked.is_none() {
                self.at = Some(now);
            }
        } else {
            self.take_over(now);
        }
    }

    fn take_over(&mut self, now: Instant) {
        if let Some((row, auths)) = self.next_row.take() {
            self.row = row;
            self.auths = auths;
            self.set_state(State::Unregistered);
            self.begin();
            self.at = Some(now);
        }
    }

    /// The row is gone, or the exchange ends.
    pub(super) fn leave(&mut self, now: Instant) {
        if self.wish == Wish::Leave {
            return;
        }
        self.wish = Wish::Leave;
        self.next_row = None;
        self.touched = true;
        self.take_back(now);
    }

    pub(super) fn unregister(&mut self, now: Instant) {
        if self.wish == Wish::Keep {
            self.wish = Wish::Rest;
            self.take_back(now);
        }
    }

    fn take_back(&mut self, now: Instant) {
        let removing = self.asked.as_ref().is_some_and(|asked| asked.removes);
        if removing {
            return;
        }
        if self.state == State::Registered {
            // What is under way is overtaken: its answer counts for nothing any more.
            self.asked = None;
            self.at = Some(now);
        } else {
            // A request whose answer nobody knows may have registered us.
            let sent = self.asked.take().is_some_and(|asked| asked.sent.is_some());
            self.at = sent.then_some(now);
            if !sent {
                self.set_state(State::Unregistered);
            }
        }
        self.touched = true;
    }

    pub(super) fn register_now(&mut self, now: Instant) {
        if self.wish != Wish::Leave {
            self.wish = Wish::Keep;
            self.retries = 0;
            if self.asked.is_none() {
                self.at = Some(now);
            }
            self.touched = true;
        }
    }

    pub(super) fn connection_lost(&mut self, connection: u64, now: Instant) {
        if self.connection == connection && self.state == State::Registered && self.asked.is_none()
        {
            self.connection = 0;
            let delay = Duration::from_millis(crate::random_u64() % AFTER_LOSS_MAX_MS);
            self.at = self.at.map(|at| at.min(now + delay));
            self.touched = true;
        }
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.at
    }

    pub(super) fn awaits(&self, attempt: u64) -> bool {
        self.asked.is_some() && self.attempt == attempt
    }

    /// Nothing more is to be done for a row that is gone.
    pub(super) fn is_gone(&self) -> bool {
        self.wish == Wish::Leave && self.asked.is_none() && self.at.is_none()
    }

    /// Begins an attempt if one is due: its number and first hop.
    pub(super) fn due(&mut self, now: Instant) -> Option<(u64, Uri)> {
        if self.at.is_none_or(|at| at > now) {
            return None;
        }
        if self.asked.is_some() {
            self.failed(408, "No answer", None, now);
            return None;
        }
        let Some(hop) = self.hop() else {
            tracing::error!(
                registration = self.row.id,
                server_uri = self.row.server_uri,
                client_uri = self.row.client_uri,
                outbound_proxy = self.row.outbound_proxy,
                "not registered: server_uri, client_uri and outbound_proxy of ps_registrations have to be SIP URIs, \
                 for example sip:user@provider.example"
            );
            self.last = Some((0, "a URI of the row cannot be read".to_owned()));
            self.give_up();
            return None;
        };
        self.attempt += 1;
        self.asked = Some(Asked {
            sent: None,
            unasked: false,
            authentications: 0,
            removes: self.wish != Wish::Keep || self.next_row.is_some(),
        });
        self.at = Some(now + FORGOTTEN);
        self.touched = true;
        Some((self.attempt, hop))
    }

    /// What is asked is asked elsewhere.
    pub(super) fn goes_on(&mut self, now: Instant) {
        self.at = Some(now + FORGOTTEN);
    }

    fn give_up(&mut self) {
        self.at = None;
        self.set_state(match self.wish {
            Wish::Keep => State::RejectedPermanently,
            Wish::Rest | Wish::Leave => State::Unregistered,
        });
    }

    /// The registrar, or where it sent us.
    fn server(&self) -> Option<Uri> {
        self.redirected
            .clone()
            .or_else(|| Some(read(&self.row.server_uri)?.uri))
    }

    fn hop(&self) -> Option<Uri> {
        read(&self.row.client_uri)?;
        let server = self.server()?;
        match self.row.outbound_proxy.as_deref() {
            Some(proxy) => Some(read(proxy)?.uri),
            None => Some(server),
        }
    }

    /// The REGISTER of the attempt.
    pub(super) fn request(
        &mut self,
        snapshot: &Snapshot,
        place: &Place,
        connection: u64,
    ) -> Message {
        if self.call_id.is_empty() {
            self.call_id.clone_from(&place.call_id);
            self.tag.clone_from(&place.tag);
        }
        self.cseq += 1;
        self.connection = connection;
        let removes = self.asked.as_ref().is_some_and(|asked| asked.removes);
        if !removes || self.contact.is_empty() {
            self.contact = self.own_contact(&place.contact);
        }
        let row = &self.row;
        let mut server = self.server().unwrap_or_else(|| place.contact.clone());
        server.headers.clear();
        let client = read(&row.client_uri).unwrap_or_else(|| NameAddr::new(server.clone()));
        let mut request =
            Builder::request(Method::Register, &server).header(HeaderName::Via, &place.via);
        if let Some(proxy) = row.outbound_proxy.as_deref().and_then(read) {
            request.push(HeaderName::Route, format!("<{}>", proxy.uri));
        }
        request = request
            .header(
                HeaderName::MaxForwards,
                snapshot.globals.max_forwards.to_string(),
            )
            .header(
                HeaderName::From,
                client.clone().with_tag(&self.tag).to_string(),
            )
            .header(HeaderName::To, client.to_string())
            .header(HeaderName::CallId, &self.call_id)
            .header(HeaderName::CSeq, format!("{} REGISTER", self.cseq))
            .header(HeaderName::Contact, &self.contact)
            .header(
                HeaderName::Expires,
                if removes { 0 } else { self.expires }.to_string(),
            );
        let supported = match (row.support_path, row.support_outbound) {
            (_, true) => "path, outbound",
            (true, false) => "path",
            (false, false) => "",
        };
        if !supported.is_empty() {
            request.push(HeaderName::Supported, supported);
        }
        let agent = row.user_agent.as_deref().unwrap_or(&place.user_agent);
        let request = request
            .header(HeaderName::Allow, crate::shard::ALLOW)
            .header(HeaderName::UserAgent, agent)
            .finish();
        let (request, unasked) = self
            .known
            .authorize(snapshot, &self.row.outbound_auth, request);
        if let Some(asked) = &mut self.asked {
            asked.sent = Some(request.clone());
            asked.unasked = unasked;
        }
        self.touched = true;
        request
    }

    /// Our Contact as the registrar is to know it.
    fn own_contact(&self, place: &Uri) -> String {
        let row = &self.row;
        let mut uri = place.clone();
        let user = strowger_sip::uri::escape_user(&row.contact_user);
        uri.user = (!user.is_empty()).then(|| user.into_owned());
        if row.line {
            uri.params.set("line", Some(&self.line));
        }
        let mut contact = format!("<{uri}>");
        if row.support_outbound {
            contact.push_str(&format!(
                ";reg-id=1;+sip.instance=\"<urn:uuid:{}>\"",
                instance(&row.id)
            ));
        }
        if let Some(more) = row.contact_header_params.as_deref() {
            contact.push(';');
            contact.push_str(more.trim().trim_start_matches(';'));
        }
        contact
    }

    /// The token under which calls come to us, and whose they are.
    pub(super) fn line(&self) -> Option<(&str, &str)> {
        let endpoint = self.row.endpoint.as_deref()?;
        (self.row.line && self.wish == Wish::Keep).then_some((self.line.as_str(), endpoint))
    }

    /// A response to the attempt. Some: to be sent again.
    pub(super) fn answered(
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
            && asked.authentications < AUTHENTICATIONS_MAX
            && let Some(sent) = &asked.sent
        {
            let base = if asked.unasked {
                without_credentials(sent)
            } else {
                sent.clone()
            };
            let again = answer_challenge(snapshot, &self.row.outbound_auth, &base, response, via);
            if let Some(again) = again {
                asked.authentications += 1;
                asked.unasked = false;
                asked.sent = Some(again.clone());
                self.cseq = again.cseq().map_or(self.cseq, |cseq| cseq.number);
                self.known.learn(response);
                return Some(again);
            }
        }
        if asked.removes {
            self.last = Some((status, response.reason().to_owned()));
            self.taken_back(now);
            return None;
        }
        match status {
            200..=299 => self.accepted(response, now),
            300..=399 if self.redirect(response) => self.correct(now),
            423 if self.lengthen(response) => self.correct(now),
            _ => {
                let retry_after = response
                    .header(&HeaderName::RetryAfter)
                    .and_then(|text| {
                        let digits = text.trim_start().split(|c: char| !c.is_ascii_digit());
                        digits.into_iter().next()?.parse::<u32>().ok()
                    })
                    .filter(|seconds| *seconds > 0)
                    .map(|seconds| seconds.min(RETRY_AFTER_MAX_S));
                self.failed(status, response.reason(), retry_after, now);
            }
        }
        None
    }

    /// The registrar has forgotten us, or does not answer that it did.
    fn taken_back(&mut self, now: Instant) {
        self.asked = None;
        self.at = None;
        self.granted_s = None;
        self.since = None;
        self.known.clear();
        self.set_state(State::Unregistered);
        if self.wish == Wish::Keep {
            if self.next_row.is_some() {
                self.take_over(now);
            } else {
                // Wanted again meanwhile.
                self.at = Some(now);
            }
        }
    }

    fn accepted(&mut self, response: &Message, now: Instant) {
        let granted = self.granted(response).min(EXPIRES_MAX_S);
        self.asked = None;
        self.last = Some((
            response.status().unwrap_or(200),
            response.reason().to_owned(),
        ));
        self.retries = 0;
        self.corrections = 0;
        if granted == 0 {
            // It took the request and registered nothing.
            self.granted_s = Some(0);
            let wait = self.row.retry_interval.max(1);
            self.retry_in(wait, now);
            return;
        }
        self.granted_s = Some(granted);
        self.since.get_or_insert(now);
        let granted = Duration::from_secs(u64::from(granted));
        // A short life is refreshed at half of it rather than at once.
        let refresh = if granted > 2 * BEFORE_END {
            granted - BEFORE_END
        } else {
            (granted / 2).max(Duration::from_millis(500))
        };
        self.at = Some(if self.next_row.is_some() {
            now
        } else {
            now + refresh
        });
        self.set_state(State::Registered);
        self.touched = true;
    }

    /// The life that the registrar gave our contact (§10.2.1.1): its parameter, else Expires, else what we asked for.
    fn granted(&self, response: &Message) -> u32 {
        let own = NameAddr::parse(&self.contact).ok().map(|own| own.uri);
        let contacts = response.contacts().unwrap_or(Contacts::List(Vec::new()));
        let list = contacts.list();
        let token = own.as_ref().and_then(|own| own.param("line"));
        let ours = list.iter().find(|contact| {
            token.is_some_and(|token| contact.uri.param("line") == Some(token))
                || own.as_ref().is_some_and(|own| {
                    own.user == contact.uri.user
                        && own.host == contact.uri.host
                        && own.port == contact.uri.port
                })
        });
        // A registrar behind which our address was rewritten names one contact: it is ours.
        let ours = ours.or_else(|| list.first().filter(|_| list.len() == 1));
        ours.and_then(NameAddr::expires)
            .or_else(|| response.expires())
            .unwrap_or(self.expires)
    }

    /// 3xx: takes the first SIP URI that was not asked just now.
    fn redirect(&mut self, response: &Message) -> bool {
        let now_at = self.server().map(|uri| uri.to_string());
        let Ok(Contacts::List(list)) = response.contacts() else {
            return false;
        };
        let found = list.into_iter().map(|contact| contact.uri).find(|uri| {
            matches!(uri.scheme, Scheme::Sip | Scheme::Sips) && Some(uri.to_string()) != now_at
        });
        let followed = found.is_some();
        if followed {
            self.redirected = found;
            self.known.clear();
        }
        followed
    }

    /// 423 (§10.2.8): asks for as long a life as the registrar wants.
    fn lengthen(&mut self, response: &Message) -> bool {
        let wanted = response
            .header(&HeaderName::MinExpires)
            .and_then(|text| text.trim().parse::<u32>().ok());
        match wanted {
            Some(wanted) if wanted > self.expires && wanted <= EXPIRES_MAX_S => {
                self.expires = wanted;
                true
            }
            _ => false,
        }
    }

    /// Tries at once with what was just learnt.
    fn correct(&mut self, now: Instant) {
        self.corrections += 1;
        if self.corrections > CORRECTIONS_MAX {
            self.redirected = None;
            self.failed(500, "Too many redirections", None, now);
            return;
        }
        self.asked = None;
        self.at = Some(now);
    }

    /// The attempt failed: with this status, or by silence (408) or a transport (503).
    pub(super) fn failed(
        &mut self,
        status: u16,
        reason: &str,
        retry_after: Option<u32>,
        now: Instant,
    ) {
        self.last = Some((status, reason.to_owned()));
        if self.asked.as_ref().is_some_and(|asked| asked.removes) {
            return self.taken_back(now);
        }
        self.asked = None;
        self.corrections = 0;
        self.redirected = None;
        self.known.clear();
        self.since = None;
        self.granted_s = None;
        if self.next_row.is_some() {
            return self.take_over(now);
        }
        let row = &self.row;
        let temporary = match status {
            408 | 500 | 502 | 503 | 504 | 600..=699 => true,
            401 | 407 => !row.auth_rejection_permanent,
            _ => false,
        };
        let left = self.retries < row.max_retries;
        let wait = if retry_after.is_some() {
            retry_after
        } else if temporary && row.retry_interval > 0 {
            left.then_some(row.retry_interval)
        } else if status == 403 && row.forbidden_retry_interval > 0 && left {
            Some(row.forbidden_retry_interval)
        } else {
            (row.fatal_retry_interval > 0 && left).then_some(row.fatal_retry_interval)
        };
        if retry_after.is_none() && wait.is_some() {
            self.retries += 1;
        }
        tracing::warn!(
            registration = self.row.id,
            server_uri = self.row.server_uri,
            status,
            reason,
            again_in_s = wait,
            "not registered"
        );
        match wait {
            Some(seconds) => self.retry_in(seconds, now),
            None => self.give_up(),
        }
    }

    fn retry_in(&mut self, seconds: u32, now: Instant) {
        self.at = Some(now + Duration::from_secs(u64::from(seconds)));
        self.set_state(State::Rejected);
        self.touched = true;
    }

    fn set_state(&mut self, state: State) {
        self.state = state;
        self.touched = true;
    }

    /// Whether anything changed since the last call.
    pub(super) fn take_touched(&mut self) -> bool {
        std::mem::take(&mut self.touched)
    }

    pub(super) fn status(&self, id: &str, shard: usize) -> Status {
        Status {
            id: id.to_owned(),
            client_uri: self.row.client_uri.clone(),
            server_uri: self.row.server_uri.clone(),
            state: self.state,
            next: self.at.filter(|_| self.asked.is_none()),
            last_answer: self.last.clone(),
            granted_s: self.granted_s,
            registered_since: self.since,
            failures: self.retries,
            contact: self.contact.clone(),
            shard,
        }
    }
}

/// A UUID that is the same for a registration whenever the exchange runs (RFC 5626 §4.1).
fn instance(id: &str) -> String {
    let hash = Algorithm::Sha256.hash(&[b"strowger registration ", id.as_bytes()]);
    let part = |from: usize, to: usize| hash.get(from..to).unwrap_or_default().to_owned();
    format!(
        "{}-{}-8{}-8{}-{}",
        part(0, 8),
        part(8, 12),
        part(12, 15),
        part(15, 18),
        part(18, 30)
    )
}

//! Requests other than INVITE that are sent again: with credentials where they are challenged (RFC 3261 §22.2), to the next
//! address of a name where one does not take them (RFC 3263 §4.3), and to where a 3xx leads (RFC 3261 §8.1.3.4).

use std::rc::Rc;

use strowger_sip::transaction::ClientId;
use strowger_sip::{Builder, Flow, HeaderName, Message, Method, NameAddr, Uri};

use super::{ClientUser, DialogKey, Shard};
use crate::call::target::{Alternatives, redirected};

/// A request that is sent again with credentials if it is challenged.
pub(super) struct Challengeable {
    request: Message,
    auths: Vec<String>,
    /// How often it has been: a proxy may ask, and then the far end.
    answered: u8,
    ways: Ways,
}

/// Where else a request may go.
#[derive(Default)]
pub(crate) struct Ways {
    /// Other addresses of where it goes.
    pub(crate) others: Alternatives,
    /// How many times more a 3xx is followed.
    pub(crate) redirects: u8,
    /// The transport that its endpoint names.
    pub(crate) transport: Option<String>,
}

impl Ways {
    fn are_none(&self) -> bool {
        self.others.len() == 0 && self.redirects == 0
    }
}

/// Challenges answered for one request.
const CHALLENGES_MAX: u8 = 2;

/// The same request for another address: what belongs to the way and to its numbers is left out or new.
fn addressed(request: &Message, mut uri: Uri) -> Message {
    uri.headers.clear();
    let number = request.cseq().map_or(1, |cseq| cseq.number + 1);
    let mut builder = Builder::request(request.method().unwrap_or(Method::Message), &uri);
    for (name, value) in request.all_headers() {
        let name = HeaderName::parse(name);
        let kept = !matches!(
            name,
            HeaderName::Route
                | HeaderName::CSeq
                | HeaderName::Authorization
                | HeaderName::ProxyAuthorization
                | HeaderName::ContentLength
                | HeaderName::ContentType
        );
        if kept {
            builder.push(name, value);
        }
    }
    let kind = request
        .header(&HeaderName::ContentType)
        .unwrap_or("text/plain");
    builder
        .header(
            HeaderName::CSeq,
            format!("{number} {}", request.method_str()),
        )
        .body(kind, request.body().to_vec())
        .finish()
}

impl Shard {
    /// Sends a request in a dialog, or one of its own that needs no more than an answer; challenges are answered with `auths`.
    pub(crate) fn request_in_dialog(
        self: &Rc<Self>,
        message: Message,
        flow: Flow,
        auths: Vec<String>,
    ) {
        self.request_challengeable(message, flow, auths, 0, Ways::default());
    }

    /// Sends a request of its own, which may go elsewhere where it is not taken.
    pub(crate) fn request_by_ways(
        self: &Rc<Self>,
        message: Message,
        flow: Flow,
        auths: Vec<String>,
        ways: Ways,
    ) {
        self.request_challengeable(message, flow, auths, 0, ways);
    }

    fn request_challengeable(
        self: &Rc<Self>,
        message: Message,
        flow: Flow,
        auths: Vec<String>,
        answered: u8,
        ways: Ways,
    ) {
        let again = !ways.are_none() || !auths.is_empty() && answered < CHALLENGES_MAX;
        let copy = again.then(|| message.clone());
        let sent = self.request(message, flow, ClientUser::InDialog);
        let Some(request) = copy else { return };
        let waiting = Challengeable {
            request,
            auths,
            answered,
            ways,
        };
        match sent {
            Some(id) if self.is_client_open(id) => {
                self.challengeable.borrow_mut().insert(id, waiting);
            }
            // Sending failed already, with its end told before we knew its id.
            _ => {
                self.send_to_next(waiting);
            }
        }
    }

    /// Sends it to the next address. Some: none is left.
    fn send_to_next(self: &Rc<Self>, mut waiting: Challengeable) -> Option<Challengeable> {
        let Some(flow) = waiting.ways.others.next_flow(self) else {
            return Some(waiting);
        };
        self.counters.targets_failed_over.add(1);
        let request = redirected(self, &waiting.request, &flow, None);
        let Challengeable {
            auths,
            answered,
            ways,
            ..
        } = waiting;
        self.request_challengeable(request, flow, auths, answered, ways);
        None
    }

    /// No answer came, or the transport failed.
    pub(super) fn in_dialog_failed(self: &Rc<Self>, id: ClientId) {
        let waiting = self.challengeable.borrow_mut().remove(&id);
        if let Some(waiting) = waiting {
            self.send_to_next(waiting);
        }
    }

    /// Sends it to the address that a 3xx names.
    fn follow(self: &Rc<Self>, waiting: Challengeable, response: &Message) {
        let values = response.headers(&HeaderName::Contact);
        let contacts = values.filter_map(|value| NameAddr::parse_list(value).ok());
        let Some(uri) = contacts.flatten().map(|contact| contact.uri).next() else {
            return;
        };
        let shard = Rc::clone(self);
        Self::spawn(async move {
            let named = waiting.ways.transport.clone();
            let hops = crate::dns::locate(&shard.shared, &uri, named.as_deref()).await;
            let others = Alternatives::new(hops.into(), named);
            tracing::info!(%uri, "a request is redirected");
            let waiting = Challengeable {
                request: addressed(&waiting.request, uri),
                answered: 0,
                ways: Ways {
                    others,
                    redirects: waiting.ways.redirects.saturating_sub(1),
                    ..waiting.ways
                },
                ..waiting
            };
            shard.send_to_next(waiting);
            shard.flush();
        });
    }

    pub(super) fn answer_in_dialog(self: &Rc<Self>, id: ClientId, response: &Message, flow: Flow) {
        let status = response.status().unwrap_or(0);
        if status < 300 {
            return;
        }
        let waiting = self.challengeable.borrow_mut().remove(&id);
        match waiting {
            Some(waiting) if status == 503 => {
                self.send_to_next(waiting);
                return;
            }
            Some(waiting) if (300..400).contains(&status) => {
                if waiting.ways.redirects > 0 {
                    self.follow(waiting, response);
                }
                return;
            }
            _ => {}
        }
        let waiting = waiting.filter(|_| matches!(status, 401 | 407));
        if let Some(Challengeable {
            request,
            auths,
            answered,
            ways,
        }) = waiting
            && answered < CHALLENGES_MAX
        {
            let via = crate::call::session::new_via(self, &flow).to_string();
            let snapshot = self.shared.snapshot();
            let again =
                crate::endpoint::answer_challenge(&snapshot, &auths, &request, response, &via);
            if let Some(again) = again {
                let again = self.renumber(again);
                self.request_challengeable(again, flow, auths, answered + 1, ways);
            }
        }
    }

    /// The same request with the next number of its dialog, where it has one: others may have been sent meanwhile.
    fn renumber(&self, request: Message) -> Message {
        let key = || {
            Some(DialogKey {
                call_id: request.call_id().ok()?.to_owned(),
                local_tag: request.from().ok()?.tag()?.to_owned(),
            })
        };
        let channel = key().and_then(|key| self.dialogs.borrow().get(&key).copied());
        let channel = channel.and_then(|id| self.channel(id));
        let number = channel.and_then(|channel| {
            let mut guard = channel.session();
            Some(guard.as_mut()?.dialog.as_mut()?.next_cseq())
        });
        match number {
            Some(number) => {
                let cseq = format!("{number} {}", request.method_str());
                Builder::from_message(&request)
                    .set(HeaderName::CSeq, cseq)
                    .finish()
            }
            None => request,
        }
    }
}

//! Texts outside of calls (MESSAGE, RFC 3428): one that comes goes through the dialplan on a channel without media; one that
//! the dialplan sends is handed to a device.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use strowger_sip::{Builder, Flow, HeaderName, Message, Method, NameAddr, Uri};
use strowger_store::Endpoint;

use super::destination::{Destination, To};
use super::identity::caller_of;
use super::session::new_via;
use super::target::find_target;
use crate::channel::{Cause, Channel, Data, Location, State};
use crate::dialplan::Exists;
use crate::shard::inbox::ShardMessage;
use crate::shard::{Shard, Ways};

/// Longest text, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 8192;
/// Addresses that one text may be led to by a 3xx, one after the other (`follow_redirect_methods`).
const REDIRECTS_MAX: u8 = 5;
/// Headers that go with a text.
pub const MESSAGE_DATA_MAX: usize = 32;
/// Longest of them.
const DATA_BYTES_MAX: usize = 1024;
/// Texts of one core whose dialplan runs, at a time.
const RUNNING_MAX: usize = 1000;
/// How long the dialplan of a text may run.
const RUNS_MAX: Duration = Duration::from_secs(60);
/// Hops of a text that begins here.
const FORWARDS: u8 = 70;
/// How long it may take to find out where a text goes.
const SENT_WITHIN: Duration = Duration::from_secs(10);
/// How the names of values begin that the exchange itself gives a text.
const OURS: &str = "PJSIP_";
/// What endpoints are found by that a destination names by itself.
const PROTOCOLS: [&str; 2] = ["pjsip:", "sip:"];

/// A text with who wrote it to whom.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextMessage {
    /// `pjsip:100@pbx.example`.
    pub to: String,
    /// `"Anna" <sip:101@192.0.2.1>`.
    pub from: String,
    pub body: String,
    data: Vec<Value>,
}

/// A value that goes with a text.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Value {
    /// The name of a header of SIP, as it was written.
    name: String,
    text: String,
    /// The dialplan set it: it goes out as a header. What came is only to be read.
    is_set: bool,
}

impl TextMessage {
    /// A value that goes with the text.
    pub fn data(&self, name: &str) -> Option<&str> {
        let mut values = self.data.iter();
        let found = values.find(|value| value.name.eq_ignore_ascii_case(name));
        found.map(|value| value.text.as_str())
    }

    /// Has a value go with the text; an empty one does not any more. False: there are [`MESSAGE_DATA_MAX`].
    pub fn set_data(&mut self, name: &str, value: &str) -> bool {
        self.put(name, value, true)
    }

    fn put(&mut self, name: &str, text: &str, is_set: bool) -> bool {
        self.data
            .retain(|value| !value.name.eq_ignore_ascii_case(name));
        if text.is_empty() {
            return true;
        }
        if self.data.len() >= MESSAGE_DATA_MAX {
            return false;
        }
        self.data.push(Value {
            name: name.to_owned(),
            text: text.to_owned(),
            is_set,
        });
        true
    }

    /// A value that came with the text.
    fn received(&mut self, name: &str, value: &str) {
        self.put(name, value, false);
    }

    /// The headers that it is sent with.
    fn headers(&self) -> impl Iterator<Item = (HeaderName, String)> {
        let set = self.data.iter().filter(|value| {
            let is_token = value
                .name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte));
            value.is_set && is_token && !is_ours(&value.name)
        });
        let named = set.map(|value| (HeaderName::from(value.name.as_str()), one_line(&value.text)));
        named.filter(|(name, _)| !travels(name) && *name != HeaderName::UserAgent)
    }
}

/// Why a text was not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    #[error(
        "\"{0}\" is no destination of texts: known are pjsip:endpoint, pjsip:endpoint/uri and sip:user@host"
    )]
    Protocol(String),
    #[error("\"{0}\" leads nowhere: it names no endpoint, or one that is not registered")]
    Uri(String),
    #[error("a text has at most {MESSAGE_BYTES_MAX} bytes")]
    TooLong,
    #[error("the text has been sent on too often (Max-Forwards is used up)")]
    TooManyHops,
    #[error("the exchange has too much to do")]
    Overloaded,
}

/// One of the texts whose dialplan runs.
struct Running(Rc<Shard>);

impl Running {
    fn begin(shard: &Rc<Shard>) -> Option<Self> {
        let running = shard.messages_running();
        if running.get() >= RUNNING_MAX {
            return None;
        }
        running.set(running.get() + 1);
        Some(Self(Rc::clone(shard)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let running = self.0.messages_running();
        running.set(running.get().saturating_sub(1));
    }
}

/// Is this the name of a value that the exchange itself gives a text?
fn is_ours(name: &str) -> bool {
    name.get(..OURS.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(OURS))
}

/// Headers that say how a request travels, and nothing to a dialplan.
fn travels(name: &HeaderName) -> bool {
    matches!(
        name,
        HeaderName::Via
            | HeaderName::From
            | HeaderName::To
            | HeaderName::CallId
            | HeaderName::CSeq
            | HeaderName::Contact
            | HeaderName::ContentLength
            | HeaderName::ContentType
            | HeaderName::MaxForwards
            | HeaderName::Route
            | HeaderName::RecordRoute
            | HeaderName::Authorization
            | HeaderName::ProxyAuthorization
            | HeaderName::Allow
            | HeaderName::Supported
            | HeaderName::Require
    )
}

/// Takes a text into the dialplan. The status that answers it.
pub(crate) fn receive(
    shard: &Rc<Shard>,
    request: &Message,
    flow: &Flow,
    endpoint: &Arc<Endpoint>,
) -> (u16, &'static str) {
    let is_text = request.content_type().is_some_and(|kind| {
        kind.get(..5)
            .is_some_and(|kind| kind.eq_ignore_ascii_case("text/"))
    });
    if !request.body().is_empty() && !is_text {
        return (415, "Unsupported Media Type");
    }
    if request.body().len() > MESSAGE_BYTES_MAX {
        return (413, "Request Entity Too Large");
    }
    let (Some(Ok(uri)), Ok(from)) = (request.uri(), request.from()) else {
        return (400, "Bad Request");
    };
    let forwards = request.max_forwards().ok().flatten().unwrap_or(70);
    if forwards == 0 {
        return (483, "Too Many Hops");
    }
    let exten = match uri.user_decoded() {
        Some(user) if !user.is_empty() => user.into_owned(),
        _ => "s".to_owned(),
    };
    let context = endpoint
        .message_context
        .as_deref()
        .filter(|context| !context.is_empty())
        .unwrap_or(&endpoint.context);
    let snapshot = shard.shared().snapshot();
    let caller = caller_of(endpoint, &snapshot.globals, request, from);
    if shard.dialplan().exists(context, &exten, &caller.number) != Exists::Yes {
        tracing::info!(
            endpoint = endpoint.id,
            exten,
            context,
            "number of a text not found in the dialplan"
        );
        return (404, "Not Found");
    }
    let Some(running) = Running::begin(shard) else {
        return (503, "Service Unavailable");
    };
    let mut text = TextMessage {
        to: pjsip(&uri.to_string()),
        from: written_by(from),
        body: String::from_utf8_lossy(request.body()).into_owned(),
        data: Vec::new(),
    };
    // First, so that whatever else came leaves room for them.
    text.received("PJSIP_RECVADDR", &flow.remote.to_string());
    text.received("PJSIP_TRANSPORT", flow.transport.uri_param());
    for (name, value) in request.all_headers() {
        if !travels(&HeaderName::from(name)) && !is_ours(name) && value.len() <= DATA_BYTES_MAX {
            text.received(name, value);
        }
    }
    let shared = shard.shared();
    let uniqueid = shared.next_uniqueid();
    let place = Location::new(context, &exten, 1);
    let mut data = Data::new(State::Up, place, uniqueid.clone());
    data.ani.clone_from(&caller.number);
    data.caller = caller;
    data.dnid = exten;
    data.max_forwards = forwards - 1;
    data.language = endpoint.language.clone().unwrap_or_else(|| "en".to_owned());
    data.message = Some(Box::new(text));
    let name = format!(
        "Message/ast_msg_queue-{:08x}",
        shared.next_channel_sequence()
    );
    let channel = Channel::new(shard, name, uniqueid, None, data);
    super::outgoing::apply_set_var(&channel, endpoint.set_var.as_deref());
    shard.add_channel(&channel, false);
    super::incoming::run_holding(channel.clone(), running);
    Shard::spawn(async move {
        // No far end ever hangs up: an application that waits for that would stay for ever.
        let over = tokio::time::timeout(RUNS_MAX, channel.until_over());
        if over.await.is_err() {
            tracing::warn!(channel = %channel.name(), "the dialplan of a text takes longer than {} s and is ended", RUNS_MAX.as_secs());
            channel.hangup(Cause::NORMAL_CLEARING);
        }
    });
    (202, "Accepted")
}

/// Name and address, without what From says besides.
fn written_by(from: &NameAddr) -> String {
    let mut writer = NameAddr::new(from.uri.clone());
    writer.display.clone_from(&from.display);
    writer.to_string()
}

/// A URI as the dialplan names devices.
fn pjsip(uri: &str) -> String {
    match uri.split_once(':') {
        Some((_, rest)) => format!("pjsip:{rest}"),
        None => uri.to_owned(),
    }
}

/// Where a text goes.
fn destination(shard: &Shard, text: &str) -> Result<To, MessageError> {
    let nowhere = || MessageError::Uri(text.to_owned());
    // A name before it says nothing of where to.
    let address = match text.split_once('<') {
        Some((_, rest)) => rest.split('>').next().unwrap_or_default(),
        None => text,
    };
    let address = address.trim();
    let lower = address.to_ascii_lowercase();
    let found = PROTOCOLS.iter().find(|name| lower.starts_with(*name));
    let protocol = found.ok_or_else(|| MessageError::Protocol(text.to_owned()))?;
    let resource = address.get(protocol.len()..).unwrap_or_default();
    let snapshot = shard.shared().snapshot();
    let parsed = Destination::parse(&format!("PJSIP/{resource}"), &snapshot);
    if let Ok(Destination {
        to: device @ To::Device { .. },
        ..
    }) = parsed
    {
        return Ok(device);
    }
    // Not an endpoint of ours: an address, which the endpoint for texts to elsewhere is asked for.
    let uri = Uri::parse(&format!("sip:{resource}")).map_err(|_| nowhere())?;
    let usual = snapshot.globals.default_outbound_endpoint.as_str();
    let endpoint = snapshot.endpoints.get(usual).ok_or_else(nowhere)?;
    Ok(To::Device {
        endpoint: Arc::clone(endpoint),
        user: None,
        uri: Some(uri.to_string()),
    })
}

/// A header of one line.
fn one_line(text: &str) -> String {
    text.replace(['\r', '\n', '\0'], " ")
}

impl Channel {
    /// Sends a text to `to` (`pjsip:100`, `pjsip:100/sip:100@192.0.2.1`, `sip:100@pbx.example`). It is handed over: whether it
    /// arrives is not waited for. `from` and `shown` replace what From and To say.
    ///
    /// # Errors
    /// [`MessageError`] where it was not even sent.
    pub async fn send_message(
        &self,
        to: &str,
        from: &str,
        shown: &str,
        text: &TextMessage,
    ) -> Result<(), MessageError> {
        let forwards = self.data().max_forwards;
        self.shard()
            .send_message(to, from, shown, text, forwards)
            .await
    }
}

impl Shard {
    /// The same for whoever is no channel; `forwards` hops are left.
    ///
    /// # Errors
    /// As [`Channel::send_message`].
    pub async fn send_message(
        self: &Rc<Self>,
        to: &str,
        from: &str,
        shown: &str,
        text: &TextMessage,
        forwards: u8,
    ) -> Result<(), MessageError> {
        if text.body.len() > MESSAGE_BYTES_MAX {
            return Err(MessageError::TooLong);
        }
        let shard = Rc::clone(self);
        let To::Device {
            endpoint,
            user,
            uri,
        } = destination(&shard, to)?
        else {
            return Err(MessageError::Protocol(to.to_owned()));
        };
        let mut target = find_target(&shard, &endpoint, user.as_deref(), uri.as_deref())
            .await
            .ok_or_else(|| MessageError::Uri(to.to_owned()))?;
        let flow = target.next_flow(&shard).ok_or(MessageError::Overloaded)?;
        let (own, port) = shard.told(&flow);
        let writer = writer(from, &text.from);
        let domain = endpoint.from_domain.clone();
        let own = match &domain {
            Some(domain) => strowger_sip::Host::Name(domain.clone()),
            None => own,
        };
        let number = endpoint.from_user.clone().unwrap_or(writer.0);
        let number = if number.is_empty() {
            "asterisk"
        } else {
            &number
        };
        let mut address = Uri::sip(Some(number), own, None);
        if domain.is_none() && port != flow.transport.default_port() {
            address.port = Some(port);
        }
        let mut sender = NameAddr::new(address);
        sender.display = (!writer.1.is_empty()).then(|| one_line(&writer.1));
        let mut receiver = target.uri.clone();
        receiver.params = strowger_sip::uri::Params::default();
        let receiver = match shown.trim() {
            "" => format!("<{receiver}>"),
            shown => match NameAddr::parse_list(&sip(shown)) {
                Ok(list) if !list.is_empty() => list[0].to_string(),
                _ => return Err(MessageError::Uri(shown.to_owned())),
            },
        };
        let mut request = Builder::request(Method::Message, &target.uri)
            .header(HeaderName::Via, new_via(&shard, &flow).to_string());
        for route in &target.routes {
            request.push(HeaderName::Route, route.to_string());
        }
        if forwards == 0 {
            return Err(MessageError::TooManyHops);
        }
        request = request
            .header(HeaderName::MaxForwards, forwards.to_string())
            .header(HeaderName::From, sender.with_tag(&shard.tag()).to_string())
            .header(HeaderName::To, receiver)
            .header(HeaderName::CallId, shard.call_id())
            .header(HeaderName::CSeq, "1 MESSAGE")
            .header(HeaderName::UserAgent, shard.shared().user_agent());
        for (name, value) in text.headers() {
            request.push(name, value);
        }
        let body = text.body.clone().into_bytes();
        let request = request.body("text/plain;charset=UTF-8", body).finish();
        shard.counters().messages_sent.add(1);
        let followed = endpoint.follow_redirect_methods.as_deref().unwrap_or("");
        let follows = followed
            .split(',')
            .any(|method| method.trim().eq_ignore_ascii_case("message"));
        let ways = Ways {
            others: target.rest(),
            redirects: if follows { REDIRECTS_MAX } else { 0 },
            transport: endpoint.transport.clone(),
        };
        shard.request_by_ways(request, flow, endpoint.outbound_auth.clone(), ways);
        Ok(())
    }
}

/// A text for somebody outside of calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parcel {
    /// Whom it goes to, as [`Channel::send_message`] takes it.
    pub to: String,
    /// What From says; empty: nobody in particular.
    pub from: String,
    /// What To says; empty: the address.
    pub shown: String,
    pub text: TextMessage,
}

impl crate::shared::Shared {
    /// Sends a text that no channel has anything to do with.
    ///
    /// # Errors
    /// As [`Channel::send_message`], and where no shard answers in time.
    pub async fn send_message(&self, parcel: Parcel) -> Result<(), MessageError> {
        let (tell, told) = tokio::sync::oneshot::channel();
        let errand = ShardMessage::Errand(Box::new(move |shard| {
            let shard = Rc::clone(shard);
            Shard::spawn(async move {
                let Parcel {
                    to,
                    from,
                    shown,
                    text,
                } = parcel;
                let sent = shard.send_message(&to, &from, &shown, &text, FORWARDS);
                let _ = tell.send(sent.await);
            });
        }));
        let inbox = self.inboxes().first().ok_or(MessageError::Overloaded)?;
        let posted = inbox.send(errand);
        posted.map_err(|_| MessageError::Overloaded)?;
        match tokio::time::timeout(SENT_WITHIN, told).await {
            Ok(Ok(sent)) => sent,
            _ => Err(MessageError::Overloaded),
        }
    }
}

/// Our names for a URI, as SIP has it.
fn sip(text: &str) -> String {
    let text = text.replacen("pjsip:", "sip:", 1);
    if text.contains('<') {
        text
    } else {
        format!("<{text}>")
    }
}

/// Number and name of who writes: what the dialplan says, else who wrote the text that came.
fn writer(from: &str, came_from: &str) -> (String, String) {
    let text = match from.trim() {
        "" => came_from,
        from => from,
    };
    match NameAddr::parse_list(&sip(text)) {
        Ok(list) if !list.is_empty() => {
            let user = list[0].uri.user_decoded().map(std::borrow::Cow::into_owned);
            let host = list[0].uri.host.to_string();
            // An endpoint alone reads as a host.
            (
                user.unwrap_or(host),
                list[0].display.clone().unwrap_or_default(),
            )
        }
        // A number alone.
        _ => (
            text.chars()
                .filter(|c| c.is_ascii_alphanumeric() || "+*#-_.".contains(*c))
                .collect(),
            String::new(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_writes_is_read_from_every_form() {
        for (from, came, wanted) in [
            ("", "\"Anna\" <sip:101@192.0.2.1>", ("101", "Anna")),
            ("\"Boss\" <sip:500@pbx>", "<sip:1@2>", ("500", "Boss")),
            ("pjsip:500@pbx", "", ("500", "")),
            ("500", "", ("500", "")),
            ("", "", ("", "")),
        ] {
            let (number, name) = writer(from, came);
            assert_eq!((number.as_str(), name.as_str()), wanted, "{from} {came}");
        }
    }

    #[test]
    fn what_goes_with_a_text_has_a_limit() {
        let mut text = TextMessage::default();
        for number in 0..MESSAGE_DATA_MAX {
            assert!(text.set_data(&format!("X-{number}"), "1"));
        }
        assert!(!text.set_data("X-more", "1"));
        assert!(text.set_data("x-3", "2"));
        assert_eq!(text.data("X-3"), Some("2"));
        assert!(text.set_data("X-3", ""));
        assert_eq!(text.data("X-3"), None);
    }

    #[test]
    fn only_what_the_dialplan_set_goes_out() {
        let mut text = TextMessage::default();
        text.received("P-Asserted-Identity", "<sip:boss@pbx>");
        text.received("Content-Encoding", "gzip");
        text.received("X-Kind", "greeting");
        assert_eq!(text.data("content-encoding"), Some("gzip"));
        assert_eq!(text.headers().count(), 0);
        for (name, value) in [
            ("X-Kind", "reply\r\nVia: x"),
            ("Via", "SIP/2.0/UDP 192.0.2.1"),
            ("pjsip_recvaddr", "192.0.2.1"),
            ("X Y", "no token"),
        ] {
            assert!(text.set_data(name, value));
        }
        let headers: Vec<_> = text.headers().collect();
        let wanted = (HeaderName::from("X-Kind"), "reply  Via: x".to_owned());
        assert_eq!(headers, [wanted]);
    }
}

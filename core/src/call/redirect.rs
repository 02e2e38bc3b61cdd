//! A device that answers with another address (3xx, RFC 3261 §8.1.3.4) where its endpoint's `redirect_method` is a URI: the
//! address is called in its place. Where it is `user`, the number goes through the dialplan ([`super::dial`]).

use strowger_sip::{HeaderName, Message, NameAddr};
use strowger_store::Endpoint;
use tokio::sync::oneshot;

use super::destination::{Destination, To};
use super::dial::{DialRequest, Leg};
use super::outgoing::{Origin, create_leg};
use crate::channel::{Cause, Channel};
use crate::shard::Shard;

/// Addresses that one device may lead to, one after the other: more of them lead in circles.
const REDIRECTS_MAX: u8 = 5;

/// Is the address of a redirection called, rather than its number?
pub(super) fn follows_uri(endpoint: &Endpoint) -> bool {
    matches!(endpoint.redirect_method.as_str(), "uri_core" | "uri_pjsip")
}

/// The first address of a redirection.
pub(super) fn address(response: &Message) -> Option<String> {
    let values = response.headers(&HeaderName::Contact);
    let mut contacts = values
        .filter_map(|value| NameAddr::parse_list(value).ok())
        .flatten();
    contacts.next().map(|contact| contact.uri.to_string())
}

/// A channel towards such an address, made while the other devices of the Dial ring on.
pub(super) type Following = oneshot::Receiver<Made>;

/// Hung up where nobody takes it: the Dial may be over before the way is found.
pub(super) struct Made(Result<Option<Channel>, Cause>);

impl Drop for Made {
    fn drop(&mut self) {
        if let Ok(Some(channel)) = &self.0 {
            channel.hangup(Cause::NORMAL_CLEARING);
        }
    }
}

impl Channel {
    /// Calls what devices of a Dial were redirected to, as soon as the way there is known. True where that was done.
    pub(super) fn follow_redirects(&self, legs: &mut [Leg], request: &DialRequest) -> bool {
        let mut followed = false;
        for leg in legs {
            if leg.following.is_some() {
                followed |= self.take_redirected(leg);
            } else {
                leg.following = self.follow_redirect(leg, request);
            }
        }
        followed
    }

    /// Looks for the way to the address that a device named, if it did.
    fn follow_redirect(&self, leg: &mut Leg, request: &DialRequest) -> Option<Following> {
        let uri = leg.channel.data_mut().redirected_to.take();
        let (uri, endpoint) = uri.zip(leg.channel.endpoint().cloned())?;
        let wanted = request.forward_context.is_some() && !self.is_over();
        if !wanted || !leg.channel.is_over() || leg.ended.is_some() {
            return None;
        }
        let from = leg.channel.name();
        if leg.redirects >= REDIRECTS_MAX {
            tracing::warn!(channel = %self.name(), %from, uri, "redirected {REDIRECTS_MAX} times already: not followed");
            return None;
        }
        leg.redirects += 1;
        let destination = Destination {
            text: leg.destination.text.clone(),
            resource: leg.destination.resource.clone(),
            to: To::Device {
                endpoint,
                user: None,
                uri: Some(uri.clone()),
            },
        };
        let mut origin = Origin::of(self, request);
        origin.variables.set("__FORWARDERNAME", &from);
        origin.redirecting.sent_on_by(&leg.destination.resource);
        let (tell, following) = oneshot::channel();
        let caller = self.clone();
        Shard::spawn(async move {
            let made = create_leg(caller.shard(), &destination, &origin).await;
            match &made {
                Ok(_) => {
                    tracing::info!(channel = %caller.name(), %from, uri, "call redirected");
                }
                Err(cause) => {
                    tracing::info!(channel = %caller.name(), %from, uri, cause = cause.0, "redirection not followed");
                }
            }
            // A Dial that is over takes nothing.
            let _ = tell.send(Made(made.map(Some)));
            caller.touch();
        });
        Some(following)
    }

    /// Rings the channel that was made meanwhile in the place of the one that was redirected. True where there is one.
    fn take_redirected(&self, leg: &mut Leg) -> bool {
        let made = match leg.following.as_mut().map(oneshot::Receiver::try_recv) {
            Some(Err(oneshot::error::TryRecvError::Empty)) => return false,
            Some(Ok(mut made)) => made.0.as_mut().ok().and_then(Option::take),
            _ => None,
        };
        leg.following = None;
        let Some(channel) = made else { return false };
        let from = leg.channel.name();
        channel.data_mut().dialled_by = Some(self.id());
        self.set_variable("FORWARDERNAME", &from);
        channel.watched_by(Some(self));
        self.data_mut().cdr.dial_replaced(&from, &channel.name());
        leg.channel.watched_by(None);
        leg.channel = channel;
        leg.channel
            .tell_dial_begin(Some(self), &leg.destination.resource);
        leg.channel.place_call();
        true
    }
}

//! A device that answers with another address (3xx, RFC 3261 §8.1.3.4) where its endpoint's `redirect_method` is a URI: the
//! address is called in its place. Where it is `user`, the number goes through the dialplan ([`super::dial`]).

use strowger_sip::{HeaderName, Message, NameAddr};
use strowger_store::Endpoint;

use super::destination::{Destination, To};
use super::dial::{DialRequest, Leg};
use super::outgoing::{Origin, create_leg};
use crate::channel::Channel;

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

impl Channel {
    /// Calls what devices of a Dial were redirected to. True where that was done.
    pub(super) async fn follow_redirects(&self, legs: &mut [Leg], request: &DialRequest) -> bool {
        let mut followed = false;
        for leg in legs {
            let uri = leg.channel.data_mut().redirected_to.take();
            let Some((uri, endpoint)) = uri.zip(leg.channel.endpoint().cloned()) else {
                continue;
            };
            let wanted = request.forward_context.is_some() && !self.is_over();
            if !wanted || !leg.channel.is_over() || leg.ended.is_some() {
                continue;
            }
            let from = leg.channel.name();
            if leg.redirects >= REDIRECTS_MAX {
                tracing::warn!(channel = %self.name(), %from, uri, "redirected {REDIRECTS_MAX} times already: not followed");
                continue;
            }
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
            match create_leg(self.shard(), &destination, &origin).await {
                Ok(channel) => {
                    tracing::info!(channel = %self.name(), %from, uri, "call redirected");
                    channel.data_mut().dialled_by = Some(self.id());
                    self.set_variable("FORWARDERNAME", &from);
                    channel.watched_by(Some(self));
                    let name = channel.name();
                    self.data_mut().cdr.dial_replaced(&from, &name);
                    leg.channel.watched_by(None);
                    leg.redirects += 1;
                    leg.channel = channel;
                    leg.channel.place_call();
                    followed = true;
                }
                Err(cause) => {
                    tracing::info!(channel = %self.name(), %from, uri, cause = cause.0, "redirection not followed");
                }
            }
        }
        followed
    }
}

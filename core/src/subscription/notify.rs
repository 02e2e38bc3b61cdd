//! NOTIFY within subscriptions: sends what is due, and learns from the answers.

use std::rc::Rc;
use std::time::Duration;

use strowger_sip::notifier::EndReason;
use strowger_sip::{Flow, HeaderName, Message, Method, Transport};

use super::subscribe::{EVENTLIST, uncounted};
use super::{ALLOW_EVENTS, Sent, Subscription, Subscriptions, persist};
use crate::call::session::{new_via, routed};
use crate::shard::{ClientUser, Shard};

/// A body above this leaves no room for headers in the largest datagram.
const DATAGRAM_MAX: usize = 60_000;
/// Pauses before mailboxes that could not be counted are tried again.
const RECOUNT_PAUSES: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(60),
    Duration::from_secs(120),
];

/// Tells a new subscription its state, as soon as the messages in its mailboxes are counted.
pub(super) fn count_then_pump(shard: &Rc<Shard>, number: u64) {
    let boxes = uncounted(shard, number);
    if boxes.is_empty() {
        return ready(shard, number);
    }
    let shard = Rc::clone(shard);
    Shard::spawn(async move {
        let counted = count(&shard, boxes).await;
        shard.guarded("NOTIFY", |shard| {
            if counted {
                ready(shard, number);
            } else {
                give_up(shard, number);
            }
        });
        shard.flush();
    });
}

/// Counts the messages of these mailboxes. False: the disk does not say, again and again.
pub(super) async fn count(shard: &Rc<Shard>, mut boxes: Vec<String>) -> bool {
    for pause in RECOUNT_PAUSES {
        for name in &boxes {
            let age = shard.subscriptions().borrow().counts_age;
            let counts = shard.shared().mailbox_counts(name).await;
            let mut table = shard.subscriptions().borrow_mut();
            match counts {
                // What was told of meanwhile is newer than what the disk said.
                Ok(counts) if table.counts_age == age => {
                    table.counts.entry(name.clone()).or_insert(counts);
                }
                Ok(_) => {}
                // A guess would stay: nobody counts a mailbox that is known.
                Err(error) => tracing::warn!(mailbox = name, %error, "messages not counted"),
            }
        }
        let known = |name: &String| shard.subscriptions().borrow().counts.contains_key(name);
        boxes.retain(|name| !known(name));
        if boxes.is_empty() {
            return true;
        }
        tokio::time::sleep(pause).await;
    }
    false
}

/// What a subscription is about cannot be found out: its subscriber hears nothing rather than something wrong.
fn give_up(shard: &Rc<Shard>, number: u64) {
    if let Some(subscription) = shard.subscriptions().borrow_mut().by_id.get_mut(&number) {
        subscription.notifier.abandon();
    }
    settle(shard, number);
}

fn ready(shard: &Rc<Shard>, number: u64) {
    if let Some(subscription) = shard.subscriptions().borrow_mut().by_id.get_mut(&number) {
        subscription.ready = true;
    }
    pump(shard, number);
}

/// Something may be different: who is told of it is, if it is.
pub(super) fn look(shard: &Rc<Shard>, number: u64) {
    {
        let mut table = shard.subscriptions().borrow_mut();
        let Subscriptions { by_id, counts, .. } = &mut *table;
        let Some(subscription) = by_id.get_mut(&number).filter(|known| known.ready) else {
            return;
        };
        let view = subscription.view(shard.shared(), counts);
        if !subscription.resource.is_changed(&view) {
            return;
        }
        subscription.notifier.changed(crate::clock::now());
    }
    pump(shard, number);
}

/// Ends a subscription from here.
pub(super) fn end(shard: &Rc<Shard>, number: u64, reason: EndReason) {
    if let Some(subscription) = shard.subscriptions().borrow_mut().by_id.get_mut(&number) {
        subscription.notifier.end(crate::clock::now(), reason, None);
        persist::forget(shard, subscription);
    }
    pump(shard, number);
}

/// Sends the NOTIFY that is due, if one is, and forgets a subscription that is over.
pub(super) fn pump(shard: &Rc<Shard>, number: u64) {
    let due = {
        let mut table = shard.subscriptions().borrow_mut();
        next(shard, &mut table, number)
    };
    if let Some((request, flow)) = due {
        shard.counters().notifies_sent.add(1);
        if shard
            .request(request, flow, ClientUser::Notify(number))
            .is_none()
        {
            return failed(shard, number);
        }
    }
    settle(shard, number);
}

fn settle(shard: &Rc<Shard>, number: u64) {
    let mut table = shard.subscriptions().borrow_mut();
    let over = table
        .by_id
        .get(&number)
        .is_some_and(|subscription| subscription.notifier.is_over());
    if over {
        if let Some(mut gone) = table.remove(number) {
            persist::forget(shard, &mut gone);
        }
        shard.counters().subscriptions_ended.add(1);
    } else {
        table.arm(number);
    }
}

/// The NOTIFY to send now.
fn next(shard: &Rc<Shard>, table: &mut Subscriptions, number: u64) -> Option<(Message, Flow)> {
    let Subscriptions { by_id, counts, .. } = table;
    let subscription = by_id.get_mut(&number).filter(|known| known.ready)?;
    let now = crate::clock::now();
    let due = subscription.notifier.poll(now)?;
    let shared = shard.shared();
    let view = super::View {
        shared,
        counts,
        format: subscription.format,
        host: &subscription.host,
        watcher: &subscription.watcher,
        early_in_use: subscription.endpoint.notify_early_inuse_ringing,
    };
    if !due.full && !subscription.resource.is_changed(&view) {
        // It is as it was told again.
        subscription.notifier.answered(now, 200, None);
        return None;
    }
    let body = subscription.resource.tell(&view, due.full);
    subscription.flow = live(shard, subscription);
    let mut flow = subscription.flow;
    let size = body.as_ref().map_or(0, |body| body.text.len());
    if flow.transport == Transport::Udp && size > DATAGRAM_MAX {
        match shard.flow_to(Transport::Tcp, flow.remote) {
            Some(by_tcp) => flow = by_tcp,
            None => {
                tracing::warn!(
                    endpoint = subscription.endpoint.id,
                    size,
                    "NOTIFY too large for a datagram, and no TCP transport is open: it cannot arrive"
                );
            }
        }
    }
    let via = new_via(shard, &flow);
    let mut request = subscription
        .dialog
        .request(Method::Notify, &via)
        .header(HeaderName::Event, subscription.event.to_string())
        .header(HeaderName::SubscriptionState, due.state.to_string())
        .header(HeaderName::AllowEvents, ALLOW_EVENTS)
        .header(HeaderName::UserAgent, shared.user_agent());
    if let Some(body) = body {
        if body.is_list {
            request.push(HeaderName::Require, EVENTLIST);
        }
        request = request.body(&body.kind, body.text);
    }
    let request = request.finish();
    subscription.sent = Some(Sent {
        request: request.clone(),
        authenticated: false,
    });
    Some((request, flow))
}

/// How the subscriber is reached: where his connection ended, by the one that he registered over since, or by a new one to
/// his Contact.
fn live(shard: &Rc<Shard>, subscription: &Subscription) -> Flow {
    let Subscription { flow, dialog, .. } = subscription;
    let connections = &shard.shared().connections;
    if !flow.transport.is_reliable() || connections.by_number(flow.connection).is_some() {
        return *flow;
    }
    let snapshot = shard.shared().snapshot();
    let target = dialog.remote_target();
    let aors = subscription.endpoint.aors.iter();
    let bound = aors
        .flat_map(|aor| shard.shared().contacts.all(&snapshot, aor))
        .filter_map(|contact| {
            let open = connections.by_number(contact.connection)?;
            let same = contact.uri == *target || contact.sent_uri == target.to_string();
            // A telephone that comes back has another port, but stays who it is.
            let alike = contact.uri.user == target.user && open.remote.ip() == flow.remote.ip();
            (same || alike).then_some((!same, open))
        });
    match bound.min_by_key(|(other, _)| *other) {
        Some((_, open)) => open,
        None => routed(shard, *flow, dialog),
    }
}

/// A final response to a NOTIFY.
pub(crate) fn answered(shard: &Rc<Shard>, number: u64, response: &Message, flow: Flow) {
    let status = response.status().unwrap_or(500);
    if matches!(status, 401 | 407) && authenticate(shard, number, response, flow) {
        return;
    }
    let retry_after_s = response
        .header(&HeaderName::RetryAfter)
        .and_then(|text| text.split([';', '(', ' ']).next()?.trim().parse().ok());
    {
        let mut table = shard.subscriptions().borrow_mut();
        let Some(subscription) = table.by_id.get_mut(&number) else {
            return;
        };
        subscription.sent = None;
        if status < 300 {
            subscription.dialog.receive_response(response);
        } else {
            shard.counters().notifies_failed.add(1);
            tracing::debug!(
                endpoint = subscription.endpoint.id,
                status,
                "NOTIFY refused"
            );
        }
        subscription
            .notifier
            .answered(crate::clock::now(), status, retry_after_s);
    }
    pump(shard, number);
}

/// Answers a challenge once. True if the NOTIFY is on its way again.
fn authenticate(shard: &Rc<Shard>, number: u64, response: &Message, flow: Flow) -> bool {
    let again = {
        let mut table = shard.subscriptions().borrow_mut();
        let Some(subscription) = table.by_id.get_mut(&number) else {
            return false;
        };
        let sent = subscription.sent.as_mut();
        let Some(sent) = sent.filter(|sent| !sent.authenticated) else {
            return false;
        };
        sent.authenticated = true;
        let via = new_via(shard, &flow);
        let again = crate::endpoint::answer_challenge(
            &shard.shared().snapshot(),
            &subscription.endpoint.outbound_auth,
            &sent.request,
            response,
            &via.to_string(),
        );
        // It took the next CSeq number.
        let _ = subscription.dialog.request(Method::Notify, &via);
        again
    };
    again.is_some_and(|request| {
        shard
            .request(request, flow, ClientUser::Notify(number))
            .is_some()
    })
}

/// A NOTIFY was not answered, or could not be sent.
pub(crate) fn failed(shard: &Rc<Shard>, number: u64) {
    shard.counters().notifies_failed.add(1);
    if let Some(subscription) = shard.subscriptions().borrow_mut().by_id.get_mut(&number) {
        tracing::debug!(endpoint = subscription.endpoint.id, "NOTIFY not answered");
        subscription.notifier.failed();
    }
    settle(shard, number);
}

//! Subscriptions outlive the exchange: each is a row of `ps_subscription_persistence`, written behind, and goes on after the
//! next start without a word of its telephone. A row holds the SUBSCRIBE that began it: the subscription is made of it anew.
//!
//! Left out are those that end with their connection, those that are told once, and a SUBSCRIBE longer than its column.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use strowger_sip::{Flow, Message, Transport, Uri};
use strowger_store::{Endpoint, Key, OptionsRow, Write};

use super::{Subscription, notify, subscribe};
use crate::endpoint::contacts::epoch_now;
use crate::shard::Shard;
use crate::shard::inbox::ShardMessage;
use crate::shared::Shared;

const TABLE: &str = "ps_subscription_persistence";
/// Characters of a SUBSCRIBE that the column holds.
const PACKET_MAX: usize = 2048;
/// Numbers that are passed over at a start: more NOTIFYs than can have been sent since the row was written. What counts
/// them (CSeq, versions of bodies) must not go back (RFC 3261 §12.2.1.1, RFC 4235 §4.1).
const LEAP: u32 = 100_000;
/// Subscriptions that go on at a time, and the pause behind them: the telephones of an exchange are told one after the other.
const BATCH: usize = 50;
const PAUSE: Duration = Duration::from_millis(20);

/// The row of a subscription.
pub(super) struct Kept {
    id: String,
    packet: String,
}

impl Kept {
    /// For a subscription that this SUBSCRIBE begins. `None`: it is not kept.
    pub(super) fn of(request: &Message, flow: &Flow, endpoint: &Endpoint) -> Option<Self> {
        let bound = flow.transport.is_websocket()
            || (flow.transport.is_reliable() && endpoint.rewrite_contact);
        let packet = std::str::from_utf8(request.raw()).ok()?;
        let fits = packet.chars().count() <= PACKET_MAX && !packet.contains('\0');
        (fits && !bound).then(|| Self {
            id: format!("{:016x}{:016x}", crate::random_u64(), crate::random_u64()),
            packet: packet.to_owned(),
        })
    }

    fn key(&self) -> Key {
        Key::new("id", &self.id)
    }
}

/// Writes down how a subscription stands that has begun, or was prolonged.
pub(super) fn keep(shard: &Shard, subscription: &Subscription) {
    let (Some(kept), Some(writer)) = (&subscription.kept, shard.shared().writer()) else {
        return;
    };
    if subscription.notifier.is_ending() {
        return;
    }
    let left = subscription.notifier.expires_s(crate::clock::now());
    let expires = epoch_now().saturating_add(i64::from(left));
    let (flow, dialog) = (&subscription.flow, &subscription.dialog);
    let contact: String = dialog.remote_target().to_string();
    writer.write(Write::Put {
        table: TABLE,
        key: kept.key(),
        values: vec![
            ("packet", kept.packet.clone()),
            ("src_name", flow.remote.ip().to_canonical().to_string()),
            ("src_port", flow.remote.port().to_string()),
            ("transport_key", flow.transport.as_str().to_owned()),
            ("local_name", flow.local.ip().to_string()),
            ("local_port", flow.local.port().to_string()),
            ("cseq", dialog.local_cseq().to_string()),
            ("tag", subscription.key.local_tag.clone()),
            ("endpoint", subscription.endpoint.id.clone()),
            ("expires", expires.to_string()),
            ("contact_uri", contact.chars().take(256).collect()),
        ],
    });
}

/// A subscription is over, or about to be.
pub(super) fn forget(shard: &Shard, subscription: &mut Subscription) {
    if let Some(kept) = subscription.kept.take() {
        forget_row(shard, kept.key());
    }
}

fn forget_row(shard: &Shard, key: Key) {
    if let Some(writer) = shard.shared().writer() {
        writer.write(Write::Delete { table: TABLE, key });
    }
}

impl Shared {
    /// Lets subscriptions go on that an exchange before this one had, each on its shard. Once, when transports are open, and where
    /// there are any announced by [`Registry::expect`](super::Registry::expect) before.
    pub fn restore_subscriptions(&self, rows: Vec<OptionsRow>) {
        if rows.is_empty() {
            return;
        }
        tracing::info!(rows = rows.len(), "subscriptions go on");
        let rows = Arc::new(rows);
        for inbox in self.inboxes() {
            let rows = Arc::clone(&rows);
            let errand = ShardMessage::Errand(Box::new(move |shard: &Rc<Shard>| {
                let shard = Rc::clone(shard);
                Shard::spawn(async move {
                    go_on(&shard, &rows).await;
                    shard.shared().subscriptions.one_restored();
                });
            }));
            if inbox.send(errand).is_err() {
                self.subscriptions.one_restored();
                tracing::error!("a shard is too busy to let its subscriptions go on");
            }
        }
    }
}

/// Lets those go on that belong to this shard.
async fn go_on(shard: &Rc<Shard>, rows: &[OptionsRow]) {
    let mut count = 0_usize;
    for row in rows {
        let message = Message::parse(Bytes::from(row.get("packet").to_owned()));
        let owner = message.as_ref().ok().and_then(|message| {
            let call_id = message.call_id().ok()?;
            Some(shard.owner_of(call_id.as_bytes()))
        });
        // What nobody can read, one of them has to take away.
        if owner.unwrap_or(0) != shard.index() {
            continue;
        }
        shard.guarded("subscription of before", |shard| {
            let restored = message
                .ok()
                .and_then(|message| restore(shard, row, &message));
            if restored.is_none() {
                forget_row(shard, Key::new("id", row.get("id")));
            }
        });
        count += 1;
        if count.is_multiple_of(BATCH) {
            shard.flush();
            tokio::time::sleep(PAUSE).await;
        }
    }
    shard.flush();
}

/// Makes a subscription of its row. `None`: its time is over, or there is nothing any more that it could be told of.
fn restore(shard: &Rc<Shard>, row: &OptionsRow, request: &Message) -> Option<()> {
    let left = row.get("expires").parse::<i64>().ok()? - epoch_now();
    let left = u32::try_from(left).ok().filter(|left| *left > 0)?;
    let cseq: u32 = row.get("cseq").parse().ok()?;
    let cseq = cseq.saturating_add(LEAP) & 0x7fff_ffff;
    let snapshot = shard.shared().snapshot();
    let endpoint = snapshot.endpoints.get(row.get("endpoint"))?;
    let contact = Uri::parse(row.get("contact_uri")).ok();
    let transport = Transport::parse(row.get("transport_key"))?;
    let source = || {
        let ip: IpAddr = row.get("src_name").parse().ok()?;
        Some(SocketAddr::new(ip, row.get("src_port").parse().ok()?))
    };
    // The port of a connection is nothing that could be connected to: where its contact is, it listens.
    let remote = match transport {
        Transport::Udp => source()?,
        _ => contact.as_ref()?.socket_addr(transport)?,
    };
    let flow = shard.flow_to(transport, remote)?;
    let tag = row.get("tag");
    let mut subscription = subscribe::anew(shard, request, flow, endpoint, tag)?;
    if let Some(contact) = contact {
        subscription.dialog.set_remote_target(contact);
        subscription.flow = subscribe::settle(
            shard,
            &mut subscription.dialog,
            flow,
            &subscription.endpoint,
        );
    }
    subscription.dialog.go_on_from(cseq);
    subscription.resource.go_on_from(cseq);
    subscription.notifier.refresh(crate::clock::now(), left);
    subscription.kept = Some(Kept {
        id: row.get("id").to_owned(),
        packet: row.get("packet").to_owned(),
    });
    keep(shard, &subscription);
    shard.counters().subscriptions_created.add(1);
    let number = shard.subscriptions().borrow_mut().add(subscription);
    notify::count_then_pump(shard, number);
    Some(())
}

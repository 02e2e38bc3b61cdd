//! Dialogs that others take the place of (RFC 3891): finding them on whatever shard, and INVITE with Replaces.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use strowger_sip::headers::Replaces;
use strowger_sip::{HeaderName, Message};
use tokio::sync::oneshot;

use super::pickup::Wanted;
use crate::channel::{Cause, Channel, ChannelId, Location, Talk};
use crate::dialplan::Reach;
use crate::shard::inbox::ShardMessage;
use crate::shard::{DialogKey, Shard};
use crate::shared::Shared;

/// How long another shard may take to say what it knows.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// How often it is looked whether two calls are connected.
const LOOK: Duration = Duration::from_millis(10);
/// How long the new call may take to be connected before the old one ends.
const JOIN_MAX: Duration = Duration::from_secs(10);

/// A dialog as others may replace it.
#[derive(Clone, Debug)]
pub(super) struct Found {
    /// The channel whose dialog it is.
    pub(super) name: String,
    /// It is over already.
    pub(super) over: bool,
    /// It is answered.
    up: bool,
    /// A Dial of ours rings there.
    rings: bool,
    /// Whom it talks with.
    pub(super) partner: Option<String>,
    /// Where in the dialplan it is.
    pub(super) place: Location,
    /// As events tell of it.
    pub(super) talk: Talk,
}

impl Found {
    /// Ends the call that was replaced.
    pub(super) fn end(&self, shared: &Arc<Shared>) {
        shared.post_to_channel(&self.name, |channel| {
            channel.hangup(Cause::NORMAL_CLEARING);
        });
    }
}

/// The Replaces of an INVITE.
///
/// # Errors
/// More than one, or one that cannot be read: answer 400.
pub(super) fn of(request: &Message) -> Result<Option<Replaces>, ()> {
    let mut values = request.headers(&HeaderName::Replaces);
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => Replaces::parse(value).map(Some).map_err(|_| ()),
        (Some(_), Some(_)) => Err(()),
    }
}

/// Finds the dialog on whatever shard.
pub(super) async fn find(shard: &Rc<Shard>, replaces: &Replaces) -> Option<Found> {
    let owner = shard.owner_of(replaces.call_id.as_bytes());
    if owner == shard.index() {
        return find_here(shard, replaces);
    }
    let inbox = shard.shared().inboxes().get(owner)?;
    let (tell, told) = oneshot::channel();
    let replaces = replaces.clone();
    let errand = ShardMessage::Errand(Box::new(move |shard| {
        let _ = tell.send(find_here(shard, &replaces));
    }));
    inbox.send(errand).ok()?;
    tokio::time::timeout(ANSWER_MAX, told).await.ok()?.ok()?
}

fn find_here(shard: &Rc<Shard>, replaces: &Replaces) -> Option<Found> {
    // RFC 3891 §3: to-tag is ours. Some telephones write the two as they stand in their own headers.
    let ways = [
        (&replaces.to_tag, &replaces.from_tag),
        (&replaces.from_tag, &replaces.to_tag),
    ];
    ways.into_iter().find_map(|(local, remote)| {
        let channel = shard.channel_of_dialog(&DialogKey {
            call_id: replaces.call_id.clone(),
            local_tag: local.clone(),
        })?;
        let known = {
            let session = channel.session();
            let dialog = session.as_ref().and_then(|session| session.dialog.as_ref());
            dialog.is_none_or(|dialog| *dialog.id().remote_tag == **remote)
        };
        if !known {
            return None;
        }
        let partner = channel.bridge_peer().filter(|peer| !peer.is_over());
        Some(Found {
            talk: Talk::of(&channel, partner.as_ref()),
            name: channel.name().to_string(),
            over: channel.is_over(),
            up: channel.is_up(),
            rings: channel.can_be_picked_up(),
            partner: partner.map(|partner| partner.name().to_string()),
            place: channel.location(),
        })
    })
}

/// Waits until the channel talks with somebody else than before. False: it is over, or takes too long.
pub(super) async fn joined(channel: &Channel, before: Option<ChannelId>, until: Instant) -> bool {
    loop {
        let now = channel.data().bridged;
        if now.is_some() && now != before {
            return true;
        }
        if channel.is_over() || crate::clock::now() >= until {
            return false;
        }
        // Who joins a bridge wakes only those who wait for the channel itself.
        tokio::time::sleep(LOOK).await;
    }
}

/// An INVITE takes the place of another dialog (RFC 3891 §3).
pub(super) async fn take_over(channel: Channel, replaces: Replaces) {
    let shard = Rc::clone(channel.shard());
    let Some(found) = find(&shard, &replaces).await else {
        return channel.refuse_with(481);
    };
    if found.over {
        return channel.refuse_with(603);
    }
    if !found.up {
        // An early dialog may be replaced only where the call is ours.
        if !found.rings {
            return channel.refuse_with(481);
        }
        if channel.answer(Duration::ZERO).await.is_err() {
            return;
        }
        let picked = channel.pick_up(&Wanted::Name(found.name)).await;
        if picked.is_none() {
            channel.hangup(Cause::REQUESTED_CHAN_UNAVAIL);
        }
        return;
    }
    if replaces.early_only {
        return channel.refuse_with(486);
    }
    if channel.answer(Duration::ZERO).await.is_err() {
        return;
    }
    let dialplan = shard.dialplan();
    let Some(partner) = found.partner.clone() else {
        // It talks with an application: the new call goes there.
        channel.set_location(found.place.clone());
        found.end(shard.shared());
        return dialplan.run(channel).await;
    };
    let (watched, shared) = (channel.clone(), Arc::clone(shard.shared()));
    Shard::spawn(async move {
        // A call that could not be replaced stays as it is.
        if joined(&watched, None, crate::clock::now() + JOIN_MAX).await {
            found.end(&shared);
        }
    });
    dialplan
        .application(
            channel,
            "Bridge".to_owned(),
            format!("{partner},x"),
            Reach::Exchange,
        )
        .await;
}

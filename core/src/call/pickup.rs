//! Picking up a call that rings elsewhere: who rings is told so by the Dial that called it, and whoever picks up is
//! answered in its place.

use std::rc::Rc;
use std::time::{Duration, Instant};

use strowger_store::Endpoint;

use crate::channel::{Cause, Channel};
use crate::shard::Shard;

/// How long the Dial of a ringing telephone may take to notice.
const PATIENCE: Duration = Duration::from_secs(2);

/// A channel is in no bridge so long, at most, while it changes from one to another.
const BETWEEN: Duration = Duration::from_millis(200);

/// The wish to pick up a channel, withdrawn where its Dial did not follow it.
struct Claim<'c>(&'c Channel);

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut data = self.0.data_mut();
        if !data.replaced {
            data.picked_up = None;
        }
    }
}

/// Which ringing channels are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Of one of these groups: numbers, as a mask, and names.
    Groups { numbers: u64, names: Vec<String> },
    /// Called from this number of the dialplan.
    Number { exten: String, context: String },
    /// With this variable `PICKUPMARK`.
    Mark(String),
    /// Of this name, or beginning so before the number that makes it unique.
    Name(String),
}

/// Groups `1,3-5` as a mask; numbers from 64 on do not count.
fn mask(text: &str) -> u64 {
    let mut mask = 0;
    for part in text.split(',') {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let range = from
            .trim()
            .parse::<u32>()
            .ok()
            .zip(to.trim().parse::<u32>().ok());
        if let Some((from, to)) = range {
            for group in from..=to.min(63) {
                mask |= 1 << group;
            }
        }
    }
    mask
}

/// Groups of a channel, numbers and names: what `CHANNEL(...)` says of it, else its endpoint.
fn groups(
    channel: &Channel,
    items: [&str; 2],
    of: impl Fn(&Endpoint) -> (&Option<String>, &Vec<String>),
) -> (u64, Vec<String>) {
    let endpoint = channel.endpoint().map(|endpoint| of(endpoint));
    let numbers = channel.setting(items[0]);
    let numbers = numbers.or_else(|| endpoint.and_then(|(numbers, _)| numbers.clone()));
    let names = match channel.setting(items[1]) {
        Some(names) => names
            .split(',')
            .map(|name| name.trim().to_owned())
            .collect(),
        None => endpoint.map(|(_, names)| names.clone()).unwrap_or_default(),
    };
    (mask(&numbers.unwrap_or_default()), names)
}

impl Wanted {
    /// What a channel may pick up by group; None where it has no group.
    pub fn by(channel: &Channel) -> Option<Self> {
        let (numbers, names) = groups(channel, ["pickupgroup", "namedpickupgroup"], |endpoint| {
            (&endpoint.pickup_group, &endpoint.named_pickup_group)
        });
        (numbers != 0 || !names.is_empty()).then_some(Self::Groups { numbers, names })
    }

    fn is(&self, channel: &Channel) -> bool {
        match self {
            Self::Groups { numbers, names } => {
                let (own, named) = groups(channel, ["callgroup", "namedcallgroup"], |endpoint| {
                    (&endpoint.call_group, &endpoint.named_call_group)
                });
                own & numbers != 0 || named.iter().any(|name| names.contains(name))
            }
            Self::Number { exten, context } => {
                let data = channel.data();
                data.location.exten == *exten && data.location.context == *context
            }
            Self::Mark(mark) => channel.variable("PICKUPMARK").as_deref() == Some(mark),
            Self::Name(name) => {
                let known = channel.name();
                let device = known.rsplit_once('-').map_or(&*known, |(device, _)| device);
                known.eq_ignore_ascii_case(name) || device.eq_ignore_ascii_case(name)
            }
        }
    }
}

impl Channel {
    /// Does it ring, called by a Dial, and has nobody picked it up?
    pub fn can_be_picked_up(&self) -> bool {
        let data = self.data();
        data.dialled_by.is_some()
            && data.ended.is_none()
            && data.progress.answered.is_none()
            && data.picked_up.is_none()
    }

    /// Takes the place of this ringing channel for `by`, which is up. False: it was too late.
    pub(crate) async fn be_picked_up(&self, by: &Self) -> bool {
        if !self.can_be_picked_up() || by.check().is_err() {
            return false;
        }
        self.data_mut().picked_up = Some(by.id());
        let _claim = Claim(self);
        self.touch();
        let until = crate::clock::now() + PATIENCE;
        loop {
            let changed = Rc::clone(self.changed());
            let notified = changed.notified();
            if self.data().replaced {
                return true;
            }
            if self.is_over() {
                return false;
            }
            if tokio::time::timeout_at(until.into(), notified)
                .await
                .is_err()
            {
                return false;
            }
        }
    }

    /// Does anything ring, here or on another shard, that is wanted?
    pub async fn rings_for(&self, wanted: &Wanted) -> bool {
        let own = self.shard();
        let fits = |channel: &Self| {
            channel.id() != self.id() && channel.can_be_picked_up() && wanted.is(channel)
        };
        if own.channels().iter().any(fits) {
            return true;
        }
        for other in 0..own.shared().inboxes().len() {
            if other != own.index() && rings_there(self, other, wanted.clone()).await {
                return true;
            }
        }
        false
    }

    /// Picks up a ringing channel of this shard or another: the call goes on with this channel, which has to be up. None:
    /// nothing rings that is wanted. Comes back when the call is over.
    pub async fn pick_up(&self, wanted: &Wanted) -> Option<()> {
        let own = self.shard();
        let fits = |channel: &Self| {
            channel.id() != self.id() && channel.can_be_picked_up() && wanted.is(channel)
        };
        let mut here: Vec<Self> = own.channels().into_iter().filter(fits).collect();
        here.sort_by_key(|channel| channel.data().created_at);
        for target in here {
            let described = target.described();
            if target.be_picked_up(self).await {
                self.tell_pickup(&described);
                self.sit_in_bridge().await;
                return Some(());
            }
        }
        for other in 0..own.shared().inboxes().len() {
            if other != own.index() && self.pick_up_there(other, wanted).await {
                return Some(());
            }
        }
        None
    }

    /// The same on another shard, through a pair between the two.
    async fn pick_up_there(&self, other: usize, wanted: &Wanted) -> bool {
        let wanted = wanted.clone();
        // Asked first: a pair for nothing costs more than a question.
        if !rings_there(self, other, wanted.clone()).await {
            return false;
        }
        let linkedid = self.data().linkedid.clone();
        let (tell, told) = tokio::sync::oneshot::channel();
        let half = super::local::between(self.shard(), other, &linkedid, move |half| {
            let shard = Rc::clone(half.shard());
            Shard::spawn(async move {
                let fits = |channel: &Self| channel.can_be_picked_up() && wanted.is(channel);
                let target = shard.channels().into_iter().find(fits);
                let described = target.as_ref().map(Self::described);
                let taken = match target {
                    Some(target) => target.be_picked_up(&half).await,
                    None => false,
                };
                if !taken {
                    half.hangup(Cause::REQUESTED_CHAN_UNAVAIL);
                }
                let _ = tell.send(described.filter(|_| taken));
            });
        });
        let Some(half) = half else { return false };
        let Ok(Some(described)) = told.await else {
            half.hangup(Cause::NORMAL_CLEARING);
            return false;
        };
        let linkedid = described.iter().find(|(name, _)| *name == "Linkedid");
        if let Some((_, linkedid)) = linkedid {
            self.belong_to(linkedid);
        }
        self.tell_pickup(&described);
        let bridged = self.bridge(&half, super::BridgeOptions::default()).await;
        bridged.hang_up_peer(Cause::NORMAL_CLEARING);
        true
    }

    /// Another's Dial has this channel, or another's task keeps up the bridge that it sits in: waits until both have let it go,
    /// or it is over.
    pub(crate) async fn sit_in_bridge(&self) {
        let mut free: Option<Instant> = None;
        loop {
            let kept = {
                let data = self.data();
                data.taken_by_dial || data.bridged.is_some()
            };
            let until = if kept {
                free = None;
                None
            } else {
                Some(*free.get_or_insert_with(|| crate::clock::now() + BETWEEN))
            };
            if until.is_some_and(|at| crate::clock::now() >= at) {
                return;
            }
            if self.wait_change(until).await.is_err() {
                return;
            }
        }
    }
}

async fn rings_there(channel: &Channel, other: usize, wanted: Wanted) -> bool {
    let (tell, told) = tokio::sync::oneshot::channel();
    let errand = crate::shard::inbox::ShardMessage::Errand(Box::new(move |shard| {
        let fits = |channel: &Channel| channel.can_be_picked_up() && wanted.is(channel);
        let _ = tell.send(shard.channels().iter().any(fits));
    }));
    let shared = channel.shard().shared();
    let Some(inbox) = shared.inboxes().get(other) else {
        return false;
    };
    if inbox.send(errand).is_err() {
        return false;
    }
    let told = tokio::time::timeout(PATIENCE, told).await;
    told.is_ok_and(|told| told == Ok(true))
}

#[cfg(test)]
mod tests {
    use super::mask;

    #[test]
    fn groups_are_lists_and_ranges() {
        assert_eq!(mask("1"), 0b10);
        assert_eq!(mask("0,2-4"), 0b11101);
        assert_eq!(mask("63"), 1 << 63);
        assert_eq!(mask("64,x, 1 "), 0b10);
        assert_eq!(mask(""), 0);
    }
}

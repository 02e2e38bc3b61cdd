//! Taking a channel out of whatever it does, for another to be connected with it.

use std::rc::Rc;
use std::time::Duration;

use super::{Cause, Channel, Location};
use crate::call::{BridgeEnd, Bridged};

/// How long an application may take to let go of its channel.
const PATIENCE: Duration = Duration::from_secs(5);

/// How far a channel that runs the dialplan has been taken out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Yank {
    /// What it does is to end.
    Asked,
    /// Its dialplan waits.
    Given,
}

/// What a channel does when it is let go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Afterwards {
    /// Goes on in the dialplan with the next step; ends where it runs none.
    Continue,
    HangUp,
    /// Goes there in the dialplan.
    Go(Location),
}

/// A channel that was taken out of what it did. It is let go when this is dropped.
pub struct Seized {
    channel: Channel,
    /// It runs the dialplan.
    runs: bool,
    afterwards: Afterwards,
    /// Another decides what becomes of it.
    given_up: bool,
}

impl Seized {
    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    /// What it is to do when it is let go.
    pub fn set_afterwards(&mut self, afterwards: Afterwards) {
        self.afterwards = afterwards;
    }

    /// Somebody else has the channel now: it is not let go here.
    pub fn give_up(mut self) {
        self.given_up = true;
    }

    /// Lets go of it after a bridge. Behind a Local channel that left the call another stands in its place: then that one does
    /// what this one was to do.
    pub fn let_go(mut self, bridged: &Bridged) {
        if bridged.end == BridgeEnd::PeerTaken {
            self.given_up = true;
        } else if bridged.peer.id() != self.channel.id() {
            self.given_up = true;
            release(&bridged.peer, self.afterwards.clone(), false);
        }
    }
}

/// Lets the channel do what comes afterwards; `runs`: its dialplan waits for that.
fn release(channel: &Channel, afterwards: Afterwards, runs: bool) {
    if channel.is_over() {
        channel.touch();
        return;
    }
    let goto = channel.data_mut().after_bridge.take();
    let afterwards = match (afterwards, goto) {
        (Afterwards::Continue, Some(place)) => Afterwards::Go(place),
        (afterwards, _) => afterwards,
    };
    match afterwards {
        Afterwards::Go(place) => channel.go_to(place),
        Afterwards::Continue if runs => {}
        Afterwards::Continue | Afterwards::HangUp => channel.hangup(Cause::NORMAL_CLEARING),
    }
    if runs {
        channel.data_mut().yank = None;
        channel.touch();
    }
}

impl Drop for Seized {
    fn drop(&mut self) {
        if !self.given_up {
            release(&self.channel, self.afterwards.clone(), self.runs);
        }
    }
}

/// The wish for a channel, taken back where whoever had it does not wait for it.
struct Asking<'c>(Option<&'c Channel>);

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if let Some(channel) = self.0 {
            channel.data_mut().yank = None;
            channel.touch();
        }
    }
}

impl Channel {
    /// Takes the channel out of its application or bridge. None: it is over, not up and nobody's, or does not let go.
    pub async fn seize(&self) -> Option<Seized> {
        if self.is_over() || self.data().yank.is_some() {
            return None;
        }
        let seized = |runs| Seized {
            channel: self.clone(),
            runs,
            afterwards: Afterwards::Continue,
            given_up: false,
        };
        let taken = self.take_from_bridge();
        if !self.data().runs_dialplan {
            return taken.then(|| seized(false));
        }
        self.data_mut().yank = Some(Yank::Asked);
        let mut asking = Asking(Some(self));
        self.touch();
        let until = crate::clock::now() + PATIENCE;
        loop {
            let changed = Rc::clone(self.changed());
            let notified = changed.notified();
            if self.is_over() {
                return None;
            }
            if self.data().yank == Some(Yank::Given) {
                asking.0 = None;
                return Some(seized(true));
            }
            if tokio::time::timeout_at(until.into(), notified)
                .await
                .is_err()
            {
                return None;
            }
        }
    }

    /// Is somebody taking this channel out of what it does?
    pub fn is_yanked(&self) -> bool {
        self.data().yank.is_some()
    }

    /// The dialplan of a channel that is being taken waits here until it is let go, or over.
    pub async fn stay_yanked(&self) {
        self.data_mut().yank = Some(Yank::Given);
        self.touch();
        loop {
            let changed = Rc::clone(self.changed());
            let notified = changed.notified();
            if self.is_over() || self.data().yank.is_none() {
                return;
            }
            notified.await;
        }
    }
}

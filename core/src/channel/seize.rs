//! Taking a channel out of whatever it does, for another to be connected with it.

use std::rc::Rc;
use std::time::{Duration, Instant};

use super::{Cause, Channel, Location};

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
}

impl Seized {
    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    /// What it is to do when it is let go.
    pub fn set_afterwards(&mut self, afterwards: Afterwards) {
        self.afterwards = afterwards;
    }
}

impl Drop for Seized {
    fn drop(&mut self) {
        let channel = &self.channel;
        if channel.is_over() {
            channel.touch();
            return;
        }
        let goto = channel.data_mut().after_bridge.take();
        let afterwards = match (&self.afterwards, goto) {
            (Afterwards::Continue, Some(place)) => Afterwards::Go(place),
            (afterwards, _) => afterwards.clone(),
        };
        if !self.runs {
            match afterwards {
                Afterwards::Go(place) => {
                    channel.set_location(place);
                    channel.continue_in_dialplan();
                }
                _ => channel.hangup(Cause::NORMAL_CLEARING),
            }
            return;
        }
        match afterwards {
            Afterwards::Continue => {}
            Afterwards::Go(place) => channel.data_mut().redirect = Some(place),
            Afterwards::HangUp => channel.hangup(Cause::NORMAL_CLEARING),
        }
        channel.data_mut().yank = None;
        channel.touch();
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
        };
        let taken = self.take_from_bridge();
        if !self.data().runs_dialplan {
            return taken.then(|| seized(false));
        }
        self.data_mut().yank = Some(Yank::Asked);
        self.touch();
        let until = Instant::now() + PATIENCE;
        loop {
            let changed = Rc::clone(self.changed());
            let notified = changed.notified();
            if self.is_over() {
                return None;
            }
            if self.data().yank == Some(Yank::Given) {
                return Some(seized(true));
            }
            if tokio::time::timeout_at(until.into(), notified)
                .await
                .is_err()
            {
                self.data_mut().yank = None;
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

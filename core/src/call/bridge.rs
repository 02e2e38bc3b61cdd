//! A bridge of two channels: their packets are routed to each other until one of them ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use strowger_media::{Command, Repeat, Route, Sound};

use crate::channel::{Channel, Interrupt};

/// Dial option `L`: a warning before the time is over.
#[derive(Clone)]
pub struct LimitWarning {
    /// How long before the end.
    pub before: Duration,
    pub repeat: Option<Duration>,
    pub sounds: Vec<Arc<Sound>>,
    pub to_caller: bool,
    pub to_callee: bool,
}

/// How to bridge.
#[derive(Clone, Default)]
pub struct BridgeOptions {
    /// The bridge ends after so long (options `L` and `S`).
    pub limit: Option<Duration>,
    pub warning: Option<LimitWarning>,
    /// The caller (option `H`) or callee (`h`) may end it by dialling `*`.
    pub caller_disconnects: bool,
    pub callee_disconnects: bool,
}

/// Why a bridge ended. The channels are not hung up by the bridge itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BridgeEnd {
    CallerHungUp,
    CalleeHungUp,
    /// The time limit was reached.
    Limit,
    CallerDisconnected,
    CalleeDisconnected,
    /// The caller was interrupted otherwise (absolute timeout, redirect).
    Interrupted(Interrupt),
}

impl Channel {
    /// Routes the two channels to each other and waits until one ends, the time is over or somebody dials the
    /// disconnect code. Neither channel is hung up by this.
    pub async fn bridge(&self, peer: &Self, options: BridgeOptions) -> BridgeEnd {
        if let Err(interrupt) = self.check() {
            return self.early_end(interrupt);
        }
        let (Some(caller), Some(callee)) = (self.leg(), peer.leg().filter(|_| !peer.is_over()))
        else {
            self.close_records();
            return BridgeEnd::CalleeHungUp;
        };
        peer.watched_by(Some(self));
        self.shard().media_send(Command::Bridge(caller, callee));
        self.data_mut().bridged = Some(peer.id());
        peer.data_mut().bridged = Some(self.id());
        self.shard().set_partner(caller, peer.id());
        self.shard().set_partner(callee, self.id());
        self.data_mut().last_legs = [Some(caller), Some(callee)];
        peer.data_mut().last_legs = [Some(callee), Some(caller)];
        let caller_name = self.name();
        peer.set_variable("BRIDGEPEER", &caller_name);
        self.set_variable("BRIDGEPEER", &peer.name());
        self.clear_digits();
        peer.clear_digits();
        self.hold_music(peer);
        peer.hold_music(self);
        let end = self.run_bridge(peer, &options).await;
        self.data_mut().bridged = None;
        peer.data_mut().bridged = None;
        self.stop_hold_music();
        peer.stop_hold_music();
        if !self.is_over() {
            self.media(|leg| Command::Route(leg, Route::Silence));
        }
        if !peer.is_over() {
            peer.media(|leg| Command::Route(leg, Route::Silence));
        }
        peer.watched_by(None);
        self.close_records();
        end
    }

    /// The Dial that led to this bridge is over.
    fn close_records(&self) {
        let party = self.party_a();
        self.data_mut()
            .cdr
            .dial_end(std::time::SystemTime::now(), &party);
    }

    fn early_end(&self, interrupt: Interrupt) -> BridgeEnd {
        match interrupt {
            Interrupt::Hangup => BridgeEnd::CallerHungUp,
            other => BridgeEnd::Interrupted(other),
        }
    }

    async fn run_bridge(&self, peer: &Self, options: &BridgeOptions) -> BridgeEnd {
        let started = Instant::now();
        let end_at = options.limit.map(|limit| started + limit);
        let mut warn_at = match (&options.warning, end_at) {
            (Some(warning), Some(end)) => {
                end.checked_sub(warning.before).filter(|at| *at >= started)
            }
            _ => None,
        };
        loop {
            if peer.is_over() {
                return BridgeEnd::CalleeHungUp;
            }
            while let Some(digit) = self.take_digit() {
                if options.caller_disconnects && digit == '*' {
                    return BridgeEnd::CallerDisconnected;
                }
            }
            while let Some(digit) = peer.take_digit() {
                if options.callee_disconnects && digit == '*' {
                    return BridgeEnd::CalleeDisconnected;
                }
            }
            let now = Instant::now();
            if end_at.is_some_and(|at| now >= at) {
                return BridgeEnd::Limit;
            }
            if let (Some(at), Some(warning)) = (warn_at, &options.warning)
                && now >= at
            {
                self.warn(peer, warning);
                warn_at = warning
                    .repeat
                    .filter(|every| !every.is_zero())
                    .map(|every| at + every);
            }
            let until = match (end_at, warn_at) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
            if let Err(interrupt) = self.wait_change(until).await {
                return self.early_end(interrupt);
            }
        }
    }

    fn warn(&self, peer: &Self, warning: &LimitWarning) {
        for (wanted, channel, other) in [
            (warning.to_caller, self, peer),
            (warning.to_callee, peer, self),
        ] {
            // Who is held hears music: a warning would replace it for good.
            if wanted && !other.data().held {
                channel.start_play(warning.sounds.clone(), Repeat::Once);
            }
        }
    }

    /// While `self` has put the call on hold, `peer` hears music.
    pub(crate) fn hold_music(&self, peer: &Self) {
        if !self.data().held || peer.data().hold_music.is_some() {
            return;
        }
        let class = {
            let own = self.data().music_class.clone();
            match self.endpoint() {
                Some(endpoint) if own.is_empty() => endpoint.moh_suggest.clone(),
                _ => own,
            }
        };
        let holder = self.clone();
        let peer = peer.clone();
        crate::shard::Shard::spawn(async move {
            match peer.music(&class).await {
                // The hold, or the bridge, may be over by now.
                Ok(music) if holder.data().held && peer.data().bridged == Some(holder.id()) => {
                    let play = peer.start_play(music.sounds, Repeat::Forever);
                    peer.data_mut().hold_music = play;
                }
                Ok(_) => {}
                Err(error) => tracing::warn!(%error, "music on hold"),
            }
        });
    }

    pub(crate) fn stop_hold_music(&self) {
        let play = self.data_mut().hold_music.take();
        if let Some(play) = play {
            self.stop_play(play);
        }
    }
}

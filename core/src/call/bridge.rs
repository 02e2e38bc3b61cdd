//! A bridge of two channels: their packets are routed to each other until one of them ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use strowger_media::{Command, Repeat, Route, Sound};
use strowger_sip::Method;

use super::guests::{Hall, VisitEnd};
use super::renegotiate::Wanted;
use crate::channel::{Bridging, Cause, Channel, Interrupt};

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
    /// What the caller may dial.
    pub caller_keys: Keys,
    /// And the callee.
    pub callee_keys: Keys,
    /// Somebody beside the two who waits for one of them: his end, or that of his time, ends the bridge.
    pub waits: Option<Channel>,
    /// What the caller has dialled so far counts for this bridge.
    pub keeps_digits: bool,
}

/// What a party of a bridge may want of the exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    Disconnect,
    BlindTransfer,
    AttendedTransfer,
    Park,
    Record,
    /// An application of `features.conf`, by its place in a list of whoever asked for it.
    Application(usize),
    /// While one talks with the target of an attended transfer: it is made.
    Complete,
    /// The same: it is given up.
    Abort,
    /// The same: all three talk.
    ThreeWay,
    /// The same: one talks with the other of the two.
    Swap,
}

/// Codes and what they do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys(pub Vec<(String, Feature)>);

/// Digits of a party that may become a code.
#[derive(Default)]
struct Dialled {
    digits: String,
    last: Option<Instant>,
}

/// So long after the last digit a code is complete, or forgotten.
const CODE_WAIT: Duration = Duration::from_secs(2);

impl Dialled {
    /// The next digit. A code counts at once unless it is the beginning of a longer one.
    fn push(&mut self, keys: &Keys, digit: char, now: Instant) -> Option<Feature> {
        if self
            .last
            .is_some_and(|last| now.saturating_duration_since(last) >= CODE_WAIT)
        {
            self.digits.clear();
        }
        self.digits.push(digit);
        self.last = Some(now);
        while !self.digits.is_empty() {
            let longer = keys
                .0
                .iter()
                .any(|(code, _)| code.len() > self.digits.len() && code.starts_with(&self.digits));
            if longer {
                return None;
            }
            if let Some(feature) = self.exact(keys) {
                self.digits.clear();
                return Some(feature);
            }
            self.digits.remove(0);
        }
        None
    }

    fn exact(&self, keys: &Keys) -> Option<Feature> {
        let found = keys.0.iter().find(|(code, _)| *code == self.digits);
        found.map(|(_, feature)| *feature)
    }

    /// When what was dialled counts as it is.
    fn due(&self) -> Option<Instant> {
        self.last
            .filter(|_| !self.digits.is_empty())
            .map(|last| last + CODE_WAIT)
    }

    /// The code that nothing more came behind.
    fn complete(&mut self, keys: &Keys, now: Instant) -> Option<Feature> {
        if self.due().is_none_or(|due| now < due) {
            return None;
        }
        let feature = self.exact(keys);
        self.digits.clear();
        feature
    }
}

impl BridgeOptions {
    /// Nothing but the connection is asked for.
    fn is_plain(&self) -> bool {
        self.limit.is_none()
            && self.caller_keys.0.is_empty()
            && self.callee_keys.0.is_empty()
            && self.waits.is_none()
    }
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
    /// The peer was taken to another bridge.
    PeerTaken,
    /// Who waited ([`BridgeOptions::waits`]) does not any more.
    WaiterLeft,
    /// A party wants something. The bridge may go on afterwards.
    Feature {
        by_caller: bool,
        feature: Feature,
    },
}

/// How a bridge went.
pub struct Bridged {
    pub end: BridgeEnd,
    /// Who was at the other end last: behind a Local channel somebody else than at first.
    pub peer: Channel,
}

impl Bridged {
    /// Hangs up who was at the other end, unless somebody else has him now.
    pub fn hang_up_peer(&self, cause: Cause) {
        if self.end != BridgeEnd::PeerTaken {
            self.peer.hangup(cause);
        }
    }
}

/// Seconds and count of a unique id that the exchange gave: `[name-]<epoch seconds>.<count>`.
fn moment_of(uniqueid: &str) -> Option<(u64, u64)> {
    let number = uniqueid.rsplit('-').next()?;
    let (seconds, count) = number.split_once('.')?;
    Some((seconds.parse().ok()?, count.parse().ok()?))
}

impl Channel {
    /// Routes the two channels to each other and waits until one ends, the time is over or somebody dials the
    /// disconnect code. Neither channel is hung up by this.
    pub async fn bridge(&self, peer: &Self, options: BridgeOptions) -> Bridged {
        let mut peer = peer.clone();
        if let Err(interrupt) = self.check() {
            let end = self.early_end(interrupt);
            return Bridged { end, peer };
        }
        if self.leg().is_none() || peer.is_over() || peer.leg().is_none() {
            self.close_records();
            let end = BridgeEnd::CalleeHungUp;
            return Bridged { end, peer };
        }
        self.data_mut().bridge = Some(Bridging {
            plain: options.is_plain(),
            peer_taken: false,
        });
        if !options.keeps_digits {
            self.clear_digits();
        }
        peer.clear_digits();
        self.join(&peer);
        let waits = options.waits.as_ref();
        if let Some(waits) = waits {
            waits.watched_by(Some(self));
        }
        let mut hall = None;
        let end = self.run_bridge(&mut peer, &options, &mut hall).await;
        if let Some(waits) = waits {
            waits.watched_by(None);
        }
        self.data_mut().bridge = None;
        self.send_guests_away(hall);
        if end == BridgeEnd::PeerTaken {
            self.leave(None);
        } else {
            self.leave(Some(&peer));
        }
        if !matches!(end, BridgeEnd::Feature { .. }) {
            self.close_records();
        }
        Bridged { end, peer }
    }

    /// Belongs to another call from now on, unless its own is older.
    pub(super) fn belong_to(&self, linkedid: &str) {
        let own = moment_of(&self.data().linkedid);
        if own.is_none() || own > moment_of(linkedid) {
            linkedid.clone_into(&mut self.data_mut().linkedid);
        }
    }

    /// Both belong to the older of their two calls from now on.
    fn share_linkedid(&self, peer: &Self) {
        let (own, theirs) = (self.data().linkedid.clone(), peer.data().linkedid.clone());
        if own == theirs {
            return;
        }
        let theirs_is_older = match (moment_of(&own), moment_of(&theirs)) {
            (Some(own), Some(theirs)) => theirs < own,
            // An id that somebody chose tells no time.
            _ => peer.data().created_at < self.data().created_at,
        };
        if theirs_is_older {
            self.data_mut().linkedid = theirs;
        } else {
            peer.data_mut().linkedid = own;
        }
    }

    /// Connects the two.
    fn join(&self, peer: &Self) {
        let (Some(caller), Some(callee)) = (self.leg(), peer.leg()) else {
            return;
        };
        peer.watched_by(Some(self));
        self.share_linkedid(peer);
        self.tell_bridged(peer);
        self.share_codec(peer);
        self.shard().media_send(Command::Bridge(caller, callee));
        self.data_mut().bridged = Some(peer.id());
        peer.data_mut().bridged = Some(self.id());
        self.shard().set_partner(caller, peer.id());
        self.shard().set_partner(callee, self.id());
        self.data_mut().last_legs = [Some(caller), Some(callee)];
        peer.data_mut().last_legs = [Some(callee), Some(caller)];
        peer.set_variable("BRIDGEPEER", &self.name());
        self.set_variable("BRIDGEPEER", &peer.name());
        self.forget_direct_attempts();
        peer.forget_direct_attempts();
        self.tell_transfer(200);
        peer.tell_transfer(200);
        self.keep_video(peer);
        self.hold_music(peer);
        peer.hold_music(self);
        // Who watches the other half of a Local channel may want to join its ends.
        for half in [self, peer] {
            if let Some(other) = half.other_half() {
                other.touch();
            }
        }
    }

    /// Parts from `peer`, or from one that somebody took.
    fn leave(&self, peer: Option<&Self>) {
        self.data_mut().bridged = None;
        self.stop_hold_music();
        self.bring_home();
        self.end_fax();
        self.end_video();
        if !self.is_over() {
            self.media(|leg| Command::Route(leg, Route::Silence));
        }
        let Some(peer) = peer else {
            return self.tell_unbridged(0);
        };
        let (first, last) = if peer.is_over() {
            (peer, self)
        } else {
            (self, peer)
        };
        first.tell_unbridged(1);
        last.tell_unbridged(0);
        peer.data_mut().bridged = None;
        peer.stop_hold_music();
        peer.bring_home();
        peer.end_fax();
        peer.end_video();
        if !peer.is_over() {
            peer.media(|leg| Command::Route(leg, Route::Silence));
        }
        peer.watched_by(None);
        peer.touch();
    }

    /// Takes this channel out of the bridge it sits in; the one whose task keeps that bridge up goes on without it. False
    /// where it sits in none.
    pub(crate) fn take_from_bridge(&self) -> bool {
        let Some(keeper) = self.bridge_peer() else {
            return false;
        };
        let kept = match &mut keeper.data_mut().bridge {
            Some(bridge) => {
                bridge.peer_taken = true;
                true
            }
            None => false,
        };
        if kept {
            self.data_mut().bridged = None;
            self.tell_unbridged(1);
            self.stop_hold_music();
            self.bring_home();
            self.end_fax();
            self.end_video();
            self.watched_by(None);
            self.media(|leg| Command::Route(leg, Route::Silence));
            keeper.touch();
        }
        kept
    }

    /// Is connected with `peer`, of whom nothing is asked, until that ends or a digit is dialled for which `leave` says true.
    pub(super) async fn join_until(&self, peer: &Self, leave: &dyn Fn(char) -> bool) -> VisitEnd {
        self.clear_digits();
        peer.clear_digits();
        self.join(peer);
        let end = loop {
            if let Err(interrupt) = self.check() {
                break VisitEnd::Interrupted(interrupt);
            }
            if peer.is_over() {
                break VisitEnd::Over;
            }
            let mut left = None;
            while let Some(digit) = self.take_digit() {
                left = left.or(Some(digit).filter(|digit| leave(*digit)));
            }
            if let Some(digit) = left {
                break VisitEnd::Digit(digit);
            }
            if let Err(interrupt) = self.wait_change(None).await {
                break VisitEnd::Interrupted(interrupt);
            }
        };
        self.leave(Some(peer));
        end
    }

    /// Where the peer is a Local channel that only passes on, goes on with who is behind it.
    fn leave_out_local(&self, peer: &mut Self) {
        if let Some(next) = self.beyond(peer) {
            next.take_from_bridge();
            self.leave(Some(peer));
            // Who called talks with this one from now on, and the record says so.
            self.data_mut()
                .cdr
                .dial_replaced(&peer.name(), &next.name());
            peer.hangup(Cause::NORMAL_CLEARING);
            *peer = next;
            self.join(peer);
            return;
        }
        // Both halves called somebody: those two go on alone.
        if let Some(other) = self.other_half()
            && let Some(next) = peer.beyond(self)
            && peer.data().bridge.is_none()
            && !peer.is_yanked()
        {
            let first = peer.clone();
            first.take_from_bridge();
            next.take_from_bridge();
            other.hangup(Cause::NORMAL_CLEARING);
            crate::shard::Shard::spawn(async move { first.bridge_alone(&next).await });
        }
    }

    /// A bridge of two channels of which neither runs a dialplan: the end of one is the end of both.
    pub async fn bridge_alone(&self, peer: &Self) {
        self.record_talk(peer);
        let bridged = self.bridge(peer, BridgeOptions::default()).await;
        if bridged.end == BridgeEnd::PeerTaken {
            return self.hangup(Cause::NORMAL_CLEARING);
        }
        for (one, other) in [(self, &bridged.peer), (&bridged.peer, self)] {
            if !one.go_after_bridge() {
                let cause = other.data().ended.map(|end| end.cause);
                one.hangup(cause.unwrap_or(Cause::NORMAL_CLEARING));
            }
        }
    }

    /// A conversation begins that no Dial of this channel led to: a record of its own tells of it.
    pub fn record_talk(&self, peer: &Self) {
        if self.is_over() {
            return;
        }
        self.close_records();
        let now = std::time::SystemTime::now();
        let leg = (peer.name().to_string(), peer.data().accountcode.clone());
        if self.data().cdr.is_closed() {
            self.begin_records(now);
        }
        let mut data = self.data_mut();
        data.cdr.dial_begin(now, &[leg]);
        data.cdr.dial_answered(&peer.name(), now);
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

    async fn run_bridge(
        &self,
        peer: &mut Self,
        options: &BridgeOptions,
        hall: &mut Option<Hall>,
    ) -> BridgeEnd {
        let started = crate::clock::now();
        let end_at = options.limit.map(|limit| started + limit);
        let mut warn_at = match (&options.warning, end_at) {
            (Some(warning), Some(end)) => {
                end.checked_sub(warning.before).filter(|at| *at >= started)
            }
            _ => None,
        };
        let mut dialled = (Dialled::default(), Dialled::default());
        let taken = || self.data().bridge.is_some_and(|bridge| bridge.peer_taken);
        loop {
            if !taken() && hall.is_none() {
                self.leave_out_local(peer);
            }
            if taken() {
                return BridgeEnd::PeerTaken;
            }
            if peer.is_over() {
                return BridgeEnd::CalleeHungUp;
            }
            let waits = options.waits.as_ref();
            if waits.is_some_and(|waits| waits.check().is_err()) {
                return BridgeEnd::WaiterLeft;
            }
            self.seat_guests(peer, hall);
            self.keep_direct(peer, options.is_plain() && hall.is_none());
            let now = crate::clock::now();
            let sides: [(&Self, &Keys, &mut Dialled, bool); 2] = [
                (self, &options.caller_keys, &mut dialled.0, true),
                (peer, &options.callee_keys, &mut dialled.1, false),
            ];
            for (party, keys, dialled, by_caller) in sides {
                let mut wanted = dialled.complete(keys, now);
                // What is dialled behind a code is for what the code begins: a number, as a rule.
                while wanted.is_none()
                    && let Some(digit) = party.take_digit()
                {
                    wanted = dialled.push(keys, digit, now);
                }
                match wanted {
                    None => {}
                    Some(Feature::Disconnect) if by_caller => {
                        return BridgeEnd::CallerDisconnected;
                    }
                    Some(Feature::Disconnect) => return BridgeEnd::CalleeDisconnected,
                    Some(feature) => return BridgeEnd::Feature { by_caller, feature },
                }
            }
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
            let times = [
                end_at,
                warn_at,
                dialled.0.due(),
                dialled.1.due(),
                waits.and_then(|waits| waits.data().timeouts.absolute),
            ];
            let until = times.into_iter().flatten().min();
            if let Err(interrupt) = self.wait_change(until).await {
                // The peer is another's now, whatever became of this one.
                return if taken() {
                    BridgeEnd::PeerTaken
                } else {
                    self.early_end(interrupt)
                };
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
        if !self.data().held || peer.data().hold_music.is_some() || peer.hold_far_end(true) {
            return;
        }
        // The holder plays something himself.
        let plays = self
            .endpoint()
            .is_some_and(|endpoint| endpoint.suppress_moh_on_sendonly)
            && self
                .session()
                .as_ref()
                .and_then(|session| session.media.as_ref())
                .is_some_and(|media| media.receives());
        if plays {
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
                    let needed = peer.data().media_here;
                    let play = peer.start_play(music.sounds, Repeat::Forever);
                    let mut data = peer.data_mut();
                    data.hold_music = play;
                    // Only as long as the hold.
                    data.media_here = needed;
                    drop(data);
                    peer.tell_music(&class);
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
            self.tell_music_over();
        }
        self.hold_far_end(false);
    }

    /// `moh_passthrough`: whom we talk with is put on hold himself, by re-INVITE, instead of hearing music from here. False
    /// where the endpoint does not want that.
    fn hold_far_end(&self, held: bool) -> bool {
        let passes = self
            .endpoint()
            .is_some_and(|endpoint| endpoint.moh_passthrough);
        if !passes || self.is_over() {
            return false;
        }
        let changed = self
            .session()
            .as_mut()
            .and_then(|session| session.media.as_mut())
            .map(|media| media.hold(held));
        if changed == Some(true) {
            self.renegotiate(Wanted::media(Method::Invite));
        }
        changed.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_found_among_digits() {
        let keys = Keys(vec![
            ("#".to_owned(), Feature::BlindTransfer),
            ("#72".to_owned(), Feature::Park),
            ("*2".to_owned(), Feature::AttendedTransfer),
        ]);
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let mut dialled = Dialled::default();
        assert_eq!(dialled.push(&keys, '*', after(0)), None);
        assert_eq!(
            dialled.push(&keys, '2', after(100)),
            Some(Feature::AttendedTransfer)
        );
        // The beginning of a longer code counts when nothing more comes.
        assert_eq!(dialled.push(&keys, '#', after(200)), None);
        assert_eq!(dialled.complete(&keys, after(300)), None);
        assert_eq!(
            dialled.complete(&keys, after(2200)),
            Some(Feature::BlindTransfer)
        );
        for digit in ['#', '7'] {
            assert_eq!(dialled.push(&keys, digit, after(3000)), None);
        }
        assert_eq!(dialled.push(&keys, '2', after(3100)), Some(Feature::Park));
        // What is no code is passed over, and what came long ago forgotten.
        assert_eq!(dialled.push(&keys, '*', after(4000)), None);
        assert_eq!(dialled.push(&keys, '*', after(4100)), None);
        assert_eq!(
            dialled.push(&keys, '2', after(4200)),
            Some(Feature::AttendedTransfer)
        );
        assert_eq!(dialled.push(&keys, '*', after(5000)), None);
        assert_eq!(dialled.push(&keys, '2', after(9000)), None);
    }
}

//! Listening to what the far end of a channel says: voice and silence, answering machines, the samples themselves. The media
//! thread listens; here is who waits for what it notices, and `TALK_DETECT`, which tells the events of the exchange.

use std::collections::VecDeque;
use std::time::Instant;

use rustc_hash::FxHashMap;
use strowger_media::Command;
use strowger_media::attention::{
    FaxWatch, Noticed, TapReader, VoiceWatch, Watch, WatchId, audio_tap,
};

use super::{Channel, Interrupt, Location};
use crate::dialplan::Exists;
use crate::events::Event;

/// Things noticed that nobody has asked for yet, of one watch.
const NOTICED_MAX: usize = 64;
/// The extension for fax machines.
const FAX: &str = "fax";
/// Frames of voice that begin a talk.
const TALK_FRAME_MS: u32 = 20;

/// What the watches of a shard noticed and nobody has taken yet.
pub(crate) type Watches = FxHashMap<WatchId, VecDeque<Noticed>>;

/// Something that is listened for as long as this lives.
#[derive(Debug)]
pub struct Listening {
    channel: Channel,
    watch: WatchId,
}

/// Somebody outside gets the samples of a channel for as long as this lives: its packets have to come here, also in a bridge
/// that begins meanwhile.
#[derive(Debug)]
pub struct Tapped(Channel);

impl Tapped {
    fn new(channel: &Channel) -> Self {
        channel.data_mut().taps += 1;
        Self(channel.clone())
    }
}

impl Drop for Tapped {
    fn drop(&mut self) {
        let mut data = self.0.data_mut();
        data.taps = data.taps.saturating_sub(1);
    }
}

/// `TALK_DETECT` of a channel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TalkDetection {
    watch: WatchId,
    silence_ms: u32,
    /// When the talk began that goes on, in the time of the watch.
    began_ms: Option<u32>,
}

impl Listening {
    /// What was noticed next, if it was already.
    pub fn take(&self) -> Option<Noticed> {
        let mut watches = self.channel.shard().watches.borrow_mut();
        watches.get_mut(&self.watch)?.pop_front()
    }

    /// Waits until something is noticed, at most until then.
    pub async fn next(&self, until: Option<Instant>) -> Result<Option<Noticed>, Interrupt> {
        loop {
            if let Some(noticed) = self.take() {
                return Ok(Some(noticed));
            }
            if until.is_some_and(|until| crate::clock::now() >= until) {
                return Ok(None);
            }
            self.channel.wait_change(until).await?;
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let watch = self.watch;
        self.channel.shard().watches.borrow_mut().remove(&watch);
        self.channel.media(|leg| Command::EndWatch { leg, watch });
    }
}

impl Channel {
    fn begin_watch(&self, what: Watch) -> Option<WatchId> {
        let watch = self.shard().next_watch_id();
        let what = Box::new(what);
        self.media(|leg| Command::Watch { leg, watch, what })
            .then_some(watch)
    }

    /// Listens for something in what the far end says. `None`: there is no media.
    pub fn listen_for(&self, what: Watch) -> Option<Listening> {
        let watch = self.begin_watch(what)?;
        let mut watches = self.shard().watches.borrow_mut();
        watches.insert(watch, VecDeque::new());
        Some(Listening {
            channel: self.clone(),
            watch,
        })
    }

    /// What the far end says, 8000 samples a second, for a reader on any thread, which loses what it does not read while so
    /// many samples come. It ends with the channel, or when the reader is dropped; [`Tapped`] is to be kept as long. `None`: there is no media.
    pub fn tap_audio(&self, samples_max: usize) -> Option<(TapReader, Tapped)> {
        let (tap, reader) = audio_tap(samples_max);
        self.begin_watch(Watch::Tap(tap))?;
        Some((reader, Tapped::new(self)))
    }

    /// `TALK_DETECT(set)`: tells events when the far end begins and ends to talk. False: there is no media.
    pub fn detect_talk(&self, silence_ms: u32, threshold: u16) -> bool {
        self.ignore_talk();
        let watch = VoiceWatch::new(threshold, TALK_FRAME_MS, silence_ms);
        let Some(watch) = self.begin_watch(Watch::Voice(watch)) else {
            return false;
        };
        self.data_mut().talk = Some(TalkDetection {
            watch,
            silence_ms,
            began_ms: None,
        });
        true
    }

    /// `TALK_DETECT(remove)`. False: it was not set.
    pub fn ignore_talk(&self) -> bool {
        let Some(TalkDetection { watch, .. }) = self.data_mut().talk.take() else {
            return false;
        };
        self.media(|leg| Command::EndWatch { leg, watch });
        true
    }

    /// Listens for a fax machine where the endpoint wants it (`fax_detect`, for `fax_detect_timeout` s).
    pub(crate) fn detect_fax(&self) {
        let Some(endpoint) = self.endpoint().filter(|endpoint| endpoint.fax_detect) else {
            return;
        };
        self.listen_for_fax(endpoint.fax_detect_timeout.saturating_mul(1000));
    }

    /// Listens for a fax machine for so many ms from now, 0: as long as the call; what was listened with before ends. False: there
    /// is no media.
    pub fn listen_for_fax(&self, limit_ms: u32) -> bool {
        self.ignore_fax();
        let watch = self.begin_watch(Watch::Fax(FaxWatch::new(limit_ms)));
        self.data_mut().fax_watch = watch;
        watch.is_some()
    }

    /// Listens for a fax machine no longer.
    pub fn ignore_fax(&self) {
        let watch = self.data_mut().fax_watch.take();
        if let Some(watch) = watch {
            self.media(|leg| Command::EndWatch { leg, watch });
        }
    }

    /// Is a fax machine listened for?
    pub fn listens_for_fax(&self) -> bool {
        self.data().fax_watch.is_some()
    }

    /// A fax machine calls: the dialplan goes on at extension `fax` of the context, where there is one.
    fn fax_calls(&self) {
        let (context, exten, number) = {
            let mut data = self.data_mut();
            data.fax_watch = None;
            let place = &data.location;
            let number = data.caller.number.clone();
            (place.context.clone(), place.exten.clone(), number)
        };
        if exten == FAX {
            return;
        }
        let dialplan = self.shard().dialplan();
        if dialplan.exists(&context, FAX, &number) != Exists::Yes {
            tracing::info!(channel = %self.name(), context, "a fax machine calls, and there is no extension fax");
            return;
        }
        self.set_variable("FAXEXTEN", &exten);
        if self.redirect(Location::new(&context, FAX, 1)) {
            tracing::info!(channel = %self.name(), context, "a fax machine calls: on to extension fax");
        }
    }

    /// The media thread noticed something.
    pub(crate) fn noticed(&self, watch: WatchId, noticed: Noticed) {
        if let Some(waiting) = self.shard().watches.borrow_mut().get_mut(&watch) {
            if waiting.len() < NOTICED_MAX {
                waiting.push_back(noticed);
            }
        } else if matches!(noticed, Noticed::Fax { .. }) {
            if self.data().fax_watch == Some(watch) {
                self.fax_calls();
            }
            return;
        } else if let Some(event) = self.talk_event(watch, noticed) {
            self.shard().shared().events.tell(|| event(self));
            return;
        }
        self.touch();
    }

    fn talk_event(
        &self,
        watch: WatchId,
        noticed: Noticed,
    ) -> Option<impl FnOnce(&Self) -> Event + use<>> {
        let mut data = self.data_mut();
        let talk = data.talk.as_mut().filter(|talk| talk.watch == watch)?;
        let duration_ms = match noticed {
            Noticed::Voice { at_ms } => {
                talk.began_ms = Some(at_ms.saturating_sub(TALK_FRAME_MS));
                None
            }
            // The silence by which the end was known is no talk.
            Noticed::Silence { at_ms } => {
                let began_ms = talk.began_ms.take()?;
                Some(at_ms.saturating_sub(began_ms + talk.silence_ms))
            }
            Noticed::Verdict(_) | Noticed::Fax { .. } | Noticed::Refused => return None,
        };
        Some(move |channel: &Self| match duration_ms {
            None => Event::of("ChannelTalkingStart", channel),
            Some(ms) => Event::of("ChannelTalkingStop", channel).with("Duration", ms.to_string()),
        })
    }
}

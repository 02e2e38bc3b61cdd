//! The verbs applications are made of. Every verb that waits ends early with an [`Interrupt`] when the call ends, when
//! its absolute time is over, or when somebody moved the channel elsewhere.

use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use strowger_media::{
    Command, FileFormat, PlayId, RecorderId, RecorderSetup, Repeat, Route, SAMPLE_RATE, Sound,
    TapMode, WIDE_RATE,
};

use super::playing::PlayEnd;
use super::{Cause, Channel, LegEnd, Location, State};
use crate::call::media::{DigitWay, MediaSession};

/// Why a verb ended before it was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interrupt {
    /// The call is over: no more media, extension `h` follows.
    Hangup,
    /// `TIMEOUT(absolute)` is reached: extension `T` follows.
    Timeout,
    /// The channel was moved (`Data::redirect`).
    Redirect,
}

/// How playing ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Played {
    Complete,
    /// Interrupted by this digit (which is consumed).
    Digit(char),
}

/// What to record and where.
#[derive(Clone, Debug)]
pub struct RecorderSpec {
    /// Absolute path; its directory is created.
    pub path: PathBuf,
    pub format: FileFormat,
    pub mode: TapMode,
    /// Continue an existing file.
    pub append: bool,
    /// Only while bridged.
    pub only_bridged: bool,
    /// Leave out, instead of filling with silence, what nothing was received or sent for.
    pub unpadded: bool,
    /// Leave out so many ms at the start.
    pub skip_ms: u32,
    /// Report silence after so many ms without received speech; 0 is never.
    pub silence_ms: u32,
    /// The most that [`Channel::stop_record`] will be asked to leave out.
    pub drop_last_ms_max: u32,
    /// Gain -4..=4 for each direction.
    pub volume_receive: i8,
    pub volume_transmit: i8,
}

impl RecorderSpec {
    /// A recording with nothing special about it.
    pub fn new(path: PathBuf, format: FileFormat, mode: TapMode) -> Self {
        Self {
            path,
            format,
            mode,
            append: false,
            only_bridged: false,
            unpadded: false,
            skip_ms: 0,
            silence_ms: 0,
            drop_last_ms_max: 0,
            volume_receive: 0,
            volume_transmit: 0,
        }
    }
}

/// A finished recording.
#[derive(Clone, Debug)]
pub struct RecorderResult {
    pub path: PathBuf,
    /// Samples written, at the rate of the recorder.
    pub samples: u64,
    /// Samples that could not be written and stand as a gap.
    pub lost_samples: u64,
    pub error: Option<String>,
}

/// Why a recording could not start.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("the channel has no media (it is over)")]
    NoMedia,
    #[error("the media thread is overloaded: its command queue is full")]
    Overloaded,
}

/// A play somebody waits for; forgotten however the waiting ends.
pub(super) struct ExpectedPlay<'a> {
    channel: &'a Channel,
    play: PlayId,
}

impl<'a> ExpectedPlay<'a> {
    pub(super) fn new(channel: &'a Channel, play: PlayId) -> Self {
        channel.shard().expect_play(play);
        Self { channel, play }
    }

    /// How it ended, once the media thread has told.
    pub(super) fn ended(&self) -> Option<PlayEnd> {
        self.channel.shard().play_ended(self.play)
    }

    /// Remembers the key for which it is being stopped; the first counts.
    pub(super) fn stopped_by(&self, key: char) {
        self.channel.shard().play_stopped_by(self.play, key);
    }
}

impl Drop for ExpectedPlay<'_> {
    fn drop(&mut self) {
        // Who no longer waits for it does not want to hear the rest.
        if self.ended().is_none() {
            self.channel.stop_play(self.play);
        }
        self.channel.shard().forget_play(self.play);
    }
}

impl Channel {
    /// Ok while the call goes on.
    pub fn check(&self) -> Result<(), Interrupt> {
        let data = self.data();
        if data.ended.is_some() {
            Err(Interrupt::Hangup)
        } else if data.redirect.is_some()
            || data.errand.is_some()
            || data.yank == Some(super::Yank::Asked)
        {
            Err(Interrupt::Redirect)
        } else if data
            .timeouts
            .absolute
            .is_some_and(|at| crate::clock::now() >= at)
        {
            Err(Interrupt::Timeout)
        } else {
            Ok(())
        }
    }

    /// True when the call is over.
    pub fn is_over(&self) -> bool {
        self.data().ended.is_some()
    }

    /// Waits until the call is over, whatever else happens to it.
    pub async fn until_over(&self) {
        let changed = Rc::clone(self.changed());
        loop {
            let notified = changed.notified();
            if self.is_over() {
                return;
            }
            notified.await;
        }
    }

    /// Waits until something about the channel changes, `until` is reached (None: no limit) or the call ends.
    /// Returns Ok(true) for a change, Ok(false) when the time is over.
    pub async fn wait_change(&self, until: Option<Instant>) -> Result<bool, Interrupt> {
        self.check()?;
        let changed = Rc::clone(self.changed());
        let notified = changed.notified();
        let absolute = self.data().timeouts.absolute;
        let limit = match (until, absolute) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let woken = match limit {
            None => {
                notified.await;
                true
            }
            Some(at) => tokio::time::timeout_at(at.into(), notified).await.is_ok(),
        };
        self.check()?;
        Ok(woken)
    }

    /// Waits for `duration`, dropping digits as `Wait` does.
    pub async fn wait(&self, duration: Duration) -> Result<(), Interrupt> {
        let until = crate::clock::now() + duration;
        while self.wait_change(Some(until)).await? || crate::clock::now() < until {
            self.data_mut().digits.clear();
        }
        Ok(())
    }

    /// Waits until the call is over (or moved).
    pub async fn wait_for_end(&self) -> Interrupt {
        loop {
            if let Err(interrupt) = self.wait_change(None).await {
                return interrupt;
            }
            self.data_mut().digits.clear();
        }
    }

    /// The next received digit, waiting at most `timeout`; None when the time is over.
    pub async fn wait_digit(&self, timeout: Duration) -> Result<Option<char>, Interrupt> {
        let until = crate::clock::now() + timeout;
        loop {
            self.check()?;
            if let Some(digit) = self.take_digit() {
                return Ok(Some(digit));
            }
            if !self.wait_change(Some(until)).await? && crate::clock::now() >= until {
                return Ok(None);
            }
        }
    }

    /// A received digit that nobody has read yet.
    pub fn take_digit(&self) -> Option<char> {
        self.data_mut().digits.pop_front()
    }

    /// Puts digits back that were taken, before those that came meanwhile.
    pub fn put_back_digits(&self, digits: &str) {
        let mut data = self.data_mut();
        for digit in digits.chars().rev() {
            data.digits.push_front(digit);
        }
    }

    /// Forgets received digits.
    pub fn clear_digits(&self) {
        self.data_mut().digits.clear();
    }

    pub(crate) fn push_digit(&self, digit: char) {
        {
            let mut data = self.data_mut();
            if data.digits.len() >= super::data::DIGITS_MAX {
                self.shard().counters().digits_dropped.add(1);
                return;
            }
            data.digits.push_back(digit);
        }
        self.touch();
    }

    /// Sends a media command for this channel's leg; false if there is no leg or the queue is full (counted).
    pub(crate) fn media(&self, make: impl FnOnce(strowger_media::LegId) -> Command) -> bool {
        let Some(leg) = self.leg() else { return false };
        let command = make(leg);
        if matches!(
            command,
            Command::Play { .. }
                | Command::SendDtmf { .. }
                | Command::Watch { .. }
                | Command::Mute { .. }
                | Command::Gain { .. }
        ) {
            self.need_media();
        }
        self.shard().media_send(command)
    }

    /// Hz of the audio that this channel is sent; 8000 before anything is agreed.
    pub(crate) fn sample_rate(&self) -> u32 {
        self.agreed_rate().unwrap_or(SAMPLE_RATE)
    }

    /// Hz of the audio that this channel is sent; None before anything is agreed.
    fn agreed_rate(&self) -> Option<u32> {
        if let Some(rate) = self.wire_rate() {
            return Some(rate);
        }
        let session = self.session();
        let media = session.as_ref().and_then(|session| session.media.as_ref());
        media.and_then(MediaSession::sample_rate)
    }

    /// Starts playing to this channel without waiting; what was played before ends. None when there is no media.
    pub fn start_play(&self, mut sounds: Vec<Arc<Sound>>, repeat: Repeat) -> Option<PlayId> {
        // One play has one rate. What was loaded for this channel has it already.
        let rate = sounds.first().map_or(0, |sound| sound.rate);
        for sound in &mut sounds {
            if sound.rate != rate {
                *sound = Arc::new(sound.at_rate(rate));
            }
        }
        let play = self.shard().next_play_id();
        self.media(|leg| Command::Play {
            leg,
            play,
            sounds,
            repeat,
        })
        .then_some(play)
    }

    /// Stops a play started with [`Self::start_play`].
    pub fn stop_play(&self, play: PlayId) {
        self.media(|leg| Command::StopPlay { leg, play });
    }

    /// Plays sounds one after the other. Digits for which `stop` says true end it (and are consumed); others are
    /// kept if `keep` is set, dropped otherwise.
    pub async fn play(
        &self,
        sounds: Vec<Arc<Sound>>,
        keep: bool,
        stop: &dyn Fn(char) -> bool,
    ) -> Result<Played, Interrupt> {
        self.check()?;
        let length: u64 = sounds.iter().map(|sound| sound.duration_ms()).sum();
        let Some(play) = self.start_play(sounds, Repeat::Once) else {
            return Err(Interrupt::Hangup);
        };
        let expected = ExpectedPlay::new(self, play);
        // The media thread says when it is done; the limit only guards against a lost event.
        let until = crate::clock::now() + Duration::from_millis(length + 2000);
        let result = loop {
            if let Some(digit) = self.take_wanted(keep, stop) {
                break Ok(Played::Digit(digit));
            }
            if expected.ended().is_some() {
                return Ok(Played::Complete);
            }
            match self.wait_change(Some(until)).await {
                Err(interrupt) => break Err(interrupt),
                Ok(false) if crate::clock::now() >= until => break Ok(Played::Complete),
                Ok(_) => {}
            }
        };
        self.stop_play(play);
        result
    }

    /// The first digit that is wanted. Others before it are kept, or dropped. Who says what is wanted may look at the channel.
    fn take_wanted(&self, keep: bool, wanted: &dyn Fn(char) -> bool) -> Option<char> {
        if !keep {
            return std::iter::from_fn(|| self.take_digit()).find(|digit| wanted(*digit));
        }
        let digits = self.data().digits.clone();
        let at = digits.into_iter().position(wanted)?;
        self.data_mut().digits.remove(at)
    }

    /// Sends what is received back (true) or stops doing so.
    pub fn echo(&self, on: bool) {
        self.media(|leg| Command::Route(leg, if on { Route::Echo } else { Route::Silence }));
    }

    /// Sends a digit to the far end in its way (`dtmf_mode`: telephone-event, tone, SIP INFO) without waiting. False where
    /// it has none, or is gone.
    pub fn send_digit(&self, digit: char, duration_ms: u16) -> bool {
        match self.digit_way() {
            DigitWay::Media => {}
            DigitWay::Info => return self.send_info_digit(digit, duration_ms),
            DigitWay::None => return false,
        }
        self.tell_digit(digit, u32::from(duration_ms), "Sent");
        self.media(|leg| Command::SendDtmf {
            leg,
            digit,
            duration_ms,
        })
    }

    fn digit_way(&self) -> DigitWay {
        if self.is_local() {
            return DigitWay::Media;
        }
        self.session()
            .as_ref()
            .and_then(|session| session.media.as_ref())
            .map_or(DigitWay::None, MediaSession::digit_way)
    }

    /// A digit was heard from the far end of this channel, in its media.
    pub(crate) fn heard_digit(&self, digit: char, duration_ms: u32) {
        self.tell_digit(digit, duration_ms, "Received");
        self.volume_key(digit);
        self.push_digit(digit);
        // To a peer that takes events or tones the media engine has passed it on.
        if let Some(peer) = self.bridge_peer()
            && peer.digit_way() == DigitWay::Info
        {
            let duration_ms = u16::try_from(duration_ms).unwrap_or(u16::MAX);
            peer.send_info_digit(digit, duration_ms);
        }
    }

    /// Starts a recording of this channel. `closed` runs on the shard when the file is complete on disk, also after
    /// the channel is gone.
    pub fn record(
        &self,
        spec: RecorderSpec,
        closed: impl FnOnce(RecorderResult) + 'static,
    ) -> Result<RecorderId, RecordError> {
        let leg = self.leg().ok_or(RecordError::NoMedia)?;
        self.need_media();
        let recorder = self.shard().next_recorder_id();
        let mut setup = RecorderSetup::new(recorder, leg, spec.path, spec.format, spec.mode);
        // What will be agreed is not known before the answer. A format of a high rate is there for wideband calls then.
        let rate = self.agreed_rate();
        setup.rate = match spec.format.rate() {
            Some(wanted) => spec
                .format
                .recorder_rate(rate.unwrap_or(wanted.min(WIDE_RATE))),
            None => spec.format.recorder_rate(rate.unwrap_or(SAMPLE_RATE)),
        };
        setup.append = spec.append;
        setup.only_bridged = spec.only_bridged;
        setup.unpadded = spec.unpadded;
        setup.skip_ms = spec.skip_ms;
        setup.silence_ms = spec.silence_ms;
        setup.drop_last_ms_max = spec.drop_last_ms_max;
        setup.volume_receive = spec.volume_receive;
        setup.volume_transmit = spec.volume_transmit;
        self.shard().expect_recorder(recorder, Box::new(closed));
        if self
            .shard()
            .media_send(Command::StartRecorder(Box::new(setup.prepare())))
        {
            Ok(recorder)
        } else {
            self.shard().forget_recorder(recorder);
            Err(RecordError::Overloaded)
        }
    }

    /// Stops a recording, leaving out its last `drop_last_ms` milliseconds.
    pub fn stop_record(&self, recorder: RecorderId, drop_last_ms: u32) {
        self.media(|leg| Command::StopRecorder {
            recorder,
            leg,
            drop_last_ms,
        });
    }

    /// Puts silence in place of what is received or sent, in one recording only.
    pub fn mute_record(&self, recorder: RecorderId, receive: bool, transmit: bool) -> bool {
        self.shard().media_send(Command::MuteRecorder {
            recorder,
            receive,
            transmit,
        })
    }

    /// True once silence was reported for this recorder (see [`RecorderSpec::silence_ms`]).
    pub fn recorder_silent(&self, recorder: RecorderId) -> bool {
        self.shard().recorder_silent(recorder)
    }

    /// Answers an incoming call if it is not up yet, and waits at most `media` for the first packet.
    pub async fn answer(&self, media: Duration) -> Result<(), Interrupt> {
        self.check()?;
        if !self.is_up() {
            self.accept();
            while self.is_answer_held() {
                self.wait_change(None).await?;
            }
            let until = crate::clock::now() + media;
            while !self.shard().has_media(self) && crate::clock::now() < until {
                self.wait_change(Some(until)).await?;
            }
        } else {
            self.tell_transfer(200);
        }
        self.check()
    }

    /// Lets the caller know that it rings: by 180, or by the tone where he is answered, or where his endpoint wants that
    /// (`inband_progress`, behind a 183). The tone is to be stopped by whoever asked for it.
    pub fn ring(&self) -> Option<PlayId> {
        let inband = self
            .endpoint()
            .is_some_and(|endpoint| endpoint.inband_progress);
        if !self.is_up() && !inband {
            self.indicate_ringing();
            return None;
        }
        if !self.is_up() {
            self.indicate_progress();
        }
        self.start_tone("ring")
    }

    /// Tells the caller that it rings (180).
    pub fn indicate_ringing(&self) {
        self.send_ringing();
    }

    /// Opens early media towards the caller (183 with SDP).
    pub fn indicate_progress(&self) {
        self.send_progress();
    }

    /// Ends the call from our side: BYE, CANCEL or a failure response as its state asks, CDR fixed, media closed.
    /// Variables stay readable. Does nothing the second time.
    pub fn hangup(&self, cause: Cause) {
        self.end(LegEnd {
            cause,
            status: None,
            by_peer: false,
        });
    }

    /// The same with this status for a caller who was not answered yet.
    pub fn refuse_with(&self, status: u16) {
        self.end(LegEnd {
            cause: Cause::from_status(status),
            status: Some(status),
            by_peer: false,
        });
    }

    /// Moves the channel elsewhere in the dialplan, out of whatever it does. False if it runs none, or is over.
    pub fn redirect(&self, place: Location) -> bool {
        {
            let mut data = self.data_mut();
            if data.ended.is_some() || !data.runs_dialplan {
                return false;
            }
            data.redirect = Some(place);
        }
        self.touch();
        true
    }

    /// The same for any channel: one that runs no dialplan is taken out of its bridge and begins one. False if it is over, or
    /// still being called: then it belongs to who calls it.
    pub fn take_to(&self, place: Location) -> bool {
        if self.is_over() || self.is_being_dialled() {
            return false;
        }
        if self.data().runs_dialplan {
            return self.redirect(place);
        }
        self.take_from_bridge();
        self.go_to(place);
        true
    }

    /// A Dial waits for its answer.
    fn is_being_dialled(&self) -> bool {
        let data = self.data();
        !data.runs_dialplan && data.dialled_by.is_some()
    }

    /// Runs an application instead of what the channel does, out of its bridge. False if it is over, or still being called.
    pub fn take_to_application(&self, name: &str, data: &str) -> bool {
        if self.is_over() || self.is_being_dialled() {
            return false;
        }
        if !self.data().runs_dialplan {
            self.take_from_bridge();
        }
        self.run_application(name, data);
        true
    }

    /// The call ends after so long, or has no limit.
    pub fn limit(&self, limit: Option<Duration>) {
        self.data_mut().timeouts.absolute = limit.map(|limit| crate::clock::now() + limit);
        self.touch();
    }

    /// Does it run the dialplan by itself?
    pub fn runs_dialplan(&self) -> bool {
        self.data().runs_dialplan
    }

    /// A digit counts as received from the far end.
    pub fn receive_digit(&self, digit: char, duration_ms: u32) {
        self.tell_digit(digit, duration_ms, "Received");
        self.push_digit(digit);
    }

    /// Sets the state, waking those who wait.
    pub(crate) fn set_state(&self, state: State) {
        self.data_mut().state = state;
        self.touch();
    }
}

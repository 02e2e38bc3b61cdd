//! A caller's time in a queue: music, his turn, and why he leaves.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use strowger_core::channel::{Channel, Location, Presentation};
use strowger_core::events::Event;
use strowger_core::queue::{EntryId, QueueInfo, Settings};
use strowger_core::sounds::Cadence;
use strowger_dialplan::args::Options;
use strowger_media::PlayId;
use tokio::sync::Notify;

use super::super::features::{self, Disconnect};
use super::super::music::music_of;
use super::super::play::end_background;
use super::super::{AppResult, Call, Next, Stop};
use super::Arguments;
use super::announce::Announced;

/// How often a caller looks by himself whether it is his turn: rests of members end without anybody telling.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Why a caller is no longer in the queue.
pub(super) enum End {
    Timeout,
    /// Nobody is there who could take the call.
    Empty,
    Withdrawn(String),
    Key(char),
    /// He had a member; the dialplan goes on so.
    Served(AppResult),
    Stopped(Stop),
}

/// A caller in a queue.
pub(super) struct Caller<'c> {
    pub(super) call: &'c Call,
    pub(super) queue: String,
    pub(super) id: EntryId,
    pub(super) options: Options,
    pub(super) arguments: Arguments,
    /// Option `H`: what ends his waiting.
    pub(super) disconnect: Rc<Disconnect>,
    pub(super) joined: Instant,
    /// When the time of the application is over.
    pub(super) until: Option<Instant>,
    pub(super) announced: RefCell<Announced>,
    settings: RefCell<Arc<Settings>>,
    wake: Arc<Notify>,
    original_position: usize,
    /// Where he was last.
    last_position: Cell<usize>,
    /// A member had him.
    pub(super) connected: Cell<bool>,
    /// Programs that watch know that he no longer waits.
    told_left: Cell<bool>,
    /// Channels of the members that are rung for him, each with its interface; only while somebody watches.
    pub(super) rung: Rc<RefCell<Vec<(String, Channel)>>>,
    background: Cell<Option<PlayId>>,
    music: RefCell<Option<Cadence>>,
}

impl Drop for Caller<'_> {
    fn drop(&mut self) {
        self.stop_background();
        self.call
            .shared()
            .queue(|table, _, _| table.leave(&self.queue, self.id));
        self.touch_device();
        self.tell_left();
    }
}

impl<'c> Caller<'c> {
    /// `None`: the queue is gone already.
    pub(super) fn new(
        call: &'c Call,
        queue: String,
        id: EntryId,
        options: Options,
        arguments: Arguments,
        until: Option<Instant>,
    ) -> Option<Self> {
        let (settings, position) = call
            .shared()
            .queue(|table, _, _| (table.settings(&queue), table.position(&queue, id)));
        let (settings, wake) = settings?;
        let now = Instant::now();
        let code = features::disconnect_code(call).filter(|_| options.has('H'));
        let caller = Self {
            call,
            queue,
            id,
            options,
            arguments,
            disconnect: Rc::new(Disconnect::new(code)),
            joined: now,
            until,
            announced: RefCell::new(Announced::new(now)),
            settings: RefCell::new(settings),
            wake,
            original_position: position.unwrap_or(0),
            last_position: Cell::new(position.unwrap_or(0)),
            connected: Cell::new(false),
            told_left: Cell::new(false),
            rung: Rc::default(),
            background: Cell::new(None),
            music: RefCell::default(),
        };
        caller.touch_device();
        Some(caller)
    }

    /// Others may wait, or nobody any longer.
    pub(super) fn touch_device(&self) {
        let device = format!("Queue:{}", self.queue);
        self.call.shared().devices.touch(&device);
    }

    pub(super) fn channel(&self) -> &Channel {
        self.call.channel()
    }

    pub(super) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.borrow())
    }

    /// From 1; `None` when he is no longer in the queue.
    pub(super) fn position(&self) -> Option<usize> {
        let position = self
            .call
            .shared()
            .queue(|table, _, _| table.position(&self.queue, self.id));
        if let Some(position) = position {
            self.last_position.set(position);
        }
        position
    }

    pub(super) fn original_position(&self) -> usize {
        self.original_position
    }

    /// The caller's number, as far as the log may have it.
    pub(super) fn shown_number(&self) -> String {
        let caller = self.channel().data().caller.clone();
        let hidden = caller.presentation != Presentation::Allowed;
        if hidden && !self.settings().log_restricted_caller_id {
            String::new()
        } else {
            caller.number
        }
    }

    pub(super) fn log(&self, member: &str, event: &str, data: &[&str]) {
        let uniqueid = self.channel().uniqueid();
        self.call
            .shared()
            .queue_log(&uniqueid, &self.queue, member, event, data);
    }

    /// Tells programs that watch of him in this queue.
    pub(super) fn tell_caller(&self, name: &'static str, more: impl FnOnce(Event) -> Event) {
        self.call.shared().events.tell(|| {
            let event = Event::of(name, self.channel());
            more(event.with("Queue", &*self.queue))
        });
    }

    /// The same of him and a member that is or was rung for him.
    pub(super) fn tell_agent(
        &self,
        name: &'static str,
        member: (&str, &str),
        peer: Option<&Channel>,
        more: impl FnOnce(Event) -> Event,
    ) {
        let (interface, member_name) = member;
        self.call.shared().events.tell(|| {
            let event = Event::of(name, self.channel());
            let rung = self.rung.borrow();
            let known = rung.iter().rev().find(|(known, _)| known == interface);
            let event = match peer.or(known.map(|(_, channel)| channel)) {
                Some(peer) => event.channel("Dest", peer),
                None => event,
            };
            more(
                event
                    .with("Queue", &*self.queue)
                    .with("Interface", interface)
                    .with("MemberName", member_name),
            )
        });
    }

    /// He no longer waits; told once.
    pub(super) fn tell_left(&self) {
        if self.told_left.replace(true) {
            return;
        }
        self.tell_caller("QueueCallerLeave", |event| {
            let position = self.last_position.get().to_string();
            event.with("Position", position).with("Count", self.count())
        });
    }

    /// How many wait in the queue.
    pub(super) fn count(&self) -> String {
        let shared = self.call.shared();
        let waiting = shared.queue(|table, _, _| table.waiting(&self.queue));
        waiting.unwrap_or(0).to_string()
    }

    pub(super) fn waited(&self) -> Duration {
        self.joined.elapsed()
    }

    /// `setqueuevar`: before he has a member, and when he leaves.
    pub(super) fn tell_queue(&self) -> Option<QueueInfo> {
        if !self.settings().set_queue_var {
            return None;
        }
        let shared = self.call.shared();
        let info = shared.queue(|table, _, _| table.info(&self.queue))?;
        super::set_queue_variables(self.channel(), &info);
        Some(info)
    }

    /// Position, position at the beginning and seconds, as events about leaving have them.
    fn leaving(&self) -> [String; 3] {
        self.position();
        [
            self.last_position.get().to_string(),
            self.original_position.to_string(),
            self.waited().as_secs().to_string(),
        ]
    }

    /// Waits, is rung for, and leaves.
    pub(super) async fn run(self) -> AppResult {
        let end = self.attend().await;
        self.stop_background();
        self.tell_queue();
        let [position, original, waited] = self.leaving();
        let log = |event: &str, key: &str| match key {
            "" => self.log("NONE", event, &[&position, &original, &waited]),
            key => self.log("NONE", event, &[key, &position, &original, &waited]),
        };
        if !matches!(end, End::Served(_)) {
            super::set_duration(&self.call.task, "QUEUEWAIT", self.waited());
        }
        let (status, result) = match end {
            End::Served(result) => return result,
            End::Timeout => {
                log("EXITWITHTIMEOUT", "");
                ("TIMEOUT", Ok(Next::Continue))
            }
            End::Empty => {
                log("EXITEMPTY", "");
                ("LEAVEEMPTY", Ok(Next::Continue))
            }
            End::Withdrawn(info) => {
                self.log("NONE", "WITHDRAW", &[&position, &original, &waited, &info]);
                self.call.set("QUEUE_WITHDRAW_INFO", &info);
                ("WITHDRAW", Ok(Next::Continue))
            }
            End::Key(digit) => {
                let context = self.settings().context.clone();
                log("EXITWITHKEY", &digit.to_string());
                // Option H: the caller gave up with the disconnect code.
                if self.disconnect.is_hit() {
                    return Ok(Next::Continue);
                }
                let place = Location::new(&context, &digit.to_string(), 1);
                if self.call.task.exists(&context, &place.exten, 1) {
                    return Ok(Next::Jump(place));
                }
                return Ok(Next::Continue);
            }
            End::Stopped(stop) => {
                // Who is sent elsewhere, or whose time is over, leaves the queue just as well as who hangs up.
                if !self.connected.get() {
                    log("ABANDON", "");
                    self.call.set("ABANDONED", "TRUE");
                    let time = self.waited();
                    self.call
                        .shared()
                        .queue(|table, _, _| table.abandoned(&self.queue, time));
                    self.tell_caller("QueueCallerAbandon", |event| {
                        event
                            .with("Position", &position)
                            .with("OriginalPosition", &original)
                            .with("HoldTime", &waited)
                    });
                }
                return Err(stop);
            }
        };
        self.call.set("QUEUESTATUS", status);
        result
    }

    async fn attend(&self) -> End {
        match self.attend_until_end().await {
            Ok(end) | Err(end) => end,
        }
    }

    async fn attend_until_end(&self) -> Result<End, End> {
        end_background(self.call);
        self.start_background().await?;
        let mut first = true;
        let mut attempts = 0_usize;
        loop {
            self.wait_for_turn().await?;
            // Who is first hears where he is between two attempts, not before the first one.
            if !first || self.settings().announce_to_first_user {
                self.announce().await?;
            }
            first = false;
            if attempts == 0 {
                self.before_ringing().await?;
            }
            if let Some(result) = self.attempt().await? {
                return Ok(End::Served(result));
            }
            attempts += 1;
            if self.options.has('n') {
                let shared = self.call.shared();
                let members = shared.queue(|table, _, _| table.members(&self.queue));
                if attempts >= members {
                    return Ok(End::Timeout);
                }
            }
            // Where nobody could be rung although it is his turn, only this lets others have the thread.
            let rest = Instant::now() + self.settings().retry.max(LOOK_EVERY);
            while Instant::now() < rest {
                self.look(rest).await?;
            }
        }
    }

    async fn wait_for_turn(&self) -> Result<(), End> {
        loop {
            let notified = self.wake.notified();
            self.judge()?;
            let turn = self
                .call
                .shared()
                .queue(|table, now, states| table.is_turn(&self.queue, self.id, now, states));
            if turn {
                return Ok(());
            }
            self.announce().await?;
            let soon = Instant::now() + LOOK_EVERY;
            let until = self.until.map_or(soon, |until| until.min(soon));
            tokio::select! {
                changed = self.channel().wait_change(Some(until)) => changed.map(drop)?,
                () = notified => {}
            }
        }
    }

    /// Waits a moment, at most until then.
    async fn look(&self, until: Instant) -> Result<(), End> {
        self.judge()?;
        self.announce().await?;
        let soon = until.min(Instant::now() + LOOK_EVERY);
        let soon = self.until.map_or(soon, |until| until.min(soon));
        self.channel().wait_change(Some(soon)).await?;
        Ok(())
    }

    /// Does he have to leave?
    fn judge(&self) -> Result<(), End> {
        self.channel().check()?;
        while let Some(digit) = self.channel().take_digit() {
            if self.leaves_with(digit) {
                return Err(End::Key(digit));
            }
        }
        if self.until.is_some_and(|until| Instant::now() >= until) {
            return Err(End::Timeout);
        }
        let (settings, position, withdrawn, empty) =
            self.call.shared().queue(|table, now, states| {
                (
                    table.settings(&self.queue),
                    table.position(&self.queue, self.id),
                    table.withdrawn(&self.queue, self.id),
                    table.should_leave(&self.queue, self.id, now, states),
                )
            });
        // It may have been told to do something else meanwhile.
        let (Some((settings, _)), Some(position)) = (settings, position) else {
            return Err(End::Empty);
        };
        *self.settings.borrow_mut() = settings;
        self.last_position.set(position);
        match withdrawn {
            Some(info) => Err(End::Withdrawn(info)),
            None if empty => Err(End::Empty),
            None => Ok(()),
        }
    }

    /// Is this digit a way out?
    pub(super) fn leaves_with(&self, digit: char) -> bool {
        let settings = self.settings();
        self.disconnect.push(digit)
            || (!settings.context.is_empty()
                && self
                    .call
                    .task
                    .exists(&settings.context, digit.encode_utf8(&mut [0; 4]), 1))
    }

    /// Lets him hear music, or that it rings.
    pub(super) async fn start_background(&self) -> Result<(), End> {
        let channel = self.channel();
        channel.check()?;
        if self.background.get().is_some() {
            return Ok(());
        }
        if self.options.has('r') {
            self.background.set(channel.ring());
            return Ok(());
        }
        if !channel.is_up() {
            channel.indicate_progress();
        }
        let known = self.music.borrow().clone();
        let music = match known {
            Some(music) => Some(music),
            None => {
                let class = match self.options.argument('m') {
                    Some(class) if !class.is_empty() => class.to_owned(),
                    _ => self.settings().music_class.clone(),
                };
                music_of(self.call, &class).await
            }
        };
        if let Some(music) = music {
            *self.music.borrow_mut() = Some(music.clone());
            self.background
                .set(channel.start_play(music.sounds, music.repeat));
        }
        Ok(())
    }

    pub(super) fn stop_background(&self) {
        if let Some(play) = self.background.take() {
            self.channel().stop_play(play);
        }
    }

    /// Option `R`: while members ring, he hears that.
    pub(super) fn ring(&self) {
        if self.options.has('R') && self.channel().is_up() {
            self.stop_background();
            self.background.set(self.channel().start_tone("ring"));
        }
    }

    /// After [`Self::ring`].
    pub(super) async fn stop_ringing(&self) -> Result<(), End> {
        if self.options.has('R') && !self.options.has('r') {
            self.stop_background();
            self.start_background().await?;
        }
        Ok(())
    }
}

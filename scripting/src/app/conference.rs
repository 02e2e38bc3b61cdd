//! `ConfBridge`: a channel takes part in a conference until it leaves, is sent away, or its call ends.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use strowger_core::channel::Interrupt;
use strowger_core::conference::{Out, Refused, Request, Seat, View, Who};
use strowger_media::room::MemberOptions;
use strowger_media::{FileFormat, PlayId, Repeat, Sound};

use super::files::refused;
use super::music::music_of;
use super::play::{end_background, load};
use super::{ANSWER_MEDIA_WAIT, App, AppResult, Call, Next, Stop, app};
use crate::conference::{Action, Bridge, Kind, Menu, User, record_path};
use crate::say;

pub(super) const APPS: &[App] = &[
    app!(
        "ConfBridge",
        "ConfBridge(conference[,bridge_profile[,user_profile[,menu]]])",
        "takes part in a conference",
        conf_bridge
    ),
    app!(
        "ConfKick",
        "ConfKick(conference[,channel|all|participants])",
        "sends members of a conference away",
        conf_kick
    ),
];

/// Tries somebody has for the PIN.
const PIN_TRIES: usize = 3;
/// How long the next digit of a menu may take, when the digits so far mean something already.
const MENU_WAIT: Duration = Duration::from_secs(1);
/// Steps of volume, each 6 dB.
const VOLUME_STEPS_MAX: i8 = 4;
const VOLUME_STEP_DB: i8 = 6;
/// Length of digits that are passed on to the others.
const DIGIT_MS: u16 = 160;

/// How it ended.
enum End {
    /// The dialplan goes on; `CONFBRIDGE_RESULT` says why.
    Left(&'static str),
    /// It could not begin: the call ends.
    Failed,
}

async fn conf_bridge(call: Call) -> AppResult {
    let result = attend(&call).await;
    let text = match &result {
        Ok(End::Left(text)) => text,
        Ok(End::Failed) => "FAILED",
        Err(Stop::Interrupted(Interrupt::Hangup)) => "HANGUP",
        Err(_) => "",
    };
    call.set("CONFBRIDGE_RESULT", text);
    match result? {
        End::Left(_) => Ok(Next::Continue),
        End::Failed => Ok(Next::End),
    }
}

async fn conf_kick(call: Call) -> AppResult {
    let (name, whom) = (call.arg(0), call.arg(1));
    let who = match whom.to_ascii_lowercase().as_str() {
        "" | "all" => Who::All,
        "participants" => Who::Participants,
        _ => Who::Channel(whom),
    };
    let shard = call.channel().shard();
    let kicked = call
        .shared()
        .conferences
        .change(call.shared(), Some(shard), |table, effects| {
            table.kick(name, who, effects)
        });
    if kicked == 0 {
        call.warn(&format!(
            "ConfKick({}): nobody is there to be sent away",
            call.data
        ));
    }
    let status = if kicked > 0 { "SUCCESS" } else { "FAILURE" };
    call.set("CONFKICKSTATUS", status);
    Ok(Next::Continue)
}

/// The options of a kind, read; what is wrong with them is logged. `None`: the named profile does not exist.
fn profile<P>(
    call: &Call,
    kind: Kind,
    name: &str,
    read: impl FnOnce(&crate::conference::profile::Options) -> (P, Vec<String>),
) -> Option<P> {
    let snapshot = call.shared().snapshot();
    let mut custom = call.task.conference.borrow_mut();
    match custom.find(&snapshot.statics, kind, name) {
        Ok(options) => {
            let (profile, wrong) = read(&options);
            for wrong in wrong {
                call.warn(&format!("ConfBridge: {wrong}"));
            }
            Some(profile)
        }
        Err(error) => {
            call.warn(&format!("ConfBridge: {error}"));
            None
        }
    }
}

async fn attend(call: &Call) -> Result<End, Stop> {
    let name = call.arg(0).to_owned();
    if name.is_empty() {
        call.warn("ConfBridge needs the name of a conference");
        return Ok(End::Failed);
    }
    let bridge = profile(call, Kind::Bridge, call.arg(1), Bridge::read);
    let user = profile(call, Kind::User, call.arg(2), User::read);
    let menu = profile(call, Kind::Menu, call.arg(3), Menu::read);
    let (Some(bridge), Some(user), Some(menu)) = (bridge, user, menu) else {
        return Ok(End::Failed);
    };
    if user.answer {
        call.channel().answer(ANSWER_MEDIA_WAIT).await?;
    }
    if !user.pin.is_empty() && !ask_pin(call, &bridge, &user.pin).await? {
        return Ok(End::Failed);
    }
    let request = Request {
        conference: name,
        conference_rate: bridge.rate,
        max_members: bridge.max_members,
        admin: user.admin,
        marked: user.marked,
        wait_marked: user.wait_marked,
        end_marked: user.end_marked,
        muted: user.start_muted,
    };
    let seat = match Seat::take(call.channel(), request) {
        Ok(seat) => seat,
        Err(Refused::Over) => return Err(Interrupt::Hangup.into()),
        Err(refused) => {
            let sound = match refused {
                Refused::Full => "conf-full".to_owned(),
                _ => bridge.sound("locked", "conf-locked"),
            };
            // Who does not listen to the end was refused all the same.
            let _ = say(call, &sound).await;
            return Ok(End::Failed);
        }
    };
    Attendance {
        call,
        seat,
        bridge: &bridge,
        user: &user,
        menu: &menu,
        talk_steps: Cell::new(0),
        listen_steps: Cell::new(0),
        music: Cell::new(None),
        music_sounds: RefCell::default(),
        out: Cell::new(None),
    }
    .run()
    .await
}

/// Plays prompts to the end.
async fn say(call: &Call, files: &str) -> Result<(), Stop> {
    let sounds = load(call, files, None).await.0;
    if !sounds.is_empty() {
        call.channel().play(sounds, false, &|_| false).await?;
    }
    Ok(())
}

async fn ask_pin(call: &Call, bridge: &Bridge, pin: &str) -> Result<bool, Stop> {
    let timeouts = call.channel().data().timeouts;
    for attempt in 0..PIN_TRIES {
        let sounds = load(call, &bridge.sound("get_pin", "conf-getpin"), None)
            .await
            .0;
        // What is pressed ends the prompt, and is a digit of the PIN.
        let mut entered = String::new();
        if let strowger_core::channel::Played::Digit(digit) =
            call.channel().play(sounds, true, &|_| true).await?
            && digit != '#'
        {
            entered.push(digit);
        }
        while entered.len() < pin.len() {
            let wait = if entered.is_empty() {
                timeouts.response
            } else {
                timeouts.digit
            };
            match call.channel().wait_digit(wait).await? {
                None | Some('#') => break,
                Some(digit) => entered.push(digit),
            }
        }
        if entered == pin {
            return Ok(true);
        }
        if attempt + 1 < PIN_TRIES {
            say(call, &bridge.sound("invalid_pin", "conf-invalidpin")).await?;
        }
    }
    say(call, &bridge.sound("invalid_pin", "conf-invalidpin")).await?;
    Ok(false)
}

/// One channel's time in a conference.
struct Attendance<'c> {
    call: &'c Call,
    seat: Seat,
    bridge: &'c Bridge,
    user: &'c User,
    menu: &'c Menu,
    talk_steps: Cell<i8>,
    listen_steps: Cell<i8>,
    /// Music while nobody else is there.
    music: Cell<Option<PlayId>>,
    music_sounds: RefCell<Vec<Arc<Sound>>>,
    /// Why he has to go.
    out: Cell<Option<Out>>,
}

impl Attendance<'_> {
    async fn run(&self) -> Result<End, Stop> {
        let call = self.call;
        let limit = (self.user.timeout > 0).then(|| Duration::from_secs(self.user.timeout));
        let until = limit.map(|limit| Instant::now() + limit);
        if self.user.music_when_empty {
            *self.music_sounds.borrow_mut() = music_of(call, &self.user.music_class)
                .await
                .map_or_else(Vec::new, |music| music.sounds);
        }
        call.channel().clear_digits();
        end_background(call);
        self.record();
        let end = self.take_part(until).await;
        self.stop_music();
        if !self.user.quiet {
            let sounds = load(call, &self.bridge.sound("leave", "confbridge-leave"), None)
                .await
                .0;
            self.seat.announce_leave(&sounds);
        }
        let end = end?;
        self.seat.apply(None);
        match self.out.get() {
            Some(Out::Kicked) => say(call, &self.bridge.sound("kicked", "conf-kicked")).await?,
            Some(Out::EndMarked) => {
                let sound = self.bridge.sound("leader_has_left", "conf-leaderhasleft");
                say(call, &sound).await?;
            }
            None => {}
        }
        Ok(end)
    }

    /// Begins the recording, if there is to be one and nobody has begun it.
    fn record(&self) {
        if !self.bridge.record {
            return;
        }
        if let Some(why) = refused(&self.bridge.record_file) {
            self.call.warn(&format!(
                "ConfBridge: record_file \"{}\": {why}; the conference is not recorded",
                self.bridge.record_file
            ));
            return;
        }
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        let path = record_path(
            self.call.shared().monitor(),
            self.seat.conference(),
            &self.bridge.record_file,
            self.bridge.record_timestamp,
            epoch.unwrap_or_default().as_secs(),
        );
        let extension = path.extension().unwrap_or_default().to_string_lossy();
        let Some(format) = FileFormat::from_extension(&extension) else {
            self.call.warn(&format!(
                "ConfBridge: record_file {}: its format cannot be written; the conference is not recorded",
                path.display()
            ));
            return;
        };
        let append = self.bridge.record_append;
        self.seat.change(|table, name, _, effects| {
            table.record(name, path.clone(), format, append, effects)
        });
    }

    /// Brings about what the conference wants of this member; false: he has to go.
    fn sync(&self) -> Option<View> {
        let view = self.seat.view();
        let Some(view) = view.filter(|view| view.out.is_none()) else {
            self.out
                .set(view.and_then(|view| view.out).or(Some(Out::Kicked)));
            return None;
        };
        let user = self.user;
        self.seat.note_muted(&view);
        self.seat.apply(view.active.then_some(MemberOptions {
            muted: view.muted,
            talk_db: self.talk_steps.get() * VOLUME_STEP_DB,
            listen_db: self.listen_steps.get() * VOLUME_STEP_DB,
            talk_events: user.talk_events,
            drop_silence: user.drop_silence,
            talk_threshold: user.talk_threshold,
            silence_ms: user.silence_ms,
            ..MemberOptions::default()
        }));
        Some(view)
    }

    /// Music when nobody else is there, else the conference.
    fn sync_music(&self, view: &View) {
        let wanted = self.user.music_when_empty && (view.alone || !view.active);
        if !wanted {
            self.stop_music();
        } else if self.music.get().is_none() {
            let sounds = self.music_sounds.borrow().clone();
            self.music
                .set(self.call.channel().start_play(sounds, Repeat::Forever));
        }
    }

    fn stop_music(&self) {
        if let Some(play) = self.music.take() {
            self.call.channel().stop_play(play);
        }
    }

    /// Plays to this member, until the end or until he has to go. Digits are kept for the menu; with `until_digit` one of
    /// them ends it.
    async fn tell(&self, files: &str, until_digit: bool) -> Result<(), Stop> {
        let sounds = load(self.call, files, None).await.0;
        if sounds.is_empty() || self.out.get().is_some() {
            return Ok(());
        }
        // It would come back by itself only with the next change.
        self.stop_music();
        let channel = self.call.channel();
        let digits = channel.data().digits.len();
        let pressed = || until_digit && channel.data().digits.len() > digits;
        let gone = async {
            while self.sync().is_some() && !pressed() {
                channel.wait_change(None).await?;
            }
            Ok::<(), Stop>(())
        };
        tokio::select! {
            played = channel.play(sounds, true, &|_| false) => played.map(drop)?,
            gone = gone => gone?,
        }
        Ok(())
    }

    /// What he is told when he comes in, and what the others hear.
    async fn arrive(&self) -> Result<(), Stop> {
        let Some(view) = self.sync() else {
            return Ok(());
        };
        let (bridge, user) = (self.bridge, self.user);
        if user.wait_marked && !view.active {
            let sound = bridge.sound("wait_for_leader", "conf-waitforleader");
            if !user.quiet {
                self.tell(&sound, false).await?;
            }
            return Ok(());
        }
        if !user.quiet {
            let sounds = load(self.call, &bridge.sound("join", "confbridge-join"), None)
                .await
                .0;
            self.seat.announce(sounds);
        }
        if !user.announcement.is_empty() {
            self.tell(&user.announcement, false).await?;
        }
        if view.parties == 1 {
            if user.announce_only_user && !user.quiet {
                let sound = bridge.sound("only_person", "conf-onlyperson");
                self.tell(&sound, false).await?;
            }
        } else if user.announce_user_count {
            self.tell(&self.count(view.parties - 1), false).await?;
        }
        Ok(())
    }

    fn count(&self, others: usize) -> String {
        let bridge = self.bridge;
        match others {
            0 => bridge.sound("only_person", "conf-onlyperson"),
            1 => bridge.sound("only_one", "conf-onlyone"),
            others => {
                let grammar = say::Grammar::of(&self.call.channel().data().language);
                let others = i64::try_from(others).unwrap_or(i64::MAX);
                let mut names = say::number(grammar, others, say::Gender::Masculine);
                names.insert(0, bridge.sound("there_are", "conf-thereare"));
                names.push(bridge.sound("other_in_party", "conf-otherinparty"));
                names.join("&")
            }
        }
    }

    async fn take_part(&self, until: Option<Instant>) -> Result<End, Stop> {
        let channel = self.call.channel();
        self.arrive().await?;
        let mut keys = String::new();
        let mut keys_until = None;
        let mut was_active = self.sync().is_some_and(|view| view.active);
        loop {
            let Some(view) = self.sync() else {
                return Ok(End::Left(match self.out.get() {
                    Some(Out::EndMarked) => "ENDMARKED",
                    _ => "KICKED",
                }));
            };
            let now = Instant::now();
            if until.is_some_and(|until| now >= until) {
                return Ok(End::Left("TIMEOUT"));
            }
            if view.active != was_active {
                was_active = view.active;
                let (occasion, sound) = if view.active {
                    ("place_into_conference", "conf-placeintoconf")
                } else {
                    ("leader_has_left", "conf-leaderhasleft")
                };
                if !self.user.quiet {
                    self.tell(&self.bridge.sound(occasion, sound), false)
                        .await?;
                }
                continue;
            }
            self.sync_music(&view);
            if let Some(digit) = channel.take_digit() {
                keys.push(digit);
                keys_until = None;
                let found = self.menu.find(&keys);
                match (found.actions, found.longer) {
                    (_, true) => {
                        keys_until = Some(now + MENU_WAIT);
                        continue;
                    }
                    (Some(actions), false) => {
                        keys.clear();
                        if self.act_all(actions).await? {
                            return Ok(End::Left("DTMF"));
                        }
                    }
                    (None, false) => {
                        for digit in keys.drain(..) {
                            self.pass_on(digit);
                        }
                    }
                }
                continue;
            }
            if keys_until.is_some_and(|until| now >= until) {
                keys_until = None;
                let typed = std::mem::take(&mut keys);
                match self.menu.find(&typed).actions {
                    Some(actions) => {
                        if self.act_all(actions).await? {
                            return Ok(End::Left("DTMF"));
                        }
                    }
                    None => typed.chars().for_each(|digit| self.pass_on(digit)),
                }
                continue;
            }
            let next = [until, keys_until].into_iter().flatten().min();
            channel.wait_change(next).await?;
        }
    }

    /// A digit that means nothing here goes to the others, if that is wanted.
    fn pass_on(&self, digit: char) {
        if self.user.dtmf_passthrough {
            self.seat.change(|table, name, id, effects| {
                table.send_digit(name, id, digit, DIGIT_MS, effects);
            });
        }
    }

    /// Does one thing after the other; true: he leaves.
    async fn act_all(&self, actions: &[Action]) -> Result<bool, Stop> {
        for action in actions {
            if matches!(action, Action::LeaveConference) {
                return Ok(true);
            }
            self.act(action).await?;
        }
        Ok(false)
    }

    async fn act(&self, action: &Action) -> Result<(), Stop> {
        let bridge = self.bridge;
        if action.needs_admin() && !self.user.admin {
            return self
                .tell(&bridge.sound("error_menu", "conf-errormenu"), false)
                .await;
        }
        match action {
            Action::LeaveConference | Action::NoOp => Ok(()),
            Action::ToggleMute => {
                let muted = self
                    .seat
                    .change(|table, name, id, effects| table.toggle_mute(name, id, effects));
                self.sync();
                let sound = match muted {
                    true => bridge.sound("muted", "conf-muted"),
                    false => bridge.sound("unmuted", "conf-unmuted"),
                };
                self.tell(&sound, false).await
            }
            Action::ListeningVolume(by) => {
                step(&self.listen_steps, *by);
                self.sync();
                Ok(())
            }
            Action::TalkingVolume(by) => {
                step(&self.talk_steps, *by);
                self.sync();
                Ok(())
            }
            Action::Playback(files) => self.tell(files, false).await,
            Action::PlaybackAndContinue(files) => self.tell(files, true).await,
            Action::ParticipantCount => {
                let parties = self.seat.view().map_or(1, |view| view.parties);
                self.tell(&self.count(parties - 1), false).await
            }
            Action::ToggleLock => {
                let locked = self.seat.change(|table, name, _, _| {
                    let locked = !table.info(name).is_some_and(|info| info.locked);
                    table.lock(name, locked);
                    locked
                });
                let sound = match locked {
                    true => bridge.sound("locked_now", "conf-lockednow"),
                    false => bridge.sound("unlocked_now", "conf-unlockednow"),
                };
                self.tell(&sound, false).await
            }
            Action::KickLast => {
                let kicked = self.seat.change(|table, name, _, effects| {
                    let last = table.members(name).pop();
                    match last {
                        Some(last) if !last.admin => table.kick(name, Who::Last, effects),
                        _ => 0,
                    }
                });
                if kicked == 0 {
                    let sound = bridge.sound("error_menu", "conf-errormenu");
                    return self.tell(&sound, false).await;
                }
                Ok(())
            }
            Action::ToggleParticipantsMute => {
                let muted = self
                    .seat
                    .change(|table, name, _, effects| table.toggle_participants(name, effects));
                let sound = match muted {
                    true => bridge.sound("participants_muted", "conf-now-muted"),
                    false => bridge.sound("participants_unmuted", "conf-now-unmuted"),
                };
                let sounds = load(self.call, &sound, None).await.0;
                self.seat.announce(sounds);
                Ok(())
            }
        }
    }
}

/// A step up or down, or (0) back to the beginning.
fn step(steps: &Cell<i8>, by: i8) {
    steps.set(match by {
        0 => 0,
        by => (steps.get() + by).clamp(-VOLUME_STEPS_MAX, VOLUME_STEPS_MAX),
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_have_an_end_and_a_middle() {
        let steps = Cell::new(0);
        for _ in 0..9 {
            step(&steps, 1);
        }
        assert_eq!(steps.get(), VOLUME_STEPS_MAX);
        step(&steps, -1);
        assert_eq!(steps.get(), VOLUME_STEPS_MAX - 1);
        step(&steps, 0);
        assert_eq!(steps.get(), 0);
    }
}

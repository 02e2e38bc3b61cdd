//! What a channel knows, apart from SIP and media.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime};

use strowger_media::{LegId, LegStats};

use super::{Cause, ChannelId, Party, Redirecting, Variables};
use crate::cdr::CallRecords;
use crate::conference::MemberId;

/// Digits a channel keeps that nobody has read yet.
pub(crate) const DIGITS_MAX: usize = 64;

/// The states of a channel, numbered as the Manager prints them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    Down = 0,
    Dialing = 3,
    /// An incoming call that is not answered yet.
    Ring = 4,
    /// An outgoing call that rings at the far end.
    Ringing = 5,
    Up = 6,
    Busy = 7,
}

/// A place in the dialplan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Location {
    pub context: String,
    pub exten: String,
    pub priority: i32,
}

impl Location {
    pub fn new(context: &str, exten: &str, priority: i32) -> Self {
        Self {
            context: context.to_owned(),
            exten: exten.to_owned(),
            priority,
        }
    }
}

/// `TIMEOUT(...)`: how long to wait for what.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// Between two digits. Default 5 s.
    pub digit: Duration,
    /// For the first digit. Default 10 s.
    pub response: Duration,
    /// When the call is ended, if limited.
    pub absolute: Option<Instant>,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            digit: Duration::from_secs(5),
            response: Duration::from_secs(10),
            absolute: None,
        }
    }
}

/// How an outgoing leg stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DialProgress {
    /// First 180 (or other sign of ringing).
    pub ringing: Option<Instant>,
    /// First progress without media (183 without a description).
    pub progress: Option<Instant>,
    /// First early media.
    pub early_media: Option<Instant>,
    pub answered: Option<Instant>,
}

/// Why a leg is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LegEnd {
    pub cause: Cause,
    /// The SIP status that ended an outgoing leg, if one did.
    pub status: Option<u16>,
    /// The far end hung up (false: we did).
    pub by_peer: bool,
}

/// A bridge that a channel's own task keeps up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bridging {
    /// It has no limits and listens to no keys: nothing is lost when another takes the place of this channel.
    pub plain: bool,
    /// Somebody took the peer away.
    pub peer_taken: bool,
}

/// Everything about a channel that applications and functions read and write.
#[derive(Debug)]
pub struct Data {
    pub state: State,
    pub location: Location,
    /// Application being executed and its substituted data.
    pub application: String,
    pub application_data: String,
    pub variables: Variables,
    pub linkedid: String,
    /// `CALLERID(...)`: the party that placed the call as seen on this channel.
    pub caller: Party,
    /// `CALLERID(ANI)`.
    pub ani: String,
    /// `CONNECTEDLINE(...)`: the party at the other end.
    pub connected: Party,
    /// Dialled number.
    pub dnid: String,
    /// Redirecting number.
    pub rdnis: String,
    /// The rest of who sent the call on (`REDIRECTING(...)`).
    pub redirecting: Redirecting,
    pub language: String,
    pub accountcode: String,
    pub amaflags: String,
    pub music_class: String,
    pub tonezone: String,
    pub hangup_source: String,
    /// Subroutines for the end of the channel, as `CHANNEL(hangup_handler_push)` was given them; the last runs first.
    pub hangup_handlers: Vec<String>,
    pub timeouts: Timeouts,
    /// Cause of the last failure or hang-up (`HANGUPCAUSE`).
    pub cause: Cause,
    /// Set once: the channel is over.
    pub ended: Option<LegEnd>,
    pub(crate) recordings: crate::record::Recordings,
    /// Received digits nobody has read yet.
    pub digits: VecDeque<char>,
    /// Progress of an outgoing leg.
    pub progress: DialProgress,
    /// When its INVITE was parsed, until its first application begins.
    pub(crate) invited_at: Option<Instant>,
    /// It runs the dialplan, which has to end before the channel is forgotten.
    pub(crate) runs_dialplan: bool,
    /// The channel this one is bridged with.
    pub bridged: Option<ChannelId>,
    /// The conference it takes part in, and as whom.
    pub conference: Option<(std::rc::Rc<str>, MemberId)>,
    /// The bridge it is in, as events name it.
    pub bridge_id: Option<std::rc::Rc<str>>,
    /// Its call records, to be told of when it is gone.
    pub(crate) record_events: Vec<crate::events::Event>,
    /// It was told that it is dialled.
    pub(crate) dialling: Option<Box<super::Dialling>>,
    /// The bridge that its own task keeps up.
    pub bridge: Option<Bridging>,
    /// Who listens to that bridge (ChanSpy).
    pub(crate) guests: Vec<crate::call::guests::Guest>,
    /// `VOLUME` and `MUTEAUDIO`.
    pub(crate) loudness: super::Loudness,
    /// `TALK_DETECT`.
    pub(crate) talk: Option<super::TalkDetection>,
    /// What listens for a fax machine (`fax_detect`).
    pub(crate) fax_watch: Option<strowger_media::attention::WatchId>,
    /// How its media did, as last told.
    pub(crate) stats: Option<Box<LegStats>>,
    /// How often it was told.
    pub(crate) stats_told: u64,
    /// The leg of this channel and that of whom it was bridged with last.
    pub(crate) last_legs: [Option<LegId>; 2],
    /// Somebody here needs the packets of its bridge: they do not flow directly.
    pub(crate) media_here: bool,
    /// How many outside of the exchange get its samples.
    pub(crate) taps: u32,
    /// How often they were sent to flow directly in its bridge.
    pub(crate) direct_attempts: u8,
    /// The far end put us on hold.
    pub held: bool,
    /// The music this channel hears because its peer holds it.
    pub hold_music: Option<strowger_media::PlayId>,
    /// The channel ends when its current step returns, without an error (Redirect and the like move it instead).
    pub redirect: Option<Location>,
    /// An application it is to run instead of what it does, and its data.
    pub errand: Option<(String, String)>,
    /// Behind it the dialplan ends.
    pub last_errand: bool,
    /// Who is told how far the call is that it was transferred to.
    pub(crate) transferred: Option<tokio::sync::mpsc::Sender<u16>>,
    /// The space of a parking lot that is kept for it until it parks.
    pub parking: Option<crate::parking::Place>,
    /// The channel whose Dial called it, as long as that waits for an answer.
    pub(crate) dialled_by: Option<ChannelId>,
    /// The channel that picked it up.
    pub(crate) picked_up: Option<ChannelId>,
    /// That channel has taken its place in the Dial.
    pub(crate) replaced: bool,
    /// Where its far end wants the call to go instead (302).
    pub(crate) forwarded_to: Option<String>,
    /// The same, as an address that is called without the dialplan.
    pub(crate) redirected_to: Option<String>,
    /// It is what a Dial got for an answer, and that Dial goes on.
    pub(crate) taken_by_dial: bool,
    /// Somebody takes it out of what it does.
    pub yank: Option<super::Yank>,
    /// `CHANNEL(after_bridge_goto)`: where it goes when a bridge lets it go.
    pub after_bridge: Option<Location>,
    /// How many Dials stand between this channel and an incoming call.
    pub(crate) dial_depth: u8,
    /// Hops left for calls this channel makes.
    pub(crate) max_forwards: u8,
    /// Headers the dialplan added for the INVITE of this (outgoing) channel.
    pub request_headers: Vec<(String, String)>,
    /// The text that came, or that the dialplan is about to send.
    pub message: Option<Box<crate::call::TextMessage>>,
    pub created: SystemTime,
    pub created_at: Instant,
    pub answered: Option<SystemTime>,
    pub cdr: CallRecords,
}

impl Data {
    /// Hops left for calls this channel makes.
    pub fn max_forwards(&self) -> u8 {
        self.max_forwards
    }

    pub(crate) fn new(state: State, location: Location, linkedid: String) -> Self {
        Self {
            state,
            location,
            application: String::new(),
            application_data: String::new(),
            variables: Variables::default(),
            linkedid,
            caller: Party::default(),
            ani: String::new(),
            connected: Party::default(),
            dnid: String::new(),
            rdnis: String::new(),
            redirecting: Redirecting::default(),
            language: "en".to_owned(),
            accountcode: String::new(),
            amaflags: "DOCUMENTATION".to_owned(),
            music_class: String::new(),
            tonezone: String::new(),
            hangup_source: String::new(),
            timeouts: Timeouts::default(),
            cause: Cause(0),
            ended: None,
            recordings: crate::record::Recordings::default(),
            digits: VecDeque::new(),
            progress: DialProgress::default(),
            invited_at: None,
            hangup_handlers: Vec::new(),
            runs_dialplan: false,
            bridged: None,
            conference: None,
            bridge_id: None,
            record_events: Vec::new(),
            dialling: None,
            bridge: None,
            guests: Vec::new(),
            loudness: super::Loudness::default(),
            talk: None,
            fax_watch: None,
            stats: None,
            stats_told: 0,
            last_legs: [None; 2],
            media_here: false,
            taps: 0,
            direct_attempts: 0,
            held: false,
            hold_music: None,
            redirect: None,
            errand: None,
            last_errand: false,
            transferred: None,
            parking: None,
            dialled_by: None,
            picked_up: None,
            replaced: false,
            forwarded_to: None,
            redirected_to: None,
            taken_by_dial: false,
            yank: None,
            after_bridge: None,
            dial_depth: 0,
            max_forwards: 70,
            request_headers: Vec::new(),
            message: None,
            created: SystemTime::now(),
            created_at: crate::clock::now(),
            answered: None,
            cdr: CallRecords::default(),
        }
    }
}

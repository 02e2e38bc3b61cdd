//! The words between signalling and media: ids, what a leg is, commands one way, events the other.

use std::borrow::Cow;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;

use crate::attention::{Noticed, Watch, WatchId};
use crate::codec::{Codec, EncoderOptions};
use crate::dsp::Gain;
use crate::engine::{FarEnd, Recorder};
use crate::room::{LinkEnd, MemberOptions};
use crate::rtp::rtcp::{Block, SenderInfo};
use crate::rtp::srtp::SrtpKeys;
use crate::sound::Sound;
use crate::stats::LegStats;

/// Names a leg. Chosen by signalling, unique within a shard for the life of the process.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug)]
pub struct LegId(pub u64);

/// Names a recorder. Chosen by signalling, unique within a shard for the life of the process.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug)]
pub struct RecorderId(pub u64);

/// Names one [`Command::Play`], so that its end can be told from the end of another.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug)]
pub struct PlayId(pub u64);

/// Names a room, or the part of one that a shard has. Chosen by signalling, unique within a shard for the life of the
/// process.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug)]
pub struct RoomId(pub u64);

/// A codec under the payload type it has on one side of one leg.
#[derive(Copy, Clone, Eq, PartialEq, Hash, Debug)]
pub struct Format {
    /// RTP payload type, 0..=127.
    pub payload_type: u8,
    pub codec: Codec,
}

/// What offer and answer (RFC 3264) settled about a leg, as far as media needs it.
#[derive(Clone, Debug)]
pub struct Negotiated {
    /// Where RTP goes. `None`: nowhere, nothing is sent (until a symmetric leg has latched onto a source).
    pub remote_rtp: Option<SocketAddr>,
    /// Where RTCP goes. `None`: the port above `remote_rtp` (RFC 3550 §11).
    pub remote_rtcp: Option<SocketAddr>,
    /// What may be received, under our payload types; the first is preferred.
    pub formats: Vec<Format>,
    /// What is sent, under the payload type the remote chose.
    pub send: Format,
    /// Milliseconds of audio in a packet that we generate, 10..=60; others are brought into that range.
    pub ptime_ms: u8,
    /// What the encoder is to do; Opus has a choice (RFC 7587 §6.1).
    pub encoder: EncoderOptions,
    /// The remote takes comfort noise (RFC 3389, payload type 13): relay it.
    pub comfort_noise: bool,
    /// Payload type under which telephone-events (RFC 4733) arrive.
    pub dtmf_receive: Option<u8>,
    /// Payload type under which telephone-events are sent; `None`: the remote does not want them.
    pub dtmf_send: Option<u8>,
    /// Clock rate of telephone-events in Hz, both ways: 8000, or that of the codec (48000 beside Opus). 0: 8000.
    pub dtmf_clock: u32,
    /// What becomes of digits for a remote that takes no telephone-events. True: tones. False: nothing here; signalling
    /// carries them (SIP INFO).
    pub dtmf_tones: bool,
    /// Listen for the tones of digits in what the remote sends.
    pub detect_inband: bool,
    /// May we send? When not, packets towards this leg are dropped and counted.
    pub sending: bool,
    /// May the remote send? When not, what it sends is dropped and counted.
    pub receiving: bool,
    /// True: send to and accept only the source of the first valid packet, wherever it comes from (as behind NAT).
    /// False: accept only the address of `remote_rtp`, send only to `remote_rtp`.
    pub symmetric: bool,
    /// Protection of RTP and RTCP (RFC 3711); `None`: plain. Keys that are the same as before leave their streams as they
    /// are, new ones take over at once, with a short time in which the old key still opens what was on the way.
    pub srtp: Option<SrtpKeys>,
    /// After so many milliseconds without received RTP: [`Event::RtpTimeout`], once. 0: never.
    pub rtp_timeout_ms: u32,
    /// After so many seconds in which nothing was sent a packet of comfort noise is, so that what lies on the way keeps the way
    /// open (RFC 6263), whether audio may be sent or not. 0: never.
    pub keepalive_s: u16,
    /// RTCP goes through the ports of RTP (RFC 5761).
    pub rtcp_mux: bool,
    /// The remote wants extended reports (RFC 3611): send them.
    pub rtcp_xr: bool,
}

impl Default for Negotiated {
    /// Nothing agreed: no address, no format to receive, PCMU to send under payload type 0, both directions, 20 ms.
    fn default() -> Self {
        Self {
            remote_rtp: None,
            remote_rtcp: None,
            formats: Vec::new(),
            send: Format {
                payload_type: 0,
                codec: Codec::Pcmu,
            },
            ptime_ms: 20,
            encoder: EncoderOptions::default(),
            comfort_noise: false,
            dtmf_receive: None,
            dtmf_send: None,
            dtmf_clock: 8000,
            dtmf_tones: true,
            detect_inband: false,
            sending: true,
            receiving: true,
            symmetric: false,
            rtp_timeout_ms: 0,
            keepalive_s: 0,
            srtp: None,
            rtcp_mux: false,
            rtcp_xr: false,
        }
    }
}

/// A leg as the media engine starts it: everything of [`LegSetup`] but the sockets.
#[derive(Clone, Debug)]
pub struct LegStart {
    pub leg: LegId,
    /// SSRC of everything sent on this leg; random (RFC 3550 §8.1).
    pub ssrc: u32,
    /// First sequence number sent; random.
    pub sequence: u16,
    /// First timestamp sent; random.
    pub timestamp: u32,
    /// Canonical name in RTCP SDES, at most 255 bytes (longer is cut).
    pub cname: String,
}

/// A new leg with its sockets (bound, non-blocking; see `ports::PortRange::allocate`).
#[derive(Debug)]
pub struct LegSetup {
    pub leg: LegId,
    pub rtp: UdpSocket,
    pub rtcp: UdpSocket,
    /// SSRC of everything sent on this leg; random (RFC 3550 §8.1).
    pub ssrc: u32,
    /// First sequence number sent; random.
    pub sequence: u16,
    /// First timestamp sent; random.
    pub timestamp: u32,
    /// Canonical name in RTCP SDES, at most 255 bytes (longer is cut).
    pub cname: String,
}

impl LegSetup {
    /// Parts the sockets (for the ring) from the rest (for the engine).
    pub fn split(self) -> (LegStart, UdpSocket, UdpSocket) {
        let start = LegStart {
            leg: self.leg,
            ssrc: self.ssrc,
            sequence: self.sequence,
            timestamp: self.timestamp,
            cname: self.cname,
        };
        (start, self.rtp, self.rtcp)
    }
}

/// Where the packets received on a leg go.
#[derive(Copy, Clone, Eq, PartialEq, Debug, Default)]
pub enum Route {
    /// Nowhere. DTMF, statistics and recorders still work.
    #[default]
    Silence,
    /// Out of another leg of the same shard. Ends by itself when that leg is closed.
    Relay(LegId),
    /// Back to their sender.
    Echo,
}

/// What happens to a room. A room is opened by [`RoomCommand::Open`] and lives until [`RoomCommand::Close`]; legs come in
/// by [`RoomCommand::Join`] and go by [`Command::Route`] to anywhere, or when they are closed.
#[derive(Debug)]
pub enum RoomCommand {
    /// Opens a room that mixes at this rate in Hz: 8000, 16,000, 24,000, 32,000 or 48,000.
    Open {
        rate: u32,
    },
    /// Changes the rate; all parts of a room have to have the same.
    Rate {
        rate: u32,
    },
    /// Joins this part with another; the other end of the link goes to that part, on whatever thread it is.
    Link(Box<LinkEnd>),
    /// A leg comes in, or takes part in another way than before.
    Join {
        leg: LegId,
        options: MemberOptions,
    },
    /// Plays to all in the room, over the talk. Ends with [`Event::RoomPlayEnded`].
    Play {
        play: PlayId,
        sounds: Vec<Arc<Sound>>,
        repeat: Repeat,
    },
    StopPlay(PlayId),
    /// Sends a digit to all in the room, but to this one; as [`Command::SendDtmf`].
    SendDtmf {
        digit: char,
        duration_ms: u16,
        except: Option<LegId>,
    },
    /// Records what is heard in the room. The recorder's `leg` is of no importance.
    StartRecorder(Box<Recorder>),
    /// [`Event::RecorderClosed`] follows.
    StopRecorder(RecorderId),
    /// Ends the room: its legs are routed nowhere, what plays and records ends.
    Close,
}

/// How often the sounds of a [`Command::Play`] are played.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum Repeat {
    Once,
    /// From the first again after the last, until stopped.
    Forever,
    /// So many first sounds once, then those behind them again and again, until stopped.
    After(usize),
}

/// What a listener does with a [`Command::Play`].
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum PlayAction {
    /// Nothing is sent until [`Self::Resume`].
    Pause,
    Resume,
    /// Goes on from so many milliseconds behind the beginning of the first sound; beyond the last it is over.
    Seek {
        ms: u32,
    },
    /// Goes on so many milliseconds further on, or back when negative, at most to the beginning.
    Skip {
        ms: i32,
    },
}

/// From signalling to the media thread. A command for a leg that does not exist is ignored and counted.
#[derive(Debug)]
pub enum Command {
    Open(Box<LegSetup>),
    /// Opens two legs without sockets: what is sent out of one is received on the other, at once and without a loss.
    OpenWire(Box<[LegStart; 2]>),
    /// Opens a leg without a socket whose other end belongs to another media thread: what is sent there is received here up
    /// to 20 ms later.
    OpenFar(Box<(LegStart, FarEnd)>),
    Configure(LegId, Box<Negotiated>),
    /// Ends what plays and records on the leg (their end events come first), sends RTCP BYE, then [`Event::Closed`].
    Close(LegId),
    Route(LegId, Route),
    /// Relay both ways.
    Bridge(LegId, LegId),
    /// Plays to the leg. Relayed packets towards it are dropped meanwhile; a newer Play replaces an older one, which
    /// ends with `completed: false`. All sounds have the rate of the first.
    Play {
        leg: LegId,
        play: PlayId,
        sounds: Vec<Arc<Sound>>,
        repeat: Repeat,
    },
    /// Ends a Play, if it is the one that plays now.
    StopPlay {
        leg: LegId,
        play: PlayId,
    },
    /// Pauses, resumes or moves a Play, if it is the one that plays now.
    ControlPlay {
        leg: LegId,
        play: PlayId,
        action: PlayAction,
    },
    /// Sends a digit (0-9, *, #, A-D) to the leg: as a telephone-event, in-band where the remote takes none. Digits queue
    /// behind each other. The duration is brought into 40..=60000 ms.
    SendDtmf {
        leg: LegId,
        digit: char,
        duration_ms: u16,
    },
    /// Starts what `RecorderSetup::prepare` made.
    StartRecorder(Box<Recorder>),
    /// Stops a recorder and cuts the last `drop_last_ms` off its file. [`Event::RecorderClosed`] follows.
    StopRecorder {
        recorder: RecorderId,
        leg: LegId,
        drop_last_ms: u32,
    },
    /// Replaces audio by silence in one recording: `receive` what comes from the leg, `transmit` what goes to it.
    MuteRecorder {
        recorder: RecorderId,
        receive: bool,
        transmit: bool,
    },
    /// Replaces audio by silence: `receive` what comes from the leg, `transmit` what goes to it.
    Mute {
        leg: LegId,
        receive: bool,
        transmit: bool,
    },
    /// Listens for something in what comes from the leg; [`Event::Noticed`] tells of it.
    Watch {
        leg: LegId,
        watch: WatchId,
        what: Box<Watch>,
    },
    /// Listens for it no longer.
    EndWatch {
        leg: LegId,
        watch: WatchId,
    },
    /// Makes audio louder or softer: `receive` what comes from the leg, `transmit` what goes to it.
    Gain {
        leg: LegId,
        receive: Gain,
        transmit: Gain,
    },
    /// How long audio of the leg that is decoded may wait in its jitter buffer at most, 20 to 300 ms.
    JitterMax {
        leg: LegId,
        ms: u32,
    },
    /// Something about a room.
    Room(RoomId, RoomCommand),
    /// Asks for [`Event::Stats`].
    Snapshot(LegId),
}

/// An RTCP report that was sent or received: the first report of a compound packet.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct ControlReport {
    /// Sent by us; false: received.
    pub sent: bool,
    /// SSRC of who reports.
    pub ssrc: u32,
    /// Where it went or came from, where that is known (a connected socket does not say).
    pub remote: Option<SocketAddr>,
    /// What the reporter sent.
    pub sender: Option<SenderInfo>,
    /// What the reporter received.
    pub block: Option<Block>,
    /// Round trip that a received report tells, microseconds.
    pub round_trip_us: Option<u32>,
}

/// From the media thread to signalling.
#[derive(Debug)]
pub enum Event {
    /// A report was sent or received: every four seconds or so each way.
    Report { leg: LegId, report: ControlReport },
    /// A digit was pressed (RFC 4733, or a tone where the leg listens for tones); each press is told once.
    DtmfBegin { leg: LegId, digit: char },
    /// It was released, or its end was lost and it is over by time.
    DtmfEnd {
        leg: LegId,
        digit: char,
        duration_ms: u32,
    },
    /// A Play is over: all sounds played (`completed`), stopped, replaced, or the leg closed. `samples` were played (at
    /// the rate of the sounds, over all repetitions); `position_ms` is where it was, from the beginning of the first
    /// sound.
    PlayEnded {
        leg: LegId,
        play: PlayId,
        completed: bool,
        samples: u64,
        position_ms: u32,
    },
    /// The first accepted RTP packet since the remote address was (re)negotiated.
    FirstRtp { leg: LegId, source: SocketAddr },
    /// Nothing was received for as long as `Negotiated::rtp_timeout_ms` says. Told once, until packets come again.
    RtpTimeout { leg: LegId, silent_ms: u32 },
    /// Packets come again after an [`Event::RtpTimeout`].
    RtpResumed { leg: LegId },
    /// The leg was silent for as long as `RecorderSetup::silence_ms` says. Told once per silence.
    RecorderSilence { leg: LegId, recorder: RecorderId },
    /// A recording cannot be written, or not as fast as it grows. Told once until [`Event::RecorderResumed`]; the call is
    /// not touched by it. What comes meanwhile is kept for about 16 seconds, then it is lost.
    RecorderTrouble {
        leg: LegId,
        recorder: RecorderId,
        error: Cow<'static, str>,
    },
    /// It is written again. So many samples were lost since the trouble was told; silence stands in their place.
    RecorderResumed {
        leg: LegId,
        recorder: RecorderId,
        lost_samples: u64,
    },
    /// The file is closed on disk. `samples` is its new length without what it had before (append), at the rate of the
    /// recorder.
    RecorderClosed {
        recorder: RecorderId,
        leg: LegId,
        path: PathBuf,
        samples: u64,
        /// Samples that the disk was too slow for; silence stands in their place.
        lost_samples: u64,
        error: Option<String>,
    },
    /// A [`Command::Watch`] noticed something.
    Noticed {
        leg: LegId,
        watch: WatchId,
        noticed: Noticed,
    },
    /// A member of a room with `talk_events` begins or ends to talk.
    RoomTalking {
        room: RoomId,
        leg: LegId,
        talking: bool,
    },
    /// A [`RoomCommand::Play`] is over, as in [`Event::PlayEnded`].
    RoomPlayEnded {
        room: RoomId,
        play: PlayId,
        completed: bool,
    },
    /// The answer to [`Command::Snapshot`].
    Stats { leg: LegId, stats: Box<LegStats> },
    /// The leg is gone; its last statistics.
    Closed { leg: LegId, stats: Box<LegStats> },
}

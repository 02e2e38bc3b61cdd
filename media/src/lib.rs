//! Packets and samples: RTP legs, relaying, prompts, DTMF and recordings, and the thread that carries them.
//!
//! What lives here: everything that touches a media packet or an audio sample. What never does: SIP, SDP, the
//! dialplan, SQL, logs per packet. Everything that decides ([`engine::Engine`] and below it [`rtp`], [`codec`],
//! [`dsp`], [`jitter`], [`alignment`], [`attention`]) is sans-IO: it takes a packet, a command and a time, and says what to send; sockets, clocks
//! and files are at the rim. Signalling knows a leg by [`LegId`], speaks [`Command`] and hears [`Event`].

pub mod alignment;
pub mod attention;
pub mod codec;
pub mod counters;
pub mod dsp;
pub mod engine;
pub mod jitter;
pub mod ports;
mod recording;
pub mod room;
pub mod rtp;
mod sound;
mod stats;
mod types;
pub mod uring;
pub mod worker;
pub mod writer;

pub use codec::{Codec, L16Rate};
pub use counters::Counters;
pub use engine::{FarEnd, Recorder, far_wire};
pub use recording::{FileFormat, FileSetup, Order, RecorderSetup, Reply, TapMode};
pub use sound::{LiveWriter, SAMPLE_RATE, Sound, SoundError, SoundFormat, WIDE_RATE, live_sound};
pub use stats::{Drops, LegStats};
pub use types::{
    Command, ControlReport, Event, Format, LegId, LegSetup, LegStart, Negotiated, PlayAction,
    PlayId, RecorderId, Repeat, RoomCommand, RoomId, Route,
};

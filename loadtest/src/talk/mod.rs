//! What the two ends of a call say and what they make of what they hear. Packets and samples only: no sockets, no SIP.

pub mod g711;
pub mod heard;
pub mod rtp;
pub mod signature;
pub mod tone;
pub mod wav;

/// Samples of 20 ms at 8000 Hz, and bytes of a packet of G.711.
pub const FRAME: usize = 160;
/// Packets a second on each leg.
pub const PER_SECOND: u32 = 50;

/// One end of a call.
#[derive(Copy, Clone, Debug, Eq, PartialEq, Hash)]
pub enum Side {
    Caller,
    Callee,
}

impl Side {
    /// The other end.
    pub const fn other(self) -> Self {
        match self {
            Self::Caller => Self::Callee,
            Self::Callee => Self::Caller,
        }
    }

    /// As a number, for packets.
    pub const fn number(self) -> u8 {
        match self {
            Self::Caller => 0,
            Self::Callee => 1,
        }
    }
}

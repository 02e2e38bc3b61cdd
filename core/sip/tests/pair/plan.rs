//! What a simulated call is meant to do, what the link does to it, what it came to, and what must hold in the end.

use strowger_sip::flow::Transport;

use super::Pair;

/// xorshift64*: the same numbers for the same seed, everywhere.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}

/// What the link does to a message.
#[derive(Copy, Clone, Debug)]
pub struct Weather {
    pub loss_percent: u64,
    pub duplicate_percent: u64,
    /// Delays are spread evenly between these: messages overtake each other.
    pub delay_ms: (u64, u64),
    pub transport: Transport,
}

pub const FINE: Weather = Weather {
    loss_percent: 0,
    duplicate_percent: 0,
    delay_ms: (10, 10),
    transport: Transport::Udp,
};

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Accept { after_ms: u64 },
    Refuse { after_ms: u64, status: u16 },
    Never,
}

#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Side {
    Caller,
    Callee,
}

/// What one call is meant to do. Times of the callee count from the arrival of the INVITE.
#[derive(Copy, Clone, Debug)]
pub struct Plan {
    pub start_ms: u64,
    pub ring_ms: Option<u64>,
    pub verdict: Verdict,
    pub cancel_ms: Option<u64>,
    /// Who hangs up, how long after the answer.
    pub hang_up: (Side, u64),
}

/// What one call came to.
#[derive(Clone, Debug, Default)]
pub struct Record {
    /// Final outcomes that the caller was told of: statuses, 1 for a timeout, 2 for a transport error.
    pub caller_finals: Vec<u16>,
    pub caller_terminated: u32,
    pub caller_provisionals: u32,
    pub repeated_2xx: u32,
    /// INVITEs that the callee was told of.
    pub invites_seen: u32,
    /// Final responses that the callee gave, 408 for one that the layer gave in its place.
    pub callee_finals: Vec<u16>,
    pub callee_terminated: u32,
    pub cancels_seen: u32,
    pub acks_seen: u32,
    pub no_ack: u32,
    pub given_up: u32,
    pub byes_seen: u32,
    /// Final outcomes of BYEs, 1 for a timeout.
    pub bye_finals: Vec<u16>,
}

/// What must hold for every call on every link.
pub fn check_invariants(context: &str, pair: &Pair, records: &[Record]) {
    for (index, record) in records.iter().enumerate() {
        let context = || format!("{context}, call {index}: {record:?}");
        assert_eq!(
            record.caller_finals.len(),
            1,
            "one final outcome for the caller, {}",
            context()
        );
        assert_eq!(record.caller_terminated, 1, "{}", context());
        assert!(
            record.invites_seen <= 1,
            "retransmissions absorbed, {}",
            context()
        );
        assert_eq!(
            record.callee_finals.len() as u32,
            record.invites_seen,
            "one final outcome for the callee, {}",
            context()
        );
        assert_eq!(
            record.callee_terminated,
            record.invites_seen,
            "{}",
            context()
        );
        assert!(record.cancels_seen <= 1, "{}", context());
        let told = record.caller_finals[0];
        if told >= 100 {
            assert_eq!(
                Some(&told),
                record.callee_finals.first(),
                "both sides agree, {}",
                context()
            );
        }
    }
    for layer in &pair.layers {
        assert!(
            layer.is_empty(),
            "{context}: {} client and {} server transactions are left",
            layer.client_count(),
            layer.server_count()
        );
    }
}

//! What a jitter buffer tells of itself.

/// What a jitter buffer went through.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct Report {
    /// Packets that came after their time.
    pub late: u64,
    /// Packets dropped because too many waited, or the delay was cut.
    pub overflowed: u64,
    /// Samples that stand for lost or late audio.
    pub concealed: u64,
    /// Times that nothing was there when something was due.
    pub underruns: u64,
    /// Times that the sender's timestamps were mapped anew, or the delay was cut.
    pub resyncs: u64,
    /// Samples added to keep up with a slower sender or a slower network.
    pub stretched: u64,
    /// Samples left out.
    pub shortened: u64,
    /// How long the fastest packets wait, milliseconds.
    pub delay_ms: u32,
    pub delay_ms_max: u32,
}

impl Report {
    /// Both together, one after the other.
    pub fn followed_by(self, next: Self) -> Self {
        Self {
            late: self.late + next.late,
            overflowed: self.overflowed + next.overflowed,
            concealed: self.concealed + next.concealed,
            underruns: self.underruns + next.underruns,
            resyncs: self.resyncs + next.resyncs,
            stretched: self.stretched + next.stretched,
            shortened: self.shortened + next.shortened,
            delay_ms: next.delay_ms,
            delay_ms_max: self.delay_ms_max.max(next.delay_ms_max),
        }
    }
}

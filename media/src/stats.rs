//! What is counted about one leg, as signalling reads it.

use crate::codec::Codec;
use crate::jitter::Report;
use crate::rtp::quality::{self, Impairment, Quality};

/// Packets that did not go on, by reason. Counted on the leg where they were received, but for `not_sending`, `replaced`,
/// `dtmf_unwanted` and `transcode`, which are counted on the leg they were for.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Drops {
    /// Not RTP version 2, or shorter than its header says.
    pub invalid: u64,
    /// Before the leg was configured.
    pub unconfigured: u64,
    /// From an address that may not send on this leg.
    pub wrong_source: u64,
    /// A payload type that was not negotiated.
    pub unknown_payload: u64,
    /// Seen before.
    pub duplicate: u64,
    /// Came too late to be of use, or before a sequence jump was believed.
    pub late: u64,
    /// The remote may not send now (hold).
    pub not_receiving: u64,
    /// Comfort noise (RFC 3389): silence needs no packet.
    pub comfort_noise: u64,
    /// No payload (keep-alive).
    pub empty: u64,
    /// We may not send to this leg now (hold), or do not know where to.
    pub not_sending: u64,
    /// A prompt or a digit played over them.
    pub replaced: u64,
    /// Telephone-events towards a leg that did not negotiate them.
    pub dtmf_unwanted: u64,
    /// On a secured leg: the authentication tag is wrong, or there is none.
    pub srtp_auth: u64,
    /// On a secured leg: came again, or is older than the replay window (128 packets).
    pub srtp_replay: u64,
    /// On a secured leg: too short to be protected.
    pub srtp_unprotected: u64,
    /// The master key has protected as many packets as it may.
    pub srtp_expired: u64,
    /// To a secured leg: a number that was sent already, or no room for the tag.
    pub srtp_not_sent: u64,
    /// For a leg that speaks another codec, and nothing translates.
    pub transcode: u64,
}

/// Statistics of a leg since it was opened. Received: from the remote to us.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LegStats {
    /// The leg had no socket: this says nothing of any network.
    pub inside: bool,
    /// SSRC of what we send.
    pub ssrc: u32,
    /// SSRC of what we receive now; `None`: nothing came yet.
    pub remote_ssrc: Option<u32>,
    /// The codec we send; `None` before one was agreed.
    pub codec: Option<Codec>,
    /// RTP packets accepted (source and format right), duplicates included.
    pub packets_received: u64,
    /// Their payload bytes.
    pub bytes_received: u64,
    /// RTP packets sent, relayed and generated.
    pub packets_sent: u64,
    /// Their payload bytes.
    pub bytes_sent: u64,
    /// Packets lost on the way to us, over all sources (RFC 3550 A.3; duplicates do not make it negative).
    pub lost: u64,
    /// Packets received more than once.
    pub duplicates: u64,
    /// Packets that came after a later one, in time to be used.
    pub reordered: u64,
    /// Packets that came too late to be told from another source or a wrap.
    pub late: u64,
    /// Times that the remote changed its SSRC or restarted its sequence.
    pub source_changes: u64,
    /// Interarrival jitter in microseconds (RFC 3550 A.8).
    pub jitter_us: u32,
    /// Largest jitter estimate seen, microseconds.
    pub jitter_us_max: u32,
    /// Round trip from the last RTCP report of the remote, microseconds (RFC 3550 §6.4.1); `None`: none came yet.
    pub round_trip_us: Option<u32>,
    /// What the remote says it lost of ours, in packets.
    pub remote_lost: Option<u32>,
    /// The remote's jitter estimate of ours, microseconds.
    pub remote_jitter_us: Option<u32>,
    /// Digits received (telephone-events, once each).
    pub dtmf_received: u64,
    /// RTCP packets accepted.
    pub rtcp_received: u64,
    /// RTCP packets sent.
    pub rtcp_sent: u64,
    /// What was seen at each report.
    pub quality: Quality,
    /// Packets that did not go on.
    pub drops: Drops,
    /// What the jitter buffer went through, while audio was decoded.
    pub heard: Report,
}

impl LegStats {
    /// Percent of the packets on the way to us that were lost; `None` before anything was received.
    pub fn loss_percent(&self) -> Option<f32> {
        let expected = self.packets_received.saturating_sub(self.duplicates) + self.lost;
        (expected > 0).then(|| self.lost as f32 * 100.0 / expected as f32)
    }

    /// Mean opinion score of what was received, times 100 (100..=450), after the E-model of ITU-T G.107 without echo:
    /// delay from half the round trip and twice the jitter, loss as counted, the codec's weakness ([`Impairment`]). An
    /// estimate for people, not a measurement. `None` before anything was received.
    pub fn mos_x100(&self) -> Option<u16> {
        let loss = self.loss_percent()?;
        let seconds = |us: u32| us as f32 / 1e6;
        let delay = quality::delay_ms(
            self.round_trip_us.map_or(0.0, seconds),
            seconds(self.jitter_us),
        );
        let impairment = Impairment::of(self.codec.unwrap_or(Codec::Pcmu));
        let r = quality::r_factor(impairment, loss, delay);
        Some((quality::mos(r) * 100.0).round() as u16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clean_leg_scores_above_four_and_a_lossy_one_far_below() {
        let mut stats = LegStats {
            packets_received: 1000,
            ..LegStats::default()
        };
        let clean = stats.mos_x100().unwrap_or_default();
        assert!((420..=450).contains(&clean), "{clean}");
        stats.lost = 100;
        let lossy = stats.mos_x100().unwrap_or_default();
        assert!((100..=220).contains(&lossy), "{lossy}");
    }

    #[test]
    fn a_leg_that_received_nothing_has_no_score() {
        assert_eq!(LegStats::default().mos_x100(), None);
    }
}

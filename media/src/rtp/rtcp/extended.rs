//! Extended reports (RFC 3611): the clock of a receiver and its answer, from which one that sends nothing learns the round
//! trip, and the metrics of a voice call. Other blocks are stepped over.

use super::{Invalid, Ntp, Part, Writer, word};

/// Block types.
const REFERENCE: u8 = 4;
const DLRR: u8 = 5;
const VOIP: u8 = 7;

/// What stands for "not known" in many fields of [`VoipMetrics`].
const UNKNOWN: u8 = 127;

/// Answer to a receiver's clock (§4.5).
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct Dlrr {
    /// Whose clock is answered.
    pub ssrc: u32,
    /// Middle bits of the clock; 0: none came yet.
    pub last: u32,
    /// Time since it came, 1/65536 s.
    pub delay: u32,
}

/// How a voice stream is heard (§4.7). Levels are in dBm0, times in milliseconds; 127 stands for what is not known.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct VoipMetrics {
    /// The stream that is described.
    pub ssrc: u32,
    /// Parts of 256.
    pub loss_rate: u8,
    /// Of packets that came too late, parts of 256.
    pub discard_rate: u8,
    /// Loss within bursts and between them, parts of 256 (§4.7.2).
    pub burst_density: u8,
    pub gap_density: u8,
    pub burst_ms: u16,
    pub gap_ms: u16,
    pub round_trip_ms: u16,
    /// From the network to the ear.
    pub end_system_ms: u16,
    pub signal_dbm0: i8,
    pub noise_dbm0: i8,
    /// Residual echo return loss, dB.
    pub echo_db: u8,
    /// Packets in a row that end a burst.
    pub gmin: u8,
    /// 0..=100
    pub r_factor: u8,
    pub r_factor_outside: u8,
    /// Listening and conversational quality times 10, 10..=50.
    pub mos_lq: u8,
    pub mos_cq: u8,
    /// Concealment and jitter buffer, as bits (§4.7.6).
    pub receiver: u8,
    pub buffer_ms: u16,
    pub buffer_max_ms: u16,
    pub buffer_limit_ms: u16,
}

impl Default for VoipMetrics {
    /// Nothing known.
    fn default() -> Self {
        Self {
            ssrc: 0,
            loss_rate: 0,
            discard_rate: 0,
            burst_density: 0,
            gap_density: 0,
            burst_ms: 0,
            gap_ms: 0,
            round_trip_ms: 0,
            end_system_ms: 0,
            signal_dbm0: 127,
            noise_dbm0: 127,
            echo_db: UNKNOWN,
            gmin: 16,
            r_factor: UNKNOWN,
            r_factor_outside: UNKNOWN,
            mos_lq: UNKNOWN,
            mos_cq: UNKNOWN,
            receiver: 0,
            buffer_ms: 0,
            buffer_max_ms: 0,
            buffer_limit_ms: 0,
        }
    }
}

/// The blocks of an extended report.
#[derive(Copy, Clone, Debug, Default, Eq, PartialEq)]
pub struct Extended {
    /// Our clock, from one that sends no media.
    pub reference: Option<Ntp>,
    /// The answer to the remote's.
    pub answer: Option<Dlrr>,
    pub voip: Option<VoipMetrics>,
}

impl Extended {
    /// Is there anything to report?
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn write(&self, w: &mut Writer<'_>) -> Option<()> {
        if let Some(ntp) = self.reference {
            w.bytes(&[REFERENCE, 0, 0, 2])?;
            w.bytes(&ntp.0.to_be_bytes())?;
        }
        if let Some(answer) = self.answer {
            w.bytes(&[DLRR, 0, 0, 3])?;
            w.u32(answer.ssrc)?;
            w.u32(answer.last)?;
            w.u32(answer.delay)?;
        }
        if let Some(m) = self.voip {
            w.bytes(&[VOIP, 0, 0, 8])?;
            w.u32(m.ssrc)?;
            w.bytes(&[m.loss_rate, m.discard_rate, m.burst_density, m.gap_density])?;
            for half in [m.burst_ms, m.gap_ms, m.round_trip_ms, m.end_system_ms] {
                w.bytes(&half.to_be_bytes())?;
            }
            w.bytes(&[m.signal_dbm0 as u8, m.noise_dbm0 as u8, m.echo_db, m.gmin])?;
            w.bytes(&[m.r_factor, m.r_factor_outside, m.mos_lq, m.mos_cq])?;
            w.bytes(&[m.receiver, 0])?;
            for half in [m.buffer_ms, m.buffer_max_ms, m.buffer_limit_ms] {
                w.bytes(&half.to_be_bytes())?;
            }
        }
        Some(())
    }
}

/// Reads the body of an extended report.
pub(super) fn parse(body: &[u8], tell: &mut impl FnMut(Part)) -> Result<(), Invalid> {
    let (head, mut rest) = body.split_at_checked(4).ok_or(Invalid)?;
    let from = word(head, 0)?;
    while !rest.is_empty() {
        let Some(&[kind, _, high, low]) = rest.first_chunk::<4>() else {
            return Err(Invalid);
        };
        let length = 4 + 4 * usize::from(u16::from_be_bytes([high, low]));
        let (block, after) = rest.split_at_checked(length).ok_or(Invalid)?;
        let block = &block[4..];
        match kind {
            REFERENCE => tell(Part::Reference {
                ssrc: from,
                ntp: Ntp((u64::from(word(block, 0)?) << 32) | u64::from(word(block, 1)?)),
            }),
            DLRR => {
                for one in block.chunks_exact(12) {
                    tell(Part::Answer(Dlrr {
                        ssrc: word(one, 0)?,
                        last: word(one, 1)?,
                        delay: word(one, 2)?,
                    }));
                }
            }
            VOIP => tell(Part::Voip {
                from,
                metrics: voip(block).ok_or(Invalid)?,
            }),
            _ => {}
        }
        rest = after;
    }
    Ok(())
}

fn voip(block: &[u8]) -> Option<VoipMetrics> {
    let b: &[u8; 32] = block.first_chunk()?;
    let half = |at: usize| u16::from_be_bytes([b[at], b[at + 1]]);
    Some(VoipMetrics {
        ssrc: u32::from_be_bytes([b[0], b[1], b[2], b[3]]),
        loss_rate: b[4],
        discard_rate: b[5],
        burst_density: b[6],
        gap_density: b[7],
        burst_ms: half(8),
        gap_ms: half(10),
        round_trip_ms: half(12),
        end_system_ms: half(14),
        signal_dbm0: b[16] as i8,
        noise_dbm0: b[17] as i8,
        echo_db: b[18],
        gmin: b[19],
        r_factor: b[20],
        r_factor_outside: b[21],
        mos_lq: b[22],
        mos_cq: b[23],
        receiver: b[24],
        buffer_ms: half(26),
        buffer_max_ms: half(28),
        buffer_limit_ms: half(30),
    })
}

#[cfg(test)]
mod tests {
    use super::super::{PACKET_MAX, Report, build, parse};
    use super::*;

    fn read(packet: &[u8]) -> Vec<Part> {
        let mut parts = Vec::new();
        parse(packet, |part| parts.push(part)).expect("valid");
        parts
    }

    /// Written by hand after the figures of RFC 3611 §4.4, §4.5 and §4.7.
    #[test]
    fn a_packet_as_the_standard_draws_it_is_read() {
        let packet: &[u8] = &[
            0x80, 207, 0, 17, 0x11, 0x22, 0x33, 0x44, //
            4, 0, 0, 2, 0xE0, 0, 0, 1, 0x80, 0, 0, 0, //
            5, 0, 0, 3, 0xAA, 0xBB, 0xCC, 0xDD, 0, 1, 0x80, 0, 0, 0, 0x40, 0, //
            7, 0, 0, 8, 0x55, 0x66, 0x77, 0x88, 13, 2, 128, 3, 0, 200, 0x13, 0x88, 0, 50, 0,
            60, //
            0xEC, 0xC4, 30, 16, 91, 127, 43, 42, 0xB4, 0, 0, 40, 0, 80, 0, 200,
        ];
        let parts = read(packet);
        assert_eq!(
            parts[0],
            Part::Reference {
                ssrc: 0x1122_3344,
                ntp: Ntp(0xE000_0001_8000_0000)
            }
        );
        let answer = Dlrr {
            ssrc: 0xAABB_CCDD,
            last: 0x0001_8000,
            delay: 0x4000,
        };
        assert_eq!(parts[1], Part::Answer(answer));
        let metrics = VoipMetrics {
            ssrc: 0x5566_7788,
            loss_rate: 13,
            discard_rate: 2,
            burst_density: 128,
            gap_density: 3,
            burst_ms: 200,
            gap_ms: 5000,
            round_trip_ms: 50,
            end_system_ms: 60,
            signal_dbm0: -20,
            noise_dbm0: -60,
            echo_db: 30,
            gmin: 16,
            r_factor: 91,
            r_factor_outside: 127,
            mos_lq: 43,
            mos_cq: 42,
            receiver: 0xB4,
            buffer_ms: 40,
            buffer_max_ms: 80,
            buffer_limit_ms: 200,
        };
        assert_eq!(
            parts[2],
            Part::Voip {
                from: 0x1122_3344,
                metrics
            }
        );
        let report = Report {
            ssrc: 0x1122_3344,
            sender: None,
            block: None,
            cname: "a",
            extended: Some(Extended {
                reference: Some(Ntp(0xE000_0001_8000_0000)),
                answer: Some(answer),
                voip: Some(metrics),
            }),
            goodbye: false,
        };
        let mut out = [0; PACKET_MAX];
        let length = build(&report, &mut out).expect("it fits");
        assert!(
            out[..length].ends_with(packet),
            "ours is the same, byte by byte"
        );
    }

    #[test]
    fn blocks_of_other_kinds_are_stepped_over_and_short_ones_refused() {
        let mut packet = vec![
            0x80, 207, 0, 4, 0, 0, 0, 1, 99, 0, 0, 0, 4, 0, 0, 1, 0, 0, 0, 9,
        ];
        assert_eq!(parse(&packet, |_| ()), Err(Invalid));
        packet[12] = 98;
        assert!(read(&packet).is_empty());
        packet[15] = 200;
        assert_eq!(parse(&packet, |_| ()), Err(Invalid));
    }
}

//! RTP control packets (RFC 3550 §6) and extended reports (RFC 3611): written, read, and when to send them. Descriptions
//! and applications of others are stepped over.

use std::time::Duration;

use super::receive::Reception;

mod extended;

pub use extended::{Dlrr, Extended, VoipMetrics};

/// Sender report, receiver report, source description, goodbye.
const SR: u8 = 200;
const RR: u8 = 201;
const SDES: u8 = 202;
const BYE: u8 = 203;
const XR: u8 = 207;

/// Longest packet that [`build`] makes: a report with one block, a name of 255 bytes, extended reports, goodbye.
pub const PACKET_MAX: usize = 28 + 24 + 4 + 4 + 2 + 255 + 4 + (8 + 12 + 16 + 36) + 8;

/// Shortest mean time between reports (§6.2).
const INTERVAL_MIN_S: f64 = 5.0;
/// e - 3/2: makes up for timers that are taken anew (§6.3.1).
const COMPENSATION: f64 = 1.218_28;

/// The time until the next report (§6.3.1, appendix A.7) in a session of two. `initial`: none was sent yet; `octets`: mean
/// size of the packets, with their UDP and IP headers; `bandwidth`: of RTCP, octets a second; `random`: 0..1, where in
/// 0.5 to 1.5 of the mean it falls.
pub fn interval(initial: bool, octets: f64, bandwidth: f64, random: f64) -> Duration {
    let least = if initial {
        INTERVAL_MIN_S / 2.0
    } else {
        INTERVAL_MIN_S
    };
    let members = 2.0;
    let mean = (members * octets / bandwidth.max(1.0)).max(least);
    Duration::from_secs_f64(mean * (random.clamp(0.0, 1.0) + 0.5) / COMPENSATION)
}

/// A time as RTCP writes it: seconds since 1900 and a fraction, 32 bits each.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Ntp(pub u64);

impl Ntp {
    /// This much later.
    pub fn after(self, elapsed: Duration) -> Self {
        let fraction = (u64::from(elapsed.subsec_nanos()) << 32) / 1_000_000_000;
        Self(
            self.0
                .wrapping_add(elapsed.as_secs() << 32)
                .wrapping_add(fraction),
        )
    }

    /// The middle 32 bits, in units of 1/65536 s.
    pub fn middle(self) -> u32 {
        (self.0 >> 16) as u32
    }
}

/// Sender information (§6.4.1).
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct SenderInfo {
    pub ntp: Ntp,
    pub timestamp: u32,
    pub packets: u32,
    pub bytes: u32,
}

/// A report block (§6.4.1): what its sender received from `ssrc`.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Block {
    pub ssrc: u32,
    pub reception: Reception,
    /// Middle bits of the last sender report from `ssrc`; 0: none.
    pub last_report: u32,
    /// Time since then in 1/65536 s.
    pub delay: u32,
}

/// What is sent in one compound packet.
#[derive(Copy, Clone, Debug)]
pub struct Report<'a> {
    pub ssrc: u32,
    /// `None`: a receiver report, we sent nothing lately.
    pub sender: Option<SenderInfo>,
    pub block: Option<Block>,
    pub cname: &'a str,
    /// What is reported beyond that (RFC 3611), where the remote asked for it.
    pub extended: Option<Extended>,
    pub goodbye: bool,
}

/// Writes a compound packet (§6.1: report, CNAME, perhaps BYE) and says how long it is; `None` when it does not fit.
/// [`PACKET_MAX`] bytes always suffice.
pub fn build(report: &Report<'_>, out: &mut [u8]) -> Option<usize> {
    let mut w = Writer { out, at: 0 };
    let blocks = u8::from(report.block.is_some());
    let begin = w.begin(
        blocks,
        if report.sender.is_some() { SR } else { RR },
        report.ssrc,
    )?;
    if let Some(sender) = report.sender {
        w.u32((sender.ntp.0 >> 32) as u32)?;
        w.u32(sender.ntp.0 as u32)?;
        w.u32(sender.timestamp)?;
        w.u32(sender.packets)?;
        w.u32(sender.bytes)?;
    }
    if let Some(block) = report.block {
        w.u32(block.ssrc)?;
        let lost = block.reception.cumulative_lost.clamp(-0x80_0000, 0x7F_FFFF);
        w.u32((u32::from(block.reception.fraction_lost) << 24) | (lost as u32 & 0xFF_FFFF))?;
        w.u32(block.reception.highest_sequence)?;
        w.u32(block.reception.jitter)?;
        w.u32(block.last_report)?;
        w.u32(block.delay)?;
    }
    w.end(begin)?;

    let begin = w.begin(1, SDES, report.ssrc)?;
    let mut length = report.cname.len().min(255);
    while !report.cname.is_char_boundary(length) {
        length -= 1;
    }
    let name = &report.cname.as_bytes()[..length];
    w.bytes(&[1, length as u8])?;
    w.bytes(name)?;
    // §6.5: a chunk ends with one to four zero bytes, up to the next word.
    let zeros = 4 - w.at % 4;
    w.bytes(&[0; 4][..zeros])?;
    w.end(begin)?;

    if let Some(extended) = &report.extended {
        let begin = w.begin(0, XR, report.ssrc)?;
        extended.write(&mut w)?;
        w.end(begin)?;
    }
    if report.goodbye {
        let begin = w.begin(1, BYE, report.ssrc)?;
        w.end(begin)?;
    }
    Some(w.at)
}

struct Writer<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl Writer<'_> {
    fn bytes(&mut self, bytes: &[u8]) -> Option<()> {
        let end = self.at + bytes.len();
        self.out.get_mut(self.at..end)?.copy_from_slice(bytes);
        self.at = end;
        Some(())
    }

    fn u32(&mut self, value: u32) -> Option<()> {
        self.bytes(&value.to_be_bytes())
    }

    fn begin(&mut self, count: u8, kind: u8, ssrc: u32) -> Option<usize> {
        let begin = self.at;
        self.bytes(&[0x80 | count, kind, 0, 0])?;
        self.u32(ssrc)?;
        Some(begin)
    }

    fn end(&mut self, begin: usize) -> Option<()> {
        let words = ((self.at - begin) / 4 - 1) as u16;
        self.out
            .get_mut(begin + 2..begin + 4)?
            .copy_from_slice(&words.to_be_bytes());
        Some(())
    }
}

/// One part of a compound packet.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Part {
    Sender {
        ssrc: u32,
        info: SenderInfo,
    },
    Receiver {
        ssrc: u32,
    },
    /// A block of the report before it; `from` is the reporter.
    Block {
        from: u32,
        block: Block,
    },
    /// The remote's clock (RFC 3611 §4.4): answered with a [`Dlrr`].
    Reference {
        ssrc: u32,
        ntp: Ntp,
    },
    /// The remote answers our clock (RFC 3611 §4.5).
    Answer(Dlrr),
    /// How the remote hears a stream (RFC 3611 §4.7).
    Voip {
        from: u32,
        metrics: VoipMetrics,
    },
    /// The source leaves (the first that the packet names).
    Goodbye {
        ssrc: u32,
    },
}

/// Not an RTCP packet.
#[derive(Copy, Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a valid RTCP compound packet")]
pub struct Invalid;

/// Reads a compound packet and tells each part that matters.
///
/// # Errors
/// [`Invalid`] when lengths or versions are wrong; parts before the fault were told already.
pub fn parse(packet: &[u8], mut tell: impl FnMut(Part)) -> Result<(), Invalid> {
    let mut rest = packet;
    if rest.is_empty() {
        return Err(Invalid);
    }
    while !rest.is_empty() {
        let Some(&[first, kind, high, low]) = rest.first_chunk::<4>() else {
            return Err(Invalid);
        };
        let length = 4 + 4 * usize::from(u16::from_be_bytes([high, low]));
        let Some((part, after)) = rest.split_at_checked(length) else {
            return Err(Invalid);
        };
        if first >> 6 != 2 {
            return Err(Invalid);
        }
        let body = &part[4..];
        let count = usize::from(first & 31);
        match kind {
            SR => {
                let (head, blocks) = body.split_at_checked(24).ok_or(Invalid)?;
                let ssrc = word(head, 0)?;
                let ntp = Ntp((u64::from(word(head, 1)?) << 32) | u64::from(word(head, 2)?));
                let info = SenderInfo {
                    ntp,
                    timestamp: word(head, 3)?,
                    packets: word(head, 4)?,
                    bytes: word(head, 5)?,
                };
                tell(Part::Sender { ssrc, info });
                parse_blocks(ssrc, blocks, count, &mut tell)?;
            }
            RR => {
                let (head, blocks) = body.split_at_checked(4).ok_or(Invalid)?;
                let ssrc = word(head, 0)?;
                tell(Part::Receiver { ssrc });
                parse_blocks(ssrc, blocks, count, &mut tell)?;
            }
            XR => extended::parse(body, &mut tell)?,
            BYE if count > 0 => tell(Part::Goodbye {
                ssrc: word(body, 0)?,
            }),
            _ => {}
        }
        rest = after;
    }
    Ok(())
}

fn parse_blocks(
    from: u32,
    blocks: &[u8],
    count: usize,
    tell: &mut impl FnMut(Part),
) -> Result<(), Invalid> {
    let blocks = blocks.get(..count * 24).ok_or(Invalid)?;
    for block in blocks.chunks_exact(24) {
        let losses = word(block, 1)?;
        tell(Part::Block {
            from,
            block: Block {
                ssrc: word(block, 0)?,
                reception: Reception {
                    fraction_lost: (losses >> 24) as u8,
                    // 24 bits with sign.
                    cumulative_lost: ((losses << 8) as i32) >> 8,
                    highest_sequence: word(block, 2)?,
                    jitter: word(block, 3)?,
                },
                last_report: word(block, 4)?,
                delay: word(block, 5)?,
            },
        });
    }
    Ok(())
}

fn word(bytes: &[u8], index: usize) -> Result<u32, Invalid> {
    let bytes = bytes.get(index * 4..index * 4 + 4).ok_or(Invalid)?;
    Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(packet: &[u8]) -> Vec<Part> {
        let mut parts = Vec::new();
        parse(packet, |part| parts.push(part)).expect("a packet of ours is valid");
        parts
    }

    #[test]
    fn ntp_time_goes_on_and_its_middle_counts_65536ths() {
        let at = Ntp(0x1234_5678_8000_0000).after(Duration::from_millis(1500));
        assert_eq!(at.0 >> 32, 0x1234_567A);
        let second = at.after(Duration::from_secs(1));
        assert_eq!(second.middle().wrapping_sub(at.middle()), 65536);
    }

    #[test]
    fn the_longest_packet_fits_and_a_short_buffer_is_refused() {
        let reception = Reception {
            fraction_lost: 1,
            cumulative_lost: 2,
            highest_sequence: 3,
            jitter: 4,
        };
        let name = "n".repeat(300);
        let report = Report {
            ssrc: 1,
            sender: Some(SenderInfo {
                ntp: Ntp(1),
                timestamp: 2,
                packets: 3,
                bytes: 4,
            }),
            block: Some(Block {
                ssrc: 2,
                reception,
                last_report: 0,
                delay: 0,
            }),
            cname: &name,
            extended: Some(Extended {
                reference: Some(Ntp(1)),
                answer: Some(Dlrr::default()),
                voip: Some(VoipMetrics::default()),
            }),
            goodbye: true,
        };
        let mut out = [0; PACKET_MAX];
        let length = build(&report, &mut out).unwrap();
        assert_eq!(length % 4, 0);
        assert_eq!(
            read(&out[..length]).last(),
            Some(&Part::Goodbye { ssrc: 1 })
        );
        assert_eq!(build(&report, &mut out[..length - 1]), None);
    }

    #[test]
    fn reports_are_spread_around_five_seconds_and_begin_sooner() {
        let seconds = |initial, random| interval(initial, 120.0, 400.0, random).as_secs_f64();
        for (initial, random, expected) in [
            (false, 0.0, 2.052),
            (false, 0.5, 4.104),
            (false, 1.0, 6.156),
            (true, 0.0, 1.026),
            (true, 1.0, 3.078),
        ] {
            let s = seconds(initial, random);
            assert!((s - expected).abs() < 0.001, "{initial} {random}: {s}");
        }
        // A narrow session reports less often.
        assert!(interval(false, 120.0, 10.0, 0.5).as_secs_f64() > 19.0);
        assert!(interval(false, 120.0, 0.0, 0.5) < Duration::from_secs(400));
    }

    #[test]
    fn a_packet_whose_lengths_lie_is_invalid() {
        for packet in [
            &[][..],
            &[0x80, 200, 0],
            &[0x80, 200, 0, 1, 0, 0, 0, 0],
            &[0x81, 201, 0, 1, 0, 0, 0, 0],
            &[0x40, 201, 0, 1, 0, 0, 0, 0],
            &[0x81, 203, 0, 0],
        ] {
            assert_eq!(parse(packet, |_| ()), Err(Invalid), "{packet:?}");
        }
    }

    proptest! {
        #[test]
        fn a_built_report_reads_the_same(
            ssrc: u32, ntp: u64, timestamp: u32, packets: u32, bytes: u32, fraction_lost: u8,
            lost in -0x80_0000i32..0x80_0000, highest_sequence: u32, jitter: u32, last_report: u32, delay: u32,
            is_sender: bool, cname in "[a-zä@.]{0,300}",
        ) {
            let info = SenderInfo { ntp: Ntp(ntp), timestamp, packets, bytes };
            let block = Block {
                ssrc: !ssrc,
                reception: Reception { fraction_lost, cumulative_lost: lost, highest_sequence, jitter },
                last_report,
                delay,
            };
            let report = Report {
                ssrc, sender: is_sender.then_some(info), block: Some(block), cname: &cname, extended: None,
                goodbye: false,
            };
            let mut out = [0; PACKET_MAX];
            let length = build(&report, &mut out).unwrap();
            let first = if is_sender { Part::Sender { ssrc, info } } else { Part::Receiver { ssrc } };
            prop_assert_eq!(read(&out[..length]), vec![first, Part::Block { from: ssrc, block }]);
        }
    }
}

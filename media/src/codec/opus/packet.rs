//! The head of an Opus packet (RFC 6716 §3): how long it lasts and how many frames it has, without decoding it.

/// Samples at 48 kHz of the longest packet: 120 ms.
const SAMPLES_MAX: u32 = 5760;

/// Samples of one frame at 48 kHz, by the TOC byte (RFC 6716 §3.1, table 2).
pub(in crate::codec) const fn frame_samples(toc: u8) -> u32 {
    let config = toc >> 3;
    match config {
        // SILK: 10, 20, 40, 60 ms.
        0..=11 => [480, 960, 1920, 2880][(config & 3) as usize],
        // Hybrid: 10, 20 ms.
        12..=15 => [480, 960][(config & 1) as usize],
        // CELT: 2.5, 5, 10, 20 ms.
        _ => [120, 240, 480, 960][(config & 3) as usize],
    }
}

/// Frames in a packet (RFC 6716 §3.2); `None`: not a packet (requirements R1, R5, R6).
pub(in crate::codec) fn frames(packet: &[u8]) -> Option<u32> {
    let &toc = packet.first()?;
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u32::from(packet.get(1)? & 0x3F),
    };
    (frames > 0 && frames * frame_samples(toc) <= SAMPLES_MAX).then_some(frames)
}

/// Samples at 48 kHz that a packet lasts; `None`: not a packet.
pub(in crate::codec) fn samples(packet: &[u8]) -> Option<u32> {
    Some(frames(packet)? * frame_samples(*packet.first()?))
}

/// Does a packet carry a second, coarser copy of the one before it (in-band FEC, RFC 6716 §2.1.7)?
pub(in crate::codec) fn carries_fec(packet: &[u8]) -> bool {
    let Some(&toc) = packet.first() else {
        return false;
    };
    // CELT has none.
    if toc >> 3 >= 16 || frames(packet).is_none() {
        return false;
    }
    // A frame of SILK opens with a bit for the activity of each 20 ms, then one for the copy (RFC 6716 §4.2.3); those of
    // a second channel follow.
    let activities = (frame_samples(toc) / 960).max(1);
    let Some(&head) = first_frame(packet).and_then(|at| packet.get(at)) else {
        return false;
    };
    let bit = |number: u32| head >> (7 - number) & 1 == 1;
    let stereo = toc & 4 != 0;
    bit(activities) || stereo && bit(2 * activities + 1)
}

/// Where the first frame begins; `None`: it has no bytes.
fn first_frame(packet: &[u8]) -> Option<usize> {
    let count_byte = || packet.get(1).copied();
    let at = match packet.first()? & 3 {
        0 | 1 => 1,
        2 => 1 + length_bytes(packet, 1)?,
        _ => {
            let count = count_byte()?;
            let mut at = 2;
            if count & 0x40 != 0 {
                // Padding: each 255 is followed by another byte of its length.
                while *packet.get(at)? == 255 {
                    at += 1;
                }
                at += 1;
            }
            if count & 0x80 != 0 {
                if *packet.get(at)? == 0 && count & 0x3F > 1 {
                    return None;
                }
                for _ in 1..count & 0x3F {
                    at += length_bytes(packet, at)?;
                }
            }
            at
        }
    };
    (at < packet.len()).then_some(at)
}

/// Bytes of a frame's length (RFC 6716 §3.2.1).
fn length_bytes(packet: &[u8], at: usize) -> Option<usize> {
    Some(if *packet.get(at)? < 252 { 1 } else { 2 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_duration_of_a_packet_is_in_its_first_two_bytes() {
        // Configurations 0..=31 as in table 2, one frame each, milliseconds times 10.
        let tenths: [u32; 32] = [
            100, 200, 400, 600, 100, 200, 400, 600, 100, 200, 400, 600, 100, 200, 100, 200, 25, 50,
            100, 200, 25, 50, 100, 200, 25, 50, 100, 200, 25, 50, 100, 200,
        ];
        for (config, tenths) in (0u8..).zip(tenths) {
            assert_eq!(samples(&[config << 3]), Some(tenths * 48 / 10));
            let two = samples(&[config << 3 | 1, 0, 0]);
            assert_eq!(two, Some(2 * tenths * 48 / 10));
        }
    }

    #[test]
    fn it_agrees_with_libopus_on_every_head() {
        for toc in 0..=255u8 {
            for count in 0..=255u8 {
                let packet = [toc, count, 0, 0];
                let theirs = ::opus::packet::get_nb_samples(&packet, 48_000).ok();
                assert_eq!(
                    samples(&packet).map(|n| n as usize),
                    theirs.filter(|&n| n > 0),
                    "{toc:#x} {count:#x}"
                );
            }
        }
    }

    #[test]
    fn what_is_no_packet_has_no_duration() {
        assert_eq!(samples(&[]), None);
        assert_eq!(samples(&[0x03]), None, "code 3 without a count");
        assert_eq!(samples(&[0x03, 0]), None, "no frames");
        assert_eq!(samples(&[0x1B, 3]), None, "180 ms");
    }
}

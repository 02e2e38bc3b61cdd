//! Silence in the words of each codec: what a muted packet is filled with.

use super::Codec;
use super::gsm::FRAME_BYTES as GSM_FRAME_BYTES;
use super::opus::packet;

/// A GSM frame without energy: log area ratios of a flat spectrum, block maxima of zero.
const GSM_SILENCE: [u8; GSM_FRAME_BYTES] = [
    0xD8, 0x20, 0xA2, 0xE1, 0x5A, 0x50, 0x00, 0x49, 0x24, 0x92, 0x49, 0x24, 0x50, 0x00, 0x49, 0x24,
    0x92, 0x49, 0x24, 0x50, 0x00, 0x49, 0x24, 0x92, 0x49, 0x24, 0x50, 0x00, 0x49, 0x24, 0x92, 0x49,
    0x24,
];

/// Smallest codes in both bands: the step sizes of a decoder shrink to their minimum within 40 ms.
const G722_SILENCE: u8 = 0xFF;

/// A G.729 frame of the smallest gains on a flat spectrum. After eight streams of arbitrary frames ffmpeg's decoder was
/// below -75 dB of overload 40 ms later, and stayed there.
const G729_SILENCE: [u8; 10] = [0x00, 0x00, 0x00, 0x20, 0x00, 0x0A, 0xC0, 0x00, 0x00, 0x56];

/// An Opus frame (CELT, full band) of which the range decoder reads "silence" (RFC 6716 §4.3).
const OPUS_SILENCE: [u8; 2] = [0xFF, 0xFE];

/// See [`Codec::hush`].
pub(super) fn hush(codec: Codec, payload: &mut [u8]) -> usize {
    match codec {
        Codec::Pcmu => payload.fill(0xFF),
        Codec::Pcma => payload.fill(0xD5),
        Codec::G722 => payload.fill(G722_SILENCE),
        Codec::L16(_) => payload.fill(0),
        Codec::Gsm => {
            for frame in payload.chunks_mut(GSM_FRAME_BYTES) {
                frame.copy_from_slice(&GSM_SILENCE[..frame.len()]);
            }
        }
        Codec::G729 => {
            let (frames, noise) = payload.as_chunks_mut();
            frames.fill(G729_SILENCE);
            // Comfort noise at its lowest level.
            noise.fill(0);
        }
        Codec::Opus => return hush_opus(payload),
    }
    payload.len()
}

fn hush_opus(payload: &mut [u8]) -> usize {
    let (Some(samples), Some(&toc)) = (packet::samples(payload), payload.first()) else {
        return payload.len();
    };
    // CELT frames of 20, 10, 5 or 2.5 ms, all of one packet alike (code 3 of RFC 6716 §3.2.5 unless there is one).
    let (config, each) = [(31, 960), (30, 480), (29, 240), (28, 120)]
        .into_iter()
        .find(|&(_, each)| samples % each == 0)
        .unwrap_or((28, 120));
    let count = samples / each;
    let head: &[u8] = if count == 1 {
        &[config << 3]
    } else {
        &[config << 3 | 3, count as u8]
    };
    let length = head.len() + count as usize * OPUS_SILENCE.len();
    let Some(out) = payload.get_mut(..length) else {
        // Too short to hold speech. Without their bytes its frames are those of a stream that pauses (DTX).
        return match payload {
            [_, count, ..] if toc & 3 == 3 => {
                *count &= 0x3F;
                2
            }
            // Two frames that differ (code 2) have a byte of length; two alike (code 1) have none.
            [head, ..] if toc & 3 == 2 => {
                *head ^= 3;
                1
            }
            _ => 1,
        };
    };
    let (start, frames) = out.split_at_mut(head.len());
    start.copy_from_slice(head);
    for frame in frames.chunks_exact_mut(OPUS_SILENCE.len()) {
        frame.copy_from_slice(&OPUS_SILENCE);
    }
    length
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::L16Rate;

    #[test]
    fn a_muted_payload_lasts_as_long_as_before() {
        for codec in Codec::ALL {
            let mut payload = [0x55; 160];
            let before = codec.samples_in(&payload);
            let length = codec.hush(&mut payload);
            assert_eq!(codec.samples_in(&payload[..length]), before, "{codec:?}");
        }
        let mut l16 = [9; 4];
        assert_eq!(Codec::L16(L16Rate::Hz8000).hush(&mut l16), 4);
        assert_eq!(l16, [0; 4]);
    }

    #[test]
    fn a_muted_opus_packet_of_any_shape_lasts_as_long_and_is_silent() {
        for toc in 0..=255u8 {
            for size in [1, 2, 3, 5, 40] {
                let mut packet = vec![0x43; size];
                packet[0] = toc;
                let before = packet::samples(&packet);
                let length = Codec::Opus.hush(&mut packet);
                packet.truncate(length);
                assert_eq!(packet::samples(&packet), before, "{toc:#x} {size}");
                if before.is_none() {
                    continue;
                }
                let mut decoder = ::opus::Decoder::new(48_000, ::opus::Channels::Mono).unwrap();
                let mut samples = [1i16; 5760];
                let count = decoder.decode(&packet, &mut samples, false).unwrap();
                assert_eq!(Some(count as u32), before);
                assert!(samples[..count].iter().all(|s| s.abs() <= 1));
            }
        }
    }
}

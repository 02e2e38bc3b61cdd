//! The RTP header (RFC 3550 §5.1), read and written in place.

use std::ops::Range;

/// Bytes of a header without contributing sources and extension.
pub const HEADER_LEN: usize = 12;

/// What a header says, and where the payload is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Header {
    pub marker: bool,
    /// 0..=127
    pub payload_type: u8,
    pub sequence: u16,
    pub timestamp: u32,
    pub ssrc: u32,
    /// The payload within the packet, without padding. Begins at 12 or later, so that a plain header fits before it.
    pub payload: Range<usize>,
}

/// Why a datagram is not an RTP packet.
#[derive(Copy, Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Invalid {
    #[error("RTP version is not 2")]
    Version,
    #[error("packet ends before its RTP header does")]
    Short,
    #[error("more RTP padding than payload, or none")]
    Padding,
}

impl Header {
    /// Reads a packet.
    ///
    /// # Errors
    /// [`Invalid`] when it is not RTP.
    pub fn parse(packet: &[u8]) -> Result<Self, Invalid> {
        let Some((fixed, _)) = packet.split_first_chunk::<HEADER_LEN>() else {
            return Err(Invalid::Short);
        };
        let [first, second, s0, s1, t0, t1, t2, t3, i0, i1, i2, i3] = *fixed;
        if first >> 6 != 2 {
            return Err(Invalid::Version);
        }
        let mut start = HEADER_LEN + 4 * usize::from(first & 15);
        if first & 0x10 != 0 {
            // §5.3.1: 16 bits of profile, 16 bits of length in words.
            let Some(&[high, low]) = packet.get(start + 2..start + 4) else {
                return Err(Invalid::Short);
            };
            start += 4 + 4 * usize::from(u16::from_be_bytes([high, low]));
        }
        if start > packet.len() {
            return Err(Invalid::Short);
        }
        let mut end = packet.len();
        if first & 0x20 != 0 {
            let padding = usize::from(packet[end - 1]);
            if padding == 0 || padding > end - start {
                return Err(Invalid::Padding);
            }
            end -= padding;
        }
        Ok(Self {
            marker: second & 0x80 != 0,
            payload_type: second & 0x7F,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([i0, i1, i2, i3]),
            payload: start..end,
        })
    }

    /// Writes a plain header (no padding, extension or contributing sources) into the 12 bytes before `self.payload`
    /// and says where the packet now begins; `None` when there is no room.
    pub fn write_before_payload(&self, packet: &mut [u8]) -> Option<usize> {
        let start = self.payload.start.checked_sub(HEADER_LEN)?;
        packet
            .get_mut(start..self.payload.start)?
            .copy_from_slice(&self.bytes());
        Some(start)
    }

    /// The 12 bytes of a plain header.
    #[inline]
    pub fn bytes(&self) -> [u8; HEADER_LEN] {
        let [s0, s1] = self.sequence.to_be_bytes();
        let [t0, t1, t2, t3] = self.timestamp.to_be_bytes();
        let [i0, i1, i2, i3] = self.ssrc.to_be_bytes();
        let second = (self.payload_type & 0x7F) | (u8::from(self.marker) << 7);
        [0x80, second, s0, s1, t0, t1, t2, t3, i0, i1, i2, i3]
    }
}

/// Is this an RTCP packet that came to an RTP port (RFC 5761 §4)?
#[inline]
pub fn is_rtcp(packet: &[u8]) -> bool {
    matches!(packet, [first, 192..=223, ..] if first >> 6 == 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_extension_contributing_sources_and_padding_are_stepped_over() {
        let mut packet = vec![
            0x80 | 0x20 | 0x10 | 2,
            0x80 | 8,
            0,
            7,
            0,
            0,
            0,
            9,
            1,
            2,
            3,
            4,
        ];
        packet.extend_from_slice(&[0; 8]);
        packet.extend_from_slice(&[0xBE, 0xDE, 0, 1, 9, 9, 9, 9]);
        packet.extend_from_slice(&[50, 51, 52]);
        packet.extend_from_slice(&[0, 0, 3]);
        let header = Header::parse(&packet).unwrap();
        assert_eq!(&packet[header.payload.clone()], &[50, 51, 52]);
        assert_eq!((header.marker, header.payload_type), (true, 8));
        let start = header.write_before_payload(&mut packet).unwrap();
        let again = Header::parse(&packet[start..header.payload.end]).unwrap();
        assert_eq!((again.sequence, again.timestamp), (7, 9));
        assert_eq!(again.payload, 12..15);
    }

    #[test]
    fn what_is_not_rtp_is_refused_with_the_reason() {
        let good = [0x80, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1];
        assert_eq!(Header::parse(&good).unwrap().payload, 12..12);
        for (change, error) in [
            ((0, 0x40), Invalid::Version),
            ((0, 0x81), Invalid::Short),
            ((0, 0x90), Invalid::Short),
            ((0, 0xA0), Invalid::Padding),
        ] {
            let mut packet = good;
            packet[change.0] = change.1;
            assert_eq!(Header::parse(&packet), Err(error));
        }
        assert_eq!(Header::parse(&good[..11]), Err(Invalid::Short));
    }

    #[test]
    fn control_packets_are_told_from_media() {
        assert!(is_rtcp(&[0x80, 200, 0, 0]));
        assert!(!is_rtcp(&[0x80, 0x80 | 8, 0, 0]));
        assert!(!is_rtcp(&[0x80]));
    }

    proptest! {
        #[test]
        fn a_written_header_reads_the_same(
            marker: bool,
            payload_type in 0u8..128,
            sequence: u16,
            timestamp: u32,
            ssrc: u32,
            body in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let header = Header {
                marker, payload_type, sequence, timestamp, ssrc,
                payload: HEADER_LEN..HEADER_LEN + body.len(),
            };
            let mut packet = vec![0; HEADER_LEN];
            packet.extend_from_slice(&body);
            prop_assert_eq!(header.write_before_payload(&mut packet), Some(0));
            prop_assert_eq!(Header::parse(&packet).unwrap(), header);
        }

        #[test]
        fn no_bytes_panic(packet in proptest::collection::vec(any::<u8>(), 0..100)) {
            if let Ok(header) = Header::parse(&packet) {
                prop_assert!(header.payload.start >= HEADER_LEN);
                prop_assert!(header.payload.start <= header.payload.end);
                prop_assert!(header.payload.end <= packet.len());
            }
        }
    }
}

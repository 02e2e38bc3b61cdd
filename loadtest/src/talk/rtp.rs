//! RTP packets (RFC 3550) as the generator sends and reads them, and telephone events (RFC 4733).

/// Length of the header without anything more.
pub const HEADER: usize = 12;
/// Payload type of telephone events in our descriptions.
pub const EVENTS: u8 = 101;
/// Payload type of Opus in our descriptions.
pub const OPUS: u8 = 96;

/// What a header says, and where the payload lies.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub struct Packet<'a> {
    pub payload_type: u8,
    pub marker: bool,
    pub sequence: u16,
    pub timestamp: u32,
    pub ssrc: u32,
    pub payload: &'a [u8],
}

/// What came to a port for media.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub enum Read<'a> {
    Rtp(Packet<'a>),
    /// A report of RTCP (RFC 5761 §4 tells them apart).
    Rtcp,
    /// Neither.
    Junk,
}

/// Writes a header.
pub fn write_header(
    packet: &mut [u8],
    payload_type: u8,
    marker: bool,
    sequence: u16,
    timestamp: u32,
    ssrc: u32,
) {
    packet[0] = 0x80;
    packet[1] = payload_type | if marker { 0x80 } else { 0 };
    packet[2..4].copy_from_slice(&sequence.to_be_bytes());
    packet[4..8].copy_from_slice(&timestamp.to_be_bytes());
    packet[8..12].copy_from_slice(&ssrc.to_be_bytes());
}

/// Reads a datagram.
pub fn read(bytes: &[u8]) -> Read<'_> {
    let Some(header) = bytes.first_chunk::<HEADER>() else {
        // A receiver report without blocks is eight bytes long.
        return match bytes {
            [first, kind, ..] if first >> 6 == 2 && (192..=223).contains(kind) => Read::Rtcp,
            _ => Read::Junk,
        };
    };
    if header[0] >> 6 != 2 {
        return Read::Junk;
    }
    if (192..=223).contains(&header[1]) {
        return Read::Rtcp;
    }
    let word = |at: usize| {
        u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
    };
    let mut start = HEADER + usize::from(header[0] & 0x0f) * 4;
    if header[0] & 0x10 != 0 {
        let Some(length) = bytes.get(start + 2..start + 4) else {
            return Read::Junk;
        };
        start += 4 + usize::from(u16::from_be_bytes([length[0], length[1]])) * 4;
    }
    let padding = if header[0] & 0x20 == 0 {
        0
    } else {
        bytes.last().map_or(0, |&last| usize::from(last))
    };
    let end = bytes.len().saturating_sub(padding);
    let Some(payload) = bytes.get(start..end) else {
        return Read::Junk;
    };
    Read::Rtp(Packet {
        payload_type: header[1] & 0x7f,
        marker: header[1] & 0x80 != 0,
        sequence: u16::from_be_bytes([header[2], header[3]]),
        timestamp: word(4),
        ssrc: word(8),
        payload,
    })
}

const KEYS: &[u8; 16] = b"0123456789*#ABCD";

/// The event of a digit (RFC 4733 §3.2).
pub fn event_of(digit: char) -> Option<u8> {
    KEYS.iter()
        .position(|&key| char::from(key) == digit)
        .map(|n| n as u8)
}

/// The digit of an event.
pub fn digit_of(event: u8) -> Option<char> {
    KEYS.get(usize::from(event)).map(|&key| char::from(key))
}

/// Payload of an event that has lasted for `duration` timestamp units.
pub fn event_payload(event: u8, end: bool, duration: u16) -> [u8; 4] {
    let [high, low] = duration.to_be_bytes();
    [event, 10 | if end { 0x80 } else { 0 }, high, low]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_read_as_they_were_written() {
        let mut bytes = [7_u8; 20];
        write_header(&mut bytes, 8, true, 65_535, 4_000_000_000, 77);
        let Read::Rtp(packet) = read(&bytes) else {
            panic!("a packet")
        };
        assert_eq!((packet.payload_type, packet.marker), (8, true));
        assert_eq!(
            (packet.sequence, packet.timestamp, packet.ssrc),
            (65_535, 4_000_000_000, 77)
        );
        assert_eq!(packet.payload, &[7; 8]);
        assert_eq!(read(&[0x80, 201, 0, 1, 0, 0, 0, 1]), Read::Rtcp);
        assert_eq!(read(&[0x80, 200, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0]), Read::Rtcp);
        assert_eq!(read(b"hello"), Read::Junk);
        assert_eq!(read(&[0x8f; 13]), Read::Junk, "more sources than bytes");
        for digit in "0123456789*#ABCD".chars() {
            assert_eq!(event_of(digit).and_then(digit_of), Some(digit));
        }
        assert_eq!(event_of('x'), None);
        assert_eq!(event_payload(11, true, 800), [11, 0x8a, 3, 32]);
    }
}

//! SIP messages as a capture file: each a UDP packet with the addresses it had, whatever carried it.

use std::net::{IpAddr, SocketAddr};
use std::time::{SystemTime, UNIX_EPOCH};

/// Packets begin with the header of IP.
const LINK_RAW: u32 = 101;
const SNAP: u32 = 65_535;
const UDP: u8 = 17;

/// The head of a file: times in microseconds.
pub(crate) fn begin() -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(&0xa1b2_c3d4_u32.to_le_bytes());
    out.extend_from_slice(&2_u16.to_le_bytes());
    out.extend_from_slice(&4_u16.to_le_bytes());
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&SNAP.to_le_bytes());
    out.extend_from_slice(&LINK_RAW.to_le_bytes());
    out
}

/// From which message on they fit into a file of this size: the newest do.
pub(super) fn begin_of(lines: &[super::Line], bytes_max: usize) -> usize {
    let mut room = bytes_max;
    let fits = |line: &super::Line| {
        // Its own header, and those of the packet.
        let left = room.checked_sub(line.bytes.len() + 64);
        room = left.unwrap_or(0);
        left.is_some()
    };
    let newest = lines.iter().rev().map(fits).take_while(|fits| *fits);
    lines.len() - newest.count()
}

/// Adds a packet. What is longer than a packet can be is cut.
pub(crate) fn add(
    out: &mut Vec<u8>,
    at: SystemTime,
    source: SocketAddr,
    destination: SocketAddr,
    payload: &[u8],
) {
    let (head, most) = match (source.ip(), destination.ip()) {
        (IpAddr::V4(_), IpAddr::V4(_)) => (20, 65_535 - 28),
        _ => (40, 65_535 - 48),
    };
    let kept = &payload[..payload.len().min(most)];
    let udp = 8 + kept.len();
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    for part in [
        u32::try_from(since.as_secs()).unwrap_or(u32::MAX),
        since.subsec_micros(),
        number(head + udp),
        number(head + 8 + payload.len()),
    ] {
        out.extend_from_slice(&part.to_le_bytes());
    }
    let length = |n: usize| u16::try_from(n).unwrap_or(u16::MAX).to_be_bytes();
    let mut checked = Vec::with_capacity(40);
    match (source.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let mut ip = [0_u8; 20];
            ip[0] = 0x45;
            ip[2..4].copy_from_slice(&length(head + udp));
            ip[8] = 64;
            ip[9] = UDP;
            ip[12..16].copy_from_slice(&from.octets());
            ip[16..20].copy_from_slice(&to.octets());
            let sum = checksum(&[&ip]);
            ip[10..12].copy_from_slice(&sum.to_be_bytes());
            out.extend_from_slice(&ip);
            checked.extend_from_slice(&ip[12..20]);
        }
        (from, to) => {
            let octets = |ip| match ip {
                IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
                IpAddr::V6(ip) => ip.octets(),
            };
            out.extend_from_slice(&[0x60, 0, 0, 0]);
            out.extend_from_slice(&length(udp));
            out.extend_from_slice(&[UDP, 64]);
            for ip in [octets(from), octets(to)] {
                out.extend_from_slice(&ip);
                checked.extend_from_slice(&ip);
            }
        }
    }
    checked.extend_from_slice(&[0, UDP]);
    checked.extend_from_slice(&length(udp));
    let mut header = [0_u8; 8];
    header[..2].copy_from_slice(&source.port().to_be_bytes());
    header[2..4].copy_from_slice(&destination.port().to_be_bytes());
    header[4..6].copy_from_slice(&length(udp));
    // A sum of zero would mean that there is none.
    let sum = match checksum(&[&checked, &header, kept]) {
        0 => u16::MAX,
        sum => sum,
    };
    header[6..8].copy_from_slice(&sum.to_be_bytes());
    out.extend_from_slice(&header);
    out.extend_from_slice(kept);
}

/// The sum of RFC 1071 over parts, of which only the last may be of odd length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u32;
    for part in parts {
        for pair in part.chunks(2) {
            let low = pair.get(1).copied().unwrap_or(0);
            sum += u32::from(u16::from_be_bytes([pair[0], low]));
            sum = (sum & 0xffff) + (sum >> 16);
        }
    }
    !u16::try_from(sum & 0xffff).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap_or_else(|error| panic!("{error}"))
    }

    /// Verifies a sum the way a receiver does: over everything it is zero.
    fn is_right(parts: &[&[u8]]) -> bool {
        checksum(parts) == 0
    }

    #[test]
    fn a_file_holds_packets_that_others_can_read() {
        let mut file = begin();
        assert_eq!(file.len(), 24);
        assert_eq!(&file[..4], &[0xd4, 0xc3, 0xb2, 0xa1]);
        let at = UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456);
        add(
            &mut file,
            at,
            address("192.0.2.1:5060"),
            address("198.51.100.7:5062"),
            b"odd",
        );
        add(
            &mut file,
            at,
            address("[2001:db8::1]:1"),
            address("[2001:db8::2]:2"),
            b"even",
        );
        let number = |at: usize| {
            let bytes = [file[at], file[at + 1], file[at + 2], file[at + 3]];
            u32::from_le_bytes(bytes)
        };
        let first = [number(24), number(28), number(32), number(36)];
        assert_eq!(first, [1_700_000_000, 123_456, 31, 31]);
        let packet = &file[40..71];
        assert_eq!((packet[0], packet[9]), (0x45, 17));
        assert!(is_right(&[&packet[..20]]));
        assert_eq!(&packet[12..20], &[192, 0, 2, 1, 198, 51, 100, 7]);
        assert_eq!(&packet[20..26], &[0x13, 0xc4, 0x13, 0xc6, 0, 11]);
        let pseudo = [&packet[12..20], &[0, 17, 0, 11]].concat();
        assert!(is_right(&[&pseudo, &packet[20..]]));
        assert_eq!(&packet[28..], b"odd");
        assert_eq!(number(71 + 8), 40 + 8 + 4);
        let packet = &file[71 + 16..];
        assert_eq!((packet[0], packet[6], packet.len()), (0x60, 17, 52));
        let pseudo = [&packet[8..40], &[0, 17, 0, 12]].concat();
        assert!(is_right(&[&pseudo, &packet[40..]]));
    }

    #[test]
    fn of_too_many_messages_the_newest_have_room() {
        let line = |at| super::super::kept::tests::line(true, at, "a", "ACK sip:a SIP/2.0", "ACK");
        let lines: Vec<_> = (0..10).map(line).collect();
        let size = lines[0].bytes.len() + 64;
        for (room, wanted) in [
            (0, 10),
            (size - 1, 10),
            (size, 9),
            (3 * size + 1, 7),
            (100 * size, 0),
        ] {
            assert_eq!(begin_of(&lines, room), wanted, "{room}");
        }
    }

    #[test]
    fn what_no_packet_holds_is_cut_and_says_so() {
        let mut file = Vec::new();
        let payload = vec![b'x'; 70_000];
        add(
            &mut file,
            UNIX_EPOCH,
            address("192.0.2.1:1"),
            address("192.0.2.2:2"),
            &payload,
        );
        assert_eq!(file.len(), 16 + 65_535);
        assert_eq!(&file[8..12], &65_535_u32.to_le_bytes());
        assert_eq!(&file[12..16], &70_028_u32.to_le_bytes());
    }
}

//! Delays of packets, by the kernel's receive timestamps (SO_TIMESTAMPNS: wall clock, nanoseconds).

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Delays above this are counted as this.
const LONGEST_US: usize = 200_000;

/// The wall clock, since 1970.
pub fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// Asks the kernel to note when packets arrive at `socket`.
pub fn stamp(socket: &UdpSocket) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the option's value is an int that outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TIMESTAMPNS,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Receives a packet: its length, and when it arrived.
pub fn receive(socket: &UdpSocket, packet: &mut [u8]) -> io::Result<(usize, Option<Duration>)> {
    // Enough for one timestamp, aligned as a control message has to be.
    let mut control = [0u64; 8];
    let mut vector = libc::iovec {
        iov_base: packet.as_mut_ptr().cast(),
        iov_len: packet.len(),
    };
    // SAFETY: an all-zero message header is a valid one without anything.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut vector;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control) as _;
    // SAFETY: the header points to one buffer and the control space, which outlive the call.
    let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0) };
    if length < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has filled the header; the control space is still there.
    let first = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    // SAFETY: a control message the kernel wrote, whole, if there is one.
    let arrived = unsafe { first.as_ref() }
        .filter(|c| c.cmsg_level == libc::SOL_SOCKET && c.cmsg_type == libc::SCM_TIMESTAMPNS)
        .map(|c| {
            // SAFETY: a message of this type carries a timespec, not necessarily aligned.
            let time: libc::timespec =
                unsafe { libc::CMSG_DATA(c).cast::<libc::timespec>().read_unaligned() };
            Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
        });
    Ok((length as usize, arrived))
}

/// A histogram of delays in steps of 1 us.
#[derive(Clone, Debug, Default)]
pub struct Delays {
    counts: Vec<u32>,
    total: u64,
    longest: Duration,
}

impl Delays {
    /// Adds a delay.
    pub fn add(&mut self, delay: Duration) {
        if self.counts.is_empty() {
            self.counts.resize(LONGEST_US + 1, 0);
        }
        let us = (delay.as_micros() as usize).min(LONGEST_US);
        self.counts[us] += 1;
        self.total += 1;
        self.longest = self.longest.max(delay);
    }

    /// Adds all of another.
    pub fn merge(&mut self, other: &Self) {
        if self.counts.is_empty() {
            self.counts.clone_from(&other.counts);
        } else {
            for (own, other) in self.counts.iter_mut().zip(&other.counts) {
                *own += other;
            }
        }
        self.total += other.total;
        self.longest = self.longest.max(other.longest);
    }

    /// The delay that `per_mille` of 1000 packets do not exceed, in microseconds; 0 of nothing.
    pub fn percentile(&self, per_mille: u64) -> u64 {
        let wanted = (self.total * per_mille).div_ceil(1000);
        let mut sum = 0;
        for (us, &count) in self.counts.iter().enumerate() {
            sum += u64::from(count);
            if sum >= wanted && sum > 0 {
                return us as u64;
            }
        }
        0
    }

    /// The longest, in microseconds.
    pub fn longest(&self) -> u64 {
        self.longest.as_micros() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_sorted_delays() {
        let mut delays = Delays::default();
        assert_eq!(delays.percentile(500), 0);
        for us in 1..=1000 {
            delays.add(Duration::from_micros(us));
        }
        assert_eq!((delays.percentile(500), delays.percentile(990)), (500, 990));
        delays.add(Duration::from_secs(3));
        assert_eq!(delays.percentile(1000), LONGEST_US as u64);
        assert_eq!(delays.longest(), 3_000_000);
        let mut both = Delays::default();
        both.merge(&delays);
        both.merge(&delays);
        assert_eq!(both.percentile(500), delays.percentile(500));
    }

    #[test]
    fn the_kernel_tells_when_a_packet_came() {
        let a = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let b = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        stamp(&a).expect("timestamps");
        let before = now();
        b.send_to(b"hello", a.local_addr().expect("an address"))
            .expect("sent");
        let mut packet = [0; 10];
        let (length, arrived) = receive(&a, &mut packet).expect("received");
        assert_eq!(&packet[..length], b"hello");
        let arrived = arrived.expect("a timestamp");
        assert!(arrived >= before && arrived <= now());
    }
}

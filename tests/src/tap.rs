//! A tap in the line between a peer and the exchange: passes SIP and RTP on, and keeps the audio of both directions.
//!
//! It is for peers that cannot say what they hear, as SIPp: session descriptions are rewritten so that the RTP of one
//! call runs through the tap.

use crate::wire::{AudioLine, SipText};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// RTP packets that went through, each as sequence number and payload.
#[derive(Clone, Debug, Default)]
pub struct Tapped {
    /// From the peer to the exchange.
    pub sent: Vec<(u16, Vec<u8>)>,
    /// From the exchange to the peer.
    pub returned: Vec<(u16, Vec<u8>)>,
}

/// The line itself; one call at a time.
#[derive(Debug)]
pub struct Tap {
    address: SocketAddr,
    tapped: Arc<Mutex<Tapped>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Tap {
    /// Opens a line to the exchange.
    pub fn new(exchange: SocketAddr) -> Self {
        let peer_side = socket();
        let address = peer_side.local_addr().expect("a bound socket");
        let tapped = Arc::new(Mutex::new(Tapped::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let mut line = Line {
            exchange,
            peer: None,
            sip: [peer_side, socket()],
            rtp: [socket(), socket()],
            peer_rtp: None,
            exchange_rtp: None,
            tapped: Arc::clone(&tapped),
        };
        let ending = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !ending.load(Ordering::Relaxed) {
                line.pass();
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        Self {
            address,
            tapped,
            stop,
            thread: Some(thread),
        }
    }

    /// Where the peer sends its SIP instead of to the exchange.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What has gone through so far.
    pub fn tapped(&self) -> Tapped {
        self.tapped
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn socket() -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    socket.set_nonblocking(true).expect("a non-blocking socket");
    socket
}

/// Index 0 of each pair of sockets faces the peer, 1 the exchange.
struct Line {
    exchange: SocketAddr,
    peer: Option<SocketAddr>,
    sip: [UdpSocket; 2],
    rtp: [UdpSocket; 2],
    peer_rtp: Option<SocketAddr>,
    exchange_rtp: Option<SocketAddr>,
    tapped: Arc<Mutex<Tapped>>,
}

impl Line {
    fn pass(&mut self) {
        let mut buffer = [0_u8; 65_535];
        while let Ok((length, from)) = self.sip[0].recv_from(&mut buffer) {
            self.peer = Some(from);
            let (message, audio) = redirect(&buffer[..length], &self.rtp[1]);
            self.peer_rtp = audio.or(self.peer_rtp);
            let _ = self.sip[1].send_to(&message, self.exchange);
        }
        while let Ok((length, _)) = self.sip[1].recv_from(&mut buffer) {
            let (message, audio) = redirect(&buffer[..length], &self.rtp[0]);
            self.exchange_rtp = audio.or(self.exchange_rtp);
            if let Some(peer) = self.peer {
                let _ = self.sip[0].send_to(&message, peer);
            }
        }
        while let Ok((length, _)) = self.rtp[0].recv_from(&mut buffer) {
            self.keep(&buffer[..length], true);
            if let Some(to) = self.exchange_rtp {
                let _ = self.rtp[1].send_to(&buffer[..length], to);
            }
        }
        while let Ok((length, _)) = self.rtp[1].recv_from(&mut buffer) {
            self.keep(&buffer[..length], false);
            if let Some(to) = self.peer_rtp {
                let _ = self.rtp[0].send_to(&buffer[..length], to);
            }
        }
    }

    fn keep(&self, packet: &[u8], sent: bool) {
        let (Some(number), Some(payload)) = (packet.get(2..4), packet.get(12..)) else {
            return;
        };
        let entry = (u16::from_be_bytes([number[0], number[1]]), payload.to_vec());
        let mut tapped = self.tapped.lock().unwrap_or_else(PoisonError::into_inner);
        if sent {
            tapped.sent.push(entry);
        } else {
            tapped.returned.push(entry);
        }
    }
}

/// The message with its audio address replaced by that socket's, and the address it had.
fn redirect(raw: &[u8], to: &UdpSocket) -> (Vec<u8>, Option<SocketAddr>) {
    let Some(mut message) = SipText::parse(raw) else {
        return (raw.to_vec(), None);
    };
    let Some(audio) = AudioLine::parse(&message.body) else {
        return (raw.to_vec(), None);
    };
    let to = to.local_addr().expect("a bound socket");
    message.body = message
        .body
        .replace(
            &format!("c=IN IP4 {}", audio.address.ip()),
            &format!("c=IN IP4 {}", to.ip()),
        )
        .replace(
            &format!("m=audio {} ", audio.address.port()),
            &format!("m=audio {} ", to.port()),
        );
    message.remove("Content-Length");
    (message.to_bytes(), Some(audio.address))
}

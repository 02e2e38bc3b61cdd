//! A small phone on loopback that can be called.

use std::collections::HashSet;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{SDP, header, response};

/// What a called phone does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Manner {
    /// Refuses with this status.
    Refuse(u16),
    /// Rings and answers; hangs up after the time given, if one is.
    Answer(Option<Duration>),
    /// Rings for ever.
    Ring,
    /// Rings so long before it answers.
    AnswerAfter(Duration),
    /// Answers, and dials these digits from then on, 300 ms apart; `w` is a pause.
    Dial(&'static str),
    /// Says that it is elsewhere (302), at this number.
    Forward(&'static str),
}

/// A phone that can be called.
pub(crate) struct Phone {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    infos: Arc<Mutex<Vec<String>>>,
    writers: Arc<Mutex<Vec<String>>>,
    called: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Phone {
    pub(crate) fn start(name: &str, manner: Manner) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket
            .set_read_timeout(Some(Duration::from_millis(20)))
            .expect("a timeout");
        let address = socket.local_addr().expect("an address");
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let infos = Arc::new(Mutex::new(Vec::new()));
        let writers = Arc::new(Mutex::new(Vec::new()));
        let called = Arc::new(AtomicBool::new(false));
        let (got, wrote) = (Arc::clone(&infos), Arc::clone(&writers));
        let invited = Arc::clone(&called);
        let thread = std::thread::spawn(move || {
            serve(&socket, manner, &stopping, &invited, (&got, &wrote));
        });
        Self {
            name: name.to_owned(),
            address,
            infos,
            writers,
            called,
            stop,
            thread: Some(thread),
        }
    }
}

impl Phone {
    /// Was it called, ever?
    pub(crate) fn called(&self) -> bool {
        self.called.load(Ordering::Relaxed)
    }

    /// Who sent it texts, by number.
    pub(crate) fn writers(&self) -> Vec<String> {
        let writers = self.writers.lock().expect("the phone did not fail");
        writers.clone()
    }

    /// The bodies of the INFO requests and texts it got, repetitions left out.
    pub(crate) fn infos(&self) -> Vec<String> {
        let infos = self.infos.lock().expect("the phone did not fail");
        infos.clone()
    }
}

impl Drop for Phone {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(
    socket: &UdpSocket,
    manner: Manner,
    stop: &AtomicBool,
    called: &AtomicBool,
    (infos, writers): (&Mutex<Vec<String>>, &Mutex<Vec<String>>),
) {
    let mut seen: HashSet<String> = HashSet::new();
    let local = socket.local_addr().expect("an address");
    let mut invite: Option<(String, SocketAddr)> = None;
    let mut leave_at: Option<Instant> = None;
    let mut answer_at: Option<Instant> = None;
    // The call begins for both when the exchange has acknowledged the answer.
    let mut awaits_ack = false;
    let mut digits = match manner {
        Manner::Dial(digits) => digits.chars(),
        _ => "".chars(),
    };
    let (mut dial_at, mut cseq): (Option<Instant>, u32) = (None, 1);
    let mut buffer = [0; 65536];
    while !stop.load(Ordering::Relaxed) {
        if leave_at.is_some_and(|at| Instant::now() >= at)
            && let Some((request, exchange)) = &invite
        {
            leave_at = None;
            let text = format!(
                "BYE {} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bKbye{}\r\nMax-Forwards: 70\r\nFrom: {};tag=peer\r\n\
                 To: {}\r\nCall-ID: {}\r\nCSeq: 999 BYE\r\nContent-Length: 0\r\n\r\n",
                header(request, "Contact")
                    .split(['<', '>'])
                    .nth(1)
                    .unwrap_or_default(),
                header(request, "Call-ID"),
                header(request, "To"),
                header(request, "From"),
                header(request, "Call-ID"),
            );
            let _ = socket.send_to(text.as_bytes(), exchange);
        }
        if answer_at.is_some_and(|at| Instant::now() >= at)
            && let Some((request, exchange)) = &invite
        {
            answer_at = None;
            let _ = socket.send_to(response(request, 200, SDP, local).as_bytes(), exchange);
        }
        if dial_at.is_some_and(|at| Instant::now() >= at)
            && let Some((request, exchange)) = &invite
        {
            let digit = digits.next();
            dial_at = digit.map(|_| Instant::now() + Duration::from_millis(300));
            if let Some(digit) = digit.filter(|digit| *digit != 'w') {
                cseq += 1;
                let body = format!("Signal={digit}\r\nDuration=100\r\n");
                let text = format!(
                    "INFO {} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bKinfo{cseq}{}\r\nMax-Forwards: 70\r\nFrom: {};tag=peer\r\n\
                     To: {}\r\nCall-ID: {}\r\nCSeq: {cseq} INFO\r\nContent-Type: application/dtmf-relay\r\nContent-Length: {}\r\n\r\n{body}",
                    header(request, "Contact")
                        .split(['<', '>'])
                        .nth(1)
                        .unwrap_or_default(),
                    header(request, "Call-ID"),
                    header(request, "To"),
                    header(request, "From"),
                    header(request, "Call-ID"),
                    body.len()
                );
                let _ = socket.send_to(text.as_bytes(), exchange);
            }
        }
        let Ok((length, exchange)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
        let reply = |status, body: &str| {
            let _ = socket.send_to(response(&message, status, body, local).as_bytes(), exchange);
        };
        match message.split(' ').next().unwrap_or_default() {
            "INVITE" => {
                called.store(true, Ordering::Relaxed);
                match manner {
                    Manner::Refuse(status) => reply(status, ""),
                    Manner::Ring => reply(180, ""),
                    Manner::AnswerAfter(after) => {
                        reply(180, "");
                        answer_at = Some(Instant::now() + after);
                    }
                    Manner::Forward(number) => {
                        let text = response(&message, 302, "", local);
                        let text = text.replace("sip:peer@", &format!("sip:{number}@"));
                        let _ = socket.send_to(text.as_bytes(), exchange);
                    }
                    Manner::Answer(_) | Manner::Dial(_) => {
                        reply(180, "");
                        reply(200, SDP);
                        awaits_ack = true;
                    }
                }
                invite = Some((message.clone(), exchange));
            }
            "ACK" if std::mem::take(&mut awaits_ack) => match manner {
                Manner::Answer(stay) => leave_at = stay.map(|stay| Instant::now() + stay),
                Manner::Dial(_) => dial_at = Some(Instant::now() + Duration::from_millis(300)),
                _ => {}
            },
            "CANCEL" => {
                reply(200, "");
                answer_at = None;
                awaits_ack = false;
                if let Some((request, _)) = &invite {
                    let _ = socket.send_to(response(request, 487, "", local).as_bytes(), exchange);
                }
            }
            "INFO" | "MESSAGE" => {
                reply(200, "");
                let call = header(&message, "Call-ID");
                if seen.insert(format!("{call} {}", header(&message, "CSeq"))) {
                    if message.starts_with("MESSAGE") {
                        let from = header(&message, "From").split(['@', ':']).nth(1);
                        let mut writers = writers.lock().expect("no test thread failed");
                        writers.push(from.unwrap_or_default().to_owned());
                    }
                    let body = message.split_once("\r\n\r\n").map_or("", |(_, body)| body);
                    let mut infos = infos.lock().expect("no test thread failed while it read");
                    infos.push(body.to_owned());
                }
            }
            "BYE" | "OPTIONS" => {
                reply(200, "");
                leave_at = None;
            }
            _ => {}
        }
    }
}

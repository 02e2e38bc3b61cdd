//! A name server for one test: the records it is given, and nothing else.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};

const A: u16 = 1;
const SOA: u16 = 6;
const SRV: u16 = 33;
const NAPTR: u16 = 35;

type Records = HashMap<(String, u16), Vec<Vec<u8>>>;

#[derive(Debug, Default)]
struct State {
    records: Records,
    questions: Vec<(String, u16)>,
    /// Names whose NAPTR questions get no answer.
    silent: Vec<String>,
}

/// A running name server; it ends with the test process.
#[derive(Clone, Debug)]
pub struct Names {
    state: Arc<Mutex<State>>,
    address: SocketAddr,
}

fn encoded(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name
        .trim_end_matches('.')
        .split('.')
        .filter(|l| !l.is_empty())
    {
        bytes.push(label.len() as u8);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

fn text(value: &str) -> Vec<u8> {
    let mut bytes = vec![value.len() as u8];
    bytes.extend_from_slice(value.as_bytes());
    bytes
}

impl Names {
    /// Starts one on a free port of 127.0.0.1.
    pub fn start() -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
        let names = Self {
            state: Arc::default(),
            address: socket.local_addr().expect("an address"),
        };
        let state = Arc::clone(&names.state);
        std::thread::spawn(move || {
            let mut buffer = [0_u8; 4096];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(answer) = answer(&buffer[..length], &mut state) {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        names
    }

    /// Where it answers.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    fn add(&self, name: &str, kind: u16, data: Vec<u8>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (name.to_ascii_lowercase(), kind);
        state.records.entry(key).or_default().push(data);
    }

    /// An address.
    pub fn a(&self, name: &str, ip: Ipv4Addr) {
        self.add(name, A, ip.octets().to_vec());
    }

    /// A service.
    pub fn srv(&self, name: &str, priority: u16, weight: u16, port: u16, target: &str) {
        let mut data = Vec::new();
        for number in [priority, weight, port] {
            data.extend_from_slice(&number.to_be_bytes());
        }
        data.extend(encoded(target));
        self.add(name, SRV, data);
    }

    /// A pointer to services.
    pub fn naptr(&self, name: &str, order: u16, preference: u16, service: &str, to: &str) {
        let mut data = Vec::new();
        for number in [order, preference] {
            data.extend_from_slice(&number.to_be_bytes());
        }
        for part in ["s", service, ""] {
            data.extend(text(part));
        }
        data.extend(encoded(to));
        self.add(name, NAPTR, data);
    }

    /// Says nothing to questions for NAPTR records of that name.
    pub fn silence(&self, name: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.silent.push(name.to_ascii_lowercase());
    }

    /// How often that name was asked for, with any type.
    pub fn questions(&self, name: &str) -> usize {
        self.count(|(asked, _)| asked.eq_ignore_ascii_case(name))
    }

    /// The same for NAPTR records, which only a way to somewhere is looked for by.
    pub fn pointers_asked(&self, name: &str) -> usize {
        self.count(|(asked, kind)| *kind == NAPTR && asked.eq_ignore_ascii_case(name))
    }

    fn count(&self, fits: impl Fn(&(String, u16)) -> bool) -> usize {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.questions.iter().filter(|asked| fits(asked)).count()
    }
}

/// The answer to one question, as the server of everything (RFC 1035 §4).
fn answer(query: &[u8], state: &mut State) -> Option<Vec<u8>> {
    let mut at = 12;
    let mut labels = Vec::new();
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8_lossy(query.get(at..at + length)?).into_owned());
        at += length;
    }
    let kind = u16::from_be_bytes([*query.get(at)?, *query.get(at + 1)?]);
    let question = query.get(12..at + 4)?;
    let name = labels.join(".").to_ascii_lowercase();
    state.questions.push((name.clone(), kind));
    if kind == NAPTR && state.silent.contains(&name) {
        return None;
    }
    let found = state
        .records
        .get(&(name.clone(), kind))
        .cloned()
        .unwrap_or_default();
    let exists = state.records.keys().any(|(known, _)| *known == name);
    let mut answer = query.get(..2)?.to_vec();
    // Authoritative; no such name where nothing of that name is known.
    answer.extend_from_slice(&[0x84 | (query.get(2)? & 1), if exists { 0x80 } else { 0x83 }]);
    for number in [1, found.len() as u16, u16::from(found.is_empty()), 0] {
        answer.extend_from_slice(&number.to_be_bytes());
    }
    answer.extend_from_slice(question);
    let mut record = |kind: u16, data: &[u8]| {
        answer.extend_from_slice(&[0xc0, 0x0c]);
        answer.extend_from_slice(&kind.to_be_bytes());
        answer.extend_from_slice(&[0, 1, 0, 0, 0, 60]);
        answer.extend_from_slice(&(data.len() as u16).to_be_bytes());
        answer.extend_from_slice(data);
    };
    for data in &found {
        record(kind, data);
    }
    if found.is_empty() {
        let mut soa = [encoded("ns.test"), encoded("root.test")].concat();
        for number in [1_u32, 60, 60, 60, 60] {
            soa.extend_from_slice(&number.to_be_bytes());
        }
        record(SOA, &soa);
    }
    Some(answer)
}

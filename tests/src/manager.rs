//! A client of the Manager interface: it writes requests and reads blocks, as a program of a customer does.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// A block of lines: an answer or an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block(pub Vec<(String, String)>);

impl Block {
    /// The first value of a header; empty if there is none.
    pub fn get(&self, name: &str) -> &str {
        self.0
            .iter()
            .find(|(known, _)| known == name)
            .map_or("", |(_, value)| value.as_str())
    }

    /// The name of the event; empty for an answer.
    pub fn event(&self) -> &str {
        match self.0.first() {
            Some((name, value)) if name == "Event" => value,
            _ => "",
        }
    }

    fn read(text: &str) -> Self {
        let lines = text.split("\r\n").filter(|line| !line.is_empty());
        Self(
            lines
                .map(|line| {
                    let (name, value) = line.split_once(": ").unwrap_or((line, ""));
                    (name.trim_end_matches(':').to_owned(), value.to_owned())
                })
                .collect(),
        )
    }
}

/// A connection to port 5038.
#[derive(Debug)]
pub struct ManagerClient {
    stream: TcpStream,
    waiting: Vec<u8>,
    /// What the other side greeted with.
    pub greeting: String,
}

impl ManagerClient {
    /// Connects, as soon as there is somebody to connect to.
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        let stream = crate::wait_until(crate::SOON, || TcpStream::connect(address).ok());
        let stream = stream.expect("the Manager listens");
        stream
            .set_read_timeout(Some(Duration::from_millis(50)))
            .expect("a time limit");
        let mut client = Self {
            stream,
            waiting: Vec::new(),
            greeting: String::new(),
        };
        client.greeting = client.until("\r\n").expect("a greeting");
        client
    }

    /// Connects and logs in.
    #[track_caller]
    pub fn login(address: SocketAddr, user: &str, secret: &str) -> Self {
        let mut client = Self::connect(address);
        let answer = client.ask(&[("Action", "Login"), ("Username", user), ("Secret", secret)]);
        assert_eq!(
            answer.get("Message"),
            "Authentication accepted",
            "{answer:?}"
        );
        client
    }

    /// Sends a request.
    pub fn send(&mut self, headers: &[(&str, &str)]) {
        let mut text = String::new();
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        self.send_text(&text);
    }

    /// Sends these bytes.
    pub fn send_text(&mut self, text: &str) {
        let _ = self.stream.write_all(text.as_bytes());
    }

    /// Text up to `end`, which is left out; `None` when the connection ended or nothing comes.
    fn until(&mut self, end: &str) -> Option<String> {
        let deadline = Instant::now() + crate::SOON;
        loop {
            let at = self
                .waiting
                .windows(end.len())
                .position(|part| part == end.as_bytes());
            if let Some(at) = at {
                let text = String::from_utf8_lossy(&self.waiting[..at]).into_owned();
                self.waiting.drain(..at + end.len());
                return Some(text);
            }
            let mut bytes = [0u8; 16 * 1024];
            match self.stream.read(&mut bytes) {
                Ok(0) => return None,
                Ok(count) => self.waiting.extend_from_slice(&bytes[..count]),
                Err(error)
                    if matches!(
                        error.kind(),
                        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                    ) => {}
                Err(_) => return None,
            }
            if Instant::now() > deadline {
                return None;
            }
        }
    }

    /// The next block; `None` when the connection ended.
    pub fn block(&mut self) -> Option<Block> {
        loop {
            let block = Block::read(&self.until("\r\n\r\n")?);
            if !block.0.is_empty() {
                return Some(block);
            }
        }
    }

    /// The next block for which `fits` says true; those before it are given too, and it is the last.
    #[track_caller]
    pub fn blocks_until(&mut self, what: &str, fits: impl Fn(&Block) -> bool) -> Vec<Block> {
        let mut all = Vec::new();
        loop {
            let Some(block) = self.block() else {
                panic!("{what} did not come; what came: {all:#?}");
            };
            let found = fits(&block);
            all.push(block);
            if found {
                return all;
            }
        }
    }

    /// Sends a request; the answer, without what events came before it.
    #[track_caller]
    pub fn ask(&mut self, headers: &[(&str, &str)]) -> Block {
        self.send(headers);
        let blocks = self.blocks_until("an answer", |block| block.event().is_empty());
        blocks.into_iter().next_back().unwrap_or_default()
    }

    /// Says that nothing more will be asked.
    pub fn finish(&self) {
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
    }

    /// Waits for the other side to close; what it wrote before.
    #[track_caller]
    pub fn expect_closed(&mut self) -> Vec<Block> {
        std::iter::from_fn(|| self.block()).collect()
    }
}

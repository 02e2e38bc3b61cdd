//! A client of the Manager interface: it writes requests and reads blocks, as a program of a customer does.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// A block of lines: an answer or an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block(pub Vec<(String, String)>);

impl Block {
    /// Every value of a header.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let lines = self.0.iter().filter(|(known, _)| known == name);
        lines.map(|(_, value)| value.as_str()).collect()
    }

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

trait Stream: std::io::Read + std::io::Write + Send {}

impl<S: std::io::Read + std::io::Write + Send> Stream for S {}

/// A connection to port 5038, or with TLS to 5039.
pub struct ManagerClient {
    stream: Box<dyn Stream>,
    /// What carries it.
    carrier: TcpStream,
    waiting: Vec<u8>,
    /// What the other side greeted with.
    pub greeting: String,
}

impl std::fmt::Debug for ManagerClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ManagerClient").field(&self.carrier).finish()
    }
}

impl ManagerClient {
    /// Connects, as soon as there is somebody to connect to.
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        let carrier = Self::carrier(address);
        let stream = carrier.try_clone().expect("the connection twice");
        Self::greeted(Box::new(stream), carrier)
    }

    /// The same with TLS, which has to show a certificate for this name.
    #[track_caller]
    pub fn connect_tls(
        address: SocketAddr,
        config: std::sync::Arc<rustls::ClientConfig>,
        name: &str,
    ) -> Self {
        let carrier = Self::carrier(address);
        let stream = carrier.try_clone().expect("the connection twice");
        let name = name.to_owned().try_into().expect("a name");
        let session = rustls::ClientConnection::new(config, name).expect("a session of TLS");
        Self::greeted(Box::new(rustls::StreamOwned::new(session, stream)), carrier)
    }

    #[track_caller]
    fn carrier(address: SocketAddr) -> TcpStream {
        let stream = crate::wait_until(crate::SOON, || TcpStream::connect(address).ok());
        let stream = stream.expect("the Manager listens");
        stream
            .set_read_timeout(Some(Duration::from_millis(50)))
            .expect("a time limit");
        stream
    }

    #[track_caller]
    fn greeted(stream: Box<dyn Stream>, carrier: TcpStream) -> Self {
        let mut client = Self {
            stream,
            carrier,
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
        client.log_in(user, secret);
        client
    }

    /// Logs in.
    #[track_caller]
    pub fn log_in(&mut self, user: &str, secret: &str) {
        let answer = self.ask(&[("Action", "Login"), ("Username", user), ("Secret", secret)]);
        assert_eq!(
            answer.get("Message"),
            "Authentication accepted",
            "{answer:?}"
        );
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
        let _ = self.carrier.shutdown(std::net::Shutdown::Write);
    }

    /// Waits for the other side to close; what it wrote before.
    #[track_caller]
    pub fn expect_closed(&mut self) -> Vec<Block> {
        std::iter::from_fn(|| self.block()).collect()
    }
}

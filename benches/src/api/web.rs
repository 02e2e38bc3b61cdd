//! Programs that ask: over HTTP on a connection that stays, and over the Manager's. They count what comes and keep little of it.

use anyhow::{Context as _, Result, bail, ensure};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::crowd::Doors;

/// Whoever waits longer for an answer has found a fault.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection of HTTP.
pub struct Web {
    stream: BufReader<TcpStream>,
    address: SocketAddr,
    key: String,
}

/// What an answer came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// Bytes of its body.
    pub bytes: u64,
}

impl Web {
    /// Connects; an empty key is not shown.
    pub fn connect(address: SocketAddr, key: &str) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: BufReader::with_capacity(256 * 1024, stream),
            address,
            key: key.to_owned(),
        })
    }

    /// Asks, and reads the answer without keeping it.
    pub fn ask(&mut self, method: &str, path: &str, body: &str) -> Result<Answer> {
        self.answer(method, path, body, &mut |_| ())
    }

    /// The text of an answer that has to be good.
    pub fn text(&mut self, path: &str) -> Result<String> {
        let mut text = Vec::new();
        let answer = self.answer("GET", path, "", &mut |piece| text.extend_from_slice(piece))?;
        ensure!(
            answer.status == 200,
            "{path} was answered with {}",
            answer.status
        );
        Ok(String::from_utf8_lossy(&text).into_owned())
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        let read = self.stream.read_line(&mut line)?;
        ensure!(read > 0, "the exchange closed the connection");
        Ok(line.trim_end().to_owned())
    }

    fn body(&mut self, mut bytes: u64, take: &mut dyn FnMut(&[u8])) -> Result<()> {
        while bytes > 0 {
            let piece = self.stream.fill_buf()?;
            ensure!(!piece.is_empty(), "the answer breaks off");
            let length = piece
                .len()
                .min(usize::try_from(bytes).unwrap_or(usize::MAX));
            take(piece.get(..length).unwrap_or_default());
            self.stream.consume(length);
            bytes -= length as u64;
        }
        Ok(())
    }

    fn answer(
        &mut self,
        method: &str,
        path: &str,
        body: &str,
        take: &mut dyn FnMut(&[u8]),
    ) -> Result<Answer> {
        let key = match self.key.as_str() {
            "" => String::new(),
            key => format!("X-API-Key: {key}\r\n"),
        };
        let content = match body {
            "" => String::new(),
            body => format!(
                "Content-Type: application/json\r\nContent-Length: {}\r\n",
                body.len()
            ),
        };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\n{key}{content}\r\n{body}",
            self.address
        );
        self.stream.get_mut().write_all(request.as_bytes())?;
        let first = self.line()?;
        let status = first.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.with_context(|| format!("no answer of HTTP: {first}"))?;
        let (mut length, mut chunked) = (0, false);
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').context("no header")?;
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.trim().parse()?,
                "transfer-encoding" => chunked = true,
                _ => {}
            }
        }
        let mut bytes = length;
        if chunked {
            loop {
                let size = u64::from_str_radix(&self.line()?, 16).context("no size of a piece")?;
                bytes += size;
                self.body(size, take)?;
                self.line()?;
                if size == 0 {
                    break;
                }
            }
        } else {
            self.body(length, take)?;
        }
        Ok(Answer { status, bytes })
    }
}

/// A session of the Manager that gets no events.
pub struct Manager(BufReader<TcpStream>);

impl Manager {
    /// Connects and logs in.
    pub fn login(doors: &Doors) -> Result<Self> {
        let stream = TcpStream::connect(doors.manager)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let mut manager = Self(BufReader::with_capacity(256 * 1024, stream));
        let text = doors.login("off");
        manager.0.get_mut().write_all(text.as_bytes())?;
        loop {
            let line = manager.line()?;
            if line.starts_with("Message: ") {
                ensure!(line.contains("accepted"), "{line}");
                return Ok(manager);
            }
        }
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        let read = self.0.by_ref().take(1 << 20).read_line(&mut line)?;
        ensure!(read > 0, "the Manager closed the connection");
        Ok(line.trim_end().to_owned())
    }

    /// Asks for a list; how many items it had.
    pub fn list(&mut self, action: &str) -> Result<usize> {
        let request = format!("Action: {action}\r\n\r\n");
        self.0.get_mut().write_all(request.as_bytes())?;
        let mut items = None;
        loop {
            let line = self.line()?;
            if line.starts_with("Response: Error") {
                bail!("{action} was refused");
            }
            if let Some(count) = line.strip_prefix("ListItems: ") {
                items = Some(count.parse()?);
            }
            if let (true, Some(items)) = (line.is_empty(), items) {
                return Ok(items);
            }
        }
    }
}

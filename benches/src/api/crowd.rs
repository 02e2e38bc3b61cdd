//! Many programs that follow events, on one thread: sessions of the Manager and readers of the stream of `/api/v1`. Each checks
//! what it hears for itself; some never read, as a program does that hangs.

use anyhow::{Context as _, Result, bail, ensure};
use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// How long somebody may take to be let in.
const ADMITTED: Duration = Duration::from_secs(20);
/// What is read at a time.
const PIECE: usize = 16 * 1024;
/// What the system keeps for a program that does not read, in bytes.
const STALLED_BUFFER: u32 = 4096;
/// The same once it reads.
const REST_BUFFER: usize = 4 << 20;
/// How long the rest may take that a program reads at the end which did not before.
const REST: Duration = Duration::from_secs(5);
/// A line longer than this is a fault.
const BLOCK_MAX: usize = 1 << 20;

/// Where programs come in, and with what.
#[derive(Clone, Debug)]
pub struct Doors {
    pub manager: SocketAddr,
    pub http: SocketAddr,
    pub user: String,
    pub secret: String,
    /// Of the HTTP APIs.
    pub key: String,
}

impl Doors {
    pub(super) fn login(&self, events: &str) -> String {
        format!(
            "Action: Login\r\nUsername: {}\r\nSecret: {}\r\nEvents: {events}\r\n\r\n",
            self.user, self.secret
        )
    }
}

/// Which events are asked for by those who read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Interest {
    Everything,
    /// Sessions of the Manager: the class of calls; readers of the stream: `Newchannel` and `Hangup`.
    Calls,
}

/// How many there are of each kind. Who never reads has asked for everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Size {
    pub managers: usize,
    pub streams: usize,
    pub stalled_managers: usize,
    pub stalled_streams: usize,
}

impl Size {
    pub fn healthy(self) -> usize {
        self.managers + self.streams
    }

    pub fn stalled(self) -> usize {
        self.stalled_managers + self.stalled_streams
    }
}

/// What one program heard.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    pub is_stream: bool,
    /// It never read until the end.
    pub is_stalled: bool,
    pub events: u64,
    /// Of these, how many calls ended.
    pub hangups: u64,
    /// Grows out of the unique ids of those calls in their order: the same for all who heard the same.
    pub order: u64,
    /// How often a number did not follow from the one before: something is missing, there twice, or in another order.
    pub breaks: u64,
    /// The exchange closed the connection.
    pub is_left: bool,
    /// What the exchange said of events that are missing.
    pub notice: Option<String>,
}

/// Reads events out of what comes.
struct Ears {
    heard: Heard,
    /// Every number is expected.
    everything: bool,
    rest: Vec<u8>,
    last: Option<u64>,
    number: Option<u64>,
    name: [u8; 16],
    name_length: usize,
    id: u64,
}

const SEED: u64 = 0xcbf2_9ce4_8422_2325;

/// A number that stands for these bytes (FNV-1a).
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(SEED, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The place of a text within a line.
fn find(line: &[u8], text: &[u8]) -> Option<usize> {
    line.windows(text.len()).position(|part| part == text)
}

impl Ears {
    fn new(is_stream: bool, everything: bool) -> Self {
        Self {
            heard: Heard {
                is_stream,
                order: SEED,
                ..Heard::default()
            },
            everything,
            rest: Vec::new(),
            last: None,
            number: None,
            name: [0; 16],
            name_length: 0,
            id: 0,
        }
    }

    fn hear(&mut self, bytes: &[u8]) -> Result<()> {
        let mut kept = std::mem::take(&mut self.rest);
        kept.extend_from_slice(bytes);
        let mut begin = 0;
        while let Some(length) = kept[begin..].iter().position(|byte| *byte == b'\n') {
            let line = &kept[begin..begin + length];
            self.line(line.strip_suffix(b"\r").unwrap_or(line));
            begin += length + 1;
        }
        kept.drain(..begin);
        ensure!(kept.len() < BLOCK_MAX, "a line without an end");
        self.rest = kept;
        Ok(())
    }

    fn line(&mut self, line: &[u8]) {
        if line.is_empty() {
            self.end();
        } else if let Some(name) = line
            .strip_prefix(b"Event: ")
            .or_else(|| line.strip_prefix(b"event: "))
        {
            self.name_length = name.len().min(self.name.len());
            self.name[..self.name_length].copy_from_slice(&name[..self.name_length]);
        } else if let Some(id) = line.strip_prefix(b"Uniqueid: ") {
            self.id = hash(id);
        } else if let Some(id) = line.strip_prefix(b"id: ") {
            let number = id.rsplit(|byte| *byte == b'-').next().unwrap_or_default();
            self.number = std::str::from_utf8(number)
                .ok()
                .and_then(|number| number.parse().ok());
        } else if line.starts_with(b"data: ") && self.is(b"Hangup") {
            const FIELD: &[u8] = b"\"Uniqueid\":\"";
            if let Some(at) = find(line, FIELD) {
                let rest = &line[at + FIELD.len()..];
                let end = rest.iter().position(|byte| *byte == b'"');
                self.id = hash(&rest[..end.unwrap_or(rest.len())]);
            }
        } else if line == b"Response: Goodbye" {
            self.heard.notice = Some("Goodbye".to_owned());
        }
    }

    fn is(&self, name: &[u8]) -> bool {
        &self.name[..self.name_length] == name
    }

    fn end(&mut self) {
        let number = self.number.take();
        if self.name_length == 0 {
            return;
        }
        for notice in ["Missed", "TooSlow", "Closed"] {
            if self.heard.is_stream && self.is(notice.as_bytes()) {
                self.heard.notice = Some(notice.to_owned());
            }
        }
        if let Some(number) = number {
            let follows = self
                .last
                .is_none_or(|last| number == last + 1 || (!self.everything && number > last));
            self.heard.breaks += u64::from(!follows);
            self.last = Some(number);
        }
        self.heard.events += 1;
        if self.is(b"Hangup") {
            self.heard.hangups += 1;
            self.heard.order = self.heard.order.wrapping_mul(31) ^ self.id;
        }
        self.name_length = 0;
    }
}

async fn connect(address: SocketAddr, stalled: bool) -> Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    if stalled {
        socket.set_recv_buffer_size(STALLED_BUFFER)?;
    }
    Ok(socket.connect(address).await?)
}

/// Reads up to where the other side has let somebody in.
async fn admitted(stream: &mut TcpStream, good: &[u8]) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    loop {
        let mut bytes = [0; 256];
        let read = tokio::time::timeout(ADMITTED, stream.read(&mut bytes)).await;
        let count = read.context("nobody is let in in time")??;
        ensure!(count > 0, "a program was sent away");
        text.extend_from_slice(&bytes[..count]);
        if let Some(at) = find(&text, good) {
            let rest = text.split_off(at + good.len());
            return Ok(rest);
        }
        if find(&text, b"Response: Error").is_some() || text.len() > 64 * 1024 {
            bail!("a program was refused: {}", String::from_utf8_lossy(&text));
        }
    }
}

/// Somebody who was let in, with what came since.
async fn join(
    doors: &Doors,
    is_stream: bool,
    interest: Interest,
    stalled: bool,
) -> Result<(TcpStream, Ears)> {
    let everything = stalled || interest == Interest::Everything;
    let address = if is_stream { doors.http } else { doors.manager };
    let mut stream = connect(address, stalled).await?;
    let (text, good) = if is_stream {
        let filter = if everything {
            ""
        } else {
            "?events=Newchannel,Hangup"
        };
        let text = format!(
            "GET /api/v1/events{filter} HTTP/1.0\r\nHost: bench\r\nX-API-Key: {}\r\n\r\n",
            doors.key
        );
        // The head, and the first comment: from here on nothing is missed.
        (text, &b"\r\n\r\n: \n\n"[..])
    } else {
        let classes = if everything { "on" } else { "call" };
        (
            doors.login(classes),
            &b"Authentication accepted\r\n\r\n"[..],
        )
    };
    stream.write_all(text.as_bytes()).await?;
    let rest = admitted(&mut stream, good).await?;
    let mut ears = Ears::new(is_stream, everything);
    ears.hear(&rest)?;
    Ok((stream, ears))
}

/// Listens until it is over, or the other side has enough.
async fn listen(
    mut stream: TcpStream,
    mut ears: Ears,
    mut over: watch::Receiver<bool>,
) -> Result<Heard> {
    let mut bytes = vec![0; PIECE];
    loop {
        let read = tokio::select! {
            biased;
            read = stream.read(&mut bytes) => read,
            _ = over.changed() => return Ok(ears.heard),
        };
        match read {
            Ok(count) if count > 0 => ears.hear(&bytes[..count])?,
            _ => {
                ears.heard.is_left = true;
                return Ok(ears.heard);
            }
        }
    }
}

/// Reads nothing until it is over, then what is left.
async fn stall(
    mut stream: TcpStream,
    mut ears: Ears,
    mut over: watch::Receiver<bool>,
) -> Result<Heard> {
    let _ = over.changed().await;
    ears.heard.is_stalled = true;
    // What is left comes soon.
    let _ = socket2::SockRef::from(&stream).set_recv_buffer_size(REST_BUFFER);
    let mut bytes = vec![0; PIECE];
    let until = tokio::time::Instant::now() + REST;
    while let Ok(read) = tokio::time::timeout_at(until, stream.read(&mut bytes)).await {
        match read {
            Ok(count) if count > 0 => ears.hear(&bytes[..count])?,
            _ => {
                ears.heard.is_left = true;
                break;
            }
        }
    }
    Ok(ears.heard)
}

/// Programs that follow events from now on.
pub struct Crowd {
    over: watch::Sender<bool>,
    thread: Option<JoinHandle<Result<Vec<Heard>>>>,
}

impl Crowd {
    /// Lets them in one after the other; they listen when this returns.
    pub fn join(doors: &Doors, size: Size, interest: Interest) -> Result<Self> {
        let (over, is_over) = watch::channel(false);
        let (tell, told) = mpsc::channel();
        let doors = doors.clone();
        let thread = std::thread::Builder::new()
            .name("crowd".to_owned())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()?;
                runtime.block_on(gather(&doors, size, interest, is_over, &tell))
            })?;
        let crowd = Self {
            over,
            thread: Some(thread),
        };
        if told.recv().is_err() {
            crowd
                .leave()
                .context("the programs could not begin to listen")?;
            bail!("the programs ended before they began");
        }
        Ok(crowd)
    }

    /// Ends it: what each of them heard.
    pub fn leave(mut self) -> Result<Vec<Heard>> {
        let _ = self.over.send(true);
        let thread = self.thread.take().context("they have left")?;
        thread
            .join()
            .map_err(|_| anyhow::anyhow!("the crowd's thread has failed"))?
    }
}

async fn gather(
    doors: &Doors,
    size: Size,
    interest: Interest,
    over: watch::Receiver<bool>,
    tell: &mpsc::Sender<()>,
) -> Result<Vec<Heard>> {
    let mut all = JoinSet::new();
    for (count, is_stream, stalled) in [
        (size.managers, false, false),
        (size.streams, true, false),
        (size.stalled_managers, false, true),
        (size.stalled_streams, true, true),
    ] {
        for _ in 0..count {
            let (stream, ears) = join(doors, is_stream, interest, stalled).await?;
            if stalled {
                all.spawn(stall(stream, ears, over.clone()));
            } else {
                all.spawn(listen(stream, ears, over.clone()));
            }
        }
    }
    let _ = tell.send(());
    let mut heard = Vec::new();
    while let Some(one) = all.join_next().await {
        heard.push(one??);
    }
    Ok(heard)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_of_the_manager_counts_calls_in_their_order() {
        let hear = |texts: &[&str]| {
            let mut ears = Ears::new(false, true);
            for text in texts {
                ears.hear(text.as_bytes()).expect("events");
            }
            ears.heard
        };
        let one = "Event: Hangup\r\nUniqueid: 1.1\r\n\r\n";
        let two = "Event: Hangup\r\nUniqueid: 1.2\r\n\r\n";
        let heard = hear(&[
            one,
            "Event: Newchannel\r\nUniqueid: 7\r\n\r\nEvent: Ha",
            "ngup\r\nUniqueid: 1.2\r\n\r\n",
        ]);
        assert_eq!((heard.events, heard.hangups), (3, 2));
        assert_eq!(heard.order, hear(&[one, two]).order);
        assert_ne!(heard.order, hear(&[two, one]).order);
        assert_ne!(heard.order, hear(&[one, one, two]).order);
        let over = hear(&["Response: Goodbye\r\nMessage: x\r\n\r\n"]);
        assert_eq!((over.events, over.notice.as_deref()), (0, Some("Goodbye")));
    }

    #[test]
    fn a_reader_of_the_stream_finds_what_is_missing_or_there_twice() {
        let line = |number: u64| {
            format!(
                "id: ab-{number}\nevent: Hangup\ndata: {{\"fields\":{{\"Uniqueid\":\"1.{number}\"}}}}\n\n"
            )
        };
        for (numbers, everything, breaks) in [
            (&[1, 2, 3][..], true, 0),
            (&[1, 3], true, 1),
            (&[1, 3], false, 0),
            (&[1, 2, 2], true, 1),
            (&[2, 1], false, 1),
        ] {
            let mut ears = Ears::new(true, everything);
            for number in numbers {
                ears.hear(line(*number).as_bytes()).expect("events");
            }
            assert_eq!(ears.heard.breaks, breaks, "{numbers:?}");
            assert_eq!(ears.heard.hangups, numbers.len() as u64);
        }
        let mut ears = Ears::new(true, true);
        ears.hear(b": \n\nid: ab-9\nevent: TooSlow\ndata: {}\n\n")
            .expect("events");
        assert_eq!(ears.heard.notice.as_deref(), Some("TooSlow"));
    }
}

//! A client of Asterisk's Manager interface that asks for calls: it logs in, and then writes `Originate` as fast as it is
//! told to, on a thread of its own, while another reads what is refused.

use crate::scenario::{Originate, dialled};
use anyhow::{Context as _, Result, ensure};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, channel, sync_channel};
use std::time::Duration;

/// Requests that wait to be written.
const QUEUE: usize = 20_000;
const PATIENCE: Duration = Duration::from_secs(5);
/// Lines of an answer, at most.
const LINES_MAX: usize = 200;

/// See the module's text.
pub(crate) struct Manager {
    requests: SyncSender<String>,
    refused: Receiver<(u32, String)>,
    kept: Vec<(u32, String)>,
    originate: Originate,
}

impl Manager {
    /// Connects and logs in.
    pub(crate) fn connect(originate: &Originate) -> Result<Self> {
        let address = originate.manager;
        let stream = TcpStream::connect_timeout(&address, PATIENCE)
            .with_context(|| format!("originate.manager: cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut writer = stream.try_clone()?;
        let mut reader = BufReader::new(stream.try_clone()?);
        let mut banner = String::new();
        reader.read_line(&mut banner)?;
        write!(
            writer,
            "Action: Login\r\nUsername: {}\r\nSecret: {}\r\nEvents: off\r\n\r\n",
            originate.user, originate.secret
        )?;
        let answer = read_answer(&mut reader)?;
        ensure!(
            answer.iter().any(|line| line == "Response: Success"),
            "originate.user: {address} refuses the login: {}",
            value(&answer, "Message").unwrap_or("no reason given")
        );
        stream.set_read_timeout(None)?;
        let (requests, queue) = sync_channel::<String>(QUEUE);
        let (tell, refused) = channel();
        std::thread::Builder::new()
            .name("manager-out".to_owned())
            .spawn(move || {
                for request in queue {
                    if writer.write_all(request.as_bytes()).is_err() {
                        return;
                    }
                }
                let _ = writer.shutdown(std::net::Shutdown::Both);
            })?;
        std::thread::Builder::new()
            .name("manager-in".to_owned())
            .spawn(move || {
                while let Ok(answer) = read_answer(&mut reader) {
                    let number = value(&answer, "ActionID").and_then(|id| id.parse().ok());
                    let refused = value(&answer, "Response") == Some("Error");
                    if let Some(number) = number.filter(|_| refused) {
                        let why = value(&answer, "Message").unwrap_or("refused");
                        if tell.send((number, why.to_owned())).is_err() {
                            return;
                        }
                    }
                }
            })?;
        Ok(Self {
            requests,
            refused,
            kept: Vec::new(),
            originate: originate.clone(),
        })
    }

    /// Asks for call `number`.
    pub(crate) fn originate(&mut self, number: u32, callee: &str) {
        let originate = &self.originate;
        let channel = dialled(&originate.channel, number, callee, 0);
        let request = format!(
            "Action: Originate\r\nActionID: {number}\r\nChannel: {channel}\r\nContext: {}\r\nExten: {}\r\n\
             Priority: 1\r\nAsync: true\r\nTimeout: 30000\r\n\r\n",
            originate.context, originate.exten
        );
        match self.requests.try_send(request) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => {
                self.kept
                    .push((number, "the Manager reads too slowly".to_owned()));
            }
            Err(TrySendError::Disconnected(_)) => {
                self.kept
                    .push((number, "the Manager has hung up".to_owned()));
            }
        }
    }

    /// Calls that will not come, and why.
    pub(crate) fn refusals(&mut self) -> Vec<(u32, String)> {
        let mut refused = std::mem::take(&mut self.kept);
        refused.extend(self.refused.try_iter());
        refused
    }
}

fn read_answer(reader: &mut BufReader<TcpStream>) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        ensure!(reader.read_line(&mut line)? > 0, "the Manager has hung up");
        let line = line.trim_end();
        if line.is_empty() {
            return Ok(lines);
        }
        ensure!(lines.len() < LINES_MAX, "an answer without an end");
        lines.push(line.to_owned());
    }
}

fn value<'a>(lines: &'a [String], name: &str) -> Option<&'a str> {
    lines
        .iter()
        .filter_map(|line| line.split_once(": "))
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

//! Between a channel on its shard and a script that lives on the control runtime: bounded queues both ways.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, mpsc, oneshot};

use super::protocol::{Line, LineReader};

/// Lines and answers on their way.
const QUEUE: usize = 16;
/// Bytes read at once.
const READ_BYTES: usize = 4096;
/// What is left in a pipe when its process is gone is there at once.
pub(super) const LEFT_OVER_WAIT: Duration = Duration::from_millis(50);
/// All the waiting for it, and the most that a pipe holds. What comes beyond that somebody else wrote, who was left behind.
const LEFT_OVER_WAIT_ALL: Duration = Duration::from_millis(200);
const LEFT_OVER_BYTES: usize = 64 * 1024;

/// Why a script did not begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("{0}")]
    NotFound(String),
    #[error("{0}")]
    Failed(String),
}

/// How a script ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// With success, or by closing its connection.
    Success,
    Failure(String),
}

/// What the watcher of a script is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    HangUp,
    End,
}

/// A script that runs, as a session has it. When it is dropped the script's watcher waits for the end of the script,
/// and sees to it that there is one.
pub(crate) struct Link {
    lines: mpsc::Receiver<Line>,
    replies: Option<mpsc::Sender<Vec<u8>>>,
    orders: mpsc::Sender<Order>,
    ended: oneshot::Receiver<Ending>,
    /// It is told of the hang-up by a line.
    network: bool,
    /// Where nobody reads what is said.
    kept: Option<mpsc::Receiver<Vec<u8>>>,
}

/// The other ends.
pub(super) struct Far {
    pub(super) lines: mpsc::Sender<Line>,
    pub(super) replies: mpsc::Receiver<Vec<u8>>,
    pub(super) orders: mpsc::Receiver<Order>,
    pub(super) ended: oneshot::Sender<Ending>,
}

impl Link {
    pub(super) fn pair(network: bool) -> (Self, Far) {
        let (lines_to, lines) = mpsc::channel(QUEUE);
        let (replies, replies_from) = mpsc::channel(QUEUE);
        let (orders, orders_from) = mpsc::channel(4);
        let (ended_to, ended) = oneshot::channel();
        (
            Self {
                lines,
                replies: Some(replies),
                orders,
                ended,
                network,
                kept: None,
            },
            Far {
                lines: lines_to,
                replies: replies_from,
                orders: orders_from,
                ended: ended_to,
            },
        )
    }

    /// One without a script: what is said is kept for [`Self::said`].
    pub(crate) fn answers() -> Self {
        let (mut link, far) = Self::pair(false);
        link.kept = Some(far.replies);
        link
    }

    /// What was said since this was last asked.
    pub(crate) fn said(&mut self) -> Vec<Vec<u8>> {
        let kept = &mut self.kept;
        let next = || kept.as_mut()?.try_recv().ok();
        std::iter::from_fn(next).collect()
    }

    /// The next line; `None` when the script says no more.
    pub(crate) async fn line(&mut self) -> Option<Line> {
        self.lines.recv().await
    }

    /// Answers. False if the script is gone.
    pub(crate) async fn say(&self, bytes: Vec<u8>) -> bool {
        match &self.replies {
            Some(replies) => replies.send(bytes).await.is_ok(),
            None => false,
        }
    }

    /// Tells the script that the call is over: a process by SIGHUP, a server by a line.
    pub(crate) fn hang_up(&self) {
        if self.network {
            if let Some(replies) = &self.replies {
                // A server that reads nothing misses nothing.
                let _ = replies.try_send(b"HANGUP\n".to_vec());
            }
        } else {
            let _ = self.orders.try_send(Order::HangUp);
        }
    }

    /// Nothing more will be said to the script.
    pub(crate) fn close(&mut self) {
        self.replies = None;
    }

    /// Ends the script, as hard as it takes.
    pub(crate) fn end(&self) {
        let _ = self.orders.try_send(Order::End);
    }

    /// Waits until the script is over.
    pub(crate) async fn ended(&mut self) -> Ending {
        match (&mut self.ended).await {
            Ok(ending) => ending,
            Err(_) => Ending::Failure("nobody saw how it ended".to_owned()),
        }
    }
}

/// Reads lines until the end, or, once `over`, what is left.
pub(super) async fn read_lines(
    mut from: impl AsyncRead + Unpin,
    to: mpsc::Sender<Line>,
    over: Arc<Notify>,
) {
    let mut reader = LineReader::default();
    let mut buffer = vec![0; READ_BYTES];
    // Waiting and bytes that remain, once it is over.
    let mut left: Option<(Duration, usize)> = None;
    loop {
        let read = if let Some((wait, bytes)) = &mut left {
            let room = buffer.len().min(*bytes);
            let began = Instant::now();
            let read = tokio::select! {
                biased;
                () = to.closed() => return,
                read = from.read(buffer.get_mut(..room).unwrap_or_default()) => read,
                () = tokio::time::sleep(LEFT_OVER_WAIT.min(*wait)) => Ok(0),
            };
            *wait = wait.saturating_sub(began.elapsed());
            *bytes -= read.as_ref().map_or(0, |count| *count).min(*bytes);
            read
        } else {
            tokio::select! {
                biased;
                read = from.read(&mut buffer) => read,
                () = over.notified() => {
                    left = Some((LEFT_OVER_WAIT_ALL, LEFT_OVER_BYTES));
                    continue;
                }
            }
        };
        // A connection that was reset is over as well.
        let count = read.unwrap_or(0);
        reader.push(buffer.get(..count).unwrap_or_default());
        while let Some(line) = reader.next() {
            if to.send(line).await.is_err() {
                return;
            }
        }
        if count == 0 {
            if let Some(line) = reader.finish() {
                let _ = to.send(line).await;
            }
            return;
        }
    }
}

/// Writes answers until there are no more or nobody reads them.
pub(super) async fn write_replies(
    mut to: impl AsyncWrite + Unpin,
    mut from: mpsc::Receiver<Vec<u8>>,
) {
    while let Some(bytes) = from.recv().await {
        if to.write_all(&bytes).await.is_err() {
            return;
        }
    }
    let _ = to.shutdown().await;
}

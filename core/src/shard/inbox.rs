//! The bounded queue into a shard: SIP messages that belong to its calls, connections it owns, and work other planes
//! ask it to do.

use bytes::Bytes;
use crossbeam_queue::ArrayQueue;
use strowger_sip::Flow;
use tokio::sync::Notify;

use super::Shard;

/// Messages one inbox holds. At 10,000 forwarded messages a second this is a stall of 1.6 s.
const CAPACITY: usize = 16_384;

/// Work done on a shard's thread for another plane.
pub type Errand = Box<dyn FnOnce(&std::rc::Rc<Shard>) + Send>;

/// What other threads send to a shard.
pub enum ShardMessage {
    /// A SIP message of a call this shard owns, received by another.
    Sip { flow: Flow, bytes: Bytes },
    /// Bytes for a connection this shard accepted or opened.
    Stream { flow: Flow, bytes: Bytes },
    /// A connection that other shards may be using is gone.
    StreamClosed { flow: Flow },
    /// A request of the control plane.
    Errand(Errand),
    /// End the shard.
    Stop,
}

/// The queue and its bell.
pub struct Inbox {
    queue: ArrayQueue<ShardMessage>,
    bell: Notify,
}

impl Default for Inbox {
    fn default() -> Self {
        Self {
            queue: ArrayQueue::new(CAPACITY),
            bell: Notify::new(),
        }
    }
}

impl Inbox {
    /// Queues a message; gives it back when the queue is full.
    pub fn send(&self, message: ShardMessage) -> Result<(), ShardMessage> {
        self.queue.push(message)?;
        self.bell.notify_one();
        Ok(())
    }

    pub(crate) fn take(&self) -> Option<ShardMessage> {
        self.queue.pop()
    }

    pub(crate) async fn wait(&self) {
        self.bell.notified().await;
    }

    /// Messages waiting.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// True when none waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }
}

//! SIP transactions: RFC 3261 §17 with the corrections of RFC 6026, without I/O.
//!
//! Here live the four state machines (one file each, knowing states and times only), the keys that match messages to
//! them (§17.1.3, §17.2.3), the timer queue, and [`Layer`], which owns all transactions of one shard: it takes messages
//! and a time, and returns what to send, what happened and when to be called again. Retransmissions, ACKs for failures,
//! CANCEL bookkeeping, 100 Trying, merged requests and overload are dealt with here and go no further.
//! Never here: sockets, dialogs, calls, authentication, or any decision about what a request means.
//!
//! How to drive a layer: after each call of [`Layer::receive`], [`Layer::request`], [`Layer::respond`],
//! [`Layer::cancel`] or [`Layer::handle_timeout`], drain [`Layer::poll_transmit`] and [`Layer::poll_event`], then sleep
//! until [`Layer::next_timeout`].

mod apply;
mod build;
mod client;
mod client_invite;
mod effects;
mod inbound;
mod key;
mod layer;
mod server;
mod server_invite;
mod table;
mod timers;

use bytes::Bytes;

use crate::flow::Flow;
use crate::message::Message;

pub use key::Branches;
pub use layer::Layer;
pub use timers::Timers;

/// A client transaction: a request of ours and its responses. Never reused within a layer.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u64);

/// A server transaction: a request we received and our responses. Never reused within a layer.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(pub u64);

/// Bytes to put on the wire.
#[derive(Clone, Debug)]
pub struct Transmit {
    /// Where to: for UDP `remote` from `local`, otherwise the connection.
    pub flow: Flow,
    /// One whole SIP message.
    pub bytes: Bytes,
}

/// What happened. The events of one transaction come in order, its `...Terminated` last.
#[derive(Clone, Debug)]
pub enum Event {
    /// A new request (never ACK or CANCEL). Answer it with [`Layer::respond`]. Its top Via already bears `received` and
    /// `rport` (RFC 3581 §4), so responses built from it are right.
    Request {
        /// The transaction to respond to.
        id: ServerId,
        /// The request.
        message: Message,
        /// Where it came from.
        flow: Flow,
    },
    /// An ACK for a 2xx, or one that belongs to nothing we know: match it to a dialog by its tags and CSeq.
    Ack {
        /// The INVITE it acknowledges, where the layer could tell (old peers reuse the branch).
        invite: Option<ServerId>,
        /// The ACK.
        message: Message,
        /// Where it came from.
        flow: Flow,
    },
    /// The caller gave up an INVITE that has no final response yet. The CANCEL itself has been answered with 200; the
    /// user should now answer `invite` with 487. Comes once for an INVITE.
    Cancel {
        /// The INVITE to be answered with 487.
        invite: ServerId,
        /// The CANCEL (its Reason header may say "answered elsewhere").
        message: Message,
    },
    /// A response: every provisional one, the final one once; for an INVITE each retransmission of a 2xx too, and the
    /// 2xx of other forks (RFC 6026 §7.2), because each wants its ACK.
    Response {
        /// The request it answers.
        id: ClientId,
        /// The response.
        message: Message,
        /// Where it came from.
        flow: Flow,
    },
    /// No final response in time (timers B, F; 64*T1 after a CANCEL): treat as 408 (§8.1.3.1).
    Timeout {
        /// The request.
        id: ClientId,
    },
    /// The request could not be sent: treat as 503 (§8.1.3.1).
    TransportError {
        /// The request.
        id: ClientId,
    },
    /// Timer H: our final failure response to an INVITE was never acknowledged.
    NoAck {
        /// The INVITE.
        id: ServerId,
    },
    /// The connection of a request without a final response (or ACK) was lost: nobody waits for our answer any more.
    ResponseFailed {
        /// The request.
        id: ServerId,
    },
    /// The user gave no final response: a non-INVITE was dropped after 64*T1 (RFC 4320), an INVITE answered 408 after
    /// [`Timers::proceeding`].
    Abandoned {
        /// The request.
        id: ServerId,
    },
    /// The client transaction is over and its id unknown from now on.
    ClientTerminated {
        /// The request.
        id: ClientId,
    },
    /// The server transaction is over and its id unknown from now on.
    ServerTerminated {
        /// The request.
        id: ServerId,
    },
}

/// How much a layer may hold.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Client transactions; beyond it [`Layer::request`] fails.
    pub client: usize,
    /// Server transactions, without those in `absorbing`; beyond it new requests get a stateless 503. Requests inside dialogs (BYE!) and CANCEL may
    /// use a quarter more.
    pub server: usize,
    /// Answered requests that wait for repetitions (timer J, and timer L of INVITEs with a 2xx); beyond it the oldest is forgotten,
    /// and its repetition would be a new request.
    pub absorbing: usize,
    /// Retry-After of that 503, seconds.
    pub retry_after_s: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            client: 100_000,
            server: 100_000,
            absorbing: 262_144,
            retry_after_s: 5,
        }
    }
}

/// Why a request was not sent.
#[derive(Copy, Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The layer holds as many client transactions as its limits allow.
    #[error("too many client transactions")]
    Full,
    /// The message is not a request, or is an ACK (send that with [`Layer::send`]).
    #[error("not a request that has a transaction")]
    NotARequest,
    /// The message has no top Via with a branch that starts with the magic cookie, or its CSeq is missing.
    #[error("the request has no usable Via branch or CSeq")]
    NoBranch,
    /// A transaction with this branch and method exists already.
    #[error("the Via branch is in use")]
    BranchInUse,
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// What a layer has counted since it was made.
        #[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)+
        }

        impl Counters {
            /// Names and values, for metrics.
            pub fn snapshot(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name)),+]
            }
        }
    };
}

counters! {
    /// Requests received, without ACKs and retransmissions.
    requests_received,
    /// Responses received that matched a transaction.
    responses_received,
    /// Requests sent, without retransmissions, ACKs and CANCELs of the layer.
    requests_sent,
    /// Responses of the user sent, without retransmissions.
    responses_sent,
    /// Received requests that were retransmissions.
    retransmissions_received,
    /// Requests and responses sent again.
    retransmissions_sent,
    /// 100 Trying made by the layer.
    trying_sent,
    /// ACKs received for failures, absorbed.
    acks_absorbed,
    /// CANCELs received.
    cancels_received,
    /// Of these, those for no INVITE that is here, answered 481.
    cancels_unmatched,
    /// CANCELs sent.
    cancels_sent,
    /// Responses that match no transaction, dropped.
    responses_unmatched,
    /// Responses whose Via is not the one we sent, or that have several, dropped (§8.1.3.3, §18.1.2).
    responses_foreign,
    /// Requests that reached us twice by different paths, answered 482 (§8.2.2.2).
    requests_merged,
    /// Requests answered 400, or dropped, because a mandatory header is missing or broken.
    requests_malformed,
    /// Requests answered 503 because of the limits.
    requests_refused,
    /// Answered requests forgotten before timer J or L because there were too many.
    absorbing_forgotten,
    /// Responses of the user that came too late or for an unknown transaction.
    responses_late,
    /// Requests without a final response in time.
    timeouts,
    /// INVITEs whose failure response was never acknowledged.
    acks_missing,
    /// Requests that the user never answered.
    abandoned,
    /// Transactions ended by transport errors.
    transport_errors,
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

//! SIP without I/O: messages, URIs, typed headers, SDP, digest authentication, transactions and dialogs.
//!
//! What lives here turns bytes into meaning and back, and runs the state machines of RFC 3261 on a time that the caller
//! passes in. What never does: sockets, clocks, threads, configuration, SQL, and any decision about who may call whom.
//!
//! Everything that comes from the network is parsed without panics, within limits, and kept byte for byte.

pub mod accepted;
pub mod auth;
pub mod body;
pub mod dialog;
pub mod flow;
pub mod headers;
pub mod message;
pub mod notifier;
pub mod offer_answer;
pub mod reliable;
pub mod sdp;
pub mod session_timer;
pub mod transaction;
pub mod uri;

mod syntax;

pub use flow::{Flow, Transport};
pub use message::{Builder, HeaderName, Message, Method, ParseError};
pub use syntax::SyntaxError;
pub use uri::{Host, NameAddr, Uri};

//! Typed values of single headers: each parses from the value's text and writes itself back.
//!
//! Knows nothing of whole messages, and makes no decision about what a value means for a call.

mod cseq;
mod event;
mod name_addr;
mod reason;
mod replaces;
mod via;

pub use crate::syntax::{ListItems, Params};
pub use cseq::CSeq;
pub use event::{EndReason, Event, SubscriptionState};
pub use name_addr::{Contacts, NameAddr};
pub use reason::Reason;
pub use replaces::Replaces;
pub use via::{BRANCH_COOKIE, Via};

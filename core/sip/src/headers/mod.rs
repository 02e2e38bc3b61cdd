//! Typed values of single headers: each parses from the value's text and writes itself back.
//!
//! Knows nothing of whole messages, and makes no decision about what a value means for a call.

mod cseq;
mod name_addr;
mod reason;
mod via;

pub use crate::syntax::{ListItems, Params};
pub use cseq::CSeq;
pub use name_addr::{Contacts, NameAddr};
pub use reason::Reason;
pub use via::{BRANCH_COOKIE, Via};

//! Load tests of SIP servers: a generator that places and receives calls with media it checks, measurements of the server,
//! reports, the search for its capacity, and the proof that runs all of that against an exchange.
//!
//! Nothing here depends on the exchange's crates: messages are built and read by `rsip`, packets go through a ring of the
//! generator's own. What shares a parser with the server cannot hear its faults.

pub mod capacity;
pub mod engine;
pub mod measure;
pub mod proof;
pub mod report;
pub mod run;
pub mod scenario;
mod sip;
pub mod sipp;
pub mod talk;
mod uring;

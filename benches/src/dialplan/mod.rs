//! The dialplan measured from inside: an exchange of one shard in this process, with rows and Lua files of the bench, and a
//! telephone that calls it by real SIP.

mod inside;
mod telephone;
mod works;

pub use inside::{Heart, Inside, snapshot};
pub use telephone::Telephone;
pub use works::{
    CALLS_MAX, Figure, compiling, entering, looping, matching, pausing, reloading, rows,
    suspended_calls,
};

/// The context that callers are in.
pub const CONTEXT: &str = "bench";
